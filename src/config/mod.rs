//! Configuration: raw (what serde reads) to checked.
