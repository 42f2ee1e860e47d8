//! The life of one authorization code: pure, no I/O, no clock, no actix.
