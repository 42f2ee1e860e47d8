//! The control interface's page for an operator's browser, on loopback. It is a process of its own that asks the service over
//! the control socket, so it also shows one without a TCP address.

mod access;
mod look;
mod server;

pub use server::{Dashboard, Opened};
