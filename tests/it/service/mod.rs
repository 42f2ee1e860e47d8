//! The service as a process beside an embedded Discord: what it promises, whatever happens to it.

pub mod api;
mod budget;
mod commands;
mod control;
mod crash;
mod dashboard;
mod disk;
mod half_broken;
mod judge;
mod keys;
mod killed;
pub mod links;
pub mod live;
mod malformed;
pub mod network;
mod receiver;
mod reinvite;
mod reload;
mod shutdown;
mod sinks;
mod spoofing;
mod start;
mod store;
mod surroundings;
pub mod test_support;
pub mod tls;
mod way;
