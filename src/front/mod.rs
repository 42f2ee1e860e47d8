//! What browsers meet: pages, addresses and HTTP. The relay and direct intake both serve it.

pub mod address;
pub mod counts;
pub mod face;
pub mod page;
pub mod pages;
pub mod server;
