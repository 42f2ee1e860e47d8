//! Configuration: raw (what serde reads) to checked (whose existence proves that it is valid). Opens and binds nothing.

mod checked;
mod secrets;

pub use checked::*;
pub use secrets::Secrets;
