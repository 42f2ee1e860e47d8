//! The edge relay: takes browsers' callbacks, journals them, and posts them through webhooks within their limits. It
//! holds the relay key, the state key and the webhooks' tokens, and never a bot token, a client secret or a PKCE key.
//!
//! The front (pages, addresses, HTTP) serves direct intake too: there a callback goes to the journal of the service
//! itself.
//!
//! Beside it stand the scripts that other relays run (`script`), and the setting up of Hookdeck.

pub mod dispatcher;
pub mod hookdeck;
pub mod journal;
pub mod known;
pub mod post_plan;
pub mod queue;
pub mod script;
