//! The folder of the result: which files it has, how tensors are dealt out to them, and what its configs say.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::merge::landing::Attached;
use super::packing::Names;
use super::{OutShard, OutTensor, Step, config};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::{container_of, list_below};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::quant::target::{Model, Target};
use crate::units;

/// A file that is written whole.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its name in the folder.
    pub file: String,
    /// What it says.
    pub content: String,
}

/// A file whose content was made from the metadata of the weights.
pub(super) struct Made {
    /// Its name in the folder.
    pub(super) file: &'static str,
    /// What it says; of `config.json` all but the dtype.
    pub(super) content: Value,
}

impl Made {
    fn text(mut self, shards: &[OutShard], block: Option<&Value>) -> Text {
        if self.file == "config.json" {
            config::say_dtype(&mut self.content, shards);
            if let (Some(block), Some(top)) = (block, self.content.as_object_mut()) {
                top.insert("quantization_config".into(), block.clone());
            }
        }
        Text { file: self.file.to_owned(), content: pretty(&self.content) }
    }
}

/// A file that goes over as it is.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Where it is.
    pub from: PathBuf,
    /// Its name in the folder.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Side files that describe a quantization and nothing else.
const QUANT_FILES: [&str; 5] = [
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quantization_config.json",
    "quanto_qmap.json",
];
/// What files of a trainer's state begin with; they are large, and of no use beside other weights.
const TRAINING: [&str; 5] = ["optimizer", "scheduler", "scaler", "rng_state", "random_states"];
/// What files that belong to a model begin with, for a model that was opened by the name of one file: what else
/// lies beside that may be anything.
pub(super) const BELONGING: [&str; 10] = [
    "added_tokens",
    "chat_template",
    "config",
    "generation_config",
    "merges",
    "preprocessor_config",
    "special_tokens_map",
    "tokenizer",
    "vocab",
    "README",
];
/// What becomes of a model, for the files beside its tensors.
pub(super) struct Becomes<'a> {
    /// True if a layer of the result is quantized.
    pub(super) stays_quantized: bool,
    /// Files that were made from metadata.
    pub(super) made: Vec<Made>,
    /// What its layers are packed as, with their names, if they are packed anew.
    pub(super) target: Option<(&'a dyn Target, &'a Names)>,
}

/// The files of the result beside its tensors.
pub(super) struct Folder {
    pub(super) texts: Vec<Text>,
    pub(super) copies: Vec<Copied>,
}

impl Folder {
    pub(super) fn plan(
        checkpoint: &Checkpoint,
        steps: &[Step],
        shards: &[OutShard],
        mut becomes: Becomes<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut texts = Vec::new();
        let made = std::mem::take(&mut becomes.made);
        let block = becomes.target.map(|(target, named)| {
            let model = Model {
                packed: &named.packed,
                plain: &named.plain,
                kept: &named.kept,
                also: &named.also,
                config: checkpoint.files.configs.get("config.json"),
                dtype: config::plain_dtype(checkpoint, shards),
            };
            target.block(&model)
        });
        if made.is_empty() {
            texts.extend(config::text(checkpoint, steps, shards, (&becomes, block.as_ref()), warnings)?);
        }
        texts.extend(made.into_iter().map(|made| made.text(shards, block.as_ref())));
        if let (Some((target, _)), Some(block)) = (becomes.target, &block) {
            let further = target.files(block).into_iter();
            texts.extend(further.map(|(file, value)| Text { file: file.into(), content: pretty(&value) }));
        }
        texts.extend(index(shards));
        // Side files of the quantization that was are of no use beside another.
        let keeps_sides = becomes.stays_quantized && becomes.target.is_none();
        let copies = copies(checkpoint, &texts, keeps_sides, warnings)?;
        Ok(Self { texts, copies })
    }
}

/// Bytes by which a tensor begins that is aligned to its elements, whatever they are.
const ALIGNED: u64 = 8;

/// Refuses two tensors of one name: what packing makes of one layer and what another already is.
pub(super) fn check_names(checkpoint: &Checkpoint, tensors: &[OutTensor]) -> Result<()> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    let mut twice: Vec<String> =
        names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| escape(pair[0]).into_owned()).collect();
    twice.dedup();
    if twice.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the result would have two tensors of one name, one made and one of the input: {}",
        super::planner::list(&twice)
    );
    Err(Error::input(message).at(&checkpoint.files.path))
}

/// Deals tensors out to files, in their order. Every tensor is aligned to its elements: those whose bytes would
/// set the next one off come last, the wider elements of them first.
pub(super) fn shards(tensors: Vec<OutTensor>, shard_bytes: u64) -> Vec<OutShard> {
    let mut shards: Vec<Vec<OutTensor>> = vec![Vec::new()];
    let mut room = shard_bytes;
    for tensor in tensors {
        if tensor.bytes > room && shards.last().is_some_and(|shard| !shard.is_empty()) {
            shards.push(Vec::new());
            room = shard_bytes;
        }
        room = room.saturating_sub(tensor.bytes);
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    let count = shards.len();
    let file = |at: usize| match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
    };
    let ordered = |(at, mut tensors): (usize, Vec<OutTensor>)| {
        aligned_order(&mut tensors);
        OutShard { file: file(at), tensors, metadata: None, run: None, gguf: None }
    };
    shards.into_iter().enumerate().map(ordered).collect()
}

