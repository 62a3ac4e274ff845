//! `ckpt merge --to same`: layers of bitsandbytes that are merged into are packed again, to PEFT's own bytes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::convert::{Scratch, done, put, tensors};
use crate::merge::{golden, merge, model, refused};
use crate::references::{Tensor, folder, hex};
use crate::sample;

/// Adapter, base, golden file.
const CASES: [(&str, &str, &str); 4] = [
    ("peft-lora-all-A", "bnb-nf4-A", "on_nf4_peft_requantized"),
    ("peft-lora-all-A", "bnb-nf4-dq-A", "on_nf4-dq_peft_requantized"),
    ("peft-rslora-B", "bnb-nf4-dq-B", "on_nf4-dq_peft_requantized"),
    ("peft-dora-A", "bnb-nf4-A", "on_nf4_peft_requantized"),
];

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", u64::from_be_bytes(*Sha256::digest(bytes).first_chunk().unwrap()))
}

#[test]
fn layers_packed_again_are_peft_s_own_bytes_in_any_cut() {
    let scratch = Scratch::new("merge-same");
    for (number, (case, base, file)) in CASES.into_iter().enumerate() {
        let (base, golden) = (model(base), golden(case, file));
        let adapter = sample(case).join("adapter");
        let before = tensors(&base);
        for (cut, more) in [["--threads", "1"], ["--slot-size", "900"]].iter().enumerate() {
            let out = scratch.join(&format!("{number}-{cut}"));
            let args = [&["--to", "same", "--verify", "full"], &more[..]].concat();
            let told = done(&merge(&base, &[&adapter], &out, &args));
            assert!(
                told.contains("14 of 14 modules merged")
                    && told.contains("14 of 14 packed layers made again"),
                "{told}"
            );
            let merged = tensors(&out);
            assert_eq!(merged.len(), before.len(), "{case}");
            let (mut compared, mut states) = (0, 0);
            for (name, (dtype, shape, bytes)) in &merged {
                let Some(want) = golden.get(name) else {
                    assert_eq!(before.get(name), merged.get(name), "{case}: {name} was touched");
                    continue;
                };
                let (other, other_shape, _) = &before[name];
                assert_eq!(dtype, other, "{case}: {name}");
                if name.contains("quant_state") {
                    // PEFT leaves F32 here, the dtype of the sum; ours stays what the layer was made of.
                    same_state(&before[name].2, bytes);
                    states += 1;
                    continue;
                }
                assert_eq!(shape, other_shape, "{case}: {name}");
                assert_eq!(&hash(bytes), want.as_str().unwrap(), "{case}: {name}");
                compared += 1;
            }
            assert_eq!((compared >= 40, states), (true, 14), "{case}");
            // What says how the layers are packed says so still.
            let config = |folder: &Path| -> Value {
                serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
            };
            assert_eq!(config(&out), config(&base));
        }
    }
}

/// The quant state may have another offset; all else is as it was.
fn same_state(before: &[u8], after: &[u8]) {
    let read = |bytes: &[u8]| -> serde_json::Map<String, Value> { serde_json::from_slice(bytes).unwrap() };
    let text = String::from_utf8_lossy(after).into_owned();
    let (mut before, mut after) = (read(before), read(after));
    assert!(text.starts_with('{') && text.ends_with('}'), "{text}: it is filled up");
    let (was, is) = (before.remove("nested_offset"), after.remove("nested_offset"));
    assert_eq!(before, after);
    assert_eq!(was.is_some(), is.is_some());
    if let (Some(was), Some(is)) = (was.and_then(|v| v.as_f64()), is.and_then(|v| v.as_f64())) {
        assert!(was != is && (0.5..2.0).contains(&(was / is)), "{was} {is}");
    }
}

/// A tensor of floats from the hex of its bytes.
fn floats(name: &str, shape: &[usize], digits: &str) -> Tensor {
    (name.into(), shape.to_vec(), "F32", hex(digits))
}

