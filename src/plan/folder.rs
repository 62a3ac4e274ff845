//! The folder of the result: which files it has, how tensors are dealt out to them, and what its configs say.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{Action, OutShard, OutTensor, Step};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::container_of;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::tensor::Dtype;
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
    fn text(mut self, shards: &[OutShard]) -> Text {
        if self.file == "config.json"
            && let Some(dtype) = most_common(shards)
        {
            set_dtype(&mut self.content, dtype_word(dtype));
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

/// Keys that say how weights are quantized, at any depth of a config.
const QUANT_KEYS: [&str; 6] = [
    "quantization_config",
    "compression_config",
    "quantization",
    "_load_in_4bit",
    "_load_in_8bit",
    "pre_quantization_dtype",
];
/// Side files that describe a quantization and nothing else.
const QUANT_FILES: [&str; 5] = [
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quantization_config.json",
    "quanto_qmap.json",
];
/// Keys that say what most weights are: newer and older.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];
/// How deep configs nest.
const DEPTH_MAX: usize = 16;

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
        (stays_quantized, made): (bool, Vec<Made>),
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut texts = Vec::new();
        if made.is_empty() {
            texts.extend(config(checkpoint, steps, shards, stays_quantized, warnings)?);
        }
        texts.extend(made.into_iter().map(|made| made.text(shards)));
        texts.extend(index(shards));
        let copies = copies(checkpoint, &texts, stays_quantized, warnings);
        Ok(Self { texts, copies })
    }
}

/// Deals tensors out to files, in their order. Inside a file those of wider elements come first, so that every
/// tensor is aligned to its elements.
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
        tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bits().map_or(0, |bits| bits as u32)));
        OutShard { file: file(at), tensors }
    };
    shards.into_iter().enumerate().map(ordered).collect()
}

/// Returns the index of several files.
fn index(shards: &[OutShard]) -> Option<Text> {
    if shards.len() < 2 {
        return None;
    }
    let mut map = Map::new();
    let mut total = 0u64;
    for shard in shards {
        for tensor in &shard.tensors {
            total += tensor.bytes;
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

fn pretty(value: &Value) -> String {
    // A map of texts and numbers always has a text.
    format!("{value:#}\n")
}

/// Returns `config.json` of the result.
fn config(
    checkpoint: &Checkpoint,
    steps: &[Step],
    shards: &[OutShard],
    stays_quantized: bool,
    warnings: &mut Vec<String>,
) -> Result<Option<Text>> {
    let configs = &checkpoint.files.configs;
    let Some(config) = configs.get("config.json") else {
        if configs.has("config.json") {
            return Err(Error::input("config.json: not readable as JSON; the result would not load"));
        }
        if checkpoint.files.container.name() != "gguf" {
            warnings.push("there is no config.json: loaders will need one beside the result".into());
        }
        return Ok(None);
    };
    let mut config = config.clone();
    if !stays_quantized {
        remove_quantization(&mut config, 0);
    }
    if let Some(dtype) = most_common(shards) {
        set_dtype(&mut config, dtype_word(dtype));
    }
    untie(checkpoint, steps, &mut config, warnings);
    Ok(Some(Text { file: "config.json".into(), content: pretty(&config) }))
}

fn remove_quantization(value: &mut Value, depth: usize) {
    match value {
        Value::Object(object) if depth < DEPTH_MAX => {
            // `quantization` is a common word: only an object or null under it is MLX's block.
            object.retain(|key, value| {
                !QUANT_KEYS.contains(&key.as_str())
                    || key == "quantization" && !value.is_object() && !value.is_null()
            });
            for (_, value) in object {
                remove_quantization(value, depth + 1);
            }
        }
        Value::Array(list) if depth < DEPTH_MAX => {
            for value in list {
                remove_quantization(value, depth + 1);
            }
        }
        _ => {}
    }
}

/// Sets the dtype keys that are there, and the older one if there is none: all loaders read it.
fn set_dtype(config: &mut Value, word: &str) {
    let Some(top) = config.as_object_mut() else { return };
    if !DTYPE_KEYS.iter().any(|key| top.contains_key(*key)) {
        top.insert("torch_dtype".into(), Value::from(word));
    }
    replace_dtype(config, word, 0);
}

fn replace_dtype(value: &mut Value, word: &str, depth: usize) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        if DTYPE_KEYS.contains(&key.as_str()) && (value.is_string() || value.is_null() && depth == 0) {
            *value = Value::from(word);
        } else if depth < DEPTH_MAX && key != "quantization_config" {
            replace_dtype(value, word, depth + 1);
        }
    }
}

/// Returns the dtype of most weights.
fn most_common(shards: &[OutShard]) -> Option<Dtype> {
    let mut sums: Vec<(Dtype, u64)> = Vec::new();
    for tensor in shards.iter().flat_map(|shard| &shard.tensors).filter(|t| t.dtype.is_float()) {
        match sums.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
            Some((_, sum)) => *sum += tensor.bytes,
            None => sums.push((tensor.dtype, tensor.bytes)),
        }
    }
    sums.retain(|(dtype, _)| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64));
    sums.into_iter().max_by_key(|&(_, sum)| sum).map(|(dtype, _)| dtype)
}

