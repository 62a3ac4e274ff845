//! `ckpt diff`, by the real binary: figures against numpy's, GGUF against safetensors, names, exit codes, hostile files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::convert::{Scratch, convert, done, put};
use crate::gguf_file::{GgufFile, Size};
use crate::sample;

/// Relative difference that sums in another order may have.
const BOUND: f64 = 1e-12;

fn diff(a: &Path, b: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("diff").args([a, b]).args(more).output().unwrap()
}

fn text(a: &Path, b: &Path, more: &[&str]) -> (String, i32) {
    let output = diff(a, b, more);
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn document(a: &Path, b: &Path, more: &[&str]) -> (Value, i32) {
    let (text, code) = text(a, b, &[&["--json"], more].concat());
    assert_eq!(text.lines().count(), 1, "one line of JSON: {text}");
    (serde_json::from_str(&text).unwrap(), code)
}

fn by_name(values: &Value) -> BTreeMap<String, Value> {
    let entries = values.as_array().unwrap().iter();
    entries.map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry.clone())).collect()
}

/// Holds the values of a document against numpy's figures.
fn hold(is: &Value, should: &Value, what: &str) -> usize {
    let is = by_name(&is["values"]);
    let should: BTreeMap<&String, &Value> = should.as_object().unwrap().iter().collect();
    assert_eq!(is.keys().collect::<Vec<_>>(), should.keys().copied().collect::<Vec<_>>(), "{what}");
    for (name, should) in &should {
        let is = &is[*name];
        for key in ["count", "changed", "max_abs"] {
            assert_eq!(is[key], should[key], "{what}: {name}: {key}");
        }
        assert_eq!(is["equal"], Value::from(should["changed"] == 0), "{what}: {name}");
        if should["changed"] != 0 {
            assert_eq!(is["at"], should["at"], "{what}: {name}");
        }
        for key in ["mean_abs", "relative_l2", "cosine"] {
            let (is, should) = (is[key].as_f64().unwrap(), should[key].as_f64().unwrap());
            assert!((is - should).abs() <= BOUND * should.abs(), "{what}: {name}: {key}: {is}, {should}");
        }
    }
    should.len()
}

#[test]
fn figures_are_numpys() {
    let scratch = Scratch::new("diff-numpy");
    let case = fs::read_to_string(sample("compared").join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&case).unwrap();
    let mut layers = 0;
    for compared in case["compared"].as_array().unwrap() {
        let of = |side: &str| sample(compared[side].as_str().unwrap());
        let (a, b) = (of("a"), of("b"));
        let is_gguf = a.extension().is_some_and(|e| e == "gguf");
        if is_gguf {
            // The other GGUF by Hugging Face's names and order of rows, which its tests hold against transformers.
            let named = scratch.join("named");
            done(&convert(&b, &named, &["--names", "hf", "--dtype", "f32"]));
            let (is, code) = document(&a, &named, &["--values"]);
            assert_eq!((code, &is["only_a"], &is["only_b"]), (1, &json!([]), &json!([])));
            layers += hold(&is, &compared["values"], "GGUF against safetensors");
            // As they are in both files: the same but for where the largest difference is in the heads.
            let (is, _) = document(&a, &b, &["--values"]);
            let q = &by_name(&is["values"])["blk.0.attn_q"];
            let named_q = &compared["values"]["model.layers.0.self_attn.q_proj"];
            assert_eq!((&q["max_abs"], &q["changed"]), (&named_q["max_abs"], &named_q["changed"]));
            assert_ne!(q["at"], named_q["at"]);
            continue;
        }
        for threads in ["1", "3"] {
            let (is, code) = document(&a, &b, &["--values", "--threads", threads]);
            assert_eq!((code, &is["not_compared"]), (1, &json!([])));
            layers += hold(&is, &compared["values"], &a.display().to_string());
        }
    }
    assert_eq!(layers, 2 * 210 + 12, "layers were compared");
}

