//! The one outside call that each stage makes.

pub mod feedback;

pub use feedback::HttpFeedback;
