//! The service as a process beside an embedded Discord: what it promises, whatever happens to it.

mod crash;
mod judge;
mod killed;
pub mod kit;
pub mod live;
mod malformed;
pub mod network;
mod shutdown;
mod start;
mod surroundings;
mod way;
