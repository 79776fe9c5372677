//! The exit code. No logic.

fn main() {}
