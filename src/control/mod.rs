//! The running service's own interface.
