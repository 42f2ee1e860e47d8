//! The codeferry binary.
fn main() {}