/// An adapter of rank 1 whose delta is exact.
fn adapter(path: &Path, [inputs, outputs]: [usize; 2], [a, b]: [&str; 2]) {
    let name = "base_model.model.model.layers.0.self_attn.q_proj";
    let list = [
        floats(&format!("{name}.lora_A.weight"), &[1, inputs], a),
        floats(&format!("{name}.lora_B.weight"), &[outputs, 1], b),
    ];
    folder(path, &json!({}), json!({"format": "pt"}), &list);
    fs::rename(path.join("model.safetensors"), path.join("adapter_model.safetensors")).unwrap();
    fs::remove_file(path.join("config.json")).unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    put(&path.join("adapter_config.json"), config.to_string().as_bytes());
}

/// `int8_vectorwise_quant((int8_vectorwise_dequant(q, s) + B @ A).half())` of bitsandbytes 0.50.2; one row is 0.
#[test]
fn int8_is_packed_as_bitsandbytes_does() {
    let scratch = Scratch::new("same-int8");
    let name = "model.layers.0.self_attn.q_proj";
    let list: [Tensor; 2] = [
        floats(&format!("{name}.SCB"), &[4], "00200e3e00600b3e0000000000a0523e"),
        (format!("{name}.weight"), vec![4, 6], "I8", hex("b5245281f11ac4adb18ef87f00000000000081ea441e5657")),
    ];
    let config = json!({"model_type": "x", "dtype": "bfloat16",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}});
    folder(&scratch.join("base"), &config, json!({"format": "pt"}), &list);
    let factors = ["000000000000a03d000000bd000080bc0000e0bd0000003d", "0000803f0000003f00000000000000c0"];
    adapter(&scratch.join("adapter"), [6, 4], factors);
    let out = scratch.join("out");
    done(&merge(&scratch.join("base"), &[&scratch.join("adapter")], &out, &["--to", "same"]));
    // SCB is all that is a float here, and says nothing of the weights.
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "bfloat16");
    let result = tensors(&out);
    assert_eq!(result[&format!("{name}.weight")].2, hex("bd6130819931cad6ac93cb7f000000000000b7bc3d1c7f1c"));
    assert_eq!(result[&format!("{name}.SCB")].2, hex("00201e3e00601b3e000000000060b73e"));
}

