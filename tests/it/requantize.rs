//! Packing anew, whatever the format: one pass equals two, what stays plain is said and listed, and what it took is
//! measured on what was written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};

use crate::convert::{Scratch, convert, done, put, tensors};
use crate::merge::{merge, model, refused};
use crate::sample;

fn pack(input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(input).arg("-o").arg(output).args(more).output().unwrap()
}

fn json_of(folder: &Path, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

/// Returns the last line of what was printed.
fn result(told: &str) -> Value {
    serde_json::from_str(told.lines().last().unwrap()).unwrap()
}

/// Formats, with what may be asked of them.
const TARGETS: [&[&str]; 9] = [
    &["--to", "bnb-nf4"],
    &["--to", "bnb-nf4", "--double-quant", "--block-size", "128"],
    &["--to", "bnb-fp4"],
    &["--to", "bnb-int8"],
    &["--to", "gptq"],
    &["--to", "gptq", "--bits", "3", "--group-size", "32", "--asym"],
    &["--to", "awq", "--group-size", "32"],
    &["--to", "compressed-tensors", "--group-size", "16"],
    &["--to", "nvfp4"],
];

#[test]
fn one_pass_writes_what_two_passes_do() {
    let scratch = Scratch::new("requantize-passes");
    for (number, base) in ["awq-gemm-g128-A", "gptq-w4-g64-asym-act-v2-B", "bnb-nf4-dq-B"].iter().enumerate()
    {
        let base = model(base);
        let dense = scratch.join(&format!("{number}-dense"));
        done(&convert(&base, &dense, &["--dtype", "f16"]));
        for (at, target) in TARGETS.iter().enumerate() {
            let [one, two] = ["one", "two"].map(|way| scratch.join(&format!("{number}-{at}-{way}")));
            let args = [*target, &["--dtype", "f16", "--threads", "1", "--slot-size", "900"]].concat();
            // What is that already goes over as it is.
            let is_made =
                base.to_str().unwrap().contains("nf4") && target.len() == 2 && target[1] == "bnb-nf4";
            done(&pack(&base, &one, &args));
            done(&pack(&dense, &two, &[*target, &["--verify", "none"]].concat()));
            if !is_made {
                assert_eq!(tensors(&one), tensors(&two), "{base:?} {target:?}");
                assert_eq!(json_of(&one, "config.json"), json_of(&two, "config.json"), "{base:?} {target:?}");
            }
        }
    }
}

#[test]
fn a_merge_that_ends_packed_is_the_merge_packed() {
    let scratch = Scratch::new("requantize-merge");
    let adapter = sample("peft-lora-all-A").join("adapter");
    for (number, base) in ["awq-gemm-g128-A", "bnb-nf4-A", "base-A-bf16"].iter().enumerate() {
        let base = model(base);
        let dense = scratch.join(&format!("{number}-dense"));
        done(&merge(&base, &[&adapter], &dense, &["--dtype", "bf16"]));
        for (at, target) in
            TARGETS.iter().enumerate().filter(|(_, target)| target[1] != "awq" && target[1] != "gptq")
        {
            let [one, two] = ["one", "two"].map(|way| scratch.join(&format!("{number}-{at}-{way}")));
            let told =
                done(&merge(&base, &[&adapter], &one, &[*target, &["--dtype", "bf16", "--json"]].concat()));
            done(&pack(&dense, &two, target));
            assert_eq!(tensors(&one), tensors(&two), "{base:?} {target:?}");
            let result = result(&told);
            assert_eq!(result["merge"], json!({"aligned": 14, "total": 14, "left": []}), "{target:?}");
            for layer in result["quality"].as_array().unwrap() {
                let kept = layer["delta_kept"].as_f64().unwrap();
                assert!((0.5..1.5).contains(&kept), "{base:?} {target:?}: {layer}");
                assert!(layer["relative_error"].as_f64().unwrap() < 0.5, "{base:?} {target:?}: {layer}");
            }
        }
    }
}

fn values((dtype, _, bytes): &(String, Vec<usize>, Vec<u8>)) -> Vec<f64> {
    let halves = bytes.as_chunks::<2>().0;
    match dtype.as_str() {
        "BF16" => halves.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f64()).collect(),
        "F16" => halves.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f64()).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn the_quality_that_is_said_is_that_of_the_files() {
    let scratch = Scratch::new("requantize-quality");
    let base = model("base-A-bf16");
    let before = tensors(&base);
    for (at, target) in TARGETS.iter().enumerate() {
        let [out, back] = ["out", "back"].map(|name| scratch.join(&format!("{at}-{name}")));
        let dtype = if matches!(target[1], "gptq" | "awq") { "f16" } else { "bf16" };
        let told = done(&pack(&base, &out, &[*target, &["--dtype", dtype, "--json"]].concat()));
        done(&convert(&out, &back, &[]));
        let after = tensors(&back);
        let quality = result(&told)["quality"].as_array().unwrap().clone();
        assert_eq!(quality.len(), 14, "{target:?}");
        for layer in &quality {
            let name = format!("{}.weight", layer["layer"].as_str().unwrap());
            let is = values(&after[&name]);
            let (mut lost, mut all) = (0.0, 0.0);
            for (meant, is) in values(&before[&name]).into_iter().zip(is) {
                // Values are cast to the model's dtype before they are packed.
                let meant = if dtype == "f16" { half::f16::from_f64(meant).to_f64() } else { meant };
                lost += (meant - is).powi(2);
                all += meant * meant;
            }
            let want = (lost / all).sqrt();
            let said = layer["relative_error"].as_f64().unwrap();
            assert!((said - want).abs() < 1e-6 * want, "{target:?} {name}: {said}, {want} by the files");
        }
    }
}

#[test]
fn what_stays_plain_is_listed_where_loaders_look() {
    let scratch = Scratch::new("requantize-keep");
    let base = model("base-A-bf16");
    let plain = |folder: &Path| -> Vec<String> {
        let is_plain = |(name, (dtype, shape, _)): &(&String, &(String, Vec<usize>, Vec<u8>))| {
            shape.len() == 2 && matches!(dtype.as_str(), "BF16" | "F16") && name.ends_with(".weight")
        };
        let found = tensors(folder);
        let names: BTreeMap<_, _> = found.iter().filter(is_plain).collect();
        names.keys().map(|name| name.trim_end_matches(".weight").to_owned()).collect()
    };
    let keep = ["--keep", "*.down_proj", "--keep", "model.layers.1.*"];
    let kept = |name: &str| name.ends_with(".down_proj") || name.starts_with("model.layers.1.");
    let lists: [(&str, &str); 3] = [
        ("bnb-nf4", "llm_int8_skip_modules"),
        ("awq", "modules_to_not_convert"),
        ("compressed-tensors", "ignore"),
    ];
    for (format, key) in lists {
        let out = scratch.join(format);
        done(&pack(&base, &out, &[&["--to", format], &keep[..]].concat()));
        let block = &json_of(&out, "config.json")["quantization_config"];
        let listed: Vec<&str> = block[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let linear = plain(&out).into_iter().filter(|name| name != "model.embed_tokens");
        for name in linear {
            assert!(kept(&name) || name == "lm_head", "{format}: {name} is plain");
            assert!(listed.contains(&name.as_str()), "{format}: {name} is not in {key}: {listed:?}");
        }
        assert!(listed.iter().all(|name| kept(name) || *name == "lm_head"), "{format}: {listed:?}");
    }
    // By default the list is that of the loader.
    let out = scratch.join("default");
    done(&pack(&base, &out, &["--to", "bnb-nf4"]));
    assert_eq!(json_of(&out, "config.json")["quantization_config"]["llm_int8_skip_modules"], Value::Null);
    assert_eq!(plain(&out), ["lm_head", "model.embed_tokens"]);
    // A head that is asked for is packed, and no list leaves it out.
    let out = scratch.join("also");
    done(&pack(&base, &out, &["--to", "bnb-nf4", "--also", "lm_head"]));
    assert_eq!(plain(&out), ["model.embed_tokens"]);
}

#[test]
fn what_whoever_packed_the_base_left_plain_stays_so() {
    let scratch = Scratch::new("requantize-left");
    let base = sample("story-0-minicpmv-awq/model");
    let out = scratch.join("out");
    let told = done(&pack(&base, &out, &["--to", "bnb-nf4", "--json"]));
    let result = result(&told);
    let before = tensors(&base);
    let packed = before.keys().filter(|name| name.ends_with(".qweight")).count();
    assert_eq!(result["layers"]["quantized"], packed);
    let block = &json_of(&out, "config.json")["quantization_config"];
    let listed: Vec<&str> =
        block["llm_int8_skip_modules"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let is_plain = |name: &str| !before.contains_key(&format!("{name}.qweight"));
    assert!(listed.iter().all(|name| is_plain(name)), "{listed:?}");
    for (name, (_, shape, _)) in &before {
        let tower = name.starts_with("vpm.") || name.starts_with("resampler.");
        if let Some(layer) = name.strip_suffix(".weight").filter(|_| tower && shape.len() == 2) {
            assert_eq!(before[name], tensors(&out)[name], "{name} was touched");
            let is_embedding = layer.contains("embed");
            assert!(is_embedding || listed.contains(&layer), "{layer} is not in {listed:?}");
        }
    }
    // What is asked for is packed all the same.
    let more = scratch.join("more");
    let told = done(&pack(&base, &more, &["--to", "bnb-nf4", "--also", "vpm.*", "--json"]));
    assert!(self::result(&told)["layers"]["quantized"].as_u64().unwrap() > packed as u64);
}

#[test]
fn the_folder_says_what_it_is_and_nothing_of_what_it_was() {
    let scratch = Scratch::new("requantize-folder");
    let base = scratch.join("base");
    fs::create_dir(&base).unwrap();
    for entry in fs::read_dir(model("awq-gemm-g128-A")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
    }
    put(&base.join("README.md"), b"---\nlicense: mit\n---\n# A model\n\n");
    assert!(base.join("quant_config.json").exists());
    let out = scratch.join("out");
    done(&pack(&base, &out, &["--to", "bnb-nf4"]));
    assert!(!out.join("quant_config.json").exists(), "the side file of AWQ is of no use here");
    let config = json_of(&out, "config.json");
    assert_eq!(config["quantization_config"]["quant_method"], "bitsandbytes");
    assert_eq!(config["torch_dtype"], "float16");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.starts_with("---\nlicense: mit\n---\n# A model\n\n## Quantization\n"), "{card}");
    for words in ["(awq)", "NF4", "`--to bnb-nf4`", "14 layers", "lm_head (head)", "relative error"] {
        assert!(card.contains(words), "{words} is not in {card}");
    }
    // What is packed without calibration is called so, in the plan, in the card and at the end.
    let out = scratch.join("gptq");
    let told = done(&pack(&base, &out, &["--to", "gptq"]));
    let dry = done(&pack(&base, &scratch.join("dry"), &["--to", "gptq", "--dry-run"]));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for text in [&told, &dry, &card] {
        assert!(text.contains("round-to-nearest, without calibration"), "{text}");
    }
    assert!(!scratch.join("dry").exists());
    assert!(json_of(&out, "quantize_config.json")["bits"] == 4);
}

#[test]
fn what_cannot_be_is_refused_in_words_and_nothing_is_written() {
    let scratch = Scratch::new("requantize-refused");
    let out = scratch.join("out");
    let base = model("base-A-bf16");
    let cases: [(&Path, &[&str], &str); 9] = [
        (&base, &["--to", "bnb-nf4", "--bits", "4"], "--bits: bnb-nf4 has only"),
        (&base, &["--to", "bnb-nf4", "--block-size", "48"], "--block-size 48"),
        (&base, &["--to", "dense", "--double-quant"], "--double-quant: --to dense has no options"),
        (&base, &["--to", "dense", "--keep", "*"], "--keep and --also choose the layers that are packed"),
        (&base, &["--to", "bnb-nf4", "--keep", "*"], "nothing of it would become NF4"),
        (&base, &["--to", "gptq", "--bits", "5"], "--bits 5"),
        (&base, &["--to", "awq", "--dtype", "bf16"], "--dtype"),
        (&model("bnb-nf4-A"), &["--to", "bnb-nf4"], "already"),
        (&base, &["--to", "q8_0"], "GGUF"),
    ];
    for (input, args, words) in cases {
        let output = pack(input, &out, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
        assert!(!out.exists(), "{args:?}");
    }
    // Layers that would stay in another format.
    let output = pack(&model("gptq-w4-g128-sym-v1-A"), &out, &["--to", "bnb-nf4", "--skip", "*.down_proj"]);
    assert!(refused(&output).contains("2 layers would stay in another format"), "{}", refused(&output));
    assert!(!out.exists());
}

#[test]
fn values_that_no_code_stands_for_are_refused_by_name() {
    let scratch = Scratch::new("requantize-nan");
    let base = scratch.join("base");
    fs::create_dir(&base).unwrap();
    fs::copy(model("base-A-bf16").join("config.json"), base.join("config.json")).unwrap();
    let bytes: Vec<u8> =
        [1.0f32, f32::NAN, 0.5, -2.0].repeat(64 * 32).iter().flat_map(|v| v.to_le_bytes()).collect();
    let name = "model.layers.0.mlp.up_proj.weight";
    let view = TensorView::new(safetensors::Dtype::F32, vec![64, 128], &bytes).unwrap();
    serialize_to_file([(name, view)], None, &base.join("model.safetensors")).unwrap();
    for target in TARGETS {
        let out = scratch.join("out");
        let output = pack(&base, &out, target);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{target:?}: {said}");
        assert!(said.contains("model.layers.0.mlp.up_proj") && said.contains("NaN"), "{target:?}: {said}");
        assert!(!out.exists(), "{target:?}");
    }
}

#[test]
fn candidates_stand_side_by_side_and_write_nothing() {
    let scratch = Scratch::new("requantize-candidates");
    let out = scratch.join("out");
    // Also of what is larger in the plan than when it is made.
    let dry = done(&pack(&model("base-A-bf16"), &out, &["--to", "bnb-nf4", "--double-quant", "--dry-run"]));
    assert!(dry.contains("NF4 double: relative error about"), "{dry}");
    let args = ["--to", "dense", "--candidates", "--json"];
    let told = done(&pack(&model("base-A-bf16"), &out, &args));
    let found = result(&told);
    let candidates = found["candidates"].as_array().unwrap();
    assert!(candidates.len() >= 8, "{told}");
    assert!(!out.exists());
    for candidate in candidates {
        let flags: Vec<&str> = candidate["flags"].as_str().unwrap().split(' ').collect();
        let out = scratch.join(&flags.concat());
        let result = result(&done(&pack(&model("base-A-bf16"), &out, &[&flags[..], &["--json"]].concat())));
        // The size is that of the plan: the card alone is not in it.
        let files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap());
        let bytes: u64 =
            files.filter(|e| e.file_name() != "README.md").map(|e| e.metadata().unwrap().len()).sum();
        let said = candidate["bytes"].as_u64().unwrap();
        assert!(bytes.abs_diff(said) < 16 << 10, "{candidate}: {bytes} were written");
        // By a sample of the layers, all of whose rows it saw here.
        let each = result["quality"].as_array().unwrap();
        let errors = each.iter().map(|layer| layer["relative_error"].as_f64().unwrap());
        let (least, most) = errors.fold((f64::MAX, 0f64), |(a, b), error| (a.min(error), b.max(error)));
        let sampled = candidate["relative_error"].as_f64().unwrap();
        assert!(least * 0.9 < sampled && sampled < most * 1.1, "{candidate}: from {least} to {most}");
    }
}

#[test]
fn an_adapter_that_is_rounded_away_is_warned_of_with_what_would_keep_it() {
    let scratch = Scratch::new("requantize-away");
    let base = model("gptq-w4-g128-sym-v1-A");
    let adapter = sample("peft-lora-all-A").join("adapter");
    let scaled = format!("{}=0.1", adapter.display());
    let told = done(&merge(&base, &[Path::new(&scaled)], &scratch.join("out"), &["--to", "same"]));
    let output = merge(&base, &[Path::new(&scaled)], &scratch.join("again"), &["--to", "same"]);
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("of the adapters' change is left"), "{told}");
    assert!(warned.contains("most of the adapter is rounded away"), "{warned}");
    assert!(warned.contains("--to dense (100 %)") && warned.contains("--to bnb-int8"), "{warned}");
}

#[test]
fn a_saved_plan_and_a_run_without_proof() {
    let scratch = Scratch::new("requantize-plan");
    let (base, plan) = (model("base-B-bf16"), scratch.join("plan.json"));
    let [direct, replayed, quick] = ["direct", "replayed", "quick"].map(|name| scratch.join(name));
    let args = ["--to", "gptq", "--group-size", "32", "--asym", "--search", "mse", "--keep", "*.k_proj"];
    let file = plan.display().to_string();
    done(&pack(&base, &replayed, &[&args[..], &["--plan", &file]].concat()));
    assert!(!replayed.exists());
    done(&Command::new(env!("CARGO_BIN_EXE_ckpt")).args(["run", &file]).output().unwrap());
    done(&pack(&base, &direct, &args));
    assert_eq!(tensors(&replayed), tensors(&direct));
    let told = done(&pack(&base, &quick, &[&args[..], &["--verify", "none"]].concat()));
    assert!(told.contains("quality not measured: --verify none"), "{told}");
    assert!(fs::read_to_string(quick.join("README.md")).unwrap().contains("| quality | not measured |"));
    assert_eq!(tensors(&quick), tensors(&direct));
}
