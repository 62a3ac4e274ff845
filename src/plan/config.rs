//! `config.json` of the result: no quantization block, the right dtype, heads tied or untied; for a result that
//! stays quantized in part, the list of what is not.

use serde_json::{Map, Value, json};

use super::folder::{Becomes, Text, pretty};
use super::{OutShard, OutTensor, Source, Step};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dtype;
use crate::units;

/// Keys that say how weights are quantized, at any depth of a config.
const QUANT_KEYS: [&str; 6] = [
    "quantization_config",
    "compression_config",
    "quantization",
    "_load_in_4bit",
    "_load_in_8bit",
    "pre_quantization_dtype",
];
/// Keys that say what most weights are: newer and older.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];
/// How deep configs nest.
const DEPTH_MAX: usize = 16;

/// Architectures whose 16-bit checkpoints hold all experts of a layer in one tensor. Source: transformers 5,
/// the `experts` modules of these models.
const FUSED_EXPERTS: [&str; 6] = [
    "GptOssForCausalLM",
    "Llama4ForCausalLM",
    "Llama4ForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "Qwen3OmniMoeForConditionalGeneration",
    "AriaForConditionalGeneration",
];

/// Returns `config.json` of the result.
pub(super) fn text(
    checkpoint: &Checkpoint,
    steps: &[Step],
    shards: &[OutShard],
    (becomes, block): (&Becomes<'_>, Option<&Value>),
    warnings: &mut Vec<String>,
) -> Result<Option<Text>> {
    let stays_quantized = becomes.stays_quantized;
    let configs = &checkpoint.files.configs;
    let Some(config) = configs.get("config.json") else {
        if configs.has("config.json") {
            return Err(Error::input("config.json: not readable as JSON; the result would not load"));
        }
        if checkpoint.files.container.name() != "gguf" {
            let with = if block.is_some() { ", whose quantization_config says how it is packed" } else { "" };
            warnings.push(format!("there is no config.json: loaders will need one beside the result{with}"));
        }
        return Ok(None);
    };
    if block.is_some() && !config.is_object() {
        return Err(Error::input("config.json: not an object; it could not say how the result is packed"));
    }
    let mut config = config.clone();
    if becomes.target.is_none() && stays_quantized {
        leave_out(&mut config, steps, warnings);
    } else {
        remove_quantization(&mut config, 0);
    }
    // Of what is packed the scales are floats too.
    let dtype = becomes
        .target
        .map_or_else(|| most_common(shards, stays_quantized), |_| Some(plain_dtype(checkpoint, shards)));
    if let Some(dtype) = dtype {
        set_dtype(&mut config, dtype_word(dtype));
    }
    untie(checkpoint, steps, &mut config, warnings);
    if let (Some(block), Some(top)) = (block, config.as_object_mut()) {
        top.insert("quantization_config".into(), block.clone());
    }
    Ok(Some(Text { file: "config.json".into(), content: pretty(&config) }))
}

/// Returns the dtype of most plain tensors of a result whose layers are packed: that of the model.
pub(super) fn plain_dtype(checkpoint: &Checkpoint, shards: &[OutShard]) -> Dtype {
    let mut sums: Vec<(Dtype, u64)> = Vec::new();
    let plain =
        |tensor: &&OutTensor| tensor.dtype.is_float() && !matches!(tensor.source, Source::Encoded { .. });
    for tensor in shards.iter().flat_map(|shard| &shard.tensors).filter(plain) {
        add(&mut sums, tensor);
    }
    sums.into_iter()
        .max_by_key(|&(_, sum)| sum)
        .map(|(dtype, _)| dtype)
        .or_else(|| checkpoint.files.configs.dtype())
        .unwrap_or(Dtype::BF16)
}

fn add(sums: &mut Vec<(Dtype, u64)>, tensor: &OutTensor) {
    if !matches!(tensor.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
        return;
    }
    match sums.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
        Some((_, sum)) => *sum = sum.saturating_add(tensor.bytes),
        None => sums.push((tensor.dtype, tensor.bytes)),
    }
}

/// Says how many rows the embeddings have now, at the top and in the part for text.
pub(super) fn resize_vocabulary(texts: &mut [Text], rows: u64, warnings: &mut Vec<String>) {
    let Some(text) = texts.iter_mut().find(|text| text.file == "config.json") else { return };
    let Ok(mut config) = serde_json::from_str::<Value>(&text.content) else { return };
    let mut set = |part: Option<&mut Value>| {
        let Some(said) = part.and_then(|part| part.get_mut("vocab_size")) else { return };
        if said.as_u64() != Some(rows) {
            warnings.push(format!("config.json: vocab_size was {said} and is {rows}, as the adapter brings"));
            *said = Value::from(rows);
        }
    };
    set(Some(&mut config));
    set(config.get_mut("text_config"));
    text.content = pretty(&config);
}

