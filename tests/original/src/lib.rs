//! Does everything that the original project tested still hold? Its tests are in `tests/original`,
//! by their names; each runs in memory and over a real Redis.
