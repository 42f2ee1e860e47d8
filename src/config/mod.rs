//! Configuration: defaults, file and environment become a checked [`Config`], whose existence proves that it is valid, or
//! a list of every fault. Opens and binds nothing.
//!
//! `table` states each key once. From bottom to top: `shape` (what is known about keys), `tree` (values, and where they
//! came from), `lay` and `variables` (lay what fits the shape onto the tree), `layers`, `check` (names faults), `section`
//! and `rules` (how keys are declared and read), `table`, `relations` (rules about several keys), `secrets`, `load`.

mod check;
mod describe;
mod environment;
mod error;
mod key_file;
mod lay;
mod layers;
mod load;
mod relations;
mod rules;
mod scopes;
mod secret_reader;
mod secrets;
mod section;
mod shape;
mod sinks;
mod table;
mod texts;
mod tree;
mod variables;

pub use describe::{default_file, schema};
pub use environment::{Environment, secrets_given};
pub use error::{ConfigError, ConfigErrors, Location};
pub use layers::Locator;
pub use load::{RelayConfig, Trouble, check, check_relay, effective, is_relays_own, load, load_relay, look};
pub use rules::{LOG_LEVELS, Permille};
pub use secrets::{HookdeckSecrets, LinkKeys, RelaySecrets, Secrets};
pub use section::Changes;
pub use sinks::{SinkConfig, SinkKind};
pub use table::*;
pub use tree::Effective;
