//! The actors; each file is one agent noun.

pub mod calls;
pub mod governor;
pub mod journal;
#[cfg(test)]
mod kit;
pub mod listener;
pub mod pipeline;
pub mod stage;
pub mod usher;
