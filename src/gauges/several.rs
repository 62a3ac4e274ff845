//! Several sources of GPUs as one: those of the first come first, and all are numbered on.

use super::{GpuSample, GpuSource, GpuState, GpuStateKind};

/// Several sources.
pub struct Several(Vec<Box<dyn GpuSource + Send>>);

impl Several {
    /// Returns the sources as one; what the first says counts where none has a GPU.
    #[must_use]
    pub fn new(sources: Vec<Box<dyn GpuSource + Send>>) -> Self {
        Self(sources)
    }
}

impl GpuSource for Several {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let mut gpus: Vec<GpuSample> = Vec::new();
        let mut states = Vec::new();
        for source in &mut self.0 {
            let (state, found) = source.read();
            let first = gpus.iter().map(|gpu| gpu.index + 1).max().unwrap_or(0);
            gpus.extend(found.into_iter().map(|gpu| GpuSample { index: gpu.index + first, ..gpu }));
            states.push(state);
        }
        (together(states), gpus)
    }
}

/// Returns the verdict on all: ready if one is. A fault of another is said beside it; an absent maker is none.
fn together(states: Vec<GpuState>) -> GpuState {
    let Some(ready) = states.iter().find(|state| state.kind == GpuStateKind::Ready) else {
        let absent = || GpuState::new(GpuStateKind::Absent, "no source of GPUs");
        return states.into_iter().next().unwrap_or_else(absent);
    };
    let is_fault = |state: &&GpuState| !matches!(state.kind, GpuStateKind::Ready | GpuStateKind::Absent);
    let why = states.iter().find(is_fault).map_or_else(|| ready.why.clone(), |state| state.why.clone());
    GpuState { why, ..ready.clone() }
}
