//! The integration tests, real sockets and real processes: one binary, so that everything is linked once.

mod simulator;
mod store;
