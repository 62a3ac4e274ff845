//! Measured: what packing took of the layers of a result that a job of ours has made, for the tree.

use std::ops::Range;

use super::jobs::JobState;
use super::{App, OpenState};
use crate::checkpoint::Checkpoint;
use crate::engine::verify::Quality;
use crate::engine::verify::measured::Sums;

/// What packing took, by layers of the result.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Sums over the layers before each; one more than there are layers.
    before: Vec<Sums>,
    /// True if adapters were merged.
    pub is_merged: bool,
    /// The largest relative error of a layer.
    most: f64,
}

impl Measured {
    /// Returns what was measured of a result; `None` if nothing was.
    #[must_use]
    pub fn of(result: &Checkpoint, names: &[String], quality: &[(u32, Quality)]) -> Option<Self> {
        let (files, layers) = (&result.files, &result.layers);
        let mut each = vec![Sums::default(); layers.len()];
        let (mut is_merged, mut most) = (false, 0f64);
        for (pack, quality) in quality {
            let Some(name) = names.get(*pack as usize) else { continue };
            let Some(layer) = layers.find_name(&files.names, name) else { continue };
            each[layer as usize] = quality.sums;
            is_merged |= quality.is_merged;
            most = most.max(quality.sums.relative_error());
        }
        let mut sum = Sums::default();
        let mut before = Vec::with_capacity(each.len() + 1);
        before.push(sum);
        for sums in each {
            sum += sums;
            before.push(sum);
        }
        (sum.all > 0.0).then_some(Self { before, is_merged, most })
    }

    /// Returns for some layers together the share that a bar shows and the share in words: of what adapters change what
    /// is left, else the relative error, its bar beside the layer that lost most.
    #[must_use]
    pub fn share(&self, layers: Range<u32>) -> Option<(f64, f64)> {
        let (start, end) = (self.before.get(layers.start as usize)?, self.before.get(layers.end as usize)?);
        let sums = *end - *start;
        if sums.all <= 0.0 {
            return None;
        }
        if self.is_merged {
            return sums.delta_kept().map(|kept| (kept.clamp(0.0, 1.0), kept));
        }
        let error = sums.relative_error();
        Some((if self.most > 0.0 { (error / self.most).min(1.0) } else { 0.0 }, error))
    }
}

impl App {
    /// Takes what a job of ours has measured of a result that was opened.
    pub(super) fn measure(&mut self, id: u32) {
        let Some(open) = self.opens.iter_mut().find(|open| open.id == id) else { return };
        let OpenState::Ready(ready) = &mut open.state else { return };
        let done = self.jobs.list.iter().rev().find_map(|job| match &job.state {
            JobState::Done(outcome) if job.facts.output == open.path => Some((job, outcome.proof.as_ref()?)),
            _ => None,
        });
        ready.measured =
            done.and_then(|(job, proof)| Measured::of(&ready.checkpoint, &job.facts.packed, &proof.quality));
    }
}
