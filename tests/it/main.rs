//! The integration tests: one binary, so that everything is linked once.

mod store;
//! Integration tests: real sockets, real processes.

mod simulator;
