//! Models of real sizes for measuring work from disk to disk: linear layers of a Llama, plain or quantized, with
//! data without a pattern.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Progress, Proof, Run};
use ckpt::plan::Plan;

/// Width of a Llama of a billion parameters, and of its MLP.
pub(crate) const HIDDEN: u64 = 2048;
pub(crate) const INNER: u64 = 5632;

/// Bytes without a pattern, written again and again.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..1 << 21).flat_map(|_| next()).collect()
}

/// Carries a plan out on the processor, on all its threads.
pub(crate) fn carry_out(
    plan: &Plan,
    (checkpoint, adapters): (&Checkpoint, &[&Checkpoint]),
    proof: Proof,
) -> Result<(), String> {
    let options = Options { proof, ..Options::default() };
    let progress = Progress::default();
    let run = Run { checkpoint, adapters, plan, options: &options, device: &Cpu, progress: &progress };
    run.carry_out().map(|_| ()).map_err(|error| error.message)
}

/// One tensor: name, dtype, shape, bytes; what they repeat if they are not noise.
pub(crate) type Tensor = (String, &'static str, Vec<u64>, u64, Option<Vec<u8>>);

fn dense(name: &str, outputs: u64, inputs: u64, tensors: &mut Vec<Tensor>) {
    // Small values of either sign: noise would have some that are no numbers.
    let values = noise().chunks_exact(2).flat_map(|two| [two[0], two[1] & 0x80 | 0x3b]).collect();
    tensors.push((name.to_owned(), "BF16", vec![outputs, inputs], outputs * inputs * 2, Some(values)));
}

fn nf4(name: &str, outputs: u64, inputs: u64, tensors: &mut Vec<Tensor>) {
    let count = outputs * inputs;
    let absmax: Vec<u8> = (0..97).flat_map(|at| (0.01 + at as f32 * 1e-4).to_le_bytes()).collect();
    let state = format!(
        r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [{outputs}, {inputs}]}}"#
    );
    let size = state.len() as u64;
    tensors.push((name.to_owned(), "U8", vec![count / 2, 1], count / 2, None));
    tensors.push((format!("{name}.absmax"), "F32", vec![count / 64], count / 16, Some(absmax)));
    tensors.push((format!("{name}.quant_map"), "F32", vec![16], 64, Some(vec![0; 64])));
    tensors.push((
        format!("{name}.quant_state.bitsandbytes__nf4"),
        "U8",
        vec![size],
        size,
        Some(state.into_bytes()),
    ));
}

/// Halves of small scales, to be repeated.
fn halves() -> Vec<u8> {
    (0..97).flat_map(|at: u16| (0x2000 + at).to_le_bytes()).collect()
}

/// Adds what GPTQ and AWQ have in common: words of these shapes, and scales; returns the layer's name.
fn words<'a>(name: &'a str, codes: [u64; 2], scales: [u64; 2], tensors: &mut Vec<Tensor>) -> &'a str {
    let name = name.trim_end_matches("weight");
    let (count, [groups, outputs]) = (scales[0] * scales[1], scales);
    tensors.push((format!("{name}qweight"), "I32", codes.to_vec(), codes[0] * codes[1] * 4, None));
    tensors.push((format!("{name}qzeros"), "I32", vec![groups, outputs / 8], count / 2, Some(vec![0x77])));
    tensors.push((format!("{name}scales"), "F16", scales.to_vec(), count * 2, Some(halves())));
    name
}

fn gptq(name: &str, outputs: u64, inputs: u64, tensors: &mut Vec<Tensor>) {
    let index: Vec<u8> = (0..inputs as u32).flat_map(|at| (at / 128).to_le_bytes()).collect();
    let name = words(name, [inputs / 8, outputs], [inputs / 128, outputs], tensors);
    tensors.push((format!("{name}g_idx"), "I32", vec![inputs], inputs * 4, Some(index)));
}

fn awq(name: &str, outputs: u64, inputs: u64, tensors: &mut Vec<Tensor>) {
    words(name, [inputs, outputs / 8], [inputs / 128, outputs], tensors);
}

/// Adds the tensors of a layer of so many outputs and inputs.
pub(crate) type AddLayer = fn(&str, u64, u64, &mut Vec<Tensor>);

/// A format: name, tensors of a layer, quantization config.
pub(crate) type Format = (&'static str, AddLayer, &'static str);

/// The formats.
pub(crate) const FORMATS: [Format; 4] = [
    ("bf16", dense, "null"),
    ("nf4", nf4, r#"{"quant_method": "bitsandbytes", "load_in_4bit": true}"#),
    (
        "gptq",
        gptq,
        r#"{"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false, "sym": true}"#,
    ),
    (
        "awq",
        awq,
        r#"{"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "gemm"}"#,
    ),
];

/// Calls with the name, outputs and inputs of every linear of so many layers.
pub(crate) fn each_linear(layers: u64, mut each: impl FnMut(&str, u64, u64)) {
    for layer in 0..layers {
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            each(&format!("model.layers.{layer}.self_attn.{part}"), HIDDEN, HIDDEN);
        }
        each(&format!("model.layers.{layer}.mlp.gate_proj"), INNER, HIDDEN);
        each(&format!("model.layers.{layer}.mlp.up_proj"), INNER, HIDDEN);
        each(&format!("model.layers.{layer}.mlp.down_proj"), HIDDEN, INNER);
    }
}

/// Writes a model.
pub(crate) fn make(folder: &Path, layers: u64, add: AddLayer, quantization: &str) -> io::Result<()> {
    let mut tensors = Vec::new();
    each_linear(layers, |name, outputs, inputs| {
        add(&format!("{name}.weight"), outputs, inputs, &mut tensors);
    });
    let config = format!(r#"{{"torch_dtype": "bfloat16", "quantization_config": {quantization}}}"#);
    write(folder, ("model.safetensors", &tensors), ("config.json", &config))
}

/// Writes a file of tensors and a config.
pub(crate) fn write(
    folder: &Path,
    (file, tensors): (&str, &[Tensor]),
    (config, text): (&str, &str),
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut entries = serde_json::Map::new();
    let mut at = 0;
    for (name, dtype, shape, bytes, _) in tensors {
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes]});
        entries.insert(name.clone(), entry);
        at += bytes;
    }
    let header = serde_json::Value::Object(entries).to_string();
    let mut file = io::BufWriter::new(File::create_new(folder.join(file))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let noise = noise();
    for (.., bytes, content) in tensors {
        let content = content.as_ref().unwrap_or(&noise);
        let mut left = *bytes as usize;
        while left > 0 {
            let count = left.min(content.len());
            file.write_all(&content[..count])?;
            left -= count;
        }
    }
    file.into_inner()?.sync_all()?;
    File::create_new(folder.join(config))?.write_all(text.as_bytes())
}

/// Returns the median of times.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Copies a file and waits until the copy is on the disk; returns the seconds.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<f64> {
    let start = Instant::now();
    std::fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}
