//! Layers: tensors that act as one, found by the names that the formats' signatures declare.
//!
//! Two passes over the tensors in natural order. The first marks each prefix with the formats whose
//! anchors it holds; the second gives each tensor to its prefix if it is an anchor, or a part of a format
//! that is anchored there; all others are layers of their own, under their full name. Then each layer's
//! parts go to the formats that claim them, in the order of `FORMATS`.
//!
//! A layer keeps 20 bytes: alike layers share one `LayerSpec`, names come from the tree of names.

mod faults;
mod groups;

use std::sync::OnceLock;

use rustc_hash::{FxHashMap, FxHashSet};

use super::files::Files;
use super::joined;
use super::names::{NONE, Names, NodeId};
use crate::problem::Problem;
use crate::quant::{
    FORMATS, Fault, FormatId, HeadersOnly, LayerSpec, Module, Part, Parts, Recognized, SideData,
};
use crate::tensor::Dtype;
use faults::Faults;
use groups::{Group, Groups};

/// The layers of a checkpoint, in natural order.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    list: Vec<Layer>,
    tensors: Vec<u32>,
    specs: Vec<LayerSpec>,
    /// Parameters of layers `0..i`, for sums over subtrees.
    parameter_sums: Vec<u64>,
}

/// One layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Node of its prefix; of the tensor itself for a layer under a tensor's full name.
    pub node: NodeId,
    /// Index of its spec.
    pub spec: u32,
    start: u32,
    count: u16,
    /// Bytes of the node's name that are not of the layer's (`_blocks`).
    cut: u8,
    /// True if its weights are another layer's, stored or counted there (a tied head).
    pub tied: bool,
}

impl Layer {
    /// Returns how many bytes of its node's name are not the layer's (`_blocks`).
    #[must_use]
    pub fn cut_bytes(&self) -> usize {
        usize::from(self.cut)
    }
}

/// What an anchor that continues a layer's name adds to it.
const BLOCKS: &str = "_blocks";

/// How many neighbors are searched for the layer of a tensor that continues a neighbor's name.
const SIBLINGS_MAX: usize = 4096;

/// How many tensors one layer may have; the rest is left out of it and listed as tensors only. Real
/// layers have at most about twenty (HQQ).
const LAYER_TENSORS_MAX: u16 = 64;

impl Layers {
    /// Finds the layers and recognizes them by the headers. Returns them with the problems of their layers.
    #[must_use]
    pub fn find(files: &Files) -> (Self, Vec<Problem>) {
        let groups = Groups::of(files);
        let mut layers = Self::default();
        layers.list.reserve_exact(groups.list.len());
        layers.tensors.reserve_exact(groups.members.len());
        for group in &groups.list {
            let start = layers.tensors.len() as u32;
            layers.tensors.extend(groups.members_of(group).iter().map(|member| member.tensor));
            layers.list.push(Layer {
                node: group.node,
                spec: 0,
                start,
                count: group.count,
                cut: group.cut,
                tied: false,
            });
        }
        let mut specs = SpecTable::default();
        let mut faults = Faults::default();
        let mut index = 0;
        for found in recognize_groups(files, &groups) {
            let ids: Vec<u32> = found.specs.list.into_iter().map(|spec| specs.intern(spec)).collect();
            for spec in found.spec_of {
                layers.list[index].spec = ids[spec as usize];
                index += 1;
            }
            faults.append(found.faults);
        }
        layers.specs = specs.list;
        layers.tensors.shrink_to_fit();
        layers.sum();
        let problems = faults.problems(files, &layers);
        (layers, problems)
    }

