//! How fast the figures of all values are had, as ratios to reading the same bytes and to copying as many in memory, in
//! one run, each by all threads.
//!
//! `cargo bench --bench stats -- [LAYERS]`: ten layers of 16 bits make 1 GB. The files go to the system's temporary
//! folder and are read from the page cache. The most memory that was held is printed.
//! Budget: 2 GB/s of dense 16-bit values on two cores.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(dead_code, reason = "what other benches measure")]
mod model;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::memory;
use ckpt::quant::noise::noise;
use ckpt::stats::every::Asked;
use ckpt::stats::{Of, Part};
use ckpt::tensor::{Dtype, values};

use model::{AddLayer, FORMATS, Tensor, each_linear, median};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;
/// Values that dense tensors repeat.
const VALUES: u64 = 1_000_003;
/// Bytes that are read, or copied, at a time.
const PIECE: usize = 1 << 20;

/// Returns weights as training makes them, about normal with a deviation of 0.02, in a dtype.
fn weights(dtype: Dtype) -> Vec<u8> {
    let near = |eight: &[u8]| eight.iter().map(|&byte| f32::from(byte) - 127.5).sum::<f32>() * 1e-4;
    let floats: Vec<f32> = noise(VALUES * 8).chunks_exact(8).map(near).collect();
    let mut bytes = vec![0; dtype.bytes_of(VALUES).unwrap_or(0) as usize];
    values::from_f32(dtype, &floats, &mut bytes);
    bytes
}

/// Runs `work` on so many threads with the number of each; returns the seconds, the median of some runs.
fn timed(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let once = |_| {
        let start = Instant::now();
        let work = &work;
        std::thread::scope(|scope| (0..threads).for_each(|thread| drop(scope.spawn(move || work(thread)))));
        start.elapsed().as_secs_f64()
    };
    median((0..RUNS).map(once).collect())
}

fn measure(folder: &Path, name: &str, tensors: &[Tensor], config: &str) -> Result<(), String> {
    let failed = |e: io::Error| e.to_string();
    let input = folder.join(name);
    model::write(&input, ("model.safetensors", tensors), ("config.json", config)).map_err(failed)?;
    let checkpoint = Checkpoint::open_examined(&input.display().to_string()).map_err(|e| e.message)?;
    let list: Vec<Of> = (0..checkpoint.layers.len() as u32).map(Of::Layer).collect();
    let file = File::open(input.join("model.safetensors")).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{name}, {:.2} GB (median of {RUNS})", bytes as f64 / 1e9);
    for threads in [1, cores] {
        let share = bytes / threads as u64;
        let read = timed(threads, |thread| {
            let mut piece = vec![0; PIECE];
            let (mut at, end) = (share * thread as u64, share * (thread as u64 + 1));
            while at < end {
                let count = piece.len().min((end - at) as usize);
                let _ = std::hint::black_box(file.read_exact_at(&mut piece[..count], at));
                at += count as u64;
            }
        });
        let copied = timed(threads, |_| {
            let (from, mut to) = (vec![1u8; 64 * PIECE], vec![0u8; 64 * PIECE]);
            for _ in 0..share / from.len() as u64 {
                to.copy_from_slice(std::hint::black_box(&from));
                std::hint::black_box(&to);
            }
        });
        let (mut times, mut count) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let start = Instant::now();
            let asked = Asked { list: &list, part: Part::Weights, threads, bins: 64, with_norms: false };
            let found = asked.scan(&checkpoint, &|_| ());
            times.push(start.elapsed().as_secs_f64());
            count = 0;
            for figures in found {
                count += figures.map_err(|error| error.message)?.count;
            }
        }
        let (time, gigabytes) = (median(times), bytes as f64 / 1e9);
        println!(
            "  threads {threads}  {time:>6.3} s  {:>6.2} GB/s  {:>5.2} G values/s   x read {:>5.2} ({:.2} GB/s)   x copy {:>5.2} ({:.2} GB/s)   most memory so far {:.0} MB",
            gigabytes / time,
            count as f64 / 1e9 / time,
            read / time,
            gigabytes / read,
            copied / time,
            gigabytes / copied,
            memory::peak_bytes().unwrap_or(0) as f64 / 1e6,
        );
    }
    std::fs::remove_dir_all(&input).map_err(failed)
}

fn main() -> Result<(), String> {
    let layers = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10);
    let folder = std::env::temp_dir().join(format!("ckpt-bench-stats-{}", std::process::id()));
    let mut done = Ok(());
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let (content, mut tensors) = (weights(dtype), Vec::new());
        each_linear(layers, |name, outputs, inputs| {
            let bytes = dtype.bytes_of(outputs * inputs).unwrap_or(0);
            let shape = vec![outputs, inputs];
            tensors.push((format!("{name}.weight"), dtype.name(), shape, bytes, Some(content.clone())));
        });
        done = done.and_then(|()| measure(&folder, dtype.name(), &tensors, "{}"));
    }
    for (name, add, quantization) in FORMATS.into_iter().filter(|format| format.0 != "bf16") {
        let (mut tensors, add): (_, AddLayer) = (Vec::new(), add);
        each_linear(layers, |name, outputs, inputs| {
            add(&format!("{name}.weight"), outputs, inputs, &mut tensors);
        });
        let config = format!(r#"{{"torch_dtype": "bfloat16", "quantization_config": {quantization}}}"#);
        done = done.and_then(|()| measure(&folder, name, &tensors, &config));
    }
    let _ = std::fs::remove_dir_all(&folder);
    done
}
