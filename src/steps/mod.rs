//! The one outside call that each stage makes.

pub mod deliver;
pub mod exchange;
pub mod fetch;
pub mod invite;
pub mod revoke;
pub mod step;

pub use deliver::Deliver;
pub use exchange::Exchange;
pub use fetch::Fetch;
pub use invite::Invite;
pub use revoke::Revoke;
pub use step::{Performed, Step};
