//! What a diagnosis costs beside opening and examining the same checkpoint, in one run, and the slowest rules; and
//! what a pasted text of a megabyte costs. `cargo bench --bench diagnose -- [SHARDS TENSORS]`.
//!
//! Budget: 50 ms for 400 shards.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(dead_code, reason = "its own main serves it as an example")]
mod make_synthetic;

use std::io;
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::message::explain;
use ckpt::diagnose::{Diagnosis, RULES, Subject};

/// Runs; the median is shown.
const RUNS: usize = 7;
/// Rules that are named.
const SLOWEST: usize = 8;

fn median(mut run: impl FnMut() -> usize) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn main() -> io::Result<()> {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = match numbers[..] {
        [shards, tensors] => vec![(shards, tensors)],
        _ => vec![(1, 10_000), (400, 100_000), (400, 1_000_000)],
    };
    for (shards, tensors) in sizes {
        for style in ["dense", "gptq", "moe-bnb"] {
            let folder = std::env::temp_dir().join(format!("ckpt-bench-diagnose-{}", std::process::id()));
            make_synthetic::make(&folder, style, shards, tensors)?;
            let done = measure(&folder.display().to_string(), (style, shards, tensors));
            std::fs::remove_dir_all(&folder)?;
            done?;
        }
    }
    let frame = "  File \"/opt/conda/lib/python3.11/site-packages/transformers/modeling_utils.py\", line 4017, in load\n";
    let pasted = format!("{}KeyError: 'no such thing'\n", frame.repeat((1 << 20) / frame.len()));
    println!("a pasted text of 1 MiB    {:8.1} ms", median(|| explain(&pasted, None).lines));
    Ok(())
}

fn measure(path: &str, (style, shards, tensors): (&str, usize, usize)) -> io::Result<()> {
    let opened = Checkpoint::open(path).map_err(|e| io::Error::other(e.to_string()))?;
    let open = median(|| Checkpoint::open(path).map_or(0, |opened| opened.layers.len()));
    let examine = median(|| opened.examine().layers.len());
    let checkpoint = opened.examine();
    let subject = Subject { checkpoint: &checkpoint, facts: None, held: &[], deep: &[] };
    let all = median(|| Diagnosis::of(&subject).findings.len());
    println!("{style}, {shards} shards, {tensors} tensors (median of {RUNS})");
    println!(
        "  open {open:8.1} ms   examine {examine:8.1} ms   diagnose {all:8.1} ms = {:.2} x open",
        all / open
    );
    let mut rules: Vec<(f64, String)> =
        RULES.iter().map(|rule| (median(|| rule.findings(&subject).len()), format!("{rule:?}"))).collect();
    rules.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    for (ms, rule) in rules.iter().take(SLOWEST) {
        println!("    {ms:8.2} ms  {rule}");
    }
    let found: Vec<String> =
        Diagnosis::of(&subject).findings.iter().map(|finding| format!("{:?}", finding.rule)).collect();
    println!("    found: {}", found.join(", "));
    Ok(())
}
