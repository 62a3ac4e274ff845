//! Samples of bitsandbytes, GPTQ and AWQ: every layer by its own rule of the config, and the evidence for
//! each of them agrees with what the reference libraries wrote.

use std::fs;

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::Evidence;
use ckpt::tensor::Dtype;

use crate::sample;

fn open(path: &str) -> Checkpoint {
    let opened = Checkpoint::open_examined(&sample(path).display().to_string());
    opened.unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Returns the folders of the packed formats.
fn ids() -> Vec<String> {
    let names = fs::read_dir(sample("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let is_packed = |name: &String| {
        ["bnb-", "gptq-", "awq-", "story-"].iter().any(|prefix| name.starts_with(prefix))
            && sample(name).join("model").is_dir()
    };
    let mut ids: Vec<String> = names.filter(is_packed).collect();
    ids.sort();
    ids
}

fn evidence(checkpoint: &Checkpoint, layer: u32) -> Vec<Evidence> {
    let data = FileSide::new(&checkpoint.files);
    let spec = checkpoint.layers.spec(layer);
    checkpoint
        .layers
        .with_parts(&checkpoint.files, layer, &data, |parts| spec.format.get().explain(parts, spec))
}

#[test]
fn all_evidence_of_good_samples_agrees() {
    let (mut layers, mut samples) = (0, 0);
    for id in ids() {
        let checkpoint = open(&format!("{id}/model"));
        for layer in 0..checkpoint.layers.len() as u32 {
            let spec = checkpoint.layers.spec(layer);
            if !spec.is_quantized() {
                continue;
            }
            assert!(!spec.pending && spec.broken.is_empty(), "{id}: {spec:?}");
            let lines = evidence(&checkpoint, layer);
            assert!(lines.len() >= 3, "{id}: {lines:?}");
            assert!(lines.iter().all(|line| line.agrees != Some(false)), "{id}: {lines:?}");
            assert!(lines.iter().any(|line| line.agrees == Some(true)), "{id}: {lines:?}");
            layers += 1;
        }
        samples += 1;
    }
    println!("{layers} packed layers of {samples} samples have evidence that agrees");
    assert!(samples >= 22 && layers >= 200, "{layers} layers of {samples} samples");
}

#[test]
fn each_module_of_a_mixed_checkpoint_has_the_bits_of_its_rule() {
    let checkpoint = open("gptq-dynamic-mixed-bits/model");
    let mut checked = 0;
    for layer in 0..checkpoint.layers.len() as u32 {
        let spec = checkpoint.layers.spec(layer);
        let want = match checkpoint.layers.label(&checkpoint.files.names, layer) {
            "q_proj" => (4000, Some(64)),
            "down_proj" => (8000, Some(32)),
            label if label.ends_with("_proj") => (4000, Some(32)),
            _ => continue,
        };
        assert_eq!((spec.millibits, spec.group_size), want);
        checked += 1;
    }
    assert_eq!(checked, 14);
}

#[test]
fn a_layer_whose_parts_lie_in_different_shards_is_one() {
    let checkpoint = open("story-1-qwenvl-autogptq/model");
    let quantized: Vec<u32> = (0..checkpoint.layers.len() as u32)
        .filter(|&layer| checkpoint.layers.spec(layer).is_quantized())
        .collect();
    assert_eq!(quantized.len(), 7);
    assert!(quantized.iter().all(|&layer| checkpoint.layers.tensors(layer).len() >= 4));
}

#[test]
fn the_result_dtype_is_the_one_that_was_recorded() {
    for (id, dtype) in
        [("bnb-nf4-f16-B", Dtype::F16), ("bnb-nf4-dq-A", Dtype::BF16), ("awq-gemv-g64-A", Dtype::F16)]
    {
        let checkpoint = open(&format!("{id}/model"));
        let specs = checkpoint.layers.specs().iter().filter(|spec| spec.is_quantized());
        assert!(specs.map(|spec| spec.dtype).all(|is| is == Some(dtype)), "{id}");
    }
}

#[test]
fn bare_tensors_have_the_block_size_and_shape_of_their_names() {
    let checkpoint = open("bnb-bare-tensors/tensors.safetensors");
    let mut checked = 0;
    for layer in 0..checkpoint.layers.len() as u32 {
        let name = checkpoint.layers.name(&checkpoint.files.names, layer);
        let words: Vec<&str> = name.split('.').collect();
        let [table, block, nested, shape] = words[..] else { continue };
        let (Some(block), Some((out, inputs))) = (block.strip_prefix("bs"), shape.split_once('x')) else {
            continue;
        };
        let spec = checkpoint.layers.spec(layer);
        assert_eq!(spec.format.get().name(), format!("bnb-{table}"));
        assert_eq!(spec.group_size, Some(block.parse().unwrap()), "{name}");
        assert_eq!(spec.variant, if nested == "dq1" { "nested" } else { "plain" }, "{name}");
        assert_eq!(spec.shape, [out.parse::<u64>().unwrap(), inputs.parse().unwrap()], "{name}");
        checked += 1;
    }
    println!("{checked} bare tensors are as their names say");
    assert!(checked >= 50, "{checked}");
}

#[test]
fn a_fault_of_the_config_names_the_config_file() {
    for id in ["gptq-wrong-bits-in-config", "gptq-wrong-group-in-config", "gptq-plus-bnb-config"] {
        let checkpoint = open(&format!("bad-quantized/{id}"));
        let fault = checkpoint.problems.iter().find(|p| p.kind.code.starts_with('Q')).unwrap();
        assert_eq!(fault.file.as_deref(), Some("config.json"), "{id}");
    }
}
