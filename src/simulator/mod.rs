//! The embedded Discord: a stand-in on loopback that is spoken to over real sockets.

mod answer;
mod authorize;
mod channels;
mod control;
pub mod faults;
pub mod gateway;
mod guild;
mod handle;
mod interactions;
pub mod ledger;
pub mod limits;
mod message;
mod messages;
pub mod options;
pub mod people;
pub mod person;
pub mod relay;
mod request;
mod router;
mod server;
mod state;
mod token;
mod users;
mod webhooks;
mod world;

pub use control::{CodeRequest, PortalChange, PostAuthor, PostRequest};
pub use faults::{Endpoint, Fault, FaultBody, FaultRule};
pub use handle::{Description, Faults, LaneDescription, WebhookDescription};
pub use interactions::{Interaction, UseRequest};
pub use ledger::{AnswerFate, Ledger, Summary};
pub use options::{BotPermissions, SimulatorOptions};
pub use server::Simulator;