/// Returns how configs spell a dtype.
fn dtype_word(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
        _ => "bfloat16",
    }
}

/// A head that was quantized while the embeddings were not differs from them: it is tied no longer.
fn untie(checkpoint: &Checkpoint, steps: &[Step], config: &mut Value, warnings: &mut Vec<String>) {
    let decoded = |name: &str| {
        steps.iter().any(|step| {
            step.action == Action::Dequantize
                && (step.layer == name || step.layer.ends_with(&format!(".{name}")))
        })
    };
    if !checkpoint.files.configs.ties_embeddings() || !decoded("lm_head") || decoded("embed_tokens") {
        return;
    }
    let Some(top) = config.as_object_mut() else { return };
    set_false(top, "tie_word_embeddings");
    warnings
        .push("lm_head was quantized apart from the embeddings: tie_word_embeddings becomes false".into());
}

fn set_false(object: &mut Map<String, Value>, key: &str) {
    object.insert(key.into(), Value::Bool(false));
    for (_, value) in object.iter_mut() {
        if let Value::Object(nested) = value
            && nested.contains_key(key)
        {
            set_false(nested, key);
        }
    }
}

/// Returns the files that go over as they are: all but weights, their indices, what is written anew, and side
/// files of a quantization that is no more.
fn copies(
    checkpoint: &Checkpoint,
    texts: &[Text],
    stays_quantized: bool,
    warnings: &mut Vec<String>,
) -> Vec<Copied> {
    let files = &checkpoint.files;
    let mut weights = Vec::new();
    let mut copies = Vec::new();
    for (name, bytes) in &files.others {
        let is_index = name.ends_with(".index.json");
        let is_written = texts.iter().any(|text| text.file == *name);
        if is_index || is_written || name.starts_with('.') {
            continue;
        }
        if container_of(name).is_some() {
            weights.push(escape(name).into_owned());
        } else if stays_quantized || !QUANT_FILES.contains(&name.as_str()) {
            copies.push(Copied { from: files.folder.join(name), file: name.clone(), bytes: *bytes });
        }
    }
    if !weights.is_empty() {
        warnings.push(format!(
            "{} of other weights left out: {}",
            units::plural(weights.len(), "file"),
            super::list(&weights)
        ));
    }
    copies
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_quantization_block_stays_at_any_depth() {
        let mut config = json!({
            "torch_dtype": "float16",
            "quantization_config": {"bits": 4},
            "text_config": {"dtype": "float16", "compression_config": {}, "hidden_size": 8},
            "parts": [{"quantization": {"bits": 4}}, {"quantization": "none"}],
            "_load_in_4bit": true,
        });
        remove_quantization(&mut config, 0);
        set_dtype(&mut config, "bfloat16");
        assert_eq!(
            config,
            json!({
                "torch_dtype": "bfloat16",
                "text_config": {"dtype": "bfloat16", "hidden_size": 8},
                "parts": [{}, {"quantization": "none"}],
            })
        );
        let mut bare = json!({"hidden_size": 8});
        set_dtype(&mut bare, "float16");
        assert_eq!(bare, json!({"hidden_size": 8, "torch_dtype": "float16"}));
    }

    #[test]
    fn files_are_filled_in_order_and_aligned() {
        let tensor = |name: &str, dtype: Dtype, count: u64| OutTensor {
            name: name.into(),
            dtype,
            shape: vec![count],
            bytes: dtype.bytes_of(count).unwrap(),
            source: super::super::Source::Copy(0),
        };
        let tensors = vec![
            tensor("a", Dtype::U8, 3),
            tensor("b", Dtype::BF16, 8),
            tensor("c", Dtype::F32, 2),
            tensor("d", Dtype::BF16, 100),
            tensor("e", Dtype::BF16, 1),
        ];
        let names = |shards: &[OutShard]| -> Vec<(String, String)> {
            let text = |s: &OutShard| s.tensors.iter().map(|t| t.name.as_str()).collect::<String>();
            shards.iter().map(|shard| (shard.file.clone(), text(shard))).collect()
        };
        assert_eq!(names(&shards(tensors.clone(), 1000)), [("model.safetensors".into(), "cbdea".into())]);
        let three = names(&shards(tensors, 30));
        assert_eq!(three[0], ("model-00001-of-00003.safetensors".into(), "cba".into()));
        assert_eq!((three[1].1.as_str(), three[2].1.as_str()), ("d", "e"));
    }
}
