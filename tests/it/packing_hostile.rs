//! Packing of hostile input: tensors that already have the names that packing makes, formats that differ in what the
//! config says once, adapters, values at the end of their dtype, weights of one row.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};

use crate::convert::{Scratch, done, put};
use crate::merge::{model, refused};
use crate::sample;

/// Writes a model of tensors in F32: names, shapes, and the values that repeat in them.
fn made(folder: &Path, tensors: &[(&str, [usize; 2], &[f32])]) {
    fs::create_dir_all(folder).unwrap();
    let bytes = |shape: [usize; 2], values: &[f32]| -> Vec<u8> {
        values.iter().cycle().take(shape[0] * shape[1]).flat_map(|value| value.to_le_bytes()).collect()
    };
    let data: Vec<Vec<u8>> = tensors.iter().map(|(_, shape, values)| bytes(*shape, values)).collect();
    let views = tensors.iter().zip(&data).map(|((name, shape, _), bytes)| {
        (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let format = Some([("format".to_owned(), "pt".to_owned())].into());
    serialize_to_file(views, format, &folder.join("model.safetensors")).unwrap();
    let config =
        json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32"});
    put(&folder.join("config.json"), config.to_string().as_bytes());
}

fn pack(input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(input).arg("-o").arg(output).args(more).output().unwrap()
}

const SOME: [f32; 7] = [0.5, -0.25, 0.125, 1.0, -1.0, 0.3, -0.7];
const LAYER: &str = "model.layers.0.self_attn.q_proj.weight";

#[test]
fn no_file_gets_two_tensors_of_one_name() {
    let scratch = Scratch::new("packing-names");
    let targets: [(&str, &[&str]); 4] = [
        ("weight_scale", &["--to", "compressed-tensors"]),
        ("weight_shape", &["--to", "compressed-tensors"]),
        ("weight_global_scale", &["--to", "nvfp4"]),
        ("weight_scale_inv", &["--to", "fp8"]),
    ];
    for (number, (suffix, target)) in targets.iter().enumerate() {
        let [base, output] = ["base", "output"].map(|name| scratch.join(&format!("{number}-{name}")));
        let other = LAYER.replace("weight", suffix);
        made(&base, &[(LAYER, [128, 128], &SOME), (&other, [1, 4], &SOME)]);
        for more in [&["--verify", "none"][..], &["--dry-run"], &["--max-shard-size", "1KB"]] {
            let why = refused(&pack(&base, &output, &[*target, more].concat()));
            assert!(why.contains("two tensors of one name") && why.contains(&other), "{suffix}: {why}");
            assert!(!output.exists());
        }
    }
}

/// A zero point that stands beside a plain weight would be read with the symmetric codes that the weight becomes.
#[test]
fn nothing_of_the_input_becomes_a_part_of_what_is_packed() {
    let scratch = Scratch::new("packing-stray");
    let (base, output) = (scratch.join("base"), scratch.join("output"));
    let other = LAYER.replace("weight", "weight_zero_point");
    made(&base, &[(LAYER, [128, 128], &SOME), (&other, [128, 1], &SOME)]);
    let why = refused(&pack(&base, &output, &["--to", "compressed-tensors", "--verify", "none"]));
    assert!(why.contains("read as a part") && why.contains(&other), "{why}");
    assert!(!output.exists());
}

#[test]
fn layers_that_stay_are_of_the_kind_that_the_config_names() {
    let scratch = Scratch::new("packing-alike");
    let bases: [(&str, &[&str]); 3] = [
        ("ct-w3a16-A", &["--to", "compressed-tensors", "--scheme", "fp8-channel"]),
        ("gptq-w4-g128-sym-v1-A", &["--to", "gptq", "--bits", "8"]),
        ("fp8-block128-A", &["--to", "fp8", "--block-size", "32"]),
    ];
    for (base, target) in bases {
        let output = scratch.join(base);
        let why = refused(&pack(&model(base), &output, &[target, &["--skip", "*self_attn*"]].concat()));
        assert!(why.contains("would stay as they are") && why.contains("self_attn"), "{base}: {why}");
        assert!(!output.exists());
    }
}

#[test]
fn an_adapter_is_no_model_to_pack() {
    let scratch = Scratch::new("packing-adapter");
    for target in ["bnb-nf4", "gptq", "compressed-tensors"] {
        let output = scratch.join(target);
        let adapter = sample("peft-lora-all-A").join("adapter");
        let why = refused(&pack(&adapter, &output, &["--to", target]));
        assert!(why.contains("it is an adapter"), "{target}: {why}");
    }
}

#[test]
fn what_loaders_would_make_infinite_is_refused() {
    let scratch = Scratch::new("packing-infinite");
    let base = scratch.join("base");
    made(&base, &[(LAYER, [128, 128], &[f32::MAX, -f32::MAX])]);
    for scheme in ["w4a16", "w8a16", "mxfp4", "nvfp4a16"] {
        let output = scratch.join(scheme);
        let target = ["--to", "compressed-tensors", "--scheme", scheme];
        let why = refused(&pack(&base, &output, &target));
        assert!(why.contains("loaders would make them infinite") && why.contains(LAYER), "{scheme}: {why}");
        assert!(!output.exists());
    }
}

#[test]
fn the_scale_of_a_weight_of_one_row_is_a_row_s() {
    let scratch = Scratch::new("packing-row");
    let base = scratch.join("base");
    made(&base, &[(LAYER, [1, 128], &SOME)]);
    for scheme in ["fp8-channel", "w8a8"] {
        let output = scratch.join(scheme);
        done(&pack(&base, &output, &["--to", "compressed-tensors", "--scheme", scheme]));
        let told = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("verify").arg(&output).arg("--json").output();
        let told: Value = serde_json::from_slice(&told.unwrap().stdout).unwrap();
        let problems = told["problems"].as_array().unwrap();
        assert!(problems.iter().all(|problem| problem["code"] != "Q011"), "{scheme}: {problems:?}");
    }
}

#[test]
fn a_config_that_cannot_say_how_the_result_is_packed_is_refused() {
    let scratch = Scratch::new("packing-config");
    let base = scratch.join("base");
    made(&base, &[(LAYER, [128, 128], &SOME)]);
    for (number, config) in ["null", "[1]", "\"text\"", "3"].iter().enumerate() {
        fs::remove_file(base.join("config.json")).unwrap();
        put(&base.join("config.json"), config.as_bytes());
        for target in ["bnb-nf4", "gptq", "compressed-tensors"] {
            let output = scratch.join(&format!("{number}-{target}"));
            let why = refused(&pack(&base, &output, &["--to", target]));
            assert!(why.contains("config.json: not an object"), "{config}: {why}");
            assert!(!output.exists());
        }
    }
    fs::remove_file(base.join("config.json")).unwrap();
    let told = pack(&base, &scratch.join("none"), &["--to", "bnb-nf4"]);
    done(&told);
    assert!(
        String::from_utf8_lossy(&told.stderr).contains("whose quantization_config says how it is packed")
    );
}