#[test]
fn a_checkpoint_is_equal_to_itself_however_it_is_stored() {
    let base = sample("base-A-bf16/model");
    for other in [base.clone(), sample("base-A-bf16-sharded/model")] {
        let (text, code) = text(&base, &other, &["--values"]);
        assert!(text.ends_with("21 compared, 21 equal, 0 not compared\n"), "{text}");
        assert_eq!(code, 0);
        let (document, code) = document(&base, &other, &["--values"]);
        assert_eq!((code, &document["equal"], &document["compared"]), (0, &json!(21), &json!(21)));
        for values in document["values"].as_array().unwrap() {
            assert_eq!((&values["relative_l2"], &values["cosine"]), (&json!(0.0), &json!(1.0)));
            assert_eq!((&values["max_abs"], &values["mean_abs"]), (&json!(0.0), &json!(0.0)));
        }
    }
    let quantized = sample("bnb-nf4-dq-A/model");
    assert_eq!(document(&quantized, &quantized, &["--values"]).1, 0);
}

#[test]
fn without_values_nothing_of_the_data_is_read() {
    let (a, b) = (sample("gptq-w4-g128-sym-v1-A/model"), sample("base-A-bf16/model"));
    let (text, code) = text(&a, &b, &[]);
    assert_eq!(code, 1);
    assert!(text.contains("formats differ (14)"), "{text}");
    assert!(text.contains("model.layers.#.self_attn.v_proj  ×2  0-1  GPTQ4 in A, BF16 in B"), "{text}");
    assert!(text.ends_with("values not compared (--values)\n"), "{text}");
    let (document, _) = document(&a, &b, &[]);
    for key in ["values", "equal", "compared", "not_compared"] {
        assert!(document.get(key).is_none(), "{key}");
    }
    let norm = json!({"name": "model.norm", "a": "F16", "b": "BF16"});
    assert!(document["dtype"].as_array().unwrap().contains(&norm));
    let q = json!({"name": "model.layers.0.self_attn.q_proj", "a": "GPTQ4", "b": "BF16"});
    assert!(document["format"].as_array().unwrap().contains(&q));
}

