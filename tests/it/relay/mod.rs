//! `codeferry relay` as a child process between real browsers' requests, an embedded Discord and, where the whole way is
//! walked, a real `codeferry run`.

mod bad_input;
pub mod browser;
mod clock;
mod crash;
mod direct;
mod launch;
mod outage;
mod silent;
pub mod test_support;
mod way;
