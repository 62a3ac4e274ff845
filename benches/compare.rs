//! How fast all values of two checkpoints are compared, read from the page cache, against a copy of as many bytes in
//! memory on as many threads, in one run.
//!
//! `cargo bench --bench compare -- [LAYERS]`: ten layers make 0.9 GB a side. The files go to the system's temporary
//! folder. Bytes count as those of dense 16-bit values of both sides, whatever is read.
#![expect(clippy::print_stdout, reason = "its output is a table")]
#![expect(dead_code, reason = "the models that are measured here are not all of those")]

mod model;

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::memory;
use ckpt::stats::pairs::Of;
use ckpt::stats::{Matched, NameMap, Pair, Watch};

use model::{FORMATS, Tensor, make, median};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;

/// Adds a matrix of 16-bit values of which the lower bits are others than those of the model that is compared.
fn moved(name: &str, outputs: u64, inputs: u64, tensors: &mut Vec<Tensor>) {
    let mut last = Vec::new();
    (FORMATS[0].1)(name, outputs, inputs, &mut last);
    for (name, dtype, shape, bytes, values) in last {
        let values = values.map(|values| values.chunks_exact(2).flat_map(|v| [v[0] ^ 0x11, v[1]]).collect());
        tensors.push((name, dtype, shape, bytes, values));
    }
}

struct Quiet;

impl Watch for Quiet {}

/// Compares all values; returns the seconds, and how many values differ.
fn compare(a: &Path, b: &Path, threads: usize) -> Result<(f64, u64, u64), String> {
    let start = Instant::now();
    let open = |path: &Path| Checkpoint::open_examined(&path.display().to_string()).map_err(|e| e.message);
    let (a, b) = (open(a)?, open(b)?);
    let matched = Matched::of(&a, &b, &NameMap::default());
    let pairs: Vec<&Pair> = matched.pairs.iter().collect();
    let (count, changed) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = std::sync::Mutex::new(None);
    Of { a: &a, b: &b }.compare(&pairs, threads, &Quiet, &|_, compared| match compared {
        Ok(compared) => {
            count.fetch_add(compared.count, Ordering::Relaxed);
            changed.fetch_add(compared.changed, Ordering::Relaxed);
        }
        Err(error) => *failed.lock().expect("nobody panics") = Some(error.message),
    });
    match failed.into_inner().expect("nobody panics") {
        Some(why) => Err(why),
        None => Ok((start.elapsed().as_secs_f64(), count.into_inner(), changed.into_inner())),
    }
}

/// Copies so many bytes in memory, by pieces that stay in a cache, on so many threads; returns the seconds.
fn copied(bytes: u64, threads: usize) -> f64 {
    const PIECE: usize = 1 << 20;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (from, mut to) = (vec![1u8; PIECE], vec![0u8; PIECE]);
                for _ in 0..bytes / threads as u64 / PIECE as u64 {
                    to.copy_from_slice(black_box(&from));
                    black_box(&to);
                }
            });
        }
    });
    start.elapsed().as_secs_f64()
}

fn measure(what: &str, a: &Path, b: &Path, threads: usize) -> Result<(), String> {
    let (mut times, mut copies) = (Vec::new(), Vec::new());
    let (mut count, mut changed) = (0, 0);
    for _ in 0..RUNS {
        let (time, values, differ) = compare(a, b, threads)?;
        (count, changed) = (values, differ);
        times.push(time);
        copies.push(copied(values * 4, threads));
    }
    let (time, copy) = (median(times), median(copies));
    println!(
        "{what:<24} {threads} threads {time:>6.2} s  {:>5.2} GB/s of both sides  x copy {:>5.3}  {:>5.1}% differ",
        count as f64 * 4.0 / 1e9 / time,
        copy / time,
        changed as f64 * 100.0 / count as f64,
    );
    Ok(())
}

fn main() -> Result<(), String> {
    let layers = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(10);
    let folder = std::env::temp_dir().join(format!("ckpt-compare-{}", std::process::id()));
    let io = |e: std::io::Error| e.to_string();
    let measured = (|| {
        make(&folder.join("bf16"), layers, FORMATS[0].1, FORMATS[0].2).map_err(io)?;
        make(&folder.join("moved"), layers, moved, FORMATS[0].2).map_err(io)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in [1, 2].into_iter().filter(|&threads| threads <= cores) {
            measure("bf16 against itself", &folder.join("bf16"), &folder.join("bf16"), threads)?;
            measure("bf16 against others", &folder.join("bf16"), &folder.join("moved"), threads)?;
        }
        for (name, add, quantization) in &FORMATS[1..] {
            make(&folder.join(name), layers, *add, quantization).map_err(io)?;
            measure(&format!("{name} against bf16"), &folder.join(name), &folder.join("bf16"), 2.min(cores))?;
            std::fs::remove_dir_all(folder.join(name)).map_err(io)?;
        }
        Ok(())
    })();
    let _ = std::fs::remove_dir_all(&folder);
    if let Some(most) = memory::peak_bytes() {
        println!("most memory {} MiB", most >> 20);
    }
    measured
}
