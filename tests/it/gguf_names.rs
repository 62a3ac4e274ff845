//! Hugging Face names and values for GGUF files, with the real binary: state dicts by the hashes of those that
//! transformers 5.23 makes of the same files, configs, and refusals that write nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ckpt::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::convert::{Scratch, convert, done, put, tensors};
use crate::decode::hash;
use crate::gguf_file::{GgufFile, Size};
use crate::gguf_tokenizers::with_bytes;
use crate::sample;

const TWO: &[&str] = &["attn_norm", "ffn_norm"];
pub(crate) const FOUR: &[&str] = &["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"];
pub(crate) const SIZE: Size =
    Size { hidden: 48, inner: 64, heads: 4, kv_heads: 2, head: 16, vocab: 40, blocks: 2 };
/// Qwen 2 has no size of a head of its own; that of Qwen 3 and Gemma is fixed where transformers reads GGUF.
const QWEN_2: Size = Size { hidden: 64, ..SIZE };
const QWEN_3: Size = Size { head: 128, ..SIZE };
const GEMMA: Size = Size { head: 256, ..SIZE };

pub(crate) fn llama() -> GgufFile {
    GgufFile::new("llama").int("rope.dimension_count", 16).model(&SIZE, TWO, false)
}

fn qwen_2() -> GgufFile {
    let mut file = GgufFile::new("qwen2").model(&QWEN_2, TWO, false);
    for (leaf, rows) in [("attn_q", 64), ("attn_k", 32), ("attn_v", 32)] {
        for block in 0..2 {
            file = file.tensor(&format!("blk.{block}.{leaf}.bias"), &[rows]);
        }
    }
    file
}

pub(crate) fn written(scratch: &Scratch, name: &str, file: &GgufFile) -> PathBuf {
    let folder = scratch.join(&format!("{name}-in"));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("model.gguf");
    put(&path, &file.bytes());
    path
}

/// Converts to `out` beside the file and returns its config.
pub(crate) fn named(input: &Path, out: &Path, more: &[&str]) -> (Value, String) {
    let ran = convert(input, out, &[&["--names", "hf"], more].concat());
    done(&ran);
    (read(&out.join("config.json")), String::from_utf8_lossy(&ran.stderr).into_owned())
}

pub(crate) fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// One hash of all tensors: names and hashes of values in F32, in the order of the names.
fn state_hash(folder: &Path) -> String {
    let lines: Vec<String> =
        tensors(folder).iter().map(|(name, (_, _, bytes))| format!("{name} {}\n", hash(bytes))).collect();
    hash(lines.concat().as_bytes())
}

