//! Makes synthetic checkpoints for measuring at scale: true headers, index and config; the data are holes
//! in sparse files, but for bitsandbytes' small quant states, which are valid.
//!
//! `cargo run --example make_synthetic -- FOLDER moe-bnb|dense|gptq SHARDS TENSORS`

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The values of NF4. Source: bitsandbytes, `functional.py`, `create_normal_map`.
#[rustfmt::skip]
const NF4: [f32; 16] = [
    -1.0, -0.696_192_8, -0.525_073_05, -0.394_917_5,
    -0.284_441_38, -0.184_773_43, -0.091_050_036, 0.0,
    0.079_580_3, 0.160_930_2, 0.246_112_3, 0.337_915_24,
    0.440_709_83, 0.562_617, 0.722_956_84, 1.0,
];
const HIDDEN: u64 = 2048;
const INTERMEDIATE: u64 = 1024;
const VOCABULARY: u64 = 32_000;
/// Experts of a layer in the `moe-bnb` style.
const EXPERTS: u64 = 64;

struct Tensor {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: u64,
    /// Content where it must be valid; the others are holes.
    content: Option<Vec<u8>>,
}

impl Tensor {
    fn hole(name: String, dtype: &'static str, shape: &[u64]) -> Self {
        let width = match dtype {
            "U8" => 1,
            "BF16" | "F16" => 2,
            _ => 4,
        };
        Self {
            name,
            dtype,
            bytes: shape.iter().product::<u64>() * width,
            shape: shape.to_vec(),
            content: None,
        }
    }

    fn filled(name: String, dtype: &'static str, shape: &[u64], content: Vec<u8>) -> Self {
        Self { content: Some(content), ..Self::hole(name, dtype, shape) }
    }
}

/// Writes a checkpoint of `shards` files and exactly `tensors` tensors into `folder`.
///
/// # Errors
/// The style is none of the three, or a file cannot be written.
pub(crate) fn make(folder: &Path, style: &str, shards: usize, tensors: usize) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut all = vec![
        Tensor::hole("model.embed_tokens.weight".into(), "BF16", &[VOCABULARY, HIDDEN]),
        Tensor::hole("model.norm.weight".into(), "BF16", &[HIDDEN]),
        Tensor::hole("lm_head.weight".into(), "BF16", &[VOCABULARY, HIDDEN]),
    ];
    let mut layers = 0;
    while all.len() < tensors {
        push_layer(&mut all, style, layers)?;
        layers += 1;
    }
    all.truncate(tensors);
    let mut index = String::new();
    let mut total = 0;
    let per_shard = all.len().div_ceil(shards.max(1)).max(1);
    let count = all.chunks(per_shard).len();
    for (i, shard) in all.chunks_mut(per_shard).enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
        for tensor in &*shard {
            let comma = if index.is_empty() { "" } else { "," };
            let _ = write!(index, "{comma}\n\"{}\":\"{name}\"", tensor.name);
            total += tensor.bytes;
        }
        write_shard(&folder.join(name), shard)?;
    }
    let index = format!("{{\"metadata\":{{\"total_size\":{total}}},\"weight_map\":{{{index}\n}}}}");
    write_file(&folder.join("model.safetensors.index.json"), index.as_bytes())?;
    write_file(&folder.join("config.json"), config(style, layers).as_bytes())
}

fn push_layer(all: &mut Vec<Tensor>, style: &str, layer: u64) -> io::Result<()> {
    let (h, m) = (HIDDEN, INTERMEDIATE);
    let base = format!("model.layers.{layer}");
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        all.push(Tensor::hole(format!("{base}.{norm}.weight"), "BF16", &[h]));
    }
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|p| (format!("{base}.self_attn.{p}"), h, h));
    let mlp =
        |part: &str| ["gate_proj", "up_proj", "down_proj"].map(|p| (format!("{base}.{part}.{p}"), m, h));
    let mut linears: Vec<(String, u64, u64)> = attention.into();
    if style == "moe-bnb" {
        all.push(Tensor::hole(format!("{base}.mlp.gate.weight"), "BF16", &[EXPERTS, h]));
        linears.extend((0..EXPERTS).flat_map(|e| mlp(&format!("mlp.experts.{e}"))));
    } else {
        linears.extend(mlp("mlp"));
    }
    for (name, out, inn) in linears {
        let (out, inn) = if name.ends_with("down_proj") { (inn, out) } else { (out, inn) };
        match style {
            "dense" => all.push(Tensor::hole(format!("{name}.weight"), "BF16", &[out, inn])),
            "gptq" => all.extend([
                Tensor::hole(format!("{name}.g_idx"), "I32", &[inn]),
                Tensor::hole(format!("{name}.qweight"), "I32", &[inn / 8, out]),
                Tensor::hole(format!("{name}.qzeros"), "I32", &[inn / 128, out / 8]),
                Tensor::hole(format!("{name}.scales"), "F16", &[inn / 128, out]),
            ]),
            "moe-bnb" => all.extend(bnb(&name, out, inn)),
            other => return Err(io::Error::other(format!("style {other}: one of moe-bnb, dense, gptq"))),
        }
    }
    Ok(())
}

