//! The durable journal; the only folder that names sled.
