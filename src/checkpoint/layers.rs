//! Layers: tensors that act as one, found by the names that the formats' signatures declare.
//!
//! Two passes over the tensors in natural order. The first marks each prefix with the formats whose
//! anchors it holds; the second gives each tensor to its prefix if it is an anchor, or a part of a format
//! that is anchored there; all others are layers of their own, under their full name. Then each layer's
//! parts go to the formats that claim them, in the order of `FORMATS`.
//!
//! A layer keeps 20 bytes: alike layers share one `LayerSpec`, names come from the tree of names.

use std::sync::OnceLock;

use rustc_hash::{FxHashMap, FxHashSet};

use super::files::Files;
use super::names::{NONE, Names, NodeId};
use crate::problem::Problem;
use crate::quant::{FORMATS, Fault, FormatId, LayerSpec, Part, Parts, Recognized, SideData};
use crate::tensor::Dtype;

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

/// How many neighbors are searched for the layer of a tensor that continues a neighbor's name.
const SIBLINGS_MAX: usize = 4096;
/// How many tensors one layer may have; the rest is left out of it and listed as tensors only. Real
/// layers have at most about twenty (HQQ).
const LAYER_TENSORS_MAX: u16 = 64;

impl Layers {
    /// Finds and recognizes the layers. Returns them with the problems of their layers.
    #[must_use]
    pub fn find(files: &Files, data: &dyn SideData) -> (Self, Vec<Problem>) {
        let groups = Groups::of(files);
        let mut layers = Self::default();
        let mut specs = SpecTable::default();
        let mut faults = Faults::default();
        let mut scratch = Vec::new();
        for group in &groups.list {
            let start = layers.tensors.len() as u32;
            let members = &groups.members[group.start as usize..][..group.count as usize];
            layers.tensors.extend(members.iter().map(|m| m.tensor));
            let layer =
                Layer { node: group.node, spec: 0, start, count: group.count, cut: group.cut, tied: false };
            let index = layers.list.len() as u32;
            layers.list.push(layer);
            let spec = specs.plain(files, members).unwrap_or_else(|| {
                let found = recognize(files, &layers.list[index as usize], members, data, &mut scratch);
                faults.add(index, found.faults);
                specs.intern(found.spec)
            });
            layers.list[index as usize].spec = spec;
        }
        layers.specs = specs.list;
        layers.list.shrink_to_fit();
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
                                (i, recognize(files, &self.list[i as usize], &members, data, &mut scratch))
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut layers = self.clone();
        let mut specs = SpecTable::default();
        let mut faults = Faults::default();
        for spec in &self.specs {
            specs.intern(spec.clone());
        }
        for (index, recognized) in found.into_iter().flatten() {
            faults.add(index, recognized.faults);
            layers.list[index as usize].spec = specs.intern(recognized.spec);
        }
        layers.specs = specs.list;
        layers.sum();
        let problems = faults.problems(files, &layers);
        (layers, problems)
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
        self.tensors(layer).iter().map(|&t| files.tensors[t as usize].bytes).sum()
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
        if let Some(node) = names.find(name) {
            let here = self.within(node, node + 1);
            if let Some(layer) = here.clone().find(|&layer| self.list[layer as usize].cut == 0) {
                return Some(layer);
            }
        }
        // Few layers have names that are cut, and most checkpoints none.
        let cut = (0..self.list.len() as u32).filter(|&layer| self.list[layer as usize].cut > 0);
        cut.into_iter().find(|&layer| self.name(names, layer) == name)
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
        let parts = parts_of(files, &members);
        let name = self.name(&files.names, layer);
        f(&Parts { module: &name, list: &parts, config: &files.configs.quant, data })
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

fn parts_of<'a>(files: &'a Files, members: &[Member]) -> Vec<Part<'a>> {
    members.iter().map(|m| part_of(files, *m)).collect()
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

fn recognize<'a>(
    files: &'a Files,
    layer: &Layer,
    members: &[Member],
    data: &dyn SideData,
    scratch: &mut Vec<Part<'a>>,
) -> Recognized {
    scratch.clear();
    scratch.extend(members.iter().map(|m| part_of(files, *m)));
    let name = layer_name(&files.names, layer.node, layer.cut);
    let parts = Parts { module: &name, list: scratch, config: &files.configs.quant, data };
    let found = FORMATS.iter().find_map(|format| format.recognize(&parts));
    // `unknown` takes everything with a tensor, and a group has one.
    found.unwrap_or_else(|| LayerSpec::new(FormatId::LAST).into())
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

/// Specs, each distinct one once.
#[derive(Default)]
struct SpecTable {
    list: Vec<LayerSpec>,
    ids: FxHashMap<LayerSpec, u32>,
    /// Plain single-tensor layers by dtype and shape: a million of them must not cost a million searches.
    plain: FxHashMap<(Dtype, u32), u32>,
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

    /// Returns the spec of a layer of one tensor in 16 bits or more, which only `dense` can claim.
    fn plain(&mut self, files: &Files, members: &[Member]) -> Option<u32> {
        let [member] = members else { return None };
        let record = &files.tensors[member.tensor as usize];
        if !matches!(record.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
            || !matches!(member.suffix, "weight" | "bias" | "*")
        {
            return None;
        }
        let key = (record.dtype, record.shape);
        if let Some(&id) = self.plain.get(&key) {
            return Some(id);
        }
        let format = FormatId::find("dense")?;
        let mut spec = LayerSpec::new(format).with_shape(files.shape(record));
        spec.dtype = Some(record.dtype);
        spec.millibits = (record.dtype.bits()? * 1000.0) as u32;
        let id = self.intern(spec);
        self.plain.insert(key, id);
        Some(id)
    }
}

/// Faults of layers, alike ones together.
#[derive(Default)]
struct Faults {
    list: Vec<(Fault, Vec<u32>)>,
    index: FxHashMap<(&'static str, String), usize>,
}

/// How many distinct faults are kept apart; more become one line with the count.
const FAULTS_MAX: usize = 1000;

impl Faults {
    fn add(&mut self, layer: u32, faults: Vec<Fault>) {
        for fault in faults {
            let key = (fault.kind.code, fault.detail.clone());
            if let Some(&at) = self.index.get(&key) {
                self.list[at].1.push(layer);
            } else if self.list.len() < FAULTS_MAX {
                self.index.insert(key, self.list.len());
                self.list.push((fault, vec![layer]));
            } else if let Some((_, layers)) = self.list.iter_mut().rfind(|(f, _)| f.kind == fault.kind) {
                layers.push(layer);
            }
        }
    }

    fn problems(self, files: &Files, layers: &Layers) -> Vec<Problem> {
        let describe = |(fault, at): (Fault, Vec<u32>)| {
            let first = layers.name(&files.names, at[0]);
            let more = match at.len() {
                1 => String::new(),
                n => format!("; {n} layers in all"),
            };
            let tensor = match fault.part.as_deref() {
                Some(part) => part
                    .strip_prefix('*')
                    .map_or_else(|| format!("{first}.{part}"), |rest| format!("{first}{rest}")),
                None => first.clone(),
            };
            let shard = layers.tensors(at[0]).iter().find_map(|&t| {
                let record = &files.tensors[t as usize];
                (fault.part.is_none() || files.names.name(record.node) == tensor).then_some(record.shard)
            });
            let shard =
                shard.or_else(|| layers.tensors(at[0]).first().map(|&t| files.tensors[t as usize].shard));
            let mut problem =
                Problem::new(fault.kind, format!("{first}: {}{more}", fault.detail)).tensor(tensor);
            problem.file = fault.file.or_else(|| shard.map(|s| files.shards[s as usize].name.clone()));
            problem
        };
        self.list.into_iter().map(describe).collect()
    }
}

/// Tensors grouped by prefix.
struct Groups {
    list: Vec<Group>,
    members: Vec<Member>,
}

struct Group {
    node: NodeId,
    start: u32,
    count: u16,
    cut: u8,
}

impl Groups {
    fn of(files: &Files) -> Self {
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
            members.push(member.or_else(|| stems.place(files, tensor)).unwrap_or(own));
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
}

impl SuffixTable {
    fn new(names: &Names) -> Self {
        let mut table = Self { suffixes: Vec::new(), by_last: FxHashMap::default(), stems: Vec::new() };
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
            if !stem.is_empty() && !self.stems.iter().any(|(known, _)| *known == stem) {
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
        const BLOCKS: &str = "_blocks";
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
