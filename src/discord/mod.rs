//! The only folder that names oauth2 and the WebSocket's crate.

pub mod api_base;
pub mod bot;
pub mod bot_call;
pub mod contact;
pub mod gateway;
pub mod gateway_event;
pub mod icon;
pub mod portal;
pub mod relay_post;
pub mod resources;
pub mod token_endpoint;
pub mod webhook_post;
