//! Devices: what computes, and what it is given.

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::busy::{OnGpus, Traffic};
use crate::error::Result;
use crate::quant::decode::{DecodeRows, Decoding};
use crate::quant::encode::Encode;
use crate::tensor::Dtype;

/// What computes.
pub trait Device: Sync {
    /// Returns its name: `cpu`.
    fn name(&self) -> String;

    /// Returns how many pieces it computes at a time, with so many threads.
    fn at_once(&self, threads: usize) -> usize {
        threads
    }

    /// Decodes rows into `out`, rounded to `native` and then to `dtype`.
    ///
    /// # Errors
    /// The device fails; the processor never does.
    fn decode(&self, work: &Work<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Result<Tally>;

    /// Returns how many values it encodes at a time.
    fn values_at_once(&self, _encoder: &dyn Encode, _largest: f32) -> u64 {
        super::cpu::VALUES_AT_ONCE
    }

    /// Decodes rows, rounds and encodes them; returns what each strand gets. `None`: the processor has to.
    ///
    /// # Errors
    /// As `decode`.
    fn encode(&self, _work: &ToEncode<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(None)
    }

    /// Returns the memory that it holds on each GPU.
    fn held(&self) -> Vec<Arc<Held>> {
        Vec::new()
    }

    /// Returns what passes through GPUs; `None` where none computes.
    fn traffic(&self) -> Option<Arc<Traffic>> {
        None
    }

    /// Returns what a person should know of how it went: what the processor did instead, and why.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a device keeps of a layer from piece to piece; empty until it does.
#[derive(Default)]
pub struct Resident(pub(super) OnceLock<Box<dyn Any + Send + Sync>>);

/// Rows to decode.
pub struct Work<'a> {
    /// How.
    pub decoding: &'a Decoding,
    /// Which rows.
    pub rows: Range<u64>,
    /// The codes from byte `codes_start` on: at least those that the rows need.
    pub codes: &'a [u8],
    /// True if `codes` are all of the layer's, as every row needs them.
    pub is_whole: bool,
    /// Where `codes` begins in the tensor of the codes.
    pub codes_start: u64,
    /// The dtype of the format's own result.
    pub native: Dtype,
    /// The dtype that is written.
    pub dtype: Dtype,
    /// What the device keeps of the layer.
    pub resident: &'a Resident,
}

/// Rows to decode and to encode.
pub struct ToEncode<'a> {
    /// The rows, as values in f32: both dtypes are F32.
    pub work: Work<'a>,
    /// The dtypes to which values are rounded before they are encoded, one after the other.
    pub rounded: &'a [Dtype],
    /// How they are encoded; the rows begin where it lets a layer be cut.
    pub encoder: &'a dyn Encode,
    /// The largest magnitude of the layer, 0 if the encoder does not want it.
    pub largest: f32,
    /// The same codes' decoder before anything changes, where blocks whose values stay keep their bytes
    /// (`Encode::kept_block`).
    pub stored: Option<&'a dyn DecodeRows>,
}

/// Memory that a worker keeps from piece to piece.
#[derive(Default)]
pub struct Scratch {
    pub(super) values: Vec<f32>,
    pub(super) bytes: Vec<u8>,
}

/// What was seen while computing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Finite values that the dtype could not hold and that became infinite.
    pub overflows: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.overflows += other.overflows;
    }
}

/// What computes in a run.
#[derive(Debug)]
pub struct Computing {
    /// Its name: `cpu`, `cuda:0 NVIDIA L4`.
    pub name: String,
    /// Why it is this one; empty if it was asked for.
    pub why: String,
    /// The memory that the run holds on each GPU.
    pub held: Vec<Arc<Held>>,
    /// What passes through GPUs, where they compute.
    pub traffic: Option<Arc<Traffic>>,
}

impl Computing {
    /// Returns what has passed through GPUs, where they compute.
    #[must_use]
    pub fn on_gpus(&self) -> Option<OnGpus> {
        self.traffic.as_ref().map(|traffic| traffic.done(self.held.len()))
    }
}

/// Memory of a GPU that a run holds.
#[derive(Debug, Default)]
pub struct Held {
    /// CUDA's number of the GPU.
    pub ordinal: u32,
    /// What NVML calls it too.
    pub uuid: String,
    /// Bytes now.
    pub now: AtomicU64,
    /// Bytes at most so far.
    pub peak: AtomicU64,
    /// Bytes of the GPU that were free when the driver's context was there, and nothing of the run yet; 0 before that.
    pub free_then: AtomicU64,
}
