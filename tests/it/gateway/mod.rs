//! The listener against the gateway: every way in which a session or a channel's history can fail, with the real binary
//! and real sockets. Whatever happens, each code is found in time, presented once, and its token revoked.

mod case;
mod events;
mod fatal;
mod history;
mod session;