/// Says what most weights are.
pub(super) fn say_dtype(config: &mut Value, shards: &[OutShard]) {
    if let Some(dtype) = most_common(shards, false) {
        set_dtype(config, dtype_word(dtype));
    }
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

/// Returns the dtype of most weights; `made`: of most that go over as other than they were, the rest being scales.
fn most_common(shards: &[OutShard], made: bool) -> Option<Dtype> {
    let mut sums: Vec<(Dtype, u64)> = Vec::new();
    for tensor in shards.iter().flat_map(|shard| &shard.tensors).filter(|t| t.dtype.is_float()) {
        if made && matches!(tensor.source, Source::Copy(_) | Source::Encoded { .. }) {
            continue;
        }
        add(&mut sums, tensor);
    }
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
            step.is_decoded() && (step.layer == name || step.layer.ends_with(&format!(".{name}")))
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

/// Adds the layers that were decoded to the list of those that are not quantized, as each method calls it.
fn leave_out(config: &mut Value, steps: &[Step], warnings: &mut Vec<String>) {
    let decoded: Vec<&str> = steps.iter().filter(|s| s.is_decoded()).map(|s| s.layer.as_str()).collect();
    if decoded.is_empty() {
        return;
    }
    let block = ["quantization_config", "compression_config"].into_iter().find_map(|key| {
        let nested = config.get("text_config").is_some_and(|nested| nested.get(key).is_some());
        let path = if nested { format!("/text_config/{key}") } else { format!("/{key}") };
        config.pointer(&path)?.as_object()?;
        Some(path)
    });
    let block = block.and_then(|path| config.pointer_mut(&path)).and_then(Value::as_object_mut);
    let added = block.is_some_and(|block| {
        let method =
            block.get("quant_method").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let key = match method.as_str() {
            "bitsandbytes" => "llm_int8_skip_modules",
            "awq" | "fp8" | "mxfp4" | "fbgemm_fp8" | "torchao" => "modules_to_not_convert",
            "compressed-tensors" | "modelopt" => "ignore",
            "gptq" => return leave_out_of_gptq(block, &decoded),
            _ => return false,
        };
        let was_empty = block.get(key).is_none_or(Value::is_null);
        if was_empty {
            // A list replaces the loader's own default: that of bitsandbytes leaves the head as it is.
            let default = if method == "bitsandbytes" { json!(["lm_head"]) } else { json!([]) };
            block.insert(key.into(), default);
        }
        let Some(list) = block.get_mut(key).and_then(Value::as_array_mut) else { return false };
        list.extend(decoded.iter().map(|name| Value::from(*name)));
        true
    });
    if !added {
        warnings.push(format!(
            "the config's quantization block has no list that we know for the {} that are plain now: loaders \
             will take them for quantized",
            units::plural(decoded.len(), "layer")
        ));
    }
}

/// GPTQModel's `dynamic`: a rule that begins with `-:` leaves what it matches as it is.
fn leave_out_of_gptq(block: &mut Map<String, Value>, decoded: &[&str]) -> bool {
    let rules = block.entry("dynamic").or_insert(Value::Null);
    if rules.is_null() {
        *rules = json!({});
    }
    let Some(rules) = rules.as_object_mut() else { return false };
    for name in decoded {
        rules.insert(format!("-:^{}$", regex::escape(name)), json!({}));
    }
    true
}

/// Refuses weights in a rotated basis: the rotations that run beside them go with the quantization, and without
/// them a plain model computes something else.
pub(super) fn check_basis(checkpoint: &Checkpoint) -> Result<()> {
    for block in &checkpoint.files.configs.quant.blocks {
        for key in ["transform_config", "rotation"] {
            let is_empty = |value: &Value| {
                is_nothing(value)
                    || value
                        .as_object()
                        .is_some_and(|object| object.iter().all(|(_, value)| is_nothing(value)))
            };
            if block.value.get(key).is_some_and(|value| !is_empty(value)) {
                let place = format!("{} {}", block.file, block.key);
                let message = format!(
                    "{}.{key} names rotations of the weights; they cannot be undone yet, and a plain model without \
                     them would compute something else",
                    place.trim_end()
                );
                return Err(Error::new(ErrorKind::Unsupported, message).at(&checkpoint.files.path));
            }
        }
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Says what a loader will not find as it expects.
pub(super) fn hazards(checkpoint: &Checkpoint, steps: &[Step], warnings: &mut Vec<String>) {
    let numbered = |name: &str| {
        let rest = name.split(".experts.").nth(1);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let separate = steps.iter().filter(|s| s.is_decoded() && numbered(&s.layer)).count();
    if let Some(architecture) = checkpoint.architecture()
        && FUSED_EXPERTS.contains(&architecture)
        && separate > 0
    {
        warnings.push(format!(
            "{} of experts stay apart, as they were quantized; {architecture} stores the experts of a layer in one \
             tensor: they must be joined before it loads",
            units::plural(separate, "layer")
        ));
    }
    let scaled = steps.iter().filter(|step| step.layer.ends_with(".act.scales")).count();
    if scaled > 0 {
        warnings.push(format!(
            "{} of activations (AWQ) stay: the plain architecture divides the next layer's columns by them instead",
            units::plural(scaled, "scale tensor")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Action;

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
    fn what_is_plain_now_is_left_out_by_name() {
        let step = |layer: &str, action| Step {
            layer: layer.into(),
            action,
            from: "gptq".into(),
            to: if action == Action::Copy { "gptq" } else { "dense" }.into(),
            bytes_in: 0,
            bytes_out: 0,
            note: None,
        };
        let steps = [step("a.b", Action::Dequantize), step("c", Action::Copy)];
        let check = |block: Value, want: Value, warned: usize| {
            let mut config = json!({"quantization_config": block});
            let mut warnings = Vec::new();
            leave_out(&mut config, &steps, &mut warnings);
            assert_eq!((&config["quantization_config"], warnings.len()), (&want, warned));
        };
        check(
            json!({"quant_method": "bitsandbytes", "llm_int8_skip_modules": null}),
            json!({"quant_method": "bitsandbytes", "llm_int8_skip_modules": ["lm_head", "a.b"]}),
            0,
        );
        check(
            json!({"quant_method": "awq", "modules_to_not_convert": ["visual"]}),
            json!({"quant_method": "awq", "modules_to_not_convert": ["visual", "a.b"]}),
            0,
        );
        check(
            json!({"quant_method": "gptq"}),
            json!({"quant_method": "gptq", "dynamic": {"-:^a\\.b$": {}}}),
            0,
        );
        check(json!({"quant_method": "hqq"}), json!({"quant_method": "hqq"}), 1);
    }
}
