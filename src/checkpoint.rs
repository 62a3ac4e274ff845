//! Checkpoints: what is opened together.

pub mod hub_cache;
