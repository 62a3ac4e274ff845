//! What a plan needs of GPUs, beside what is free there.

use serde::Serialize;

use crate::engine::choice::Choice;
use crate::engine::cuda::probe::probe;
use crate::engine::{CONTEXT_GUESS, Options, most_vram};
use crate::gauges::Sampler;
use crate::name::escape;
use crate::plan::Plan;
use crate::units;

/// The memory of GPUs that a plan takes.
#[derive(Serialize)]
pub(super) struct Vram {
    /// What the run takes at most of each GPU that computes, in bytes.
    #[serde(rename = "peak_vram")]
    most: u64,
    /// What the driver takes beside that for its context, by guess, in bytes.
    #[serde(rename = "vram_context")]
    context: u64,
    /// The GPUs that may compute.
    gpus: Vec<Gpu>,
}

/// A GPU that may compute.
#[derive(Serialize)]
struct Gpu {
    device: String,
    name: String,
    /// Bytes that are free; `null` where NVML does not say.
    free: Option<u64>,
    /// True if run and context fit into them; `null` where that is not known.
    fits: Option<bool>,
}

impl Vram {
    /// Returns what a plan takes; nothing where no GPU will be started.
    pub(super) fn of(plan: &Plan, options: &Options) -> Self {
        let none = Self { most: 0, context: 0, gpus: Vec::new() };
        if options.device == Choice::Cpu {
            return none;
        }
        let Some(most) = most_vram(plan, options) else { return none };
        let probed = probe();
        let cards: Vec<_> = probed.usable().filter(|card| options.device.may_be(card.ordinal)).collect();
        if cards.is_empty() {
            return none;
        }
        let sample = Sampler::new().sample();
        let gpu = |card: &&crate::engine::cuda::probe::Card| {
            let gpu = sample.gpus.iter().find(|gpu| gpu.uuid.as_ref().is_ok_and(|uuid| *uuid == card.uuid));
            let free = gpu.and_then(|gpu| gpu.vram.as_ref().ok()).map(|vram| vram.free);
            Gpu {
                device: format!("cuda:{}", card.ordinal),
                name: card.name.clone(),
                free,
                fits: free.map(|free| free > most.saturating_add(CONTEXT_GUESS)),
            }
        };
        Self { most, context: CONTEXT_GUESS, gpus: cards.iter().map(gpu).collect() }
    }

    /// Returns it in words, a line a GPU.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.gpus.is_empty() {
            return Vec::new();
        }
        let [most, context] = [self.most, self.context].map(units::bytes);
        let mut lines =
            vec![format!("  VRAM       at most {most}, + ≈ {context} for the driver's context, by guess")];
        lines.extend(self.gpus.iter().map(|gpu| {
            let free = match (gpu.free, gpu.fits) {
                (Some(free), Some(true)) => format!("{} free: fits", units::bytes(free)),
                (Some(free), _) => format!(
                    "{} free: does not fit; with less it takes fewer pieces at a time, or leaves them to the cpu",
                    units::bytes(free)
                ),
                (None, _) => "free memory not known".into(),
            };
            format!("             {} {}: {free}", gpu.device, escape(&gpu.name))
        }));
        lines
    }
}
