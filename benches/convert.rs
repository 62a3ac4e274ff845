//! How fast a checkpoint is converted, disk to disk, against a copy and sync of the same output bytes, in one run.
//!
//! `cargo bench --bench convert -- [LAYERS]`: ten layers make 1 GB of output. The files go to the system's temporary
//! folder, which should be on a disk. The most memory that was held is printed for each model.
#![expect(clippy::print_stdout, reason = "its output is a table")]

mod model;

use std::io;
use std::path::Path;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::Proof;
use ckpt::memory;
use ckpt::plan::{Order, Plan};

use model::{FORMATS, Format, copy, make, median};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;

fn convert(input: &Path, output: &Path, proof: Proof) -> Result<f64, String> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open_examined(&input.display().to_string()).map_err(|e| e.message)?;
    let order = Order::new(&input.display().to_string(), output);
    let plan = Plan::convert(&checkpoint, order).map_err(|e| e.message)?;
    model::carry_out(&plan, (&checkpoint, &[]), proof)?;
    Ok(start.elapsed().as_secs_f64())
}

fn measure(folder: &Path, layers: u64, format: Format) -> Result<(), String> {
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
    let sizes = [(layers, FORMATS[1]), (4 * layers, FORMATS[1]), (layers, FORMATS[2]), (layers, FORMATS[3])];
    let done = sizes.into_iter().try_for_each(|(layers, format)| measure(&folder, layers, format));
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    done
}
