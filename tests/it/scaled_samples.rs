//! Samples of compressed-tensors, fp8, gpt-oss MXFP4 and ggml types: every layer as `case.json` and
//! `config.json` say, which the reference libraries wrote, and nothing wrong with any.

use std::fs;
use std::path::Path;

use ckpt::checkpoint::Checkpoint;
use ckpt::quant::LayerSpec;
use ckpt::tensor::GgmlType;
use serde_json::Value;

use crate::sample;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn open(path: &Path) -> Checkpoint {
    let opened = Checkpoint::open_examined(&path.display().to_string());
    opened.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns every layer with its full name.
fn layers(checkpoint: &Checkpoint) -> Vec<(String, &LayerSpec)> {
    let layers = &checkpoint.layers;
    let name = |layer| layers.name(&checkpoint.files.names, layer);
    (0..layers.len() as u32).map(|layer| (name(layer), layers.spec(layer))).collect()
}

/// Returns the names of the samples that start so.
fn ids(prefix: &str) -> Vec<String> {
    let names = fs::read_dir(sample("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    ids.sort();
    ids
}

fn assert_sound(id: &str, checkpoint: &Checkpoint) {
    let quantized = |p: &&ckpt::problem::Problem| p.kind.code.starts_with('Q') || p.is_error();
    let problems: Vec<_> = checkpoint.problems.iter().filter(quantized).collect();
    assert!(problems.is_empty(), "{id}: {problems:?}");
    for (name, spec) in layers(checkpoint) {
        assert!(!spec.pending && spec.broken.is_empty() && spec.shape_known, "{id}: {name} {spec:?}");
    }
}

/// Shape of a linear of a Llama or Qwen2 by its config.
fn linear(config: &Value, label: &str) -> Option<[u64; 2]> {
    let get = |key: &str| config[key].as_u64().unwrap();
    let (hidden, inner) = (get("hidden_size"), get("intermediate_size"));
    let keys = hidden / get("num_attention_heads") * get("num_key_value_heads");
    Some(match label {
        "q_proj" | "o_proj" => [hidden, hidden],
        "k_proj" | "v_proj" => [keys, hidden],
        "gate_proj" | "up_proj" => [inner, hidden],
        "down_proj" => [hidden, inner],
        _ => return None,
    })
}

#[test]
fn compressed_tensors_layers_are_as_their_config_groups_say() {
    let (ids, mut found) = (ids("ct-"), 0);
    for id in &ids {
        let config = json(&sample(id).join("model/config.json"));
        let quantization = &config["quantization_config"];
        let weights = &quantization["config_groups"]["group_0"]["weights"];
        let block = weights["block_structure"][1].as_u64();
        let is_int = weights["type"] == "int";
        let checkpoint = open(&sample(id).join("model"));
        assert_sound(id, &checkpoint);
        for (name, spec) in layers(&checkpoint) {
            let Some(shape) = linear(&config, name.rsplit('.').next().unwrap()) else {
                assert_eq!(spec.format.get().name(), "dense", "{id}: {name}");
                continue;
            };
            found += 1;
            assert_eq!(spec.format.get().name(), "compressed-tensors", "{id}: {name}");
            assert_eq!(Some(spec.variant.as_str()), quantization["format"].as_str(), "{id}: {name}");
            assert_eq!(spec.shape, shape, "{id}: {name}");
            assert_eq!(Some(spec.bits()), weights["num_bits"].as_f64(), "{id}: {name}");
            assert_eq!(spec.group_size, block.or(weights["group_size"].as_u64()), "{id}: {name}");
            assert_eq!(spec.symmetric, weights["symmetric"].as_bool(), "{id}: {name}");
            assert_eq!(spec.act_order, (is_int && spec.variant == "pack-quantized").then_some(false));
            let bias = if spec.bias { shape[0] } else { 0 };
            assert_eq!(spec.parameters, shape[0] * shape[1] + bias, "{id}: {name}");
        }
    }
    assert_eq!((ids.len(), found), (12, 98));
}

#[test]
fn fp8_blocks_are_those_of_the_config_and_ragged_ones_fit() {
    let (ids, mut found) = (ids("fp8-"), 0);
    for id in &ids {
        let config = json(&sample(id).join("model/config.json"));
        let checkpoint = open(&sample(id).join("model"));
        assert_sound(id, &checkpoint);
        for (name, spec) in layers(&checkpoint) {
            let Some(shape) = linear(&config, name.rsplit('.').next().unwrap()) else { continue };
            found += 1;
            let block = config["quantization_config"]["weight_block_size"][1].as_u64();
            assert_eq!((spec.format.get().name(), spec.variant.as_str()), ("fp8", "block"), "{id}: {name}");
            assert_eq!((spec.shape.as_slice(), spec.group_size), (&shape[..], block), "{id}: {name}");
            assert_eq!(spec.label(), "FP8");
        }
    }
    assert_eq!((ids.len(), found), (3, 21));
}

#[test]
fn experts_of_gpt_oss_have_the_shape_of_the_dense_parameter() {
    let path = sample("mxfp4-gptoss/model");
    let config = json(&path.join("config.json"));
    let get = |key: &str| config[key].as_u64().unwrap();
    let (hidden, inner, experts) = (get("hidden_size"), get("intermediate_size"), get("num_local_experts"));
    let checkpoint = open(&path);
    assert_sound("mxfp4-gptoss", &checkpoint);
    let mut found = 0;
    for (name, spec) in layers(&checkpoint) {
        let shape = match name.strip_prefix("model.layers.0.mlp.experts.") {
            Some("gate_up_proj") => [experts, hidden, 2 * inner],
            Some("down_proj") => [experts, inner, hidden],
            _ => continue,
        };
        found += 1;
        assert_eq!((spec.format.get().name(), spec.variant.as_str()), ("mxfp4", "gpt-oss"));
        assert_eq!((spec.shape.as_slice(), spec.bias), (&shape[..], true));
        assert_eq!(spec.parameters, shape.iter().product::<u64>() + experts * shape[2]);
    }
    assert_eq!(found, 2);
}

#[test]
fn ggml_layers_are_of_the_types_that_the_writer_chose() {
    let (ids, mut found) = (ids("gguf-"), 0);
    for id in &ids {
        let case = json(&sample(id).join("case.json"));
        let Some(types) = case["tensor_types"].as_object() else { continue };
        let checkpoint = open(&sample(id).join("model.gguf"));
        assert_sound(id, &checkpoint);
        for (name, spec) in layers(&checkpoint) {
            let kind = types[&format!("{name}.weight")].as_str().unwrap();
            assert_eq!(spec.label(), kind, "{id}: {name}");
            let is_block = !matches!(kind, "F32" | "F16" | "BF16");
            assert_eq!(spec.format.get().name(), if is_block { "ggml" } else { "dense" }, "{id}: {name}");
            assert_eq!(spec.variant, if is_block { kind.to_lowercase() } else { String::new() });
            found += 1;
        }
        assert_eq!(checkpoint.layers.len(), types.len(), "{id}");
    }
    assert_eq!((ids.len(), found), (4, 24));
}

#[test]
fn rows_of_every_ggml_type_take_the_bytes_of_their_blocks() {
    let checkpoint = open(&sample("gguf-bare-types/tensors.safetensors"));
    let types: Vec<GgmlType> = (0..=255).filter_map(GgmlType::from_id).collect();
    let mut found = 0;
    for (name, spec) in layers(&checkpoint).iter().filter(|(name, _)| name != "src") {
        let kind = types.iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("{name}"));
        // Each row holds 512 weights.
        let bytes = 512 / u64::from(kind.block_elements()) * u64::from(kind.block_bytes());
        assert_eq!(spec.shape, [6, bytes], "{name}");
        found += 1;
    }
    assert_eq!(found, 23);
}

#[test]
fn bare_rows_of_narrow_types_are_plain_values() {
    for id in ["casts-fp8-bf16-f16", "gguf-bare-types"] {
        let checkpoint = open(&sample(id).join("tensors.safetensors"));
        assert_sound(id, &checkpoint);
        assert!(layers(&checkpoint).iter().all(|(_, spec)| spec.format.get().name() == "dense"), "{id}");
    }
}
