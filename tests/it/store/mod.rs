//! The store from outside: what was acknowledged is there after every end, and damage is found or harmless.

mod basics;
mod committing;
mod damage;
mod ends;
mod failing;
pub mod killed;
mod million;
pub mod test_support;
mod writer;
