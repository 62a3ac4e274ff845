//! `--to gptq` and `--to awq`: the bytes of GPTQModel and AutoAWQ, what their configs say, and layers that are merged
//! into on their own grid.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::encode::{Around, Place};
use ckpt::quant::{Side, SideData as _};
use ckpt::tensor::values::round_all;
use serde_json::Value;

use crate::convert::{Scratch, done, tensors};
use crate::decode::hash;
use crate::merge::merge;
use crate::sample;

fn convert(input: &Path, output: &Path, to: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(input).arg("-o").arg(output).arg("--to").args(to);
    command.output().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// Measures of each layer, as the result says them.
fn quality(told: &str) -> Vec<Value> {
    let lines = told.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut measured = lines.filter_map(|line| line.get("quality").and_then(Value::as_array).cloned());
    measured.next().unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn what_is_packed_is_the_libraries_own_bytes() {
    let scratch = Scratch::new("requantize-gptq");
    let case = json(&sample("requantized-gptq-awq/case.json"));
    let (mut compared, mut plain) = (0, 0);
    for (number, golden) in case["golden"].as_array().unwrap().iter().enumerate() {
        let args: Vec<&str> =
            golden["to"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let base = sample(golden["base"].as_str().unwrap());
        let out = scratch.join(&number.to_string());
        // Cuts and workers change nothing.
        let more = [&["--threads", "1"], &["--slot-size", "900"]][number % 2];
        done(&convert(&base, &out, &[&args[..], &more[..]].concat()));
        let made = tensors(&out);
        for (layer, want) in golden["sha256_16"].as_object().unwrap() {
            // Its tensors one behind the other, in the order of their names.
            let prefix = format!("{layer}.");
            let parts = made.iter().filter(|(name, _)| {
                name.strip_prefix(&prefix).is_some_and(|part| !matches!(part, "weight" | "bias"))
            });
            let bytes: Vec<u8> = parts.flat_map(|(_, (_, _, bytes))| bytes.clone()).collect();
            assert_eq!(hash(&bytes), want.as_str().unwrap(), "{base:?} {args:?}: {layer}");
            compared += 1;
        }
        // What is not packed is whole.
        plain += made.keys().filter(|name| name.ends_with("_proj.weight")).count();
        let packed: BTreeSet<&str> = made.keys().filter_map(|name| name.strip_suffix(".qweight")).collect();
        assert!(packed.iter().all(|name| !made.contains_key(&format!("{name}.weight"))));
        fs::remove_dir_all(out).unwrap();
    }
    assert!(compared > 500 && plain > 10, "{compared} layers, {plain} layers stayed plain");
}

#[test]
fn configs_say_what_loaders_ask_for() {
    let scratch = Scratch::new("requantize-config");
    let base = sample("base-A-bf16/model");
    let out = scratch.join("gptq");
    let args = ["gptq", "--asym", "--group-size", "64", "--keep", "*.0.mlp.down_proj", "--also", "lm_head"];
    done(&convert(&base, &out, &args));
    let config = json(&out.join("config.json"));
    let block = &config["quantization_config"];
    assert_eq!((&config["dtype"], &block["quant_method"]), (&"float16".into(), &"gptq".into()));
    assert_eq!((&block["bits"], &block["group_size"], &block["sym"]), (&4.into(), &64.into(), &false.into()));
    assert_eq!((&block["checkpoint_format"], &block["desc_act"]), (&"gptq_v2".into(), &false.into()));
    assert_eq!((&block["lm_head"], &block["pack_dtype"]), (&true.into(), &"int32".into()));
    let rules: Vec<&String> = block["dynamic"].as_object().unwrap().keys().collect();
    assert_eq!(rules, [r"-:^model\.layers\.0\.mlp\.down_proj$"]);
    let named = block["modules_in_block_to_quantize"][0].as_array().unwrap();
    assert!(
        named.contains(&"self_attn.q_proj".into()) && named.contains(&"model.layers.1.mlp.down_proj".into())
    );
    assert!(!named.contains(&"mlp.down_proj".into()));
    assert_eq!(&json(&out.join("quantize_config.json")), block);
    let packed = tensors(&out);
    assert!(
        packed.contains_key("lm_head.qweight") && packed.contains_key("model.layers.0.mlp.down_proj.weight")
    );
    assert!(packed.values().all(|(dtype, _, _)| dtype != "BF16"));
    // Told by the file itself: asymmetric v1 is read as GPTQModel writes it.
    let out = scratch.join("v1");
    let args =
        ["gptq", "--asym", "--gptq-format", "v1", "--group-size", "16", "--bits", "2", "--verify", "full"];
    done(&convert(&base, &out, &args));
    let block = json(&out.join("config.json"))["quantization_config"].clone();
    assert!(block["meta"]["quantizer"].as_array().unwrap().contains(&"gptqmodel:0.9.0".into()));
    assert!(block.get("dynamic").is_none() && block["checkpoint_format"] == "gptq");

    let out = scratch.join("awq");
    done(&convert(&base, &out, &["awq", "--keep", "*.1.self_attn.o_proj"]));
    let block = json(&out.join("config.json"))["quantization_config"].clone();
    assert_eq!((&block["quant_method"], &block["version"]), (&"awq".into(), &"gemm".into()));
    assert_eq!(
        (&block["bits"], &block["group_size"], &block["zero_point"]),
        (&4.into(), &128.into(), &true.into())
    );
    let plain: Vec<&str> =
        block["modules_to_not_convert"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(plain, ["lm_head", "model.layers.1.self_attn.o_proj"]);
    let old = json(&out.join("quant_config.json"));
    assert_eq!(
        (&old["w_bit"], &old["q_group_size"], &old["version"]),
        (&4.into(), &128.into(), &"GEMM".into())
    );
}

#[test]
fn a_search_lowers_the_error_of_every_layer() {
    let scratch = Scratch::new("requantize-search");
    let targets: [(&str, &[&str]); 5] = [
        ("base-A-bf16/model", &["gptq", "--bits", "2", "--group-size", "32"]),
        ("base-A-bf16/model", &["gptq"]),
        ("base-A-bf16/model", &["awq", "--group-size", "32"]),
        ("base-B-bf16/model", &["gptq", "--bits", "3", "--group-size", "64", "--asym"]),
        ("base-B-bf16/model", &["gptq", "--bits", "8", "--group-size", "-1", "--asym"]),
    ];
    let mut layers = 0;
    for (number, (base, to)) in targets.into_iter().enumerate() {
        for search in ["mse", "hqq"] {
            let out = scratch.join(&format!("{number}-{search}"));
            let args = [to, &["--search", search, "--verify", "full", "--json"][..]].concat();
            for layer in quality(&done(&convert(&sample(base), &out, &args))) {
                let [found, nearest] =
                    ["relative_error", "nearest_error"].map(|key| layer[key].as_f64().unwrap());
                assert!(found < nearest, "{base} {args:?}: {layer}");
                layers += 1;
            }
        }
    }
    assert!(layers >= 128, "{layers}");
}

/// Bases with the options that pack them, and whether the adapter fits its grid.
const SAME: [(&str, bool); 6] = [
    ("gptq-w4-g128-sym-v1-A", true),
    ("gptq-w2-g32-sym-v1-A", true),
    ("gptq-w3-g32-asym-act-v1-A", true),
    ("gptq-w8-g128-sym-v1-A", false),
    ("awq-gemm-g128-A", true),
    ("awq-gemv-g64-A", true),
];

#[test]
fn a_merge_keeps_the_grid_where_it_fits() {
    let scratch = Scratch::new("requantize-same");
    let adapter = sample("peft-lora-all-A/adapter");
    for (base, fits) in SAME {
        let out = scratch.join(base);
        let folder = sample(base).join("model");
        let args = ["--to", "same", "--allow-partial", "--verify", "full", "--json"];
        let output = merge(&folder, &[&adapter], &out, &args);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{base}: {told}");
        let (before, after) = (tensors(&folder), tensors(&out));
        assert!(before.keys().eq(after.keys()));
        for layer in quality(&told) {
            let name = layer["layer"].as_str().unwrap();
            assert_eq!(layer["keeps_grid"], fits, "{base}: {layer}");
            let of =
                |suffix: &str| (&before[&format!("{name}.{suffix}")], &after[&format!("{name}.{suffix}")]);
            assert_eq!(of("scales").0 == of("scales").1, fits, "{base}: {name}");
            assert_ne!(of("qweight").0, of("qweight").1, "{base}: {name}");
            if base.starts_with("gptq") {
                assert_eq!(of("g_idx").0, of("g_idx").1, "{base}: {name}");
            }
            let changed = layer["codes_changed"].as_f64().unwrap();
            assert!(changed > 0.0 && changed < 1.0, "{base}: {layer}");
        }
        // What was not merged into is what it was.
        for (name, tensor) in &before {
            if !name.contains("_proj") {
                assert_eq!(Some(tensor), after.get(name), "{base}: {name}");
            }
        }
    }
}

/// Encodes a layer's own values on its grid; returns how many of its tensors are then what they were, or nothing if
/// the layer cannot be packed.
fn again(checkpoint: &Checkpoint, layer: u32, what: &str) -> Option<usize> {
    let data = FileSide::whole(&checkpoint.files);
    let spec = checkpoint.layers.spec(layer);
    let read = |tensor: u32, range: std::ops::Range<u64>| match data.read(
        tensor,
        range.start,
        range.end - range.start,
    ) {
        Side::Bytes(bytes) => bytes,
        other => panic!("{what}: {other:?}"),
    };
    checkpoint.layers.with_parts(&checkpoint.files, layer, &data, |parts| {
        let format = spec.format.get();
        let encoding = format.encode(parts, spec).ok()?;
        let decoding = format.decode(parts, spec).unwrap();
        let (rows, inputs) = (decoding.row_count(), decoding.row_len());
        let mut values = vec![f32::NAN; (rows * inputs) as usize];
        decoding.rows.decode(0..rows, &read(decoding.codes, decoding.rows.codes(0..rows)), &mut values);
        round_all(decoding.dtype.unwrap(), &mut values);
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let strands = encoding.encoder.rows(&values, Around::default()).unwrap();
        let tensors = encoding.encoder.finish(strands, 0.0);
        let same = encoding.tensors.iter().zip(&tensors).filter(|(encoded, bytes)| {
            let Place::Of(tensor) = encoded.place else { panic!("{what}: a new tensor") };
            assert_eq!(encoded.bytes, bytes.len() as u64, "{what}");
            read(tensor, 0..encoded.bytes) == **bytes
        });
        Some(same.count())
    })
}

#[test]
fn layers_of_all_samples_are_packed_to_their_own_bytes_or_refused() {
    let (mut same, mut refused) = (0, 0);
    for folder in ["", "bad-quantized"] {
        let names = fs::read_dir(sample(folder)).unwrap();
        for path in names.map(|entry| entry.unwrap().path()) {
            let path = if path.join("model").is_dir() { path.join("model") } else { path };
            let Ok(checkpoint) = Checkpoint::open_examined(&path.display().to_string()) else { continue };
            for layer in 0..checkpoint.layers.len() as u32 {
                let spec = checkpoint.layers.spec(layer);
                if !matches!(spec.format.get().name(), "gptq" | "awq") {
                    continue;
                }
                let what =
                    format!("{} {}", path.display(), checkpoint.layers.name(&checkpoint.files.names, layer));
                match again(&checkpoint, layer, &what) {
                    Some(count) => {
                        assert_eq!(count, 3, "{what}: {spec:?}");
                        same += 1;
                    }
                    None => refused += 1,
                }
            }
        }
    }
    assert!(same > 100 && refused > 0, "{same} packed again, {refused} refused");
}
