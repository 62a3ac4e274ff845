//! GPUs: what their tab keeps: the last minute of each, the most it has held, and what CUDA says of it.
//!
//! CUDA is asked when the tab is first shown, on a thread: that can take long, and may wake a GPU that sleeps.

use std::collections::VecDeque;

use super::{App, Effect, Tab};
use crate::engine::cuda::probe::{Card, Probed};
use crate::gauges::{GpuSample, Sample};
use crate::units;

/// Seconds of the history: samples come once a second.
pub const HISTORY_SECONDS: usize = 60;

/// What the tab keeps.
#[derive(Default)]
pub struct Gpus {
    /// What CUDA said; `None` until it has answered.
    pub probed: Option<Probed>,
    /// The GPU under the cursor, by its place in the sample.
    pub cursor: usize,
    /// The first line of its details that shows.
    pub top: usize,
    is_asked: bool,
    seen: Vec<Seen>,
}

/// What was seen of one GPU since the workbench began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    label: String,
    /// Load in percent, one a second, the newest last; `None` where it was not reported.
    pub load: VecDeque<Option<f64>>,
    /// Power in watts, likewise.
    pub watts: VecDeque<Option<f64>>,
    /// The most that was held of its memory, in bytes.
    pub used_most: Option<u64>,
    /// The most that this program has held of it.
    pub own_most: Option<u64>,
}

impl Seen {
    fn take(&mut self, gpu: &GpuSample) {
        let mut add = |history: fn(&mut Self) -> &mut VecDeque<Option<f64>>, figure: Option<f64>| {
            let history = history(self);
            history.push_back(figure);
            history.drain(..history.len().saturating_sub(HISTORY_SECONDS));
        };
        add(|seen| &mut seen.load, gpu.utilization_percent.as_ref().ok().map(|&percent| f64::from(percent)));
        add(|seen| &mut seen.watts, gpu.power_watts.as_ref().ok().map(|&watts| f64::from(watts)));
        // `None` is less than any figure.
        self.used_most = self.used_most.max(gpu.vram.as_ref().ok().map(|vram| vram.used));
        self.own_most = self.own_most.max(gpu.own_bytes());
    }
}

impl Gpus {
    /// Takes a look at the machine into the history.
    pub fn take(&mut self, sample: &Sample) {
        for gpu in &sample.gpus {
            let label = gpu.label();
            let at = self.seen.iter().position(|seen| seen.label == label).unwrap_or_else(|| {
                self.seen.push(Seen { label, ..Seen::default() });
                self.seen.len() - 1
            });
            self.seen[at].take(gpu);
        }
        self.cursor = self.cursor.min(sample.gpus.len().saturating_sub(1));
    }

    /// Returns what was seen of a GPU.
    #[must_use]
    pub fn seen(&self, gpu: &GpuSample) -> Option<&Seen> {
        let label = gpu.label();
        self.seen.iter().find(|seen| seen.label == label)
    }

    /// Returns the card that CUDA means by a GPU.
    #[must_use]
    pub fn card(&self, gpu: &GpuSample) -> Option<&Card> {
        let uuid = gpu.uuid.as_ref().ok()?;
        self.probed.as_ref()?.cards().iter().find(|card| card.uuid == *uuid)
    }
}

impl App {
    /// Returns the GPUs of the last look.
    #[must_use]
    pub fn gpus_now(&self) -> &[GpuSample] {
        self.sample.as_ref().map_or(&[], |sample| &sample.gpus)
    }

    /// Returns the GPU under the cursor.
    #[must_use]
    pub fn gpu(&self) -> Option<&GpuSample> {
        self.gpus_now().get(self.gpus.cursor)
    }

    /// Asks CUDA, once, when the tab is shown or a form that names devices.
    pub(super) fn ask_gpus(&mut self) -> Option<Effect> {
        let asks = (self.tab == Tab::Gpu || self.form.is_some()) && !self.gpus.is_asked;
        self.gpus.is_asked |= asks;
        asks.then_some(Effect::AskGpus)
    }

    /// Moves the cursor among the GPUs.
    pub(super) fn step_gpu(&mut self, by: isize) {
        let last = self.gpus_now().len().saturating_sub(1);
        self.gpus.cursor = self.gpus.cursor.saturating_add_signed(by).min(last);
        self.gpus.top = 0;
    }

    /// Returns the GPU under the cursor in a line, to be copied.
    pub(super) fn gpu_in_words(&self) -> Option<String> {
        let gpu = self.gpu()?;
        let name = gpu.name.as_deref().unwrap_or("name not reported");
        let memory = match &gpu.vram {
            Ok(vram) => format!("{} of {} used", units::bytes(vram.used), units::bytes(vram.total)),
            Err(why) => format!("memory {why}"),
        };
        Some(format!("{} {name}: {memory}", gpu.label()))
    }
}

pub(super) fn has_gpus(app: &App) -> Result<(), String> {
    match &app.sample {
        None => Err("GPUs are not sampled: the gauges are off, or have not looked yet".into()),
        Some(sample) if sample.gpus.is_empty() => Err(format!("no GPU: {}", sample.gpu_state.why)),
        Some(_) => Ok(()),
    }
}

/// The tab shows, with more than one GPU to go through.
pub(super) fn with_several(app: &App) -> bool {
    app.tab == Tab::Gpu && app.gpus_now().len() > 1
}

/// The tab is in the footer of those beside which it is of use, while there is a GPU.
pub(super) fn beside_gpus(app: &App) -> bool {
    matches!(app.tab, Tab::Memory | Tab::Jobs) && !app.gpus_now().is_empty()
}
