//! NVIDIA GPUs through the CUDA driver (`libcuda.so.1`), loaded at run time.
//!
//! Nothing here is built against a toolkit, and no call into the driver is made before `probe` found one that answers.

mod driver;
pub mod probe;
pub mod selftest;
