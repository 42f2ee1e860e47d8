//! The one outside call that each stage makes.

pub mod contact;
pub mod deliver;
pub mod exchange;
pub mod feedback;
pub mod fetch;
pub mod invite;
pub mod port;
pub mod revoke;
pub mod skew;
pub mod step;

pub use deliver::Deliver;
pub use exchange::Exchange;
pub use feedback::HttpFeedback;
pub use fetch::Fetch;
pub use invite::Invite;
pub use revoke::Revoke;
pub use step::{Need, Performed, Step};