/// A linear in bitsandbytes' 4-bit format, without double quantization.
fn bnb(name: &str, out: u64, inn: u64) -> [Tensor; 4] {
    let weight = format!("{name}.weight");
    let state =
        format!(r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [{out}, {inn}]}}"#);
    let map = NF4.iter().flat_map(|value| value.to_le_bytes()).collect();
    [
        Tensor::hole(weight.clone(), "U8", &[out * inn / 2, 1]),
        Tensor::hole(format!("{weight}.absmax"), "F32", &[out * inn / 64]),
        Tensor::filled(format!("{weight}.quant_map"), "F32", &[16], map),
        Tensor::filled(
            format!("{weight}.quant_state.bitsandbytes__nf4"),
            "U8",
            &[state.len() as u64],
            state.into_bytes(),
        ),
    ]
}

fn config(style: &str, layers: u64) -> String {
    let (kind, quantization) = match style {
        "moe-bnb" => (
            "qwen3_moe",
            r#","quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4","bnb_4bit_compute_dtype":"bfloat16","bnb_4bit_use_double_quant":false}"#,
        ),
        "gptq" => (
            "llama",
            r#","quantization_config":{"quant_method":"gptq","bits":4,"group_size":128,"desc_act":false,"sym":true,"checkpoint_format":"gptq"}"#,
        ),
        _ => ("llama", ""),
    };
    format!(
        r#"{{"model_type":"{kind}","hidden_size":{HIDDEN},"intermediate_size":{INTERMEDIATE},"moe_intermediate_size":{INTERMEDIATE},"num_experts":{EXPERTS},"num_hidden_layers":{layers},"num_attention_heads":16,"num_key_value_heads":16,"vocab_size":{VOCABULARY},"tie_word_embeddings":false,"torch_dtype":"bfloat16"{quantization}}}"#
    )
}

/// Writes one shard. What has content stands first, so that it shares blocks and the rest stays a hole.
fn write_shard(path: &Path, tensors: &mut [Tensor]) -> io::Result<()> {
    tensors.sort_by(|a, b| a.content.is_none().cmp(&b.content.is_none()).then_with(|| a.name.cmp(&b.name)));
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut at = 0;
    for Tensor { name, dtype, shape, bytes, .. } in &*tensors {
        let end = at + bytes;
        let _ =
            write!(json, r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#);
        at = end;
    }
    json.push('}');
    // The data starts on a multiple of 8, as the format's own writer has it.
    let padded = json.len().next_multiple_of(8);
    json.extend(std::iter::repeat_n(' ', padded - json.len()));
    let mut file = BufWriter::new(create(path)?);
    file.write_all(&(padded as u64).to_le_bytes())?;
    file.write_all(json.as_bytes())?;
    for content in tensors.iter().filter_map(|tensor| tensor.content.as_ref()) {
        file.write_all(content)?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.set_len(8 + padded as u64 + at)?;
    // Dirty pages stay in the page cache whatever a measurement asks for.
    file.sync_all()
}

fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    create(path)?.write_all(content)
}

#[expect(clippy::disallowed_methods, reason = "a tool for measuring, which writes its own inputs")]
fn create(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::create(path)
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = || io::Error::other("make_synthetic FOLDER moe-bnb|dense|gptq SHARDS TENSORS");
    let [folder, style, shards, tensors] = &args[..] else { return Err(usage()) };
    let number = |text: &str| text.parse::<usize>().ok().ok_or_else(usage);
    make(Path::new(folder), style, number(shards)?, number(tensors)?)
}