    /// Recognizes again, with side data, the layers that were waiting for them.
    #[must_use]
    pub fn examine(&self, files: &Files, data: &(dyn SideData + Sync)) -> (Self, Vec<Problem>) {
        const THREADS: usize = 8;
        let waiting: Vec<u32> = (0..self.list.len() as u32).filter(|&i| self.spec(i).pending).collect();
        let chunk = waiting.len().div_ceil(THREADS).max(1);
        let found: Vec<Vec<(u32, Recognized)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = waiting
                .chunks(chunk)
                .map(|part| {
                    scope.spawn(move || {
                        let mut scratch = Vec::new();
                        part.iter()
                            .map(|&i| {
                                let members = self.members(files, i);
                                let at = (self.list[i as usize].node, self.list[i as usize].cut);
                                (i, recognize(files, at, &members, data, &mut scratch).0)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().map(joined).collect()
        });
        let mut layers = self.clone();
        let mut specs = SpecTable::default();
        let mut faults = Faults::default();
        for spec in &self.specs {
            specs.intern(spec.clone());
        }
        for (index, recognized) in found.into_iter().flatten() {
            faults.add(index, &recognized.faults);
            layers.list[index as usize].spec = specs.intern(recognized.spec);
        }
        layers.specs = specs.list;
        layers.forget_unused_specs();
        layers.sum();
        let problems = faults.problems(files, &layers);
        (layers, problems)
    }

    /// Drops the provisional specs that no layer has any more.
    fn forget_unused_specs(&mut self) {
        let mut used = vec![false; self.specs.len()];
        for layer in &self.list {
            used[layer.spec as usize] = true;
        }
        let mut kept = 0;
        let at: Vec<u32> = used
            .iter()
            .map(|&used| {
                kept += u32::from(used);
                kept.saturating_sub(1)
            })
            .collect();
        let mut flags = used.into_iter();
        self.specs.retain(|_| flags.next().unwrap_or(false));
        for layer in &mut self.list {
            layer.spec = at[layer.spec as usize];
        }
    }

    /// Returns how many layers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns true if there is no layer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the layers in natural order.
    #[must_use]
    pub fn list(&self) -> &[Layer] {
        &self.list
    }

    /// Returns the distinct specs; layers refer to them by index.
    #[must_use]
    pub fn specs(&self) -> &[LayerSpec] {
        &self.specs
    }

    /// Returns what a layer is.
    #[must_use]
    pub fn spec(&self, layer: u32) -> &LayerSpec {
        &self.specs[self.list[layer as usize].spec as usize]
    }

    /// Returns how many distinct specs there are.
    #[must_use]
    pub fn spec_count(&self) -> usize {
        self.specs.len()
    }

    /// Returns the parameters of all layers, tied ones once.
    #[must_use]
    pub fn total_parameters(&self) -> u64 {
        self.parameter_sums.last().copied().unwrap_or(0)
    }

    /// Returns the tensors of a layer, in natural order.
    #[must_use]
    pub fn tensors(&self, layer: u32) -> &[u32] {
        let layer = &self.list[layer as usize];
        &self.tensors[layer.start as usize..][..usize::from(layer.count)]
    }

    /// Returns a layer's full name (unescaped): the prefix of its tensors.
    #[must_use]
    pub fn name(&self, names: &Names, layer: u32) -> String {
        let layer = &self.list[layer as usize];
        layer_name(names, layer.node, layer.cut)
    }

    /// Returns the last component of a layer's name (unescaped).
    #[must_use]
    pub fn label<'n>(&self, names: &'n Names, layer: u32) -> &'n str {
        let layer = &self.list[layer as usize];
        let label = names.label(layer.node);
        &label[..label.len() - usize::from(layer.cut)]
    }

    /// Returns the layer anchored at a node.
    #[must_use]
    pub fn at(&self, node: NodeId) -> Option<u32> {
        self.list.binary_search_by_key(&node, |layer| layer.node).ok().map(|index| index as u32)
    }

    /// Returns the layers anchored in nodes `first..end`: of a subtree, with `end(node)`.
    #[must_use]
    pub fn within(&self, first: NodeId, end: NodeId) -> std::ops::Range<u32> {
        let at = |node| self.list.partition_point(|layer| layer.node < node) as u32;
        at(first)..at(end)
    }

    /// Returns the parameters of a range of layers; tied ones count where they are stored.
    #[must_use]
    pub fn parameters(&self, range: std::ops::Range<u32>) -> u64 {
        self.parameter_sums[range.end as usize] - self.parameter_sums[range.start as usize]
    }

    /// Returns the bytes of a layer's tensors.
    #[must_use]
    pub fn bytes(&self, files: &Files, layer: u32) -> u64 {
        // Headers may claim any offsets: a sum of them is held at the end of the numbers.
        self.tensors(layer).iter().map(|&t| files.tensors[t as usize].bytes).fold(0, u64::saturating_add)
    }

    /// Returns the layer that a tensor belongs to.
    #[must_use]
    pub fn of_tensor(&self, files: &Files, tensor: u32) -> Option<u32> {
        // A part lies in the subtree of its layer's node, or beside it (`x_scales` beside `x_blocks`).
        let mut at = files.tensors[tensor as usize].node;
        while at != NONE {
            let first = self.list.partition_point(|layer| layer.node < at);
            let here = self.list[first..].iter().take_while(|layer| layer.node == at);
            for (offset, _) in here.enumerate() {
                let layer = (first + offset) as u32;
                if self.tensors(layer).contains(&tensor) {
                    return Some(layer);
                }
            }
            at = files.names.parent(at);
        }
        let parent = files.names.parent(files.tensors[tensor as usize].node);
        let siblings = files.names.children(parent).take(SIBLINGS_MAX);
        siblings.filter_map(|node| self.at(node)).find(|&layer| self.tensors(layer).contains(&tensor))
    }

    /// Returns the layer of this full name.
    #[must_use]
    pub fn find_name(&self, names: &Names, name: &str) -> Option<u32> {
        let at = |node: NodeId, cut: usize| {
            let mut here = self.within(node, node + 1);
            here.find(|&layer| usize::from(self.list[layer as usize].cut) == cut)
        };
        let plain = names.find(name).and_then(|node| at(node, 0));
        // The only layers whose name is not that of their node.
        let of_blocks = || names.find(&format!("{name}{BLOCKS}")).and_then(|node| at(node, BLOCKS.len()));
        plain.or_else(of_blocks)
    }

    /// Marks a layer as another's twin: its parameters are not counted again.
    pub fn tie(&mut self, layer: u32) {
        self.list[layer as usize].tied = true;
        self.sum();
    }

    /// Calls `f` with the parts of a layer, as the formats see them.
    pub fn with_parts<R>(
        &self,
        files: &Files,
        layer: u32,
        data: &dyn SideData,
        f: impl FnOnce(&Parts<'_>) -> R,
    ) -> R {
        let members = self.members(files, layer);
        let parts: Vec<Part<'_>> = members.iter().map(|&m| part_of(files, m)).collect();
        let spell = || self.name(&files.names, layer);
        f(&Parts { module: &Module::new(&spell), list: &parts, config: &files.configs.quant, data })
    }

    fn members(&self, files: &Files, layer: u32) -> Vec<Member> {
        let name = self.name(&files.names, layer);
        self.tensors(layer)
            .iter()
            .map(|&tensor| {
                let full = files.names.name(files.tensors[tensor as usize].node);
                let rest = full.strip_prefix(name.as_str()).unwrap_or("");
                let suffix = rest.strip_prefix('.').map_or_else(|| format!("*{rest}"), str::to_owned);
                // Layers under a tensor's full name keep the bare form.
                let suffix = known_suffix(&suffix).unwrap_or("*");
                Member { tensor, suffix }
            })
            .collect()
    }

    fn sum(&mut self) {
        self.parameter_sums.clear();
        self.parameter_sums.reserve_exact(self.list.len() + 1);
        self.parameter_sums.push(0);
        let mut sum = 0u64;
        for layer in &self.list {
            if !layer.tied {
                sum = sum.saturating_add(self.specs[layer.spec as usize].parameters);
            }
            self.parameter_sums.push(sum);
        }
    }
}

fn layer_name(names: &Names, node: NodeId, cut: u8) -> String {
    let mut name = names.name(node);
    name.truncate(name.len() - usize::from(cut));
    name
}

/// A tensor of a layer, with its name relative to the layer.
#[derive(Clone, Copy, Debug)]
struct Member {
    tensor: u32,
    suffix: &'static str,
}

fn part_of(files: &Files, member: Member) -> Part<'_> {
    let record = &files.tensors[member.tensor as usize];
    Part {
        suffix: member.suffix,
        dtype: record.dtype,
        shape: files.shape(record),
        bytes: record.bytes,
        tensor: member.tensor,
    }
}

/// Returns what a layer is, and whether its name had a say in it.
fn recognize<'a>(
    files: &'a Files,
    (node, cut): (NodeId, u8),
    members: &[Member],
    data: &dyn SideData,
    scratch: &mut Vec<Part<'a>>,
) -> (Recognized, bool) {
    scratch.clear();
    scratch.extend(members.iter().map(|m| part_of(files, *m)));
    let spell = || layer_name(&files.names, node, cut);
    let module = Module::new(&spell);
    let parts = Parts { module: &module, list: scratch, config: &files.configs.quant, data };
    let found = FORMATS.iter().find_map(|format| format.recognize(&parts));
    // `unknown` takes everything with a tensor, and a group has one.
    (found.unwrap_or_else(|| LayerSpec::new(FormatId::LAST).into()), module.was_asked())
}

/// What recognizing some neighboring groups gave.
#[derive(Default)]
struct Found {
    /// Spec of each group, as an index into `specs`.
    spec_of: Vec<u32>,
    specs: SpecTable,
    faults: Faults,
}

/// Recognizes all groups, on as many threads as there are cores when it is worth it.
fn recognize_groups(files: &Files, groups: &Groups) -> Vec<Found> {
    const GROUPS_MIN: usize = 16_384;
    const THREADS_MAX: usize = 8;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let chunk = groups.list.len().div_ceil(threads).max(GROUPS_MIN);
    let recognize_chunk = |number: usize, chunk_groups: &[Group]| {
        let mut found = Found::default();
        let mut known = Known::default();
        let mut scratch = Vec::new();
        for (offset, group) in chunk_groups.iter().enumerate() {
            let members = groups.members_of(group);
            let layer = (number * chunk + offset) as u32;
            if let Some((spec, faults)) = known.find(files, members) {
                found.faults.add(layer, faults);
                found.spec_of.push(*spec);
                continue;
            }
            let at = (group.node, group.cut);
            let (recognized, by_name) = recognize(files, at, members, &HeadersOnly, &mut scratch);
            found.faults.add(layer, &recognized.faults);
            let spec = found.specs.intern(recognized.spec);
            if !by_name {
                known.learn(spec, recognized.faults);
            }
            found.spec_of.push(spec);
        }
        found
    };
    let recognize_chunk = &recognize_chunk;
    std::thread::scope(|scope| {
        let mut chunks = groups.list.chunks(chunk).enumerate();
        let first = chunks.next();
        let others: Vec<_> =
            chunks.map(|(number, part)| scope.spawn(move || recognize_chunk(number, part))).collect();
        let mut all: Vec<Found> =
            first.map(|(number, part)| recognize_chunk(number, part)).into_iter().collect();
        all.extend(others.into_iter().map(joined));
        all
    })
}

/// Returns the formats' own spelling of a suffix, if one declares it.
fn known_suffix(text: &str) -> Option<&'static str> {
    static KNOWN: OnceLock<FxHashSet<&'static str>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let signatures = FORMATS.iter().map(|format| format.signature());
        signatures.flat_map(|s| s.anchors.iter().chain(s.parts).copied()).collect()
    });
    known.get(text).copied()
}

