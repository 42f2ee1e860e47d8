//! The rules of pacing: windows, buckets, budgets, the breaker, and what an answer's rate headers mean. Pure: no actix, no
//! I/O, no clock.

pub mod breaker;
pub mod bucket;
pub mod budgets;
pub mod feedback;
pub mod gateway_pace;
pub mod lane_budget;
pub mod limits;
pub mod moment;
pub mod rates;
pub mod window;
