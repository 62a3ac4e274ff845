//! Merges into GGUF files that cannot be: each is refused by name, in words, and nothing is written.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::json;

use crate::convert::{Scratch, put};
use crate::gguf_file::{GgufFile, Size};
use crate::merge::{merge, refused};
use crate::merge_gguf::{LAYERS, Module, adapter, base, bytes, noise};
use crate::references::{Tensor, folder};
use crate::requantize_gguf::tensors;
use crate::sample;

const SIZE: Size = Size { hidden: 32, inner: 64, heads: 4, kv_heads: 2, head: 8, vocab: 16, blocks: 1 };
const NORMS: [&str; 2] = ["attn_norm", "ffn_norm"];

fn module(path: &str, inputs: usize, outputs: usize) -> Module {
    (format!("model.layers.0.{path}"), noise(1, inputs), noise(2, outputs), 1)
}

/// Merges and returns why that is refused; nothing is written.
fn why(base: &Path, adapter: &Path, out: &Path, more: &[&str]) -> String {
    let words = refused(&merge(base, &[adapter], out, more));
    let partial = out.with_file_name(format!(".{}.ckpt-partial", out.file_name().unwrap().to_string_lossy()));
    assert!(!out.exists() && !partial.exists(), "{words}");
    words
}

#[test]
fn what_has_no_name_or_another_shape_is_refused_by_name() {
    let scratch = Scratch::new("gguf-merge-names");
    let out = scratch.join("out.gguf");
    let write = |name: &str, file: GgufFile| {
        let path = scratch.join(name);
        put(&path, &file.bytes());
        path
    };
    let q = scratch.join("q");
    adapter(&q, &[module("self_attn.q_proj", 32, 32)]);
    let phi = write("phi.gguf", GgufFile::new("phi3").model(&SIZE, &NORMS, false));
    let words = why(&phi, &q, &out, &["--to", "same"]);
    for told in ["nothing of it would be merged", "self_attn.q_proj", "architecture phi3", "known are llama"]
    {
        assert!(words.contains(told), "{told}: {words}");
    }
    // Heads that do not divide the rows.
    let odd =
        write("odd.gguf", GgufFile::new("llama").model(&SIZE, &NORMS, false).int("attention.head_count", 5));
    let words = why(&odd, &q, &out, &["--to", "same"]);
    assert!(words.contains("32 rows") && words.contains("whole heads"), "{words}");
    let llama = write("llama.gguf", GgufFile::new("llama").model(&SIZE, &NORMS, false));
    let wide = scratch.join("wide");
    adapter(&wide, &[module("self_attn.q_proj", 48, 32)]);
    let words = why(&llama, &wide, &out, &["--to", "q8_0"]);
    assert!(words.contains("shape") && words.contains("[32, 48]"), "{words}");
    // Some of it has a place: the others are named, and left out only if that is allowed.
    let some = scratch.join("some");
    adapter(&some, &[module("self_attn.q_proj", 32, 32), module("block_sparse_moe.gate", 32, 4)]);
    let words = why(&llama, &some, &out, &["--to", "same"]);
    assert!(
        words.contains("1 of 2 modules can be merged") && words.contains("block_sparse_moe.gate"),
        "{words}"
    );
    let output = merge(&llama, &[&some], &out, &["--to", "same", "--allow-partial"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not merged"));
    let changed = tensors(&out).into_iter().filter(|(name, tensor)| tensors(&llama)[name] != *tensor).count();
    assert_eq!(changed, 1);
}

#[test]
fn broken_adapters_are_refused() {
    let scratch = Scratch::new("gguf-merge-broken");
    let out = scratch.join("out.gguf");
    let with = |name: &str, value: f32| {
        let path = scratch.join(name);
        let (module, mut a, b, rank) = module("mlp.up_proj", 256, 256);
        a[7] = value;
        adapter(&path, &[(module, a, b, rank)]);
        path
    };
    for to in ["same", "q4_k"] {
        let words = why(&base("gguf-mixed-K"), &with(&format!("nan-{to}"), f32::NAN), &out, &["--to", to]);
        assert!(words.contains("NaN") && words.contains("up_proj"), "{words}");
        let words =
            why(&base("gguf-mixed-K"), &with(&format!("inf-{to}"), f32::INFINITY), &out, &["--to", to]);
        assert!(words.contains("infinite"), "{words}");
        // Finite, and too large for a scale in F16.
        let words = why(&base("gguf-mixed-K"), &with(&format!("big-{to}"), 3e38), &out, &["--to", to]);
        assert!(words.contains("ffn_up") && words.contains("beyond F16"), "{words}");
    }
    let uneven = scratch.join("uneven");
    adapter(&uneven, &[module("mlp.up_proj", 256, 256)]);
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 1, "target_modules": ["up_proj"]});
    fs::remove_file(uneven.join("adapter_config.json")).unwrap();
    put(&uneven.join("adapter_config.json"), config.to_string().as_bytes());
    let words = why(&base("gguf-mixed-K"), &uneven, &out, &["--to", "same"]);
    assert!(words.contains("rank is 2"), "{words}");
    let zero = scratch.join("zero.gguf");
    let words = why(&base("gguf-mixed-K"), &uneven, &zero, &["--to", "same", "--dtype", "f16"]);
    assert!(words.contains("--dtype"), "{words}");
    for (flags, told) in [
        (&["--to", "q8_0", "--dtype", "f16"][..], "--dtype"),
        (&["--to", "q8_0", "--names", "hf"], "--names hf"),
        (&["--to", "same", "--names", "hf"], "--names hf"),
        (&["--to", "q8_0", "--rounding", "peft-safe"], "--rounding"),
        (&["--to", "q8_0", "--max-shard-size", "1GB"], "--max-shard-size"),
        (&["--to", "nf4"], "nf4"),
    ] {
        let words = why(&base("gguf-mixed-K"), &uneven, &out, flags);
        assert!(words.contains(told), "{told}: {words}");
    }
}