/// Layers that are known from one of the same parts: a checkpoint has thousands of layers and few kinds of them.
#[derive(Default)]
struct Known {
    by_parts: FxHashMap<Box<[PartKey]>, (u32, Vec<Fault>)>,
    last: Vec<PartKey>,
}

/// What a format sees of a part in headers: suffix (by its place in our own tables), dtype, shape, bytes.
type PartKey = (usize, usize, Dtype, u32, u64);

impl Known {
    /// Kinds of layers that are kept.
    const KINDS_MAX: usize = 4096;

    /// Returns the spec and the faults of a layer with these parts.
    fn find(&mut self, files: &Files, members: &[Member]) -> Option<&(u32, Vec<Fault>)> {
        let key = |member: &Member| {
            let record = &files.tensors[member.tensor as usize];
            (member.suffix.as_ptr().addr(), member.suffix.len(), record.dtype, record.shape, record.bytes)
        };
        self.last.clear();
        self.last.extend(members.iter().map(key));
        self.by_parts.get(self.last.as_slice())
    }

    /// Keeps what the parts that were last looked for are.
    fn learn(&mut self, spec: u32, faults: Vec<Fault>) {
        if self.by_parts.len() < Self::KINDS_MAX {
            self.by_parts.insert(self.last.as_slice().into(), (spec, faults));
        }
    }
}

/// Specs, each distinct one once.
#[derive(Default)]
struct SpecTable {
    list: Vec<LayerSpec>,
    ids: FxHashMap<LayerSpec, u32>,
}

impl SpecTable {
    fn intern(&mut self, spec: LayerSpec) -> u32 {
        if let Some(&id) = self.ids.get(&spec) {
            return id;
        }
        let id = self.list.len() as u32;
        self.list.push(spec.clone());
        self.ids.insert(spec, id);
        id
    }
}
