//! The traits towards the outside, and the types they speak. Adapters implement them in `discord`, `delivery` and `actors`;
//! tests have fakes.

pub mod callback_intake;
pub mod contact;
pub mod discord;
pub mod discord_time;
pub mod later;
pub mod permit;
pub mod sink;
pub mod webhook;
