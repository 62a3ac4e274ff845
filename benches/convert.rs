//! How fast a checkpoint is converted, disk to disk, against a copy and sync of the same output bytes, in one run.
//!
//! `cargo bench --bench convert -- [LAYERS]`: ten layers make 1 GB of output. The files go to the system's temporary
//! folder, which should be on a disk. The most memory that was held is printed for each model.
#![expect(clippy::print_stdout, reason = "its output is a table")]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Progress, Proof, Run};
use ckpt::memory;
use ckpt::plan::{Order, Plan};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;
/// Width of a Llama of a billion parameters, and of its MLP.
const HIDDEN: u64 = 2048;
const INNER: u64 = 5632;

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

/// One tensor: name, dtype, shape, bytes; what they repeat if they are not noise.
type Tensor = (String, &'static str, Vec<u64>, u64, Option<Vec<u8>>);

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
type AddLayer = fn(&str, u64, u64, &mut Vec<Tensor>);

/// The formats: name, tensors of a layer, quantization config.
const FORMATS: [(&str, AddLayer, &str); 3] = [
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

/// Writes a model of quantized layers.
fn make(folder: &Path, layers: u64, add: AddLayer, quantization: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut tensors = Vec::new();
    for layer in 0..layers {
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("model.layers.{layer}.self_attn.{part}.weight"), HIDDEN, HIDDEN, &mut tensors);
        }
        add(&format!("model.layers.{layer}.mlp.gate_proj.weight"), INNER, HIDDEN, &mut tensors);
        add(&format!("model.layers.{layer}.mlp.up_proj.weight"), INNER, HIDDEN, &mut tensors);
        add(&format!("model.layers.{layer}.mlp.down_proj.weight"), HIDDEN, INNER, &mut tensors);
    }
    let mut entries = serde_json::Map::new();
    let mut at = 0;
    for (name, dtype, shape, bytes, _) in &tensors {
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes]});
        entries.insert(name.clone(), entry);
        at += bytes;
    }
    let header = serde_json::Value::Object(entries).to_string();
    let mut file = io::BufWriter::new(File::create_new(folder.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let noise = noise();
    for (.., bytes, content) in &tensors {
        let content = content.as_ref().unwrap_or(&noise);
        let mut left = *bytes as usize;
        while left > 0 {
            let count = left.min(content.len());
            file.write_all(&content[..count])?;
            left -= count;
        }
    }
    file.into_inner()?.sync_all()?;
    let config = format!(r#"{{"torch_dtype": "bfloat16", "quantization_config": {quantization}}}"#);
    File::create_new(folder.join("config.json"))?.write_all(config.as_bytes())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn convert(input: &Path, output: &Path, proof: Proof) -> Result<f64, String> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open_examined(&input.display().to_string()).map_err(|e| e.message)?;
    let order = Order::new(&input.display().to_string(), output);
    let plan = Plan::dense(&checkpoint, order).map_err(|e| e.message)?;
    let options = Options { proof, ..Options::default() };
    let progress = Progress::default();
    let run = Run {
        checkpoint: &checkpoint,
        adapters: &[],
        plan: &plan,
        options: &options,
        device: &Cpu,
        progress: &progress,
    };
    run.carry_out().map_err(|e| e.message)?;
    Ok(start.elapsed().as_secs_f64())
}

fn copy(from: &Path, to: &Path) -> io::Result<f64> {
    let start = Instant::now();
    std::fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}

fn measure(folder: &Path, layers: u64, format: (&str, AddLayer, &str)) -> Result<(), String> {
    let (name, add, quantization) = format;
    let io = |e: io::Error| e.to_string();
    let (input, output) = (folder.join(format!("{name}-{layers}")), folder.join("dense"));
    make(&input, layers, add, quantization).map_err(io)?;
    let (mut plain, mut proven, mut copied) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..RUNS {
        for (proof, times) in [(Proof::None, &mut plain), (Proof::Sample, &mut proven)] {
            times.push(convert(&input, &output, proof)?);
            let model = output.join("model.safetensors");
            bytes = model.metadata().map_err(io)?.len();
            if proof == Proof::Sample {
                let target = folder.join("copy.safetensors");
                copied.push(copy(&model, &target).map_err(io)?);
                std::fs::remove_file(target).map_err(io)?;
            }
            std::fs::remove_dir_all(&output).map_err(io)?;
        }
    }
    let (plain, proven, copied) = (median(plain), median(proven), median(copied));
    let gigabytes = bytes as f64 / 1e9;
    println!("{name} to 16 bits, {gigabytes:.2} GB of output (median of {RUNS})");
    println!(
        "  convert              {plain:>7.2} s  {:>5.2} GB/s  {:>5.2} x as fast as copy and sync",
        gigabytes / plain,
        copied / plain
    );
    println!(
        "  convert and proof    {proven:>7.2} s  {:>5.2} GB/s  {:>5.2} of the time without",
        gigabytes / proven,
        proven / plain
    );
    println!("  copy and sync        {copied:>7.2} s  {:>5.2} GB/s", gigabytes / copied);
    if let Some(peak) = memory::peak_bytes() {
        println!("  most memory so far   {:>7.0} MB", peak as f64 / 1e6);
    }
    std::fs::remove_dir_all(&input).map_err(io)
}

fn main() -> Result<(), String> {
    let layers: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10);
    memory::map_large_blocks();
    let folder = std::env::temp_dir().join(format!("ckpt-bench-convert-{}", std::process::id()));
    let sizes = [(layers, FORMATS[0]), (4 * layers, FORMATS[0]), (layers, FORMATS[1]), (layers, FORMATS[2])];
    let done = sizes.into_iter().try_for_each(|(layers, format)| measure(&folder, layers, format));
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    done
}
