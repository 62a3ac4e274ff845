//! Groups: which tensors go together, by the names that the formats' signatures declare.
//!
//! The first pass marks each prefix with the formats whose anchors it holds; the second gives each tensor
//! to its prefix if it is an anchor, or a part of a format that is anchored there. Tensors whose last
//! component continues a neighbor's (`x_scales` beside `x_blocks`) go to that neighbor. A tensor whose own name is
//! an anchored prefix (`x` beside `x.quant_state…`) goes to it where the format has such a part. All others are
//! groups of their own.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{BLOCKS, LAYER_TENSORS_MAX, Member};
use crate::checkpoint::files::Files;
use crate::checkpoint::names::{NONE, Names, NodeId};
use crate::quant::FORMATS;
use crate::tensor::Dtype;

/// Tensors grouped by prefix.
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    pub(super) members: Vec<Member>,
}

pub(super) struct Group {
    pub(super) node: NodeId,
    start: u32,
    pub(super) count: u16,
    pub(super) cut: u8,
}

impl Groups {
    pub(super) fn members_of(&self, group: &Group) -> &[Member] {
        &self.members[group.start as usize..][..usize::from(group.count)]
    }

    pub(super) fn of(files: &Files) -> Self {
        let table = SuffixTable::new(&files.names);
        let names = &files.names;
        let mut anchored = vec![0u64; names.len()];
        let mut found: Vec<Option<Claim>> = Vec::with_capacity(files.tensors.len());
        for record in &files.tensors {
            let claim = table.claim(names, record.node).filter(|claim| {
                // A one-letter name means packed words (marlin's `B`): dense models have matrices called so.
                let suffix = &table.suffixes[usize::from(claim.suffix)];
                suffix.text.len() > 1 || suffix.anchor_of == 0 || record.dtype == Dtype::I32
            });
            if let Some(claim) = claim {
                anchored[claim.prefix as usize] |= table.suffixes[claim.suffix as usize].anchor_of;
            }
            found.push(claim);
        }
        let stems = Stems::new(files, &table);
        let mut members: Vec<Placed> = Vec::with_capacity(files.tensors.len());
        for (tensor, (record, claim)) in files.tensors.iter().zip(found).enumerate() {
            let tensor = tensor as u32;
            // A second tensor of the same name is a problem of its own, not a part of the layer.
            if files.names.first_tensor(record.node) != tensor {
                continue;
            }
            let own = Placed { node: record.node, own: true, cut: 0, member: Member { tensor, suffix: "*" } };
            let member = claim.and_then(|claim| {
                let suffix = &table.suffixes[claim.suffix as usize];
                let here = anchored[claim.prefix as usize];
                let belongs = suffix.anchor_of != 0 || suffix.part_of & here != 0;
                let member = Member { tensor, suffix: suffix.text };
                belongs.then_some(Placed { node: claim.prefix, own: false, cut: 0, member })
            });
            let is_prefix = anchored[record.node as usize] & table.bare != 0;
            let bare = is_prefix.then_some(Placed { own: false, ..own });
            members.push(member.or(bare).or_else(|| stems.place(files, tensor)).unwrap_or(own));
        }
        members.sort_by_key(|placed| (placed.node, placed.own, placed.member.tensor));
        let mut list: Vec<Group> = Vec::new();
        let mut last = None;
        for (at, placed) in members.iter().enumerate() {
            match list.last_mut() {
                Some(group) if last == Some((placed.node, placed.own)) => {
                    group.count = (group.count + 1).min(LAYER_TENSORS_MAX);
                }
                _ => list.push(Group { node: placed.node, start: at as u32, count: 1, cut: placed.cut }),
            }
            last = Some((placed.node, placed.own));
        }
        Self { list, members: members.into_iter().map(|placed| placed.member).collect() }
    }
}

/// A tensor and the layer it goes to.
#[derive(Clone, Copy)]
struct Placed {
    node: NodeId,
    /// True under a tensor's own name, false under a prefix: `x` and `x.weight` are two layers.
    own: bool,
    cut: u8,
    member: Member,
}

/// A tensor's name taken apart: which node its prefix is, and which suffix the rest.
#[derive(Clone, Copy)]
struct Claim {
    prefix: NodeId,
    suffix: u16,
}

struct Suffix {
    text: &'static str,
    /// Label ids from the last to the first.
    labels: Vec<u32>,
    anchor_of: u64,
    part_of: u64,
}

/// The suffixes of all formats, looked up by the last label.
struct SuffixTable {
    suffixes: Vec<Suffix>,
    by_last: FxHashMap<u32, Vec<u16>>,
    /// Suffixes that continue a component, without and with their star: `_blocks`, `*_blocks`.
    stems: Vec<(&'static str, &'static str)>,
    /// Formats with a part that has the name of the prefix itself.
    bare: u64,
}

