//! Checks of the whole: names, duplicates, ties, config against tensors. One function a check.
//!
//! Shapes are compared only for architectures whose shapes follow from the config by one rule
//! (`config.rs`); for others nothing is claimed.

use std::sync::Arc;

use super::files::Files;
use super::layers::Layers;
use super::names::{DEPTH_MAX, NONE};
use super::{Checkpoint, CheckpointKind, stacks};
use crate::container::bytes::SourceFile;
use crate::name::{escape, is_unsafe_char};
use crate::problem::{Problem, ProblemKind, kind};
use crate::quant::ConfigShapes;
use crate::tensor::Dtype;
use crate::units;

/// Checks that need headers only.
pub(super) fn on_open(checkpoint: &mut Checkpoint) {
    let files = Arc::clone(&checkpoint.files);
    checkpoint.kind = kind_of(&files);
    let problems = &mut checkpoint.problems;
    problems.extend(names(&files));
    problems.extend(duplicates(&files));
    tie(&files, &mut checkpoint.layers);
    if checkpoint.kind == CheckpointKind::Model {
        problems.extend(config_missing(&files));
        problems.extend(config_shapes(&files, &checkpoint.layers));
        problems.extend(config_layers(&files));
        problems.extend(config_dtype(&files, &checkpoint.layers));
        problems.extend(config_left_behind(&files, &checkpoint.layers));
        if !is_partial(&files, problems) {
            let gaps = stacks::other_architecture(&files);
            problems.extend(gaps.or_else(|| super::expected::architecture_gaps(&files)));
            problems.extend(super::expected::head_missing(&files));
        }
    }
}

/// Checks that need tensor data.
pub(super) fn on_examine(checkpoint: &mut Checkpoint) {
    let files = Arc::clone(&checkpoint.files);
    tie(&files, &mut checkpoint.layers);
    if checkpoint.kind == CheckpointKind::Model {
        // Shapes of layers that waited for a quant state are known only now.
        checkpoint.problems.retain(|p| p.kind != &kind::CONFIG_SHAPE);
        checkpoint.problems.extend(config_shapes(&files, &checkpoint.layers));
        checkpoint.problems.extend(tied_head(&files, &checkpoint.layers));
    }
}

/// Returns true if not all files of the model were read: what is missing may lie in another.
fn is_partial(files: &Files, problems: &[Problem]) -> bool {
    const MISSING: [&ProblemKind; 5] = [
        &kind::MISSING_SHARD,
        &kind::INCOMPLETE_SET,
        &kind::OVER_LIMIT,
        &kind::INDEX_ESCAPES,
        &kind::HEADER_DAMAGED,
    ];
    let is_one_of_a_set = files.path != files.folder
        && files.index.is_none()
        && files.shards.iter().any(|shard| super::folder::shard_number(&shard.name).is_some());
    is_one_of_a_set
        || files.shards.iter().any(|shard| shard.unreadable)
        || problems.iter().any(|problem| MISSING.contains(&problem.kind))
}

fn kind_of(files: &Files) -> CheckpointKind {
    let is_adapter_file = files.shards.iter().any(|s| s.name.starts_with("adapter_model."));
    let gguf_adapter = files.metadata("general.type").and_then(|v| v.as_str()) == Some("adapter");
    if files.tensors.is_empty() && !is_adapter_file {
        CheckpointKind::Unknown
    } else if is_adapter_file || gguf_adapter || files.configs.has("adapter_config.json") {
        CheckpointKind::Adapter
    } else {
        CheckpointKind::Model
    }
}

/// Names longer than this are reported; the longest of real models has about 150 bytes.
const NAME_BYTES_MAX: usize = 512;

