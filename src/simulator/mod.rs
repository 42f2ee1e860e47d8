//! The embedded Discord.
