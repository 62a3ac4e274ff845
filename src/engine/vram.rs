//! VRAM: the device memory that a run takes at most, on each GPU.

use std::collections::{BTreeMap, VecDeque};

use super::cuda::{SLOTS, slot_bytes};
use super::segments::cut;
use super::{Options, READ_AHEAD, values_of};
use crate::plan::{Base, OutTensor, Plan, Source, Values};
use crate::quant::change::Change;

/// What a layer holds on a device at most, of each of its stored bytes: codes where every row needs all of them, and scales
/// of 16 bits as f32.
const OF_STORED: u64 = 2;

/// What the driver takes of a GPU for its context and the kernels, in bytes, by guess: it says no figure before there is one.
/// `Held::free_then` tells it of a run.
pub const CONTEXT_GUESS: u64 = 512 << 20;

/// Returns the device memory that a run takes at most on each GPU, in bytes, beside what the driver takes for its context
/// (`CONTEXT_GUESS`); `None` if no GPU will be started. A job that finds less takes less.
#[must_use]
pub fn most_vram(plan: &Plan, options: &Options) -> Option<u64> {
    if options.device.without_gpu(plan).is_some() {
        return None;
    }
    let slots = SLOTS as u64 * slot_bytes(options);
    Some(slots.saturating_add(of_layers(plan, options)))
}

/// Returns what layers hold that are computed at the same time: those of any so many neighboring segments as are under way.
pub(super) fn of_layers(plan: &Plan, options: &Options) -> u64 {
    let todo: Vec<bool> = plan.shards.iter().map(|shard| shard.run.is_none()).collect();
    let segments = cut(plan, options.slot_bytes as u64, &todo);
    let under_way = options.threads.max(SLOTS) + READ_AHEAD + 1;
    let mut window: VecDeque<Vec<(Values, u64)>> = VecDeque::new();
    let mut uses: BTreeMap<Values, usize> = BTreeMap::new();
    let (mut now, mut most) = (0u64, 0u64);
    for segment in &segments {
        let tensors = segment.pieces.iter().map(|piece| &plan.shards[segment.shard].tensors[piece.tensor]);
        let layers: Vec<(Values, u64)> = tensors.filter_map(|tensor| held(plan, tensor)).collect();
        for &(layer, bytes) in &layers {
            let uses = uses.entry(layer).or_default();
            *uses += 1;
            now = now.saturating_add(if *uses == 1 { bytes } else { 0 });
        }
        window.push_back(layers);
        most = most.max(now);
        let gone = (window.len() >= under_way).then(|| window.pop_front()).flatten();
        for (layer, bytes) in gone.unwrap_or_default() {
            let left = uses.get(&layer).map_or(0, |uses| uses - 1);
            uses.insert(layer, left);
            now = now.saturating_sub(if left == 0 { bytes } else { 0 });
        }
    }
    most
}

/// Returns what is computed of a tensor, and what that holds on a device.
fn held(plan: &Plan, tensor: &OutTensor) -> Option<(Values, u64)> {
    let stored = |layer: u32| plan.steps.get(layer as usize).map_or(0, |step| step.bytes_in);
    let (values, turned) = match tensor.source {
        Source::Encoded { pack, .. } => {
            let pack = plan.packs.get(pack as usize)?;
            // A row of columns needs all of what is stored.
            (pack.values, if pack.change == Change::Turned { stored(pack.layer) } else { 0 })
        }
        source => (values_of(source)?, 0),
    };
    let stored = match values {
        Values::Layer(layer, _) => stored(layer),
        // Rows of plain tensors are decoded from what comes with them.
        Values::Tensor(..) => 0,
        // Factors of any rank that makes sense take less than the weight.
        Values::Merged(merge) => match plan.merges.get(merge as usize)?.base {
            Base::Layer(layer) => stored(layer).saturating_add(tensor.bytes),
            Base::Tensor(_) => tensor.bytes,
        },
    };
    Some((values, OF_STORED.saturating_mul(stored.max(turned))))
}
