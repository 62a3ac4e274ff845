//! `ckpt`: a terminal workbench for LLM checkpoints.

pub mod adapter;
pub mod app;
pub mod checkpoint;
pub mod cli;
pub mod container;
pub mod diagnose;
pub mod engine;
pub mod error;
pub mod footprint;
pub mod gauges;
pub mod job;
pub mod memory;
pub mod name;
pub mod plan;
pub mod problem;
pub mod quant;
pub mod stats;
pub mod tensor;
pub mod terminal;
pub mod ui;
pub mod units;
pub mod workbench;
