//! The actors; each file is one agent noun.
pub mod governor;