/// Puts those last whose bytes would set the next one off, the wider elements of them first.
pub(super) fn aligned_order(tensors: &mut [OutTensor]) {
    tensors.sort_by_key(|tensor| {
        let is_odd = !tensor.bytes.is_multiple_of(ALIGNED);
        (is_odd, std::cmp::Reverse(tensor.dtype.bits().filter(|_| is_odd).map_or(0, |bits| bits as u32)))
    });
}

/// Returns the index of several files.
pub(super) fn index(shards: &[OutShard]) -> Option<Text> {
    if shards.len() < 2 {
        return None;
    }
    let mut map = Map::new();
    let mut total = 0u64;
    for shard in shards {
        for tensor in &shard.tensors {
            total = total.saturating_add(tensor.bytes);
            map.insert(tensor.name.clone(), Value::from(shard.file.clone()));
        }
    }
    let mut metadata = Map::new();
    metadata.insert("total_size".into(), Value::from(total));
    let mut top = Map::new();
    top.insert("metadata".into(), Value::Object(metadata));
    top.insert("weight_map".into(), Value::Object(map));
    Some(Text { file: "model.safetensors.index.json".into(), content: pretty(&Value::Object(top)) })
}

pub(super) fn pretty(value: &Value) -> String {
    // A map of texts and numbers always has a text.
    format!("{value:#}\n")
}

/// What files of a tokenizer begin with.
const TOKENIZER: [&str; 6] =
    ["added_tokens", "chat_template", "merges", "special_tokens_map", "tokenizer", "vocab"];

/// Takes the tokenizer of the last adapter that has one: its vocabulary is that of the result.
pub(super) fn take_tokenizer(
    attached: &[Attached<'_>],
    texts: &[Text],
    copies: &mut Vec<Copied>,
    warnings: &mut Vec<String>,
) {
    let is_tokenizer = |name: &str| TOKENIZER.iter().any(|word| name.starts_with(word));
    let of = |adapter: &Attached<'_>| -> Vec<Copied> {
        let files = &adapter.checkpoint.files;
        let named = files.others.iter().filter(|(name, _)| is_tokenizer(name));
        named
            .map(|(name, bytes)| Copied { from: files.folder.join(name), file: name.clone(), bytes: *bytes })
            .collect()
    };
    let Some(taken) = attached.iter().rev().map(of).find(|files| !files.is_empty()) else {
        warnings
            .push("the adapter brings no tokenizer: that of the base has no tokens for the new rows".into());
        return;
    };
    copies.retain(|copied| !is_tokenizer(&copied.file));
    let names: Vec<String> = taken.iter().map(|copied| escape(&copied.file).into_owned()).collect();
    warnings.push(format!("the tokenizer is the adapter's: {}", names.join(", ")));
    copies.extend(taken.into_iter().filter(|copied| !texts.iter().any(|text| text.file == copied.file)));
}

/// Returns the files that go over as they are: all but weights, their indices, what is written anew, and side
/// files of a quantization that is no more.
pub(super) fn copies(
    checkpoint: &Checkpoint,
    texts: &[Text],
    stays_quantized: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Copied>> {
    let files = &checkpoint.files;
    let mut weights = Vec::new();
    let mut copies = Vec::new();
    let is_folder = files.path.is_dir();
    let below = if is_folder { list_below(&files.folder)? } else { Vec::new() };
    let mut training = Vec::new();
    for (name, bytes) in files.others.iter().chain(&below) {
        let is_index = name.ends_with(".index.json");
        let is_written = texts.iter().any(|text| text.file == *name);
        let belongs = is_folder || BELONGING.iter().any(|word| name.starts_with(word));
        if is_index || is_written || name.starts_with('.') || !belongs {
            continue;
        }
        let last = name.rsplit('/').next().unwrap_or(name);
        if TRAINING.iter().any(|word| last.starts_with(word)) {
            training.push(escape(name).into_owned());
            continue;
        }
        if container_of(name).is_some() {
            weights.push(escape(name).into_owned());
        } else if stays_quantized || !QUANT_FILES.contains(&name.as_str()) {
            copies.push(Copied { from: files.folder.join(name), file: name.clone(), bytes: *bytes });
        }
    }
    for (names, what) in [(weights, "other weights"), (training, "a trainer's state")] {
        if !names.is_empty() {
            let files = units::plural(names.len(), "file");
            warnings.push(format!("{files} of {what} left out: {}", super::list(&names)));
        }
    }
    Ok(copies)
}

#[cfg(test)]
mod tests;
