//! The only folder that names serenity, reqwest and oauth2.

pub mod bot;
pub mod bot_call;
pub mod callback_post;
pub mod contact;
pub mod gateway;
pub mod gateway_event;
pub mod http;
pub mod relay_post;
pub mod resources;
pub mod token_endpoint;
pub mod webhook_post;
