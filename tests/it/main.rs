//! The integration tests, real sockets and real processes: one binary, so that everything is linked once.

mod a_limit;
mod all_worlds;
mod cli;
mod config;
mod conformance;
mod demo;
mod discord;
mod doctor;
mod documents;
mod files;
mod fuzz;
mod gateway;
mod hookdeck;
mod layers;
mod monitoring;
mod mutations;
mod patience;
mod relay;
mod secrets;
mod service;
mod simulator;
mod soak;
mod store;
mod tally;
mod worker;
mod world;
