//! Configuration: raw (what serde reads) to checked (whose existence proves that it is valid). Opens and binds nothing.

mod check;
mod checked;
mod differences;
mod environment;
mod error;
mod hookdeck;
mod key_file;
mod layers;
mod load;
mod overrides;
mod raw;
mod relay;
mod schema;
mod secrets;
mod sections;
mod sinks;
mod texts;
mod walk;

pub use checked::*;
pub use differences::Changes;
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors, Location};
pub use hookdeck::HookdeckSecrets;
pub use layers::{Effective, Layers, Origin};
pub use load::{Locator, check, load};
pub use relay::{RelayConfig, RelayLaneConfig, RelaySecrets, is_relays_own, load_relay};
pub use schema::schema;
pub use secrets::{LinkKeys, Secrets, secrets_given};
