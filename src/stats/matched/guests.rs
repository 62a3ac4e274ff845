//! Guests: where the layers that only B stores would stand among the names of A.
//!
//! Under the names by which both are matched, a layer of B branches off from the layers of A that share most of its
//! first components; the node of A from which those branch off is what it belongs to. So it finds its place also where
//! A has a prefix that was stripped, or other names.

use rustc_hash::FxHashMap;

use super::names::Called;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NONE;
use crate::checkpoint::tree::Guest;

/// Returns a place for each of these layers of B, in their order.
pub(super) fn guests(a: &Checkpoint, names: [&[Called]; 2], layers: &[u32]) -> Vec<Guest> {
    if layers.is_empty() {
        return Vec::new();
    }
    // By the first components of names: a layer with fewest components behind them, and how many those are.
    let mut branches: FxHashMap<&str, (usize, u32)> = FxHashMap::default();
    for (layer, called) in (0..).zip(names[0]) {
        for (below, (dot, _)) in called.name.rmatch_indices('.').enumerate() {
            let branch = branches.entry(&called.name[..dot]).or_insert((below + 1, layer));
            if below + 1 < branch.0 {
                *branch = (below + 1, layer);
            }
        }
    }
    let place = |&layer: &u32| {
        let name = &names[1][layer as usize].name;
        let shared = name.rmatch_indices('.').find_map(|(dot, _)| Some((dot, branches.get(&name[..dot])?)));
        let above = shared.map_or(NONE, |(_, &(below, of))| {
            let mut node = a.layers.list()[of as usize].node;
            for _ in 0..below {
                node = if node == NONE { NONE } else { a.files.names.parent(node) };
            }
            node
        });
        let label = match shared {
            Some((dot, _)) if above != NONE => &name[dot + 1..],
            _ => name,
        };
        Guest { layer, name: name.clone(), above, label: label.to_owned() }
    };
    layers.iter().map(place).collect()
}
