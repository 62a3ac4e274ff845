//! Every sample opens: the good ones right and without a problem, the bad ones with their fault named.
//!
//! What is expected comes from the samples' own `case.json` and configs, which the reference libraries
//! wrote, never from this program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ckpt::adapter::Adapter;
use ckpt::checkpoint::{Checkpoint, CheckpointKind};
use ckpt::problem::Problem;
use serde_json::Value;

use crate::sample;

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open_examined(&path.display().to_string())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn problems(checkpoint: &Checkpoint) -> Vec<Problem> {
    let adapter = Adapter::of(checkpoint).map(|a| a.problems).unwrap_or_default();
    checkpoint.problems.iter().cloned().chain(adapter).collect()
}

fn cases() -> Vec<(String, PathBuf, Value)> {
    let mut cases: Vec<_> = fs::read_dir(sample(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("case.json").exists())
        .map(|path| {
            let case = serde_json::from_slice(&fs::read(path.join("case.json")).unwrap()).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), path, case)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

/// Everything in a case that can be opened as a checkpoint.
fn openable(path: &Path) -> Vec<PathBuf> {
    let inside =
        |names: &[&str]| names.iter().map(|n| path.join(n)).filter(|p| p.exists()).collect::<Vec<_>>();
    let found = inside(&["model", "adapter", "base", "adapter_a", "adapter_b"]);
    if !found.is_empty() {
        return found;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .chain(path.join("files").read_dir().into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .filter(|p| {
            p.is_dir() && !p.ends_with("files")
                || ckpt::checkpoint::folder::container_of(&p.display().to_string()).is_some()
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_sample_opens_and_the_good_ones_have_no_problem() {
    let (mut opened, mut clean) = (0, 0);
    for (id, path, case) in cases() {
        let is_bad = case["category"].as_str().is_some_and(|c| c.contains("bad")) || id == "bin-malicious";
        for target in openable(&path) {
            let Ok(checkpoint) = Checkpoint::open_examined(&target.display().to_string()) else {
                assert!(is_bad, "{} does not open", target.display());
                continue;
            };
            opened += 1;
            let found = problems(&checkpoint);
            // Pickled weights are odd, not wrong; wraps of asymmetric v1 zero points are worth a warning;
            // some cases hold fewer layers than their config says, layouts one layer of each kind.
            // The bare rows of ggml types are blocks of bytes, which nothing can name.
            let excused: &[&str] = match id.as_str() {
                "gguf-bare-types" => &["Q021"],
                layout if layout.starts_with("layout-") => &["K021", "Q016", "C004", "C008"],
                _ => &["K021", "Q016", "C004"],
            };
            let real: Vec<_> = found.iter().filter(|p| !excused.contains(&p.kind.code)).collect();
            if !is_bad {
                assert!(real.is_empty(), "{}: {real:?}", target.display());
                clean += 1;
            }
        }
    }
    println!("{opened} samples opened, {clean} of them good and without a problem");
    assert!(opened >= 140, "only {opened} samples opened");
    assert!(clean >= 70, "only {clean} good samples");
}

/// What `case.json` and the configs of a model say of its quantized layers.
struct Expected {
    format: &'static str,
    variant: Option<String>,
    bits: u32,
    group_size: Option<u64>,
    symmetric: Option<bool>,
    act_order: Option<bool>,
}

fn expected(id: &str, case: &Value) -> Option<Expected> {
    let format = case["format"].as_str()?;
    let positive = |v: &Value| v.as_i64().filter(|&g| g > 0).map(|g| g as u64);
    let category = case["category"].as_str()?;
    Some(match category {
        "gptq" if id != "gptq-dynamic-mixed-bits" && id != "gptq-legacy-autogptq-layout" => Expected {
            format: "gptq",
            variant: Some(if format.ends_with("v2") { "v2" } else { "v1" }.into()),
            bits: case["bits"].as_u64()? as u32,
            group_size: positive(&case["group_size"]),
            symmetric: case["sym"].as_bool(),
            act_order: case["desc_act"].as_bool(),
        },
        "awq" => Expected {
            format: "awq",
            variant: Some(format.trim_start_matches("awq ").into()),
            bits: 4,
            group_size: positive(&case["group_size"]),
            symmetric: None,
            act_order: None,
        },
        "bnb" if id != "bnb-bare-tensors" => Expected {
            format: match &format[..3] {
                "nf4" => "bnb-nf4",
                "fp4" => "bnb-fp4",
                _ => "bnb-int8",
            },
            variant: Some(
                match (format.starts_with("int8"), format.contains("double-quant")) {
                    (true, _) => "row",
                    (false, true) => "nested",
                    (false, false) => "plain",
                }
                .into(),
            ),
            bits: if format.starts_with("int8") { 8 } else { 4 },
            group_size: (!format.starts_with("int8")).then_some(64),
            symmetric: None,
            act_order: None,
        },
        "fp8-block" => Expected {
            format: "fp8",
            variant: Some("block".into()),
            bits: 8,
            group_size: case["block"][1].as_u64(),
            symmetric: None,
            act_order: None,
        },
        "compressed-tensors" => Expected {
            format: "compressed-tensors",
            variant: Some(format.into()),
            bits: match case["scheme"].as_str() {
                Some(scheme) if scheme.contains("W3") => 3,
                Some(scheme) if scheme.contains("W4") || scheme.contains("FP4") => 4,
                Some(_) => 8,
                None => case["scheme"]["num_bits"].as_u64()? as u32,
            },
            group_size: match case["scheme"].as_str() {
                Some("W4A16" | "W4A16_ASYM" | "W3A16" | "W8A16" | "FP8_BLOCK") => Some(128),
                Some("NVFP4A16") => Some(16),
                Some("MXFP4A16" | "MXFP8A16") => Some(32),
                _ => None,
            },
            symmetric: None,
            act_order: None,
        },
        _ => return None,
    })
}

#[test]
fn format_bits_group_and_variant_are_those_of_the_case() {
    let mut checked = 0;
    for (id, path, case) in cases() {
        let Some(want) = expected(&id, &case) else { continue };
        let checkpoint = open(&path.join("model"));
        let specs: Vec<_> = checkpoint.layers.specs().iter().filter(|s| s.is_quantized()).collect();
        assert!(!specs.is_empty(), "{id}: no quantized layer");
        for spec in specs {
            assert_eq!(spec.format.get().name(), want.format, "{id}");
            assert_eq!(Some(spec.variant.clone()), want.variant, "{id}");
            assert_eq!(spec.bits(), f64::from(want.bits), "{id}: bits");
            assert_eq!(spec.group_size, want.group_size, "{id}: group size of {spec:?}");
            for (name, is, says) in
                [("sym", spec.symmetric, want.symmetric), ("desc_act", spec.act_order, want.act_order)]
            {
                // A group that spans all inputs has no order to act on.
                let inputs = spec.shape.last().copied();
                let idle = name == "desc_act" && spec.group_size.is_none_or(|size| Some(size) >= inputs);
                assert!(
                    says.is_none() || idle || is == says,
                    "{id}: {name} is {is:?}, the case says {says:?}"
                );
            }
        }
        checked += 1;
    }
    println!("{checked} quantized samples agree with their case.json");
    assert!(checked >= 38, "only {checked} quantized samples");
}

/// Shapes of a Llama or Qwen2 by its config, per layer name.
fn dense_shapes(spec: &Value) -> BTreeMap<&'static str, Vec<u64>> {
    let get = |key: &str| spec[key].as_u64().unwrap();
    let (hidden, inner, vocab) = (get("hidden_size"), get("intermediate_size"), get("vocab_size"));
    let head = hidden / get("num_attention_heads");
    let keys = get("num_key_value_heads") * head;
    BTreeMap::from([
        ("q_proj", vec![hidden, hidden]),
        ("k_proj", vec![keys, hidden]),
        ("v_proj", vec![keys, hidden]),
        ("o_proj", vec![hidden, hidden]),
        ("gate_proj", vec![inner, hidden]),
        ("up_proj", vec![inner, hidden]),
        ("down_proj", vec![hidden, inner]),
        ("embed_tokens", vec![vocab, hidden]),
        ("lm_head", vec![vocab, hidden]),
    ])
}

#[test]
fn true_shapes_and_parameters_are_those_of_the_architecture() {
    let (mut models, mut layers) = (0, 0);
    for (id, path, case) in cases() {
        if !case["spec"].is_object() || !path.join("model").is_dir() || id.starts_with("gguf") {
            continue;
        }
        let shapes = dense_shapes(&case["spec"]);
        let checkpoint = open(&path.join("model"));
        let mut parameters = 0;
        for layer in 0..checkpoint.layers.len() as u32 {
            let label = checkpoint.layers.label(&checkpoint.files.names, layer);
            let spec = checkpoint.layers.spec(layer);
            if let Some(shape) = shapes.get(label) {
                assert_eq!(&spec.shape, shape, "{id}: {label}");
                let bias = if spec.bias { shape[0] } else { 0 };
                assert_eq!(spec.parameters, shape[0] * shape[1] + bias, "{id}: {label}");
                layers += 1;
            }
            parameters += spec.parameters;
        }
        assert_eq!(checkpoint.summary().parameters, parameters, "{id}");
        models += 1;
    }
    println!("{layers} layers of {models} models have the shape of their architecture");
    assert!(models >= 40 && layers >= 400, "{layers} layers of {models} models");
}

#[test]
fn each_damaged_file_names_its_fault_and_itself() {
    let faults: [(&str, &[&str]); 38] = [
        ("bad-safetensors/files/zero-byte.safetensors", &["K001"]),
        ("bad-safetensors/files/seven-bytes.safetensors", &["K005", "K007", "K006"]),
        ("bad-safetensors/files/header-len-0.safetensors", &["K005", "K006"]),
        ("bad-safetensors/files/header-claims-100MB+.safetensors", &["K005"]),
        ("bad-safetensors/files/header-claims-2^63.safetensors", &["K005"]),
        ("bad-safetensors/files/header-claims-2^64-1.safetensors", &["K005"]),
        ("bad-safetensors/files/header-longer-than-file.safetensors", &["K005"]),
        ("bad-safetensors/files/header-not-json.safetensors", &["K006"]),
        ("bad-safetensors/files/header-not-utf8.safetensors", &["K006"]),
        ("bad-safetensors/files/header-array.safetensors", &["K006"]),
        ("bad-safetensors/files/deep-json.safetensors", &["K006"]),
        ("bad-safetensors/files/truncated-data.safetensors", &["K007"]),
        ("bad-safetensors/files/extra-data.safetensors", &["K008"]),
        ("bad-safetensors/files/overlap.safetensors", &["K010"]),
        ("bad-safetensors/files/hole.safetensors", &["K009"]),
        ("bad-safetensors/files/offsets-reversed.safetensors", &["K011"]),
        ("bad-safetensors/files/offset-out-of-file.safetensors", &["K007", "K011"]),
        ("bad-safetensors/files/shape-size-mismatch.safetensors", &["K012"]),
        ("bad-safetensors/files/shape-overflow.safetensors", &["K012"]),
        ("bad-safetensors/files/shape-negative.safetensors", &["K006", "K012"]),
        ("bad-safetensors/files/unknown-dtype.safetensors", &["K013"]),
        ("bad-safetensors/files/duplicate-key.safetensors", &["K014"]),
        ("bad-safetensors/files/metadata-not-string.safetensors", &["K022"]),
        ("bad-safetensors/files/missing-offsets.safetensors", &["K006", "K011"]),
        ("bad-safetensors/files/git-lfs-pointer.safetensors", &["K002"]),
        ("bad-safetensors/files/html-page.safetensors", &["K003"]),
        ("bad-safetensors/files/f4-odd-bits.safetensors", &["K012"]),
        ("bad-folders/missing-shard", &["S001"]),
        ("bad-folders/index-path-traversal", &["S003"]),
        ("bad-folders/index-truncated-json", &["S002"]),
        ("bad-folders/index-wrong-shard", &["S005"]),
        ("bad-folders/index-names-absent-tensor", &["S004"]),
        ("bad-folders/one-shard-truncated", &["K007"]),
        ("bad-folders/lfs-shard", &["K002"]),
        ("bad-folders/config-truncated", &["C002"]),
        ("bad-folders/config-missing", &["C001"]),
        ("bad-folders/config-shape-mismatch", &["C003"]),
        ("bad-gguf/big-endian.gguf", &["K024"]),
    ];
    for (path, codes) in faults {
        let checkpoint = open(&sample(path));
        let errors: Vec<_> = checkpoint.problems.iter().filter(|p| p.is_error()).collect();
        let named = errors.iter().find(|p| codes.contains(&p.kind.code));
        let named = named.unwrap_or_else(|| panic!("{path}: none of {codes:?} in {errors:?}"));
        assert!(named.file.is_some(), "{path}: {named:?} names no file");
    }
}

#[test]
fn odd_but_legal_files_open_without_an_error() {
    for file in [
        "empty-ok",
        "scalar-and-empty-ok",
        "f4-subbyte-ok",
        "control-chars-name",
        "rtl-name",
        "very-long-name",
        "header-leading-space",
    ] {
        let checkpoint = open(&sample(&format!("bad-safetensors/files/{file}.safetensors")));
        let errors: Vec<_> = checkpoint.problems.iter().filter(|p| p.is_error()).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
}

#[test]
fn broken_quantized_layers_are_named() {
    let faults: [(&str, &[&str]); 17] = [
        ("gptq-inf-scale", &["Q004"]),
        ("gptq-nan-scale", &["Q004"]),
        ("gptq-plus-bnb-config", &["Q008"]),
        ("gptq-missing-scales", &["Q020"]),
        ("gptq-gidx-out-of-range", &["Q005"]),
        ("gptq-gidx-negative", &["Q006"]),
        ("gptq-unknown-method", &["Q009"]),
        ("gptq-wrong-group-in-config", &["Q011"]),
        ("gptq-wrong-bits-in-config", &["Q010"]),
        ("gptq-no-quantization-config", &["Q007"]),
        ("gptq-qzeros-wrong-shape", &["Q002"]),
        ("bnb-missing-quant-state", &["Q020"]),
        ("bnb-quant-state-not-json", &["Q015"]),
        ("bnb-blocksize-zero", &["Q015"]),
        ("bnb-short-absmax", &["Q002", "Q015"]),
        ("bnb-missing-absmax", &["Q020"]),
        ("bnb-quant-state-wrong-shape", &["Q015", "Q002"]),
    ];
    for (folder, codes) in faults {
        let checkpoint = open(&sample(&format!("bad-quantized/{folder}")));
        let named = checkpoint.problems.iter().find(|p| codes.contains(&p.kind.code));
        let named =
            named.unwrap_or_else(|| panic!("{folder}: none of {codes:?} in {:?}", checkpoint.problems));
        assert!(named.file.is_some(), "{folder}: {named:?} names no file");
    }
}

#[test]
fn adapters_open_as_adapters_with_their_facts() {
    let facts = |id: &str| {
        let checkpoint = open(&sample(&format!("{id}/adapter")));
        assert_eq!(checkpoint.kind, CheckpointKind::Adapter, "{id}");
        Adapter::of(&checkpoint).unwrap()
    };
    let lora = facts("peft-lora-all-A");
    assert_eq!((lora.kind(), lora.rank, lora.scaling, lora.modules.len()), ("LORA", Some(8), Some(2.0), 14));
    let rslora = facts("peft-rslora-B");
    assert!(rslora.variations.contains(&"rsLoRA"));
    let rank = rslora.rank.unwrap() as f64;
    assert_eq!(rslora.scaling, rslora.alpha.map(|alpha| alpha / rank.sqrt()));
    assert!(facts("peft-dora-A").variations.contains(&"DoRA"));
    for (id, kind) in [
        ("peft-ia3-A", "IA3"),
        ("peft-loha-A", "LOHA"),
        ("peft-lokr-A", "LOKR"),
        ("peft-adalora-A", "ADALORA"),
    ] {
        let adapter = facts(id);
        assert_eq!((adapter.kind(), adapter.by_keys), (kind, Some(kind)), "{id}");
    }
    assert!(!facts("peft-lora-modules-to-save-B").saved.is_empty());
    assert_eq!(facts("peft-lora-bin-A").modules.len(), 4);
    let half = open(&sample("peft-bad-keys/missing-lora-B"));
    assert!(Adapter::of(&half).unwrap().problems.iter().any(|p| p.kind.code == "A002"));
}
