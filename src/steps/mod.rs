//! The one outside call that each stage makes.

pub mod feedback;
pub mod port;

pub use feedback::HttpFeedback;