impl SuffixTable {
    fn new(names: &Names) -> Self {
        let mut table =
            Self { suffixes: Vec::new(), by_last: FxHashMap::default(), stems: Vec::new(), bare: 0 };
        for (bit, format) in FORMATS.iter().enumerate() {
            let signature = format.signature();
            for text in signature.anchors {
                table.add(names, text, 1 << bit, 0);
            }
            for text in signature.parts {
                table.add(names, text, 0, 1 << bit);
            }
        }
        // The longest suffix wins: `weight.absmax` before `absmax`.
        for id in 0..table.suffixes.len() {
            let last = table.suffixes[id].labels[0];
            if let Some(list) = table.by_last.get_mut(&last) {
                list.sort_by_key(|&s| std::cmp::Reverse(table.suffixes[usize::from(s)].labels.len()));
            }
        }
        table
    }

    fn add(&mut self, names: &Names, text: &'static str, anchor_of: u64, part_of: u64) {
        if let Some(stem) = text.strip_prefix('*') {
            if stem.is_empty() {
                self.bare |= part_of;
            } else if !self.stems.iter().any(|(known, _)| *known == stem) {
                self.stems.push((stem, text));
            }
            return;
        }
        if let Some(known) = self.suffixes.iter_mut().find(|s| s.text == text) {
            known.anchor_of |= anchor_of;
            known.part_of |= part_of;
            return;
        }
        let labels: Option<Vec<u32>> = text.rsplit('.').map(|label| names.find_label(label)).collect();
        if let Some(labels) = labels {
            let id = self.suffixes.len() as u16;
            self.by_last.entry(labels[0]).or_default().push(id);
            self.suffixes.push(Suffix { text, labels, anchor_of, part_of });
        }
    }

    fn claim(&self, names: &Names, node: NodeId) -> Option<Claim> {
        let candidates = self.by_last.get(&names.label_id(node))?;
        candidates.iter().find_map(|&suffix| {
            let mut at = node;
            for &label in &self.suffixes[usize::from(suffix)].labels {
                if at == NONE || names.label_id(at) != label {
                    return None;
                }
                at = names.parent(at);
            }
            // A top-level `weight` has no prefix: it stays under its own name.
            (at != NONE).then_some(Claim { prefix: at, suffix })
        })
    }
}

/// Tensors whose last component continues a neighbor's: `x_scales` beside `x_blocks`, or `x_scale`
/// beside the tensor `x`.
struct Stems {
    /// By label: where such a tensor may belong.
    rules: FxHashMap<u32, Vec<StemRule>>,
    /// Tensors that others may continue, by parent and label.
    bases: FxHashMap<(NodeId, u32), NodeId>,
}

#[derive(Clone, Copy)]
struct StemRule {
    /// Label of the neighbor that is the layer's anchor.
    base: u32,
    cut: u8,
    suffix: &'static str,
}

impl Stems {
    fn new(files: &Files, table: &SuffixTable) -> Self {
        let names = &files.names;
        let mut stems = Self { rules: FxHashMap::default(), bases: FxHashMap::default() };
        let mut wanted = FxHashSet::default();
        for label in 0..names.label_count() as u32 {
            let text = names.label_text(label);
            for (stem, suffix) in &table.stems {
                let Some(base) = text.strip_suffix(stem).filter(|base| !base.is_empty()) else { continue };
                let blocks = names.find_label(&format!("{base}{BLOCKS}"));
                let bare = names.find_label(base).filter(|_| *stem != BLOCKS);
                let rules = stems.rules.entry(label).or_default();
                for (base, cut) in [(blocks, BLOCKS.len() as u8), (bare, 0)] {
                    if let Some(base) = base {
                        rules.push(StemRule { base, cut, suffix });
                        wanted.insert(base);
                    }
                }
            }
        }
        for record in &files.tensors {
            let label = names.label_id(record.node);
            if wanted.contains(&label) {
                stems.bases.insert((names.parent(record.node), label), record.node);
            }
        }
        stems
    }

    fn place(&self, files: &Files, tensor: u32) -> Option<Placed> {
        let names = &files.names;
        let node = files.tensors[tensor as usize].node;
        self.rules.get(&names.label_id(node))?.iter().find_map(|rule| {
            let &base = self.bases.get(&(names.parent(node), rule.base))?;
            // `x_scale` belongs to `x` only if `x` is packed: dense models have `logit` and `logit_scale`.
            let dtype = files.tensors[names.first_tensor(base) as usize].dtype;
            let packed = dtype.is_narrow_float() || matches!(dtype, Dtype::I8 | Dtype::U8);
            let belongs = packed || rule.suffix == "*_bias";
            let member = Member { tensor, suffix: rule.suffix };
            belongs.then_some(Placed { node: base, own: true, cut: rule.cut, member })
        })
    }
}
