//! The command line; one file per command. Human output goes to stdout, logs to stderr.

mod app;
mod child;
pub mod config;
pub mod dashboard;
pub mod debug;
pub mod demo;
pub mod doctor;
mod folder;
pub mod hookdeck;
pub mod link;
pub mod out;
pub mod relay;
pub mod run;
pub mod shell;
pub mod simulate;
pub mod source;
pub mod trial;
pub mod worker;

pub use app::{Cli, Command, Global, main};
