//! Delivery: from a frame of the engine to an ack.

pub mod payload;