#[test]
fn what_has_other_shapes_or_no_partner_is_named() {
    let (a, b) = (sample("base-A-bf16/model"), sample("base-B-bf16/model"));
    let (text, code) = text(&a, &b, &["--values", "--only", "*.1.self_attn.q_proj*"]);
    assert_eq!(code, 1);
    assert!(text.contains("only in B (1)"), "{text}");
    assert!(text.contains("  model.layers.1.self_attn.q_proj.bias    BF16 [96]"), "{text}");
    assert!(text.contains("[128, 128] in A, [96, 96] in B"), "{text}");
    assert!(text.ends_with("0 compared, 0 equal, 1 only in B, 1 not compared\n"), "{text}");
    let (document, _) = document(&b, &a, &["--values"]);
    assert_eq!(document["only_a"].as_array().unwrap().len(), 6);
    assert_eq!(document["not_compared"].as_array().unwrap().len(), 21);
    assert_eq!(document["shape"][0], json!({"name": "lm_head", "a": [251, 96], "b": [160, 128]}));
    let output = diff(&a, &b, &["--only", "no.such*"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no layer of either is called so"));
}

/// Writes tensors as a safetensors file in a folder of its own.
fn folder(scratch: &Scratch, name: &str, tensors: &[(&str, &[u64], &[f32])]) -> PathBuf {
    let folder = scratch.join(name);
    fs::create_dir_all(&folder).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    put(&folder.join("model.safetensors"), &bytes);
    folder
}

#[test]
fn names_are_stripped_and_mapped() {
    let scratch = Scratch::new("diff-names");
    let (one, two) = ([1.0f32, 2.0], [1.0f32, 3.0]);
    let a = folder(
        &scratch,
        "a",
        &[("base.model.x.weight", &[1, 2], &one), ("base.model.blocks.7.ln.weight", &[2], &one)],
    );
    let b = folder(&scratch, "b", &[("x.weight", &[1, 2], &one), ("layers.7.norm.weight", &[2], &two)]);
    let (plain, code) = document(&a, &b, &["--values"]);
    assert_eq!((code, plain["only_a"].as_array().unwrap().len(), &plain["compared"]), (1, 2, &json!(0)));
    assert!(plain["notes"][0].as_str().unwrap().contains("--strip-prefix-a base.model"), "{plain}");
    for prefix in ["base.model", "base.model."] {
        let flags = ["--values", "--strip-prefix-a", prefix, "--map", "blocks.*.ln=layers.*.norm"];
        for (a, b, flags, far) in [
            (&a, &b, flags, 1.0 / 10f64.sqrt()),
            (
                &b,
                &a,
                ["--values", "--strip-prefix-b", prefix, "--map", "layers.*.norm=blocks.*.ln"],
                1.0 / 5f64.sqrt(),
            ),
        ] {
            let (named, code) = document(a, b, &flags);
            assert_eq!((code, &named["only_a"], &named["only_b"]), (1, &json!([]), &json!([])));
            assert_eq!((&named["compared"], &named["equal"]), (&json!(2), &json!(1)));
            let norm = by_name(&named["values"]).into_values().find(|of| of["equal"] == false).unwrap();
            assert_eq!(
                (&norm["max_abs"], &norm["at"], &norm["changed"]),
                (&json!(1.0), &json!([1]), &json!(1))
            );
            assert!((norm["relative_l2"].as_f64().unwrap() - far).abs() < 1e-15, "{norm}");
        }
    }
    let (unused, _) = text(&a, &b, &["--strip-prefix-b", "nope", "--map", "q=r"]);
    assert!(unused.contains("no name of B begins with nope"), "{unused}");
    assert!(unused.contains("no name of A is q"), "{unused}");
    for map in ["x", "=y", "x=", "a.*=b", "*.*=*.*"] {
        let output = diff(&a, &b, &["--map", map]);
        assert_eq!(output.status.code(), Some(2), "{map}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--map"), "{map}");
    }
}

#[test]
fn a_head_that_is_tied_on_one_side_is_held_against_the_embeddings() {
    let scratch = Scratch::new("diff-tied");
    let values: Vec<f32> = (0..6).map(|at| at as f32).collect();
    let moved: Vec<f32> = values.iter().map(|value| value + 1.0).collect();
    let a = folder(&scratch, "a", &[("model.embed_tokens.weight", &[3, 2], &values)]);
    put(&a.join("config.json"), br#"{"model_type": "llama", "tie_word_embeddings": true}"#);
    let stored = |name, head: &[f32]| {
        let tensors =
            [("model.embed_tokens.weight", &[3u64, 2][..], &values[..]), ("lm_head.weight", &[3, 2], head)];
        folder(&scratch, name, &tensors)
    };
    let (same, other) = (stored("same", &values), stored("other", &moved));
    for (b, is_equal) in [(&same, true), (&other, false)] {
        let (document, code) = document(&a, b, &["--values"]);
        assert_eq!((code, &document["only_b"]), (1, &json!(["lm_head"])));
        let head = &by_name(&document["values"])["lm_head"];
        assert_eq!((&head["equal"], &head["tied"]), (&json!(is_equal), &json!("a")));
        let note = document["notes"][0].as_str().unwrap();
        assert_eq!(note, "lm_head is tied in A: there it is model.embed_tokens");
    }
    let (text, _) = text(&other, &a, &["--values"]);
    assert!(
        text.contains("tied in B") && text.ends_with("2 compared, 1 equal, 1 only in A, 0 not compared\n"),
        "{text}"
    );
    // Without a config nothing says that it is tied.
    fs::remove_file(a.join("config.json")).unwrap();
    let (document, _) = document(&a, &same, &["--values"]);
    assert_eq!((&document["compared"], &document["notes"]), (&json!(1), &json!([])));
}

const SIZE: Size = Size { hidden: 16, inner: 24, heads: 4, kv_heads: 2, head: 8, vocab: 12, blocks: 2 };
const TWO: &[&str] = &["attn_norm", "ffn_norm"];

#[test]
fn a_gguf_file_is_held_against_safetensors_both_ways() {
    let scratch = Scratch::new("diff-gguf");
    let biased = GgufFile::new("llama").model(&SIZE, TWO, false);
    let biased = (0..2).fold(biased, |file, block| {
        file.tensor(&format!("blk.{block}.attn_q.bias"), &[32])
            .tensor(&format!("blk.{block}.attn_k.bias"), &[16])
    });
    let cases = [
        ("llama", biased.tensor("rope_freqs.weight", &[4]), 25),
        ("qwen3", GgufFile::new("qwen3").model(&SIZE, TWO, true), 25 - 4 + 4),
        ("gemma", GgufFile::new("gemma").model(&SIZE, TWO, false), 21),
    ];
    for (arch, file, layers) in cases {
        let input = scratch.join(&format!("{arch}.gguf"));
        put(&input, &file.bytes());
        let named = scratch.join(arch);
        done(&convert(&input, &named, &["--names", "hf", "--dtype", "f32"]));
        for (a, b) in [(&input, &named), (&named, &input)] {
            let (document, _) = document(a, b, &["--values"]);
            assert_eq!((&document["only_a"], &document["only_b"]), (&json!([]), &json!([])), "{arch}");
            let counts = (&document["compared"], &document["equal"], &document["not_compared"]);
            // The head is the embeddings on both sides.
            assert_eq!(counts, (&json!(layers - 1), &json!(layers - 1), &json!([])), "{arch}");
        }
    }
    let (text, _) = text(&scratch.join("llama.gguf"), &scratch.join("llama"), &[]);
    assert!(text.contains("rope_freqs in A: no model has it, its config says as much"), "{text}");
    // An architecture without a table: said, and names as they are.
    let other = scratch.join("other.gguf");
    put(&other, &GgufFile::new("nobody").model(&SIZE, TWO, false).bytes());
    let (document, code) = document(&other, &scratch.join("llama"), &["--values"]);
    assert_eq!((code, &document["compared"]), (1, &json!(0)));
    assert!(document["notes"][0].as_str().unwrap().contains("architecture nobody"), "{document}");
}

#[test]
fn a_merge_differs_from_its_base_in_the_layers_of_the_adapter() {
    let scratch = Scratch::new("diff-merge");
    let (base, merged) = (sample("base-A-bf16/model"), scratch.join("merged"));
    let merge = Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["merge", "-o"])
        .args([&merged, &base])
        .arg("-a")
        .arg(sample("peft-lora-all-A/adapter"))
        .output()
        .unwrap();
    done(&merge);
    let (document, code) = document(&base, &merged, &["--values"]);
    assert_eq!((code, &document["compared"], &document["equal"]), (1, &json!(21), &json!(7)));
    for (name, values) in by_name(&document["values"]) {
        let is_target = name.contains("_proj");
        assert_eq!(values["equal"], Value::from(!is_target), "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let scratch = Scratch::new("diff-hostile");
    let a = folder(&scratch, "a", &[("x.weight", &[2, 2], &[1.0; 4]), ("none.weight", &[0, 4], &[])]);
    assert_eq!(text(&a, &a, &["--values"]).1, 0);
    let (document_of, _) = document(&a, &a, &["--values"]);
    let none = &by_name(&document_of["values"])["none"];
    assert_eq!((&none["equal"], &none["count"], &none["mean_abs"]), (&json!(true), &json!(0), &Value::Null));
    assert_eq!(
        (&none["max_abs"], &none["relative_l2"], &none["cosine"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    // A shard whose header cannot be read: what it holds is not known, so nothing is equal.
    let sharded = scratch.join("sharded");
    fs::create_dir_all(&sharded).unwrap();
    for entry in fs::read_dir(sample("base-A-bf16-sharded/model")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = if name.starts_with("model-00002") { &bytes[..20] } else { &bytes[..] };
        put(&sharded.join(&name), bytes);
    }
    let (text, code) = text(&sharded, &sample("base-A-bf16/model"), &["--values"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("of A could not be read: what it holds is not known"), "{text}");
    // Packed weights whose parts are missing.
    let broken = sample("bad-quantized");
    for entry in fs::read_dir(&broken).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for b in [&path, &sample("base-A-bf16/model")] {
                let output = diff(&path, b, &["--values"]);
                let code = output.status.code();
                assert!(matches!(code, Some(0..=2)), "{}: {output:?}", path.display());
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(!stderr.contains("panicked"), "{}: {stderr}", path.display());
            }
        }
    }
    let output = diff(&a, &scratch.join("nowhere"), &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["event"], &event["kind"]), (&json!("error"), &json!("input")));
}
