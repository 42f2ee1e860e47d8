//! `codeferry hookdeck` as a child process against an API that is as strict as Hookdeck's.

mod api;
mod apply;
mod errors;
mod test_support;
