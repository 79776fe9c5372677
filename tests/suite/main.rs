//! All integration tests, as one binary.

mod postgres_support;
#[path = "../support"]
mod support {
    pub(crate) mod postgres;
}
