//! `ckpt`: a terminal workbench for LLM checkpoints.

pub mod checkpoint;
pub mod container;
pub mod error;
pub mod name;
pub mod problem;
pub mod tensor;
pub mod units;
