//! The Cloudflare Worker: in an engine of the language alone under virtual time, and in Cloudflare's own runtime.

mod behind;
mod budget;
pub mod cloud;
mod command;
mod front;
mod plan;
mod refusals;
mod workerd;
