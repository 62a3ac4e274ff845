//! How fast a model is packed, disk to disk, against a copy and sync of the input and against its bytes copied in memory,
//! in one run.
//!
//! `cargo bench --bench quantize -- [LAYERS]`: ten layers are 514 million values, 1 GB in bf16. The files go to the
//! system's temporary folder, which should be on a disk. The most memory that was held is printed for each row.
#![expect(clippy::print_stdout, reason = "its output is a table")]

mod held;
mod model;

use std::io;
use std::path::Path;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::Proof;
use ckpt::memory;
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::target::{Aim, Wishes};
use held::{forget_peak, memory_copy};

use model::{FORMATS, copy, make, median};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;

fn quantize(base: &Path, aim: &Aim, output: &Path, proof: Proof) -> Result<f64, String> {
    let start = Instant::now();
    let path = base.display().to_string();
    let checkpoint = Checkpoint::open_examined(&path).map_err(|e| e.message)?;
    let order = Order { to: To::Packed(aim.clone()), ..Order::new(&path, output) };
    let plan = Plan::convert(&checkpoint, order).map_err(|e| e.message)?;
    model::carry_out(&plan, (&checkpoint, &[]), proof)?;
    Ok(start.elapsed().as_secs_f64())
}

fn measure(base: &Path, folder: &Path, aim: &Aim) -> Result<(), String> {
    let io = |e: io::Error| e.to_string();
    let (model, output) = (base.join("model.safetensors"), folder.join("packed"));
    let bytes = model.metadata().map_err(io)?.len();
    let [mut plain, mut proven, mut copied, mut moved] = [const { Vec::new() }; 4];
    let mut peaks = [0; 2];
    for _ in 0..RUNS {
        for (at, (proof, times)) in
            [(Proof::None, &mut plain), (Proof::Sample, &mut proven)].into_iter().enumerate()
        {
            forget_peak().map_err(io)?;
            times.push(quantize(base, aim, &output, proof)?);
            peaks[at] = peaks[at].max(memory::peak_bytes().unwrap_or(0));
            std::fs::remove_dir_all(&output).map_err(io)?;
        }
        let target = folder.join("copy.safetensors");
        copied.push(copy(&model, &target).map_err(io)?);
        std::fs::remove_file(target).map_err(io)?;
        moved.push(memory_copy(&model).map_err(io)?);
    }
    let [plain, proven, copied, moved] = [plain, proven, copied, moved].map(median);
    let (gigabytes, flags) = (bytes as f64 / 1e9, aim.flags());
    println!("{flags}, {gigabytes:.2} GB of bf16 (median of {RUNS})");
    println!(
        "  pack                 {plain:>7.2} s  {:>5.2} GB/s  {:>5.2} of the time of copy and sync",
        gigabytes / plain,
        plain / copied
    );
    println!(
        "  pack and proof       {proven:>7.2} s  {:>5.2} GB/s  {:>5.2} of the time of copy and sync",
        gigabytes / proven,
        proven / copied
    );
    println!("  copy and sync        {copied:>7.2} s  {:>5.2} GB/s", gigabytes / copied);
    println!(
        "  copy in memory       {moved:>7.2} s  {:>5.2} GB/s  packing takes {:.1} x as long",
        gigabytes / moved,
        plain / moved
    );
    println!(
        "  most memory          {:>7.0} MB, with proof {:.0} MB",
        peaks[0] as f64 / 1e6,
        peaks[1] as f64 / 1e6
    );
    Ok(())
}

fn main() -> Result<(), String> {
    let layers: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10);
    memory::map_large_blocks();
    let folder = std::env::temp_dir().join(format!("ckpt-bench-quantize-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let base = folder.join("bf16");
    let (_, add, quantization) = FORMATS[0];
    let aim = |name: &str, double_quant| Aim {
        name: name.into(),
        wishes: Wishes { double_quant, ..Wishes::default() },
    };
    let aims = [aim("bnb-nf4", false), aim("bnb-nf4", true), aim("bnb-int8", false)];
    let done = make(&base, layers, add, quantization)
        .map_err(|e| e.to_string())
        .and_then(|()| aims.iter().try_for_each(|aim| measure(&base, &folder, aim)));
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    done
}
