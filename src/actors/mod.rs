//! The actors; each file is one agent noun.

pub mod calls;
pub mod command_responder;
mod every;
pub mod governor;
pub mod journal;
pub mod listener;
pub mod pipeline;
pub mod stage;
#[cfg(test)]
mod test_support;