/// `quantize_4bit(dequantize_4bit(q, s) + B @ A)` of bitsandbytes 0.50.2 for a `[5, 13]` BF16 weight: one block of
/// 64 and one of a single 0, an odd number of codes.
#[test]
fn a_last_block_that_is_not_whole_is_packed_as_bitsandbytes_does() {
    // Codes, absmax, map; the adapter's A; codes and absmax of the result.
    let cases = [
        (
            "fp4",
            [
                "7c9e9ebc7958ea4ed911e7dd96c469fe61a6669cdce974f11dce71ee7cf4c6e600",
                "0000983eeee36c00",
                "00000000abaaaa3babaa2a3f0000803fabaaaa3e0000003fabaa2a3e0000803e00000000abaaaabbabaa2abf000080bfabaaaabe000000bfabaa2abe000080be",
            ],
            "000000be000000be0000a0bd0000e03d000040bd0000a03d0000003e0000003e0000003d000080bd0000c0bd0000403d00000000",
            ["eaf6e6d14e66ea6ff96617da16c469fe61a6669546a7fdbe46ae6ef96fe4f6f600", "0000a63eeee36c00"],
        ),
        (
            "nf4",
            [
                "c13c96d246c774577d17b2785ceb4338f34443c822929be33d52b333472a204d77",
                "00004c3eeee36c00",
                "000080bfb13932bf306b06bfa032cabe4da291be3f353dbe7178babd00000000fffaa23de3ca243edd047c3e3a03ad3eb8a4e13eab07103fb313393f0000803f",
            ],
            "000000bd0000003d0000a03d0000003e0000003d000080bc0000003d0000e0bd0000c0bd000000bd0000a0bd0000803c00000000",
            ["947d96c2367875689b3873766ac95558d55555aa212297fb7e5495566748325b77", "0080b93eeee36c00"],
        ),
    ];
    let scratch = Scratch::new("same-tail");
    for (kind, [codes, absmax, map], a, [again, absmax_again]) in cases {
        let name = "model.layers.0.self_attn.q_proj.weight";
        let state =
            format!(r#"{{"quant_type": "{kind}", "blocksize": 64, "dtype": "bfloat16", "shape": [5, 13]}}"#);
        let list: [Tensor; 4] = [
            floats(&format!("{name}.absmax"), &[2], absmax),
            floats(&format!("{name}.quant_map"), &[16], map),
            (name.into(), vec![33, 1], "U8", hex(codes)),
            (format!("{name}.quant_state.bitsandbytes__{kind}"), vec![state.len()], "U8", state.into_bytes()),
        ];
        let quantized =
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": kind});
        let config = json!({"model_type": "x", "dtype": "bfloat16", "quantization_config": quantized});
        let (base, lora) = (scratch.join(&format!("base-{kind}")), scratch.join(&format!("adapter-{kind}")));
        folder(&base, &config, json!({"format": "pt"}), &list);
        adapter(&lora, [13, 5], [a, "0000803f0000003f00000000000000c00000803e"]);
        for slot in ["1", "8MiB"] {
            let out = scratch.join(&format!("out-{kind}-{slot}"));
            done(&merge(&base, &[&lora], &out, &["--to", "same", "--slot-size", slot]));
            let result = tensors(&out);
            assert_eq!(result[name].2, hex(again), "{kind} {slot}");
            assert_eq!(result[&format!("{name}.absmax")].2, hex(absmax_again), "{kind} {slot}");
        }
    }
}

#[test]
fn what_cannot_stay_packed_is_refused() {
    let scratch = Scratch::new("same-refused");
    let out = scratch.join("out");
    let adapter = sample("peft-lora-all-A").join("adapter");
    let told =
        refused(&merge(&model("hqq-mixed-A"), &[&adapter], &out, &["--to", "same", "--allow-partial"]));
    assert!(told.contains("modules cannot be merged") && told.contains("--to dense"), "{told}");
    let nf4 = model("bnb-nf4-A");
    for args in [["--dtype", "f16"], ["--only", "*q_proj*"], ["--rounding", "peft-safe"]] {
        let told = refused(&merge(&nf4, &[&adapter], &out, &[&["--to", "same"], &args[..]].concat()));
        assert!(told.contains("--to same does not go with") && told.contains(args[0]), "{told}");
    }
    // A sum that is not finite has no codes.
    let huge = std::path::PathBuf::from(format!("{}=1e39", adapter.display()));
    let told = refused(&merge(&nf4, &[&huge], &out, &["--to", "same"]));
    assert!(told.contains("infinite or NaN"), "{told}");
    // int8 is made of F16.
    let large = std::path::PathBuf::from(format!("{}=1e8", adapter.display()));
    let told = refused(&merge(&model("bnb-int8-A"), &[&large], &out, &["--to", "same"]));
    assert!(told.contains("largest of F16"), "{told}");
    assert!(!out.exists());
}

/// A plan that was saved says what it is for, and a run that was cut short goes on as the same.
#[test]
fn a_plan_to_pack_again_is_carried_out_as_saved() {
    let scratch = Scratch::new("same-plan");
    let (base, adapter) = (model("bnb-nf4-dq-A"), sample("peft-lora-all-A").join("adapter"));
    let (plan, out, direct) = (scratch.join("plan.json"), scratch.join("out"), scratch.join("direct"));
    let file = plan.display().to_string();
    done(&merge(&base, &[&adapter], &out, &["--to", "same", "--plan", &file]));
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt")).args(["run", &file]).output().unwrap();
    assert!(done(&run).contains("14 of 14 modules merged"));
    let told = done(&merge(&base, &[&adapter], &direct, &["--to", "same", "--json"]));
    assert_eq!(tensors(&out), tensors(&direct));
    let result: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&result["layers"]["quantized"], &result["layers"]["merged"]), (&json!(14), &json!(14)));
    let quality = result["quality"].as_array().unwrap();
    assert_eq!(quality.len(), 14);
    for layer in quality {
        let lost = layer["relative_error"].as_f64().unwrap();
        assert!((0.05..0.15).contains(&lost), "of nf4 about a tenth is lost, not {lost}");
        let kept = layer["delta_kept"].as_f64().unwrap();
        assert!((0.5..1.5).contains(&kept), "{kept} of the delta kept");
        assert!(layer["codes_changed"].as_f64().unwrap() > 0.0);
    }
}