/// Types that are only decoded: a layer of one that is merged into is refused by name, others are copied.
#[test]
fn types_that_cannot_be_written_are_named_and_copied_where_nothing_is_merged() {
    let scratch = Scratch::new("gguf-merge-types");
    let stored = fs::read(sample("gguf-bare-types/tensors.safetensors")).unwrap();
    let rows = SafeTensors::deserialize(&stored).unwrap();
    let input = scratch.join("in.gguf");
    let file = GgufFile::new("llama").model(&Size { hidden: 512, ..SIZE }, &NORMS, false);
    // IQ2_XXS (16) and IQ3_S (21) in the places of up and gate.
    let file = file.without("blk.0.ffn_up.weight").without("blk.0.ffn_gate.weight");
    let file = file.bytes_of("blk.0.ffn_up.weight", &[6, 512], 16, rows.tensor("IQ2_XXS").unwrap().data());
    put(
        &input,
        &file.bytes_of("blk.0.ffn_gate.weight", &[6, 512], 21, rows.tensor("IQ3_S").unwrap().data()).bytes(),
    );
    let (up, v, out) = (scratch.join("up"), scratch.join("v"), scratch.join("out.gguf"));
    adapter(&up, &[module("mlp.up_proj", 512, 6)]);
    adapter(&v, &[module("self_attn.v_proj", 512, 16)]);
    for flags in [&["--to", "same"][..], &["--to", "q8_0", "--keep", "blk.0.ffn_up"]] {
        let words = why(&input, &up, &out, flags);
        for told in ["1 module cannot be merged", "blk.0.ffn_up", "IQ2_XXS", "importance matrix", "--to q4_k"]
        {
            assert!(words.contains(told), "{told}: {words}");
        }
    }
    assert_eq!(merge(&input, &[&up], &out, &["--to", "q4_k", "--verify", "full"]).status.code(), Some(0));
    assert_eq!(tensors(&out)["blk.0.ffn_up.weight"].0, "Q4_K");
    let kept = scratch.join("kept.gguf");
    assert_eq!(merge(&input, &[&v], &kept, &["--to", "same", "--verify", "full"]).status.code(), Some(0));
    let (before, is) = (tensors(&input), tensors(&kept));
    let changed: Vec<&String> = is.keys().filter(|name| is[*name] != before[*name]).collect();
    assert_eq!(changed, ["blk.0.attn_v.weight"]);
}

