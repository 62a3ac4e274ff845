//! The quantization block that the tensors themselves give: for configs that lost it, or say something else.
//!
//! Made for bitsandbytes, GPTQ and AWQ, where names, shapes and quant states tell all that loaders ask for, and only
//! where all packed layers are alike. A block of the same method keeps its other keys.

use serde_json::{Map, Value, json};

use super::config_blocks;
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::quant::{LayerSpec, is_known_method};
use crate::tensor::Dtype;

/// Names of modules that loaders never quantize, by the last component.
const NEVER: [&str; 9] = [
    "embed_tokens",
    "wte",
    "wpe",
    "word_embeddings",
    "tok_embeddings",
    "embed_in",
    "lm_head",
    "embed_out",
    "output",
];

/// Dense matrices that a block may name; with more the block is not made.
const NAMED_MAX: usize = 256;

/// Returns the edits that make `config.json` say what the tensors are; side files that say it as well are left out.
/// `None` if the tensors do not tell it.
pub(in crate::diagnose) fn replace_blocks(subject: &Subject<'_>) -> Option<Vec<Edit>> {
    if !subject.files().configs.has("config.json") {
        return None;
    }
    let value = block_of(subject)?;
    let mut edits: Vec<Edit> = config_blocks::all(subject)
        .filter(|block| block.file != "config.json")
        .map(config_blocks::take_out)
        .collect();
    let in_config = config_blocks::all(subject).filter(|block| block.file == "config.json");
    let mut paths: Vec<Vec<String>> =
        in_config.map(|block| block.key.split('.').map(str::to_owned).collect()).collect();
    if paths.is_empty() {
        paths.push(vec!["quantization_config".into()]);
    }
    let set = |path| Edit::Json { file: "config.json".into(), path, value: Some(value.clone()) };
    edits.extend(paths.into_iter().map(set));
    Some(edits)
}

/// Returns the block for `config.json` that these tensors have, `None` if they do not tell it.
pub(in crate::diagnose) fn block_of(subject: &Subject<'_>) -> Option<Value> {
    let specs: Vec<&LayerSpec> =
        subject.checkpoint.layers.specs().iter().filter(|spec| spec.is_quantized()).collect();
    let (first, rest) = specs.split_first()?;
    let is_alike = |spec: &&LayerSpec| {
        spec.format == first.format
            && spec.variant == first.variant
            && spec.millibits == first.millibits
            && spec.symmetric == first.symmetric
            && (spec.group_size == first.group_size || is_bnb(first))
    };
    if !first.broken.is_empty() || !rest.iter().all(|spec| is_alike(spec) && spec.broken.is_empty()) {
        return None;
    }
    let act_order = specs.iter().any(|spec| spec.act_order == Some(true));
    let (method, settings) = match first.format.get().name() {
        "bnb-nf4" | "bnb-fp4" => ("bitsandbytes", bnb4(subject, first)?),
        "bnb-int8" => ("bitsandbytes", json!({"load_in_4bit": false, "load_in_8bit": true})),
        "gptq" => ("gptq", gptq(first, act_order)?),
        "awq" => ("awq", awq(first)?),
        _ => return None,
    };
    // A method that nobody has is a misspelled one; its settings may be right.
    let is_ours = |name: &str| name == method || !is_known_method(name);
    let known = config_blocks::all(subject).find(|block| block.method.as_deref().is_some_and(is_ours));
    let mut block = match known {
        Some(block) => block.value.as_object()?.clone(),
        None => fresh(subject, method)?,
    };
    block.insert("quant_method".into(), method.into());
    for (key, value) in settings.as_object()? {
        block.insert(key.clone(), value.clone());
    }
    Some(Value::Object(block))
}

fn is_bnb(spec: &LayerSpec) -> bool {
    spec.format.get().name().starts_with("bnb-")
}

/// Returns a block that only names the matrices which are not packed, where the method has a key for them.
fn fresh(subject: &Subject<'_>, method: &str) -> Option<Map<String, Value>> {
    let dense = dense_matrices(subject)?;
    if dense.is_empty() {
        return Some(Map::new());
    }
    let key = match method {
        "bitsandbytes" => "llm_int8_skip_modules",
        "awq" => "modules_to_not_convert",
        _ => return None,
    };
    Some(Map::from_iter([(key.to_owned(), json!(dense))]))
}

/// Returns the names of dense matrices that loaders would pack, `None` if they are too many to name.
fn dense_matrices(subject: &Subject<'_>) -> Option<Vec<String>> {
    let (layers, names) = (&subject.checkpoint.layers, &subject.files().names);
    let mut found = Vec::new();
    for layer in 0..layers.len() as u32 {
        let spec = layers.spec(layer);
        let is_matrix = !spec.is_quantized() && spec.shape.len() == 2;
        if is_matrix && !NEVER.contains(&layers.label(names, layer)) {
            found.push(layers.name(names, layer));
        }
    }
    (found.len() <= NAMED_MAX).then_some(found)
}

fn bnb4(subject: &Subject<'_>, spec: &LayerSpec) -> Option<Value> {
    Some(json!({
        "load_in_4bit": true,
        "load_in_8bit": false,
        "bnb_4bit_quant_type": spec.format.get().name().trim_start_matches("bnb-"),
        "bnb_4bit_use_double_quant": spec.variant == "nested",
        "bnb_4bit_compute_dtype": torch_name(spec.dtype?)?,
        "bnb_4bit_quant_storage": torch_name(storage(subject)?)?,
    }))
}

/// Returns the dtype in which the packed bytes of the first bitsandbytes layer are stored.
fn storage(subject: &Subject<'_>) -> Option<Dtype> {
    let (layers, files) = (&subject.checkpoint.layers, subject.files());
    let layer = (0..layers.len() as u32).find(|&layer| is_bnb(layers.spec(layer)))?;
    let weight = format!("{}.weight", layers.name(&files.names, layer));
    Some(files.tensors[files.find(&weight)? as usize].dtype)
}

fn gptq(spec: &LayerSpec, act_order: bool) -> Option<Value> {
    let format = match spec.variant.as_str() {
        "v1" => "gptq",
        "v2" => "gptq_v2",
        _ => return None,
    };
    Some(json!({
        "bits": spec.millibits / 1000,
        "group_size": group(spec)?,
        "sym": spec.symmetric?,
        "desc_act": act_order,
        "checkpoint_format": format,
    }))
}

fn awq(spec: &LayerSpec) -> Option<Value> {
    if !matches!(spec.variant.as_str(), "gemm" | "gemv" | "gemv_fast") {
        return None;
    }
    let bits = spec.millibits / 1000;
    Some(json!({"bits": bits, "group_size": group(spec)?, "zero_point": true, "version": spec.variant}))
}

/// Returns the group size as configs write it: -1 for one group of all inputs.
fn group(spec: &LayerSpec) -> Option<i64> {
    spec.group_size.map_or(Some(-1), |size| i64::try_from(size).ok())
}

/// Returns the name that configs have for a dtype.
pub(in crate::diagnose) fn torch_name(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
        Dtype::U8 => "uint8",
        _ => return None,
    })
}
