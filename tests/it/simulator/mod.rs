//! The embedded Discord over real sockets.

mod consent;
mod faults;
mod life;
mod limits;
mod messages;
mod openapi;
mod support;
mod tokens;
