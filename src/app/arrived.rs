//! What arrived: a checkpoint was opened or examined, and what is asked about it then.

use std::sync::Arc;

use super::picker::Picker;
use super::{App, Effect, OpenState, Overlay, Ready, attach};
use crate::checkpoint::Checkpoint;
use crate::engine::cuda::probe::Probed;
use crate::error::Error;
use crate::gauges::Sample;
use crate::quant::Evidence;

impl App {
    pub(super) fn by_id(&mut self, id: u32) -> Option<&mut Ready> {
        let open = self.opens.iter_mut().find(|open| open.id == id)?;
        match &mut open.state {
            OpenState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    pub(super) fn probed(&mut self, probed: Probed) -> Vec<Effect> {
        self.gpus.probed = Some(probed);
        self.offer_devices();
        Vec::new()
    }

    pub(super) fn sampled(&mut self, sample: Sample) -> Vec<Effect> {
        self.gpus.take(&sample);
        self.sample = Some(sample);
        Vec::new()
    }

    pub(super) fn explained(&mut self, id: u32, evidence: (u32, Vec<Evidence>)) -> Vec<Effect> {
        // An answer that the cursor has left behind would take the place of the one to come.
        if let Some(ready) = self.by_id(id).filter(|ready| ready.asked == Some(evidence.0)) {
            ready.evidence = Some(evidence);
        }
        Vec::new()
    }

    /// Hands something to the picker, if it is there still.
    pub(super) fn in_picker(&mut self, hand: impl FnOnce(&mut Picker)) -> Vec<Effect> {
        if let Some(Overlay::Picker(picker)) = &mut self.overlay {
            hand(picker);
        }
        Vec::new()
    }

    pub(super) fn opened(&mut self, id: u32, opened: Result<Checkpoint, Error>) -> Vec<Effect> {
        self.values.forget(id);
        let Some(open) = self.opens.iter_mut().find(|open| open.id == id) else { return Vec::new() };
        match opened {
            Err(error) => {
                open.state = OpenState::Failed(error);
                Vec::new()
            }
            Ok(checkpoint) => {
                if let Some(attached) = &mut open.attached {
                    // What it was held against is gone; it is again when this has been examined.
                    attached.state = attach::AttachState::Aligning;
                }
                let before = match std::mem::replace(&mut open.state, OpenState::Opening(Arc::default())) {
                    OpenState::Ready(ready) => Some(ready),
                    _ => None,
                };
                let mut ready = Ready::new(Arc::new(checkpoint));
                if let Some(before) = before {
                    ready.return_to(*before);
                }
                let is_adapter = ready.adapter.is_some();
                open.state = OpenState::Ready(Box::new(ready));
                // What is wrong with the headers shows before the rest has been read.
                let mut effects = vec![Effect::Examine(id)];
                effects.extend(self.diagnose(id));
                effects.extend(is_adapter.then_some(Effect::FindBase(id)));
                effects.extend(self.explain());
                effects
            }
        }
    }

    pub(super) fn examined(&mut self, id: u32, checkpoint: Checkpoint) -> Vec<Effect> {
        if let Some(ready) = self.by_id(id)
            && Arc::ptr_eq(&ready.checkpoint.files, &checkpoint.files)
        {
            ready.take_examined(Arc::new(checkpoint));
            self.values.forget(id);
        }
        self.measure(id);
        let mut effects = self.align(id);
        effects.extend(self.diagnose(id));
        effects.extend(self.explain());
        effects
    }

    /// Asks for the evidence of the layer under the cursor, unless it is there.
    pub(super) fn explain(&mut self) -> Vec<Effect> {
        let Some(id) = self.opens.get(self.current).map(|open| open.id) else { return Vec::new() };
        let Some(ready) = self.ready_mut() else { return Vec::new() };
        match ready.layer() {
            Some(layer) if ready.asked != Some(layer) => {
                ready.asked = Some(layer);
                vec![Effect::Explain(id, layer)]
            }
            _ => Vec::new(),
        }
    }
}
