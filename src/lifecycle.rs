//! Ordered shutdown and exit codes.
