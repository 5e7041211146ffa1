//! Nothing but tests: see `tests/dependencies.rs` and `tests/tidy.rs`.
