//! Peak: the memory that a run takes at most.

use std::collections::{BTreeMap, BTreeSet};

use super::{Options, READ_AHEAD, shared, verify};
use crate::plan::{Pack, Plan, Source};
use crate::quant::change::Change;
use crate::tensor::elements;

/// What the program and the checkpoint's own tables take.
const BASE_BYTES: u64 = 48 << 20;
/// Bytes that are held of each element of a strand: what cuts got, what they are joined to, and what is made of it,
/// which are four bytes each at most.
const STRAND_BYTES: u64 = 16;
/// Bytes that are held of each byte of a piece that is larger than a cut: codes that are read, values, and what they
/// become.
const PIECE_BYTES: u64 = 14;

/// Returns the memory that a run takes at most: slots, what threads hold, and the layers that are held whole.
#[must_use]
pub fn peak_memory(plan: &Plan, options: &Options) -> u64 {
    let workers = (options.threads.max(1) + READ_AHEAD) as u64;
    let decoded = plan.steps.iter().filter(|step| step.is_decoded()).map(|step| step.bytes_in);
    let sizes = sizes(plan);
    let packed = (0u32..).zip(&plan.packs).map(|(number, pack)| held(plan, pack, sizes.get(&number)));
    let largest = decoded.chain(packed).max().unwrap_or(0);
    let pieces = plan.packs.iter().filter_map(|pack| pack.making.piece_bytes);
    let piece = pieces.max().unwrap_or(0);
    // A slot, the codes for it, and the values that are being rounded; codes while they are compared.
    let slots = workers * (3 * options.slot_bytes as u64 + PIECE_BYTES.saturating_mul(piece));
    let held = options.threads.clamp(2, verify::PROVERS) as u64;
    let layers = held.saturating_mul(largest);
    [slots, layers, waiting(plan), shared::peak(plan)].into_iter().fold(BASE_BYTES, u64::saturating_add)
}

/// Bytes and elements of the tensors of a pack.
type Sizes = Vec<(u64, u64)>;

fn sizes(plan: &Plan) -> BTreeMap<u32, Sizes> {
    let mut sizes: BTreeMap<u32, Sizes> = BTreeMap::new();
    for tensor in plan.shards.iter().flat_map(|shard| &shard.tensors) {
        if let Source::Encoded { pack, part } = tensor.source {
            let of_pack = sizes.entry(pack).or_default();
            let part = part as usize;
            of_pack.resize(of_pack.len().max(part + 1), (0, 0));
            of_pack[part] = (tensor.bytes, elements(&tensor.shape).unwrap_or(0));
        }
    }
    sizes
}

/// Returns what is held of a layer while it is packed.
fn held(plan: &Plan, pack: &Pack, sizes: Option<&Sizes>) -> u64 {
    let step = &plan.steps[pack.layer as usize];
    // Of plain values in rows none is held; what was packed has scales, and codes that may lie strewn.
    let is_read_once = step.from == "dense" && pack.change == Change::None;
    let stored = if is_read_once { 0 } else { step.bytes_in };
    let sizes = sizes.map(Vec::as_slice).unwrap_or_default();
    // Tensors that are made together are held twice: their strands are joined.
    let (first, others) = match (pack.making.piece_bytes, sizes) {
        (Some(_), [_, others @ ..]) => (0, others),
        (None, [first, others @ ..]) => (2 * first.0, others),
        (_, []) => (0, sizes),
    };
    let others = others.iter().map(|(bytes, elements)| bytes.saturating_add(STRAND_BYTES * elements));
    others.fold(stored.saturating_add(first), u64::saturating_add)
}

/// Returns the bytes of tensors that are made and wait for their place, at most: those of a layer are made when the
/// first of them is written, or with the one that is not held.
fn waiting(plan: &Plan) -> u64 {
    let sizes = sizes(plan);
    let (mut begun, mut now, mut most) = (BTreeSet::new(), 0u64, 0u64);
    for tensor in plan.shards.iter().flat_map(|shard| &shard.tensors) {
        let Source::Encoded { pack, part } = tensor.source else { continue };
        let is_held = |part: usize| part > 0 || plan.packs[pack as usize].making.piece_bytes.is_none();
        if begun.insert(pack) {
            let of_pack = sizes.get(&pack).map(Vec::as_slice).unwrap_or_default();
            let held = of_pack.iter().enumerate().filter(|(part, _)| is_held(*part));
            now = held.fold(now, |now, (_, (bytes, _))| now.saturating_add(*bytes));
        }
        most = most.max(now);
        if is_held(part as usize) {
            now = now.saturating_sub(tensor.bytes);
        }
    }
    most
}