#[test]
fn block_types_are_the_state_dict_of_transformers() {
    let scratch = Scratch::new("hf-blocks");
    let mut count = 0;
    for case in ["gguf-mixed-K", "gguf-q4_k_m-K"] {
        let spec = read(&sample(case).join("case.json"));
        let entries = spec["hash_only"].as_array().unwrap();
        let want =
            entries.iter().find(|entry| entry["name"] == "hf_f32").unwrap()["sha256_16"].as_object().unwrap();
        for (run, flags) in
            [&["--threads", "1"][..], &["--slot-size", "3000"], &["--verify", "full"]].iter().enumerate()
        {
            let out = scratch.join(&format!("{case}-{run}"));
            named(&sample(case).join("model.gguf"), &out, &[&["--dtype", "f32"], *flags].concat());
            let result = tensors(&out);
            assert_eq!(result.len(), want.len());
            for (name, hashed) in want {
                assert_eq!(Value::from(hash(&result[name].2)), *hashed, "{case} {name}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 2 * 3 * 12);
}

#[test]
fn every_architecture_is_the_state_dict_of_transformers() {
    let scratch = Scratch::new("hf-archs");
    let window = |file: GgufFile| file.int("attention.sliding_window", 64);
    let cases = [
        ("llama", llama().tensor("output.weight", &[40, 48]), "a0c22fa90b0d0318"),
        ("qwen2", qwen_2(), "d902ee881fac98af"),
        ("qwen3", GgufFile::new("qwen3").model(&QWEN_3, TWO, true), "24aae4742762b668"),
        ("gemma2", window(GgufFile::new("gemma2")).model(&GEMMA, FOUR, false), "644e760a104cb18d"),
        ("gemma3", window(GgufFile::new("gemma3")).model(&GEMMA, FOUR, true), "b8bcfc3e21471eaf"),
    ];
    for (arch, file, want) in cases {
        let input = written(&scratch, arch, &file);
        let out = scratch.join(arch);
        named(&input, &out, &["--dtype", "f32"]);
        assert_eq!(state_hash(&out), want, "{arch}");
        // In pieces, and as stored: 16 bits hold what is not computed on, norms stay in F32.
        let again = scratch.join(&format!("{arch}-auto"));
        named(&input, &again, &["--slot-size", "500", "--threads", "3", "--verify", "full"]);
        for (name, (dtype, shape, bytes)) in tensors(&again) {
            let wide = &tensors(&out)[&name];
            assert_eq!(shape, wide.1, "{name}");
            let values: Vec<u8> = match dtype.as_str() {
                "F16" => {
                    let half = |b: &[u8; 2]| half::f16::from_le_bytes(*b).to_f32().to_le_bytes();
                    bytes.as_chunks::<2>().0.iter().flat_map(half).collect()
                }
                _ => bytes,
            };
            assert!(values == wide.2, "{arch} {name} differs between the dtypes");
        }
        let verify = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("verify").arg(&out).output().unwrap();
        assert!(done(&verify).contains("no problem"), "{arch}");
        let parameters = |path: &Path| {
            Checkpoint::open_examined(&path.display().to_string()).unwrap().layers.total_parameters()
        };
        assert_eq!(parameters(&input), parameters(&out), "{arch}");
    }
}

#[test]
fn gemma_norms_lose_their_one_in_single_precision() {
    let scratch = Scratch::new("hf-gemma");
    let norms: Vec<f32> = (0..48).map(|at| 1.0 + at as f32 / 1000.0).collect();
    let file = GgufFile::new("gemma").model(&SIZE, TWO, false).without("output_norm.weight");
    let input = written(&scratch, "gemma", &file.values("output_norm.weight", &norms));
    let out = scratch.join("out");
    let (config, _) = named(&input, &out, &["--dtype", "bf16"]);
    assert_eq!(config["architectures"], json!(["GemmaForCausalLM"]));
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(config["tie_word_embeddings"], true);
    let want: Vec<u8> = norms.iter().flat_map(|v| half::bf16::from_f32(v - 1.0).to_le_bytes()).collect();
    assert_eq!(tensors(&out)["model.norm.weight"].2, want);
}

#[test]
fn biases_of_rotary_heads_come_in_order() {
    let scratch = Scratch::new("hf-bias");
    let counting: Vec<f32> = (0u8..32).map(f32::from).collect();
    let mut file = llama();
    for block in 0..2 {
        file = file.tensor(&format!("blk.{block}.attn_q.bias"), &[64]);
        file = file.values(&format!("blk.{block}.attn_k.bias"), &counting);
    }
    let out = scratch.join("out");
    let (config, told) = named(&written(&scratch, "bias", &file), &out, &[]);
    assert_eq!(config["attention_bias"], true);
    assert!(told.contains("attn_output has no bias"), "{told}");
    let is = &tensors(&out)["model.layers.1.self_attn.k_proj.bias"].2;
    let is: Vec<f32> = is.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    // Two heads of 16: even places are the first half, odd ones the second.
    let head =
        |start: u8| (0..8).map(move |at| start + 2 * at).chain((0..8).map(move |at| start + 2 * at + 1));
    assert_eq!(is, head(0).chain(head(16)).map(f32::from).collect::<Vec<f32>>());
}

#[test]
fn the_config_says_what_the_metadata_say() {
    let scratch = Scratch::new("hf-config");
    let (config, _) = named(&written(&scratch, "llama", &llama()), &scratch.join("llama"), &[]);
    let want = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "head_dim": 16, "vocab_size": 40, "rms_norm_eps": 1e-6,
        "rope_theta": 500_000.0, "rope_scaling": null, "tie_word_embeddings": true, "bos_token_id": null,
        "eos_token_id": null, "pad_token_id": null, "attention_bias": false, "hidden_act": "silu",
        "mlp_bias": false, "torch_dtype": "float16",
    });
    assert_eq!(config, want);

    let file = llama().text("general.name", "Mistral 7B v0.3").int("attention.sliding_window", 99);
    let (config, _) = named(&written(&scratch, "mistral", &file), &scratch.join("mistral"), &[]);
    assert_eq!((&config["model_type"], &config["sliding_window"]), (&json!("mistral"), &json!(99)));

    let file = llama().text("rope.scaling.type", "linear").float("rope.scaling.factor", 4.0);
    let (config, _) = named(&written(&scratch, "linear", &file), &scratch.join("linear"), &[]);
    assert_eq!(config["rope_scaling"], json!({"rope_type": "linear", "factor": 4.0}));

    let file = GgufFile::new("gemma2").float("attn_logit_softcapping", 50.0).model(&SIZE, FOUR, false);
    let (config, _) = named(&written(&scratch, "gemma2", &file), &scratch.join("gemma2"), &[]);
    assert_eq!(config["attn_logit_softcapping"], 50.0);
    assert_eq!(
        (&config["query_pre_attn_scalar"], &config["final_logit_softcapping"]),
        (&json!(16), &json!(30.0))
    );

    let file = llama().ints("attention.head_count_kv", &[2; 20]);
    let (config, _) = named(&written(&scratch, "same", &file), &scratch.join("same"), &[]);
    assert_eq!(config["num_key_value_heads"], 2);
}

#[test]
fn derived_tensors_are_dropped_and_said_so() {
    let scratch = Scratch::new("hf-derived");
    let size = Size { head: 32, ..SIZE };
    // The rule of Llama 3.1, as its converter writes it.
    let factors: Vec<f32> = (0..16)
        .map(|at| {
            let wave = std::f64::consts::TAU * 500_000f64.powf(f64::from(at) / 16.0);
            let smooth = (8192.0 / wave - 1.0) / 3.0;
            let scaled = if wave > 8192.0 { 8.0 } else { 1.0 / ((1.0 - smooth) / 8.0 + smooth) };
            if wave < 2048.0 { 1.0 } else { scaled as f32 }
        })
        .collect();
    let file = GgufFile::new("llama").model(&size, TWO, false).values("rope_freqs.weight", &factors);
    let (config, told) = named(&written(&scratch, "known", &file), &scratch.join("known"), &[]);
    assert!(told.contains("rope_freqs.weight dropped"), "{told}");
    let want = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    assert_eq!(config["rope_scaling"], want);
    assert!(!tensors(&scratch.join("known")).keys().any(|name| name.contains("freqs")));

    let file = GgufFile::new("llama").model(&size, TWO, false).values("rope_freqs.weight", &[3.0; 16]);
    let (config, told) = named(&written(&scratch, "strange", &file), &scratch.join("strange"), &[]);
    assert!(told.contains("follows no rule that is known"), "{told}");
    assert_eq!(config["rope_scaling"], Value::Null);
}

#[test]
fn what_has_no_name_is_refused_before_anything_is_written() {
    let scratch = Scratch::new("hf-refused");
    let out = scratch.join("out");
    let refused = |input: &Path, words: &[&str]| {
        let ran = convert(input, &out, &["--names", "hf"]);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{told}");
        for words in words {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!out.exists(), "{told}");
    };
    let file = |name: &str, file: &GgufFile| written(&scratch, name, file);
    refused(&sample("bnb-nf4-A").join("model"), &["--names hf is for GGUF files", "safetensors"]);
    let other = GgufFile::new("starcoder2").model(&SIZE, TWO, false);
    refused(
        &file("other", &other),
        &["architecture starcoder2", "llama, qwen2, qwen3, gemma, gemma2, gemma3"],
    );
    let adapter = llama().text("general.type", "adapter");
    refused(&file("adapter", &adapter), &["general.type is adapter"]);
    let experts = llama()
        .tensor("blk.0.ffn_gate_inp.weight", &[4, 48])
        .tensor("blk.2.attn_q.weight", &[64, 48])
        .tensor("blk.0.attn_norm.bias", &[48])
        .tensor("blk.01.attn_q.weight", &[64, 48]);
    refused(
        &file("experts", &experts),
        &[
            "4 tensors without a Hugging Face name in llama",
            "blk.0.ffn_gate_inp.weight",
            "blk.2.attn_q.weight",
            "blk.0.attn_norm.bias",
            "blk.01.attn_q.weight",
        ],
    );
    let bias = qwen_2().tensor("blk.0.attn_output.bias", &[64]);
    refused(&file("bias", &bias), &["1 tensor without a Hugging Face name in qwen2: blk.0.attn_output.bias"]);
    let missing = llama().without("blk.1.ffn_up.weight").without("output_norm.weight");
    refused(
        &file("missing", &missing),
        &["2 tensors that llama needs", "output_norm.weight; blk.1.ffn_up.weight"],
    );
    let odd = llama().int("attention.head_count", 5);
    refused(&file("odd", &odd), &["not of whole heads", "blk.0.attn_q.weight"]);
    let differs = llama().ints("attention.head_count_kv", &[2, 4]);
    refused(&file("differs", &differs), &["llama.attention.head_count_kv differs from layer to layer"]);
    let silent = GgufFile::new("llama").tensor("token_embd.weight", &[4, 4]);
    refused(&file("silent", &silent), &["does not say its llama.attention.head_count"]);
}

#[test]
fn files_beside_the_weights_are_taken_and_a_saved_plan_keeps_the_names() {
    let scratch = Scratch::new("hf-beside");
    let folder = scratch.join("model");
    fs::create_dir(&folder).unwrap();
    put(&folder.join("model.gguf"), &with_bytes().bytes());
    put(&folder.join("tokenizer.json"), b"{\"mine\": true}");
    put(&folder.join("config.json"), b"{\"model_type\": \"llama\"}");
    let (out, plan) = (scratch.join("out"), scratch.join("plan.json"));
    let path = plan.display().to_string();
    done(&convert(&folder.join("model.gguf"), &out, &["--names", "hf", "--plan", &path]));
    assert!(!out.exists());
    let ran = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).output().unwrap();
    done(&ran);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(told.contains("config.json is made from the metadata"), "{told}");
    assert_eq!(read(&out.join("config.json"))["hidden_size"], 48);
    assert_eq!(read(&out.join("tokenizer.json")), json!({"mine": true}));
    assert!(tensors(&out).contains_key("model.layers.1.mlp.up_proj.weight"));
}