/// What an adapter brings whole: a head is packed like its layer; what llama.cpp keeps in another form is refused.
#[test]
fn tensors_that_are_brought_whole_are_packed_or_refused() {
    let scratch = Scratch::new("gguf-merge-saved");
    let brings = |name: &str, key: &str, shape: &[usize], values: &[f32]| {
        let path = scratch.join(name);
        let list: Vec<Tensor> = vec![
            (format!("base_model.model.{key}.weight"), shape.to_vec(), "F32", bytes(values)),
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight".into(),
                vec![1, 256],
                "F32",
                bytes(&noise(3, 256)),
            ),
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight".into(),
                vec![256, 1],
                "F32",
                bytes(&noise(4, 256)),
            ),
        ];
        folder(&path, &json!({}), json!({"format": "pt"}), &list);
        fs::rename(path.join("model.safetensors"), path.join("adapter_model.safetensors")).unwrap();
        fs::remove_file(path.join("config.json")).unwrap();
        let saved = key.rsplit('.').next().unwrap();
        let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["up_proj"], "modules_to_save": [saved]});
        put(&path.join("adapter_config.json"), config.to_string().as_bytes());
        path
    };
    let values = noise(9, 256 * 256);
    let head = brings("head", "lm_head", &[256, 256], &values);
    let input = base("gguf-q4_k_m-K");
    let kind = tensors(&input)["output.weight"].0.clone();
    assert_eq!(kind, "Q6_K");
    // The same values, packed from a plain file.
    let plain = scratch.join("plain.gguf");
    put(&plain, &GgufFile::new("llama").bytes_of("output.weight", &[256, 256], 0, &bytes(&values)).bytes());
    let anew = scratch.join("anew.gguf");
    assert!(crate::requantize_gguf::quantize(&plain, "q6_k", &anew, &[]).status.success());
    for (number, to) in ["same", "q6_k"].into_iter().enumerate() {
        let out = scratch.join(&format!("{number}.gguf"));
        let output = merge(&input, &[&head], &out, &["--to", to, "--verify", "full"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(tensors(&out)["output.weight"] == tensors(&anew)["output.weight"], "{to}");
    }
    let out = scratch.join("out.gguf");
    let q = brings("q", "model.layers.0.self_attn.q_proj", &[256, 256], &values);
    let words = why(&input, &q, &out, &["--to", "same"]);
    assert!(
        words.contains("attn_q") && words.contains("llama.cpp's order") && words.contains("--names hf"),
        "{words}"
    );
    assert!(
        merge(&input, &[&q], &scratch.join("named"), &["--names", "hf", "--verify", "full"]).status.success()
    );
    let named = crate::convert::tensors(&scratch.join("named"));
    let (dtype, _, is) = &named["model.layers.0.self_attn.q_proj.weight"];
    let rounded: Vec<u8> =
        values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
    assert!(dtype == "F16" && *is == rounded, "{dtype}");
    let more = brings("more", "lm_head", &[257, 256], &noise(9, 257 * 256));
    let words = why(&input, &more, &out, &["--to", "same"]);
    assert!(words.contains("vocabulary"), "{words}");
    // Gemma's norms have one added.
    let gemma = scratch.join("gemma.gguf");
    let size = Size { hidden: 256, inner: 256, ..SIZE };
    put(&gemma, &GgufFile::new("gemma").model(&size, &NORMS, false).bytes());
    let norm = brings("norm", "model.norm", &[256], &noise(9, 256));
    let words = why(&gemma, &norm, &out, &["--to", "same"]);
    assert!(words.contains("output_norm") && words.contains("one added"), "{words}");
    assert!(LAYERS.len() == 7);
}
