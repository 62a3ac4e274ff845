//! How long headers take, as ratios measured in one run: our parse of every shard against a mere read of
//! the same bytes, and against `serde_json::Value` of them. Warm, and cold (page cache of the files dropped).
//!
//! `cargo bench --bench open -- [SHARDS TENSORS]`; the files go to the system's temporary folder, which
//! should be on a disk for the cold rows to mean anything.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(dead_code, reason = "its own main serves it as an example")]
mod make_synthetic;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ckpt::container::Container as _;
use ckpt::container::bytes::SourceFile;
use ckpt::container::safetensors::{Safetensors, strict_verdict};

/// Runs of each row; the median is shown.
const RUNS: usize = 7;
/// Readers that wait for a cold disk.
const READERS: usize = 8;

/// Reads one file and returns how many tensors it has, or any number that depends on the work.
type Work = fn(&Path) -> io::Result<usize>;

/// The rows: name, work, threads.
const ROWS: [(&str, Work, usize); 6] = [
    ("pread only", pread, 1),
    ("ours", ours, 1),
    ("serde_json::Value", value, 1),
    ("ours + strict judge", judged, 1),
    ("pread only", pread, READERS),
    ("ours", ours, READERS),
];

fn main() -> io::Result<()> {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = match numbers[..] {
        [shards, tensors] => vec![(shards, tensors)],
        _ => vec![(1, 100_000), (400, 100_000), (400, 1_000_000)],
    };
    for (shards, tensors) in sizes {
        let folder = std::env::temp_dir().join(format!("ckpt-bench-{}", std::process::id()));
        make_synthetic::make(&folder, "moe-bnb", shards, tensors)?;
        let done = measure(&folder, tensors);
        std::fs::remove_dir_all(&folder)?;
        done?;
    }
    Ok(())
}

fn measure(folder: &Path, tensors: usize) -> io::Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    println!(
        "{} shards, {tensors} tensors (median of {RUNS}, ms; ratios to the first row and to Value)",
        files.len()
    );
    println!("{:22} {:>7} {:>9} {:>9} {:>9} {:>9}", "", "threads", "ms", "ns/tensor", "x pread", "x Value");
    for is_cold in [false, true] {
        // All rows take turns, so that a busy moment of the machine hits them alike.
        let mut times = ROWS.map(|_| Vec::new());
        for _ in 0..RUNS {
            for ((_, work, threads), times) in ROWS.iter().zip(&mut times) {
                if is_cold {
                    drop_cache(&files)?;
                }
                let start = Instant::now();
                run(&files, *work, *threads)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let medians = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        });
        println!("{}", if is_cold { "cold" } else { "warm" });
        for ((name, _, threads), ms) in ROWS.iter().zip(medians) {
            let each = ms * 1e6 / tensors as f64;
            let (to_pread, to_value) = (ms / medians[0], ms / medians[2]);
            println!("  {name:20} {threads:7} {ms:9.1} {each:9.0} {to_pread:9.2} {to_value:9.2}");
        }
    }
    Ok(())
}

/// Runs `work` over the files; each thread takes the next one.
fn run(files: &[PathBuf], work: Work, threads: usize) -> io::Result<usize> {
    let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reader = || -> io::Result<()> {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            sum.fetch_add(work(file)?, Ordering::Relaxed);
        }
        Ok(())
    };
    if threads == 1 {
        reader()?;
    } else {
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
            readers
                .into_iter()
                .try_for_each(|r| r.join().ok().ok_or_else(|| io::Error::other("a reader panicked"))?)
        })?;
    }
    Ok(std::hint::black_box(sum.into_inner()))
}

fn header_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)?;
    let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
    file.read_exact_at(&mut bytes, 8)?;
    Ok(bytes)
}

fn pread(path: &Path) -> io::Result<usize> {
    Ok(header_bytes(path)?.len())
}

fn value(path: &Path) -> io::Result<usize> {
    let value: serde_json::Value = serde_json::from_slice(&header_bytes(path)?)?;
    Ok(value.as_object().map_or(0, serde_json::Map::len))
}

fn ours(path: &Path) -> io::Result<usize> {
    let file = SourceFile::open(path, "shard").map_err(io::Error::other)?;
    let header = Safetensors.read_header(&file);
    if header.problems.is_empty() { Ok(header.entries().len()) } else { Err(io::Error::other("not clean")) }
}

fn judged(path: &Path) -> io::Result<usize> {
    let count = ours(path)?;
    let file = SourceFile::open(path, "shard").map_err(io::Error::other)?;
    strict_verdict(&file).map_or(Ok(count), |problem| Err(io::Error::other(problem.message)))
}

fn drop_cache(files: &[PathBuf]) -> io::Result<()> {
    for path in files {
        rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
