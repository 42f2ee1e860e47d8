//! Names and registration of the metrics.
