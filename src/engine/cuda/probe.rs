//! Which GPUs can compute, asked once and on a thread of its own.
//!
//! A context is not made here: that takes device memory and time, and is left to the job that computes.

/// What the driver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// No GPU can compute; why, in words.
    Absent(String),
    /// The driver's version as CUDA counts it (12.8 is 12080), and its devices in CUDA's order.
    Ready {
        /// The driver's version: 12080 is 12.8.
        driver: u32,
        /// The devices.
        cards: Vec<Card>,
    },
}

/// One GPU as CUDA sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// CUDA's number of it, which need not be NVML's.
    pub ordinal: u32,
    /// Its name, with control characters spelled out.
    pub name: String,
    /// What NVML calls it too: `GPU-5d0b…`.
    pub uuid: String,
    /// Compute capability: 9 and 0 for an H200.
    pub capability: [u32; 2],
    /// Device memory in bytes.
    pub memory: u64,
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// Why its kernels cannot run on it, in words; `None` if they can.
    pub refused: Option<String>,
}