/// Control and bidirectional characters, absurd lengths and depths. Looks at labels, not at each name.
fn names(files: &Files) -> Vec<Problem> {
    let tree = &files.names;
    let odd: Vec<bool> =
        (0..tree.label_count() as u32).map(|l| tree.label_text(l).chars().any(is_unsafe_char)).collect();
    let long: Vec<usize> = (0..tree.label_count() as u32).map(|l| tree.label_text(l).len()).collect();
    let any_long = long.iter().any(|&len| len * 2 > NAME_BYTES_MAX / DEPTH_MAX);
    let (mut control, mut lengthy, mut deep) = (Count::default(), Count::default(), Count::default());
    if !odd.contains(&true) && !any_long {
        return Vec::new();
    }
    for (index, record) in files.tensors.iter().enumerate() {
        let (mut at, mut bytes, mut is_odd) = (record.node, 0, false);
        while at != NONE {
            let label = tree.label_id(at) as usize;
            is_odd |= odd[label];
            bytes += long[label] + 1;
            at = tree.parent(at);
        }
        let index = index as u32;
        if is_odd {
            control.add(index);
        }
        if bytes > NAME_BYTES_MAX {
            lengthy.add(index);
        }
        if tree.depth(record.node) + 1 == DEPTH_MAX && tree.label(record.node).contains('.') {
            deep.add(index);
        }
    }
    [
        control.problem(files, &kind::NAME_CONTROL, "with control or bidirectional characters in the name"),
        lengthy.problem(files, &kind::NAME_LONG, "with a name longer than 512 bytes"),
        deep.problem(
            files,
            &kind::NAME_DEEP,
            "with a name of more than 64 components; the tree joins the rest",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A count and the first tensor.
#[derive(Default)]
struct Count {
    count: usize,
    first: Option<u32>,
}

impl Count {
    fn add(&mut self, tensor: u32) {
        self.count += 1;
        self.first.get_or_insert(tensor);
    }

    fn problem(&self, files: &Files, kind: &'static ProblemKind, what: &str) -> Option<Problem> {
        let first = self.first?;
        let name = files.tensor_name(first);
        let shown = escape(&name);
        let shown = crate::name::cut_middle(&shown, 80);
        let message = format!("{} {what}; first {shown}", units::plural(self.count, "tensor"));
        let shard = &files.shards[usize::from(files.tensors[first as usize].shard)].name;
        Some(Problem::new(kind, message).file(shard.clone()).tensor(name))
    }
}

/// The same name in two shards. Twice in one file is the container's to report.
fn duplicates(files: &Files) -> Option<Problem> {
    let mut count = Count::default();
    for (index, pair) in files.tensors.windows(2).enumerate() {
        if pair[0].node == pair[1].node && pair[0].shard != pair[1].shard {
            count.add(index as u32);
        }
    }
    count.problem(
        files,
        &kind::DUPLICATE_ACROSS_SHARDS,
        "in more than one shard; which one counts depends on the loader",
    )
}

/// Marks layers whose weights are another's: a head that the config ties, or one storage under two names.
fn tie(files: &Files, layers: &mut Layers) {
    let mut tied = Vec::new();
    if let Some((head, embedding)) = head_and_embedding(files, layers)
        && layers.spec(head).shape == layers.spec(embedding).shape
    {
        tied.push(head);
    }
    let mut storages = rustc_hash::FxHashMap::default();
    for (tensor, view) in sorted_views(files) {
        let Some(layer) = layers.of_tensor(files, tensor) else { continue };
        let record = &files.tensors[tensor as usize];
        let key = (record.shard, view.storage, record.begin, record.bytes);
        let is_weight = layers.tensors(layer).first() == Some(&tensor) || layers.tensors(layer).len() == 1;
        match storages.get(&key) {
            Some(&first) if first != layer && is_weight => tied.push(layer),
            Some(_) => {}
            None => {
                storages.insert(key, layer);
            }
        }
    }
    for layer in tied {
        layers.tie(layer);
    }
}

fn sorted_views(files: &Files) -> std::collections::BTreeMap<u32, &crate::container::View> {
    files.views.iter().map(|(&tensor, view)| (tensor, view)).collect()
}

/// Last names of heads, and of embeddings.
const HEADS: &[&str] = &["lm_head", "embed_out"];
const EMBEDDINGS: &[&str] = &["embed_tokens", "wte", "word_embeddings"];

fn find_label(files: &Files, layers: &Layers, labels: &[&str]) -> Option<u32> {
    (0..layers.len() as u32).find(|&layer| {
        let label = layers.label(&files.names, layer);
        labels.contains(&label) && layers.list()[layer as usize].node != NONE
    })
}

/// Returns the head and the embedding if the config ties them and both are stored.
fn head_and_embedding(files: &Files, layers: &Layers) -> Option<(u32, u32)> {
    if !files.configs.ties_embeddings() {
        return None;
    }
    Some((find_label(files, layers, HEADS)?, find_label(files, layers, EMBEDDINGS)?))
}

/// Returns the embeddings if they are the head of a model that stores none: by the config, or as llama.cpp reads a GGUF
/// file without one.
pub(crate) fn head_by_tie(checkpoint: &Checkpoint) -> Option<u32> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    if files.container.name() == "gguf" {
        let has_head = layers.find_name(&files.names, "output").is_some();
        return layers.find_name(&files.names, "token_embd").filter(|_| !has_head);
    }
    if !files.configs.ties_embeddings() || find_label(files, layers, HEADS).is_some() {
        return None;
    }
    find_label(files, layers, EMBEDDINGS)
}

/// Bytes of two tensors that are compared on examination; more is not, and it is said.
const COMPARE_BYTES_MAX: u64 = 2 << 30;

/// A stored head that the config ties: loaders drop it, which is harmless only if it equals the embedding.
fn tied_head(files: &Files, layers: &Layers) -> Option<Problem> {
    // What a config of another model says of ties is nothing.
    if stacks::foreign_stack(files).is_some() {
        return None;
    }
    let (head, embedding) = head_and_embedding(files, layers)?;
    let (a, b) = (*layers.tensors(head).first()?, *layers.tensors(embedding).first()?);
    let (ra, rb) = (&files.tensors[a as usize], &files.tensors[b as usize]);
    // The head of RoBERTa keeps a bias of its own under `lm_head` where its matrix is the embedding's.
    if [ra, rb].iter().any(|record| files.names.label(record.node) == "bias") {
        return None;
    }
    let name = files.tensor_name(a);
    let file = files.shards[usize::from(ra.shard)].name.clone();
    let report = |kind, what: &str| {
        let message = format!(
            "{}: stored although config.json ties it to {}: {what}",
            escape(&name),
            escape(&files.tensor_name(b))
        );
        Some(Problem::new(kind, message).file(file.clone()).tensor(name.clone()))
    };
    if ra.shard == rb.shard && ra.begin == rb.begin {
        return None;
    }
    if ra.bytes != rb.bytes || files.shape(ra) != files.shape(rb) || ra.dtype != rb.dtype {
        return report(&kind::TIED_DIFFERS, "another shape or dtype; loaders drop the stored head");
    }
    if ra.bytes > COMPARE_BYTES_MAX || files.views.contains_key(&a) {
        return report(&kind::TIED_STORED, "not compared");
    }
    match equal_bytes(files, a, b) {
        Ok(true) => report(&kind::TIED_STORED, "the bytes are equal, so it is only stored twice"),
        Ok(false) => report(
            &kind::TIED_DIFFERS,
            "the bytes differ; loaders drop the stored head and use the embedding",
        ),
        Err(_) => report(&kind::TIED_STORED, "it could not be read to compare"),
    }
}

fn equal_bytes(files: &Files, a: u32, b: u32) -> crate::error::Result<bool> {
    const CHUNK: u64 = 4 << 20;
    let open = |tensor: u32| {
        let shard = &files.shards[usize::from(files.tensors[tensor as usize].shard)];
        SourceFile::open(&shard.path, shard.name.clone())
    };
    let (file_a, file_b) = (open(a)?, open(b)?);
    let (ra, rb) = (&files.tensors[a as usize], &files.tensors[b as usize]);
    let mut at = 0;
    while at < ra.bytes {
        let count = CHUNK.min(ra.bytes - at) as usize;
        if file_a.read_vec(ra.begin + at, count)? != file_b.read_vec(rb.begin + at, count)? {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// A folder of shards under the names of transformers, and no `config.json` to load them with.
fn config_missing(files: &Files) -> Option<Problem> {
    let usual = files.index.is_some()
        || files.shards.iter().any(|s| s.name.starts_with("model.") || s.name.starts_with("pytorch_model."));
    let opened_folder = files.path == files.folder || files.index.is_some();
    (usual && opened_folder && !files.configs.has("config.json") && files.container.name() != "gguf").then(
        || {
            Problem::new(
                &kind::CONFIG_MISSING,
                "config.json is not here: loaders cannot tell the architecture",
            )
            .file("config.json")
        },
    )
}

/// How many layers one message names.
const NAMED_MAX: usize = 3;

/// Returns the layers whose shape is not that of the config: which, the shape by the config, the keys that
/// give it.
pub(crate) fn misfits<'s>(
    files: &Files,
    layers: &Layers,
    shapes: &'s ConfigShapes,
) -> Vec<(u32, &'s [u64], &'static str)> {
    let mut odd = Vec::new();
    for layer in 0..layers.len() as u32 {
        let spec = layers.spec(layer);
        let Some((expected, why)) = shapes.find(layers.label(&files.names, layer)) else { continue };
        let is_known = spec.shape_known && !spec.pending && spec.broken.is_empty();
        if is_known && spec.format.get().name() != "unknown" && spec.shape != expected {
            odd.push((layer, expected, why));
        }
    }
    odd
}

/// Shapes of embeddings, attention and MLP against the config: one problem, with the count.
fn config_shapes(files: &Files, layers: &Layers) -> Option<Problem> {
    let odd = misfits(files, layers, &files.configs.quant.shapes);
    let &(first, ..) = odd.first()?;
    let named: Vec<String> = odd
        .iter()
        .take(NAMED_MAX)
        .map(|(layer, expected, why)| {
            let name = layers.name(&files.names, *layer);
            let (is, says) = (units::shape(&layers.spec(*layer).shape), units::shape(expected));
            format!("{} is {is}, by the config {says} ({why})", escape(&name))
        })
        .collect();
    let more = if odd.len() > NAMED_MAX { ", …" } else { "" };
    let count = units::plural(odd.len(), "layer");
    let message = format!("config.json: does not fit the shapes of {count}: {}{more}", named.join("; "));
    Some(
        Problem::new(&kind::CONFIG_SHAPE, message)
            .file("config.json")
            .tensor(layers.name(&files.names, first)),
    )
}

/// The number of layers against that of the config. More of them are told only where every layer of the architecture
/// is known: others number what predicts further tokens behind the last.
fn config_layers(files: &Files) -> Option<Problem> {
    let stack = stacks::stack_of(files)?;
    let is_known =
        files.configs.architecture().is_some_and(|name| super::expected::modules_of(name).is_some());
    let (said, count, highest) = stacks::counts(files, stack)?;
    let complete = files.shards.iter().all(|s| !s.unreadable);
    let is_odd = if is_known { count != said || highest + 1 != said } else { count < said };
    (complete && is_odd).then(|| {
        let message =
            format!("config.json: {} {said}, the tensors have {count} (highest number {highest})", stack.key);
        Problem::new(&kind::CONFIG_LAYERS, message).file("config.json")
    })
}

/// The config's dtype against that of most weights, for models without quantized layers.
fn config_dtype(files: &Files, layers: &Layers) -> Option<Problem> {
    let said = files.configs.dtype()?;
    if layers.specs().iter().any(super::super::quant::LayerSpec::is_quantized) {
        return None;
    }
    let mut by_dtype: Vec<(Dtype, u64)> = Vec::new();
    for layer in 0..layers.len() as u32 {
        let spec = layers.spec(layer);
        let Some(dtype) = spec.dtype.filter(|d| d.is_float()) else { continue };
        match by_dtype.iter_mut().find(|(known, _)| *known == dtype) {
            Some((_, sum)) => *sum = sum.saturating_add(spec.parameters),
            None => by_dtype.push((dtype, spec.parameters)),
        }
    }
    let &(most, _) = by_dtype.iter().max_by_key(|(_, sum)| *sum)?;
    (most != said).then(|| {
        let message = format!("config.json: dtype {}, most weights are {}", said.name(), most.name());
        Problem::new(&kind::CONFIG_DTYPE, message).file("config.json")
    })
}

/// A quantization block over tensors that are all dense.
fn config_left_behind(files: &Files, layers: &Layers) -> Option<Problem> {
    // Methods whose layers always show in the tensors; others quantize while loading.
    const SHOWN: [&str; 6] = ["bitsandbytes", "gptq", "awq", "compressed-tensors", "fp8", "mxfp4"];
    let block = files.configs.quant.block(&SHOWN)?;
    let is_packed = layers.specs().iter().any(super::super::quant::LayerSpec::is_quantized);
    let complete = files.shards.iter().all(|s| !s.unreadable);
    (!is_packed && complete && !layers.is_empty()).then(|| {
        let place = if block.key.is_empty() { String::new() } else { format!(" {}", block.key) };
        let method = block.method.clone().unwrap_or_default();
        let message = format!(
            "{}:{place} says {}, and none of {} is quantized: loaders look for packed tensors",
            block.file,
            escape(&method),
            units::plural(layers.len(), "layer")
        );
        Problem::new(&kind::QUANT_CONFIG_LEFT, message).file(block.file.clone())
    })
}
