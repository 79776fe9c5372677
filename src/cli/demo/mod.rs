//! `demo`: the main job with nothing but this program.

pub mod sample;
