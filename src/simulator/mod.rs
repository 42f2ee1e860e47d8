//! The embedded Discord: a stand-in for Discord on loopback, over real sockets.

mod action;
mod answer;
mod authorize;
mod channels;
mod connection;
mod control;
mod draft;
pub mod faults;
pub mod gateway;
mod guild;
mod handle;
mod hub;
mod ids;
mod interactions;
pub mod ledger;
pub mod limits;
mod messages;
mod object;
pub mod options;
pub mod people;
pub mod person;
mod request;
mod router;
mod server;
mod state;
mod token;
mod users;
mod webhooks;
mod world;

pub use action::{CodeRequest, PortalChange, PostAuthor, PostRequest, UseRequest};
pub use faults::{Endpoint, Fault, FaultBody, FaultRule};
pub use handle::{Description, Faults, LaneDescription, WebhookDescription};
pub use ledger::{AnswerFate, Ledger, Summary};
pub use options::{BotPermissions, SimulatorOptions};
pub use server::Simulator;
pub use world::Interaction;
