//! How fast the kernels are on the GPUs of this machine, against a copy on the device in the same run; how fast bytes go
//! over the bus; and a conversion from disk to disk by GPU and by processor.
//!
//! `cargo bench --bench gpu -- [MILLIONS OF WEIGHTS] [LAYERS] [RUNS]`: 128 million weights a kernel are more than a GPU's
//! caches hold, and ten layers make 1 GB of output. Lines that begin with PASS or FAIL are the bars that are held; the
//! exit code is 1 if one is not. Without a GPU it says so, and ends with 0.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(dead_code, reason = "what other benches need of it")]
mod model;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::busy::{Stage, Stages};
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::cuda::measure::{Host, Meter, Speed, Task, Times, Way, cards, merge_of};
use ckpt::engine::cuda::probe::Card;
use ckpt::engine::{Device, Options, Progress, Proof, Run};
use ckpt::plan::{Order, Plan};
use ckpt::quant::noise::{layer, names};
use ckpt::tensor::Dtype;

/// Columns of the weights.
const COLUMNS: u64 = 8192;
/// Runs of each row, of which the median is shown, and launches of each at most.
const RUNS: u64 = 15;
const LAUNCHES: u64 = 8;
/// What a kernel to bf16 has to reach of a copy's speed.
///
/// What bounds it beside memory is instructions: at 85 % of a copy a multiprocessor of an H200 has to make 6.2 values a
/// clock of 4-bit codes and 5.1 of fp8, for which it can issue 20 instructions a value (25), 10 of them (12) of integers;
/// on an A100 it is nearly twice, on an RTX 4090 six times that. As compiled for `sm_90` nf4 takes 11.4 (6.6 of integers),
/// GPTQ 11.4 (5.5), AWQ 12.7 (6.1), fp8 15.2 (8.6), `Q4_K` 12.4 (7.6). Counted again: `ptxas -arch=sm_90` of the file in
/// kernels/ptx, `nvdisasm -c`, and the instructions of the loop on the way of whole tiles, by the values that it makes.
const DECODED_BAR: f64 = 0.85;
/// The kernels that have to.
const DECODED: [&str; 5] = ["bnb-nf4", "gptq", "awq", "fp8", "Q4_K"];
/// What a merge in bf16 has to reach, up to which rank.
const MERGED_BAR: f64 = 0.7;
const MERGED_RANK: usize = 64;
/// The ranks that are measured.
const RANKS: [usize; 5] = [8, 16, 32, 64, 128];
/// Bytes that a row of the bus moves in a run, and the chunks they go in.
const MOVED: u64 = 256 << 20;
const CHUNKS: [u64; 4] = [1 << 20, 4 << 20, 16 << 20, 64 << 20];

/// The bars, as lines.
#[derive(Default)]
struct Bars(Vec<String>, bool);

impl Bars {
    fn hold(&mut self, what: &str, share: Option<f64>, bar: f64) {
        let is_held = share.is_some_and(|share| share >= bar);
        self.1 |= !is_held;
        let verdict = if is_held { "PASS" } else { "FAIL" };
        let share = share.map_or_else(
            || "there is no kernel for it".to_owned(),
            |share| format!("{:.0} % of the copy's speed", share * 100.0),
        );
        self.0.push(format!("{verdict}  {what:<28} {share}, at least {:.0} %", bar * 100.0));
    }

    /// Says beside the last bar what share the device's arithmetic allows, where that is not all.
    fn allow(&mut self, most: Option<f64>) {
        if let (Some(most), Some(line)) = (most.filter(|&most| most < 1.0), self.0.last_mut()) {
            let most = most * 100.0;
            let said = format!("; its chain of multiply-adds allows {most:.0} % on this device");
            line.push_str(&said);
        }
    }
}

impl Bars {
    /// From a file that was read before, the bus or the writer is what a conversion has to wait for.
    fn limit(&mut self, what: &str, stages: Option<&Stages>) {
        let stage = stages.map(|stages| stages.bottleneck().stage);
        let is_held = matches!(stage, Some(Stage::ToGpu | Stage::FromGpu | Stage::Write));
        self.1 |= !is_held;
        let verdict = if is_held { "PASS" } else { "FAIL" };
        let what = format!("{what} disk to disk");
        let limit = stage.map_or("what is not known", Stage::what);
        self.0.push(format!("{verdict}  {what:<28} limited by {limit}; by the bus or the writer"));
    }
}

fn row(what: &str, speed: Speed, copy: Speed) -> f64 {
    let share = speed.rate() / copy.rate();
    let (rate, micros) = (speed.rate() / 1e9, speed.seconds * 1e6);
    println!("  {what:<28} {micros:>9.1} us  {rate:>8.1} GB/s  {share:>5.2} of the copy");
    share
}

fn kernels(meter: &Meter, rows: u64, times: Times, bars: &mut Bars) -> Result<(), String> {
    let copy = meter.copy(rows * COLUMNS * 2, times).map_err(|error| error.message)?;
    row("copy on the device", copy, copy);
    for name in names() {
        let layer = layer(name, rows, COLUMNS).ok_or("no such layer")?;
        let decoding = layer.decoding()?;
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let what = format!("{name} to {}", dtype.to_string().to_lowercase());
            let is_barred = DECODED.contains(&name) && dtype == Dtype::BF16;
            let share = match decoding.rows.program() {
                None => None,
                Some(program) => {
                    let codes = layer.codes(&decoding);
                    let task = Task { program, codes, rows, columns: COLUMNS, native: dtype, dtype };
                    let loaded = meter.load(task).map_err(|error| error.message)?;
                    let speed = loaded.map(|loaded| loaded.speed(times)).transpose();
                    speed.map_err(|error| error.message)?.map(|speed| row(&what, speed, copy))
                }
            };
            if share.is_none() {
                println!("  {what:<28} no kernel");
            }
            if is_barred {
                bars.hold(&what, share, DECODED_BAR);
            }
        }
    }
    let values = vec![0x3b; (rows * COLUMNS * 2) as usize];
    for rank in RANKS {
        let factors = (vec![0.01; rows as usize * rank], vec![0.01; COLUMNS as usize * rank]);
        let program = merge_of(Dtype::BF16, factors, rank, 0.5);
        let (native, dtype) = (Dtype::BF16, Dtype::BF16);
        let task = Task { program, codes: &values, rows, columns: COLUMNS, native, dtype };
        let loaded = meter.load(task).map_err(|error| error.message)?.ok_or("no kernel merges")?;
        let what = format!("merge of rank {rank} in bf16");
        let speed = loaded.speed(times).map_err(|error| error.message)?;
        let share = row(&what, speed, copy);
        if rank <= MERGED_RANK {
            bars.hold(&what, Some(share), MERGED_BAR);
            // Each value is one after another as many of them as the rank: the processor's order, to the bit.
            let needed = (rows * COLUMNS) as f64 * rank as f64 / speed.bytes as f64 * copy.rate();
            bars.allow(meter.multiply_adds().map(|most| most / needed));
        }
    }
    Ok(())
}

fn bus(meter: &Meter) -> Result<(), String> {
    println!("Bus, GB/s                 {}", CHUNKS.map(|chunk| format!("{:>7} MiB", chunk >> 20)).concat());
    for (host, memory) in [(Host::Pinned, "pinned"), (Host::Pageable, "pageable")] {
        for (way, direction) in [(Way::In, "to the device"), (Way::Out, "from it"), (Way::Both, "both ways")]
        {
            let speeds = CHUNKS.map(|chunk| {
                let times = Times { runs: 5, each: (MOVED / chunk) as usize };
                meter.transfer(way, host, chunk, times).map(|speed| format!("{:>11.2}", speed.rate() / 1e9))
            });
            let speeds = speeds.into_iter().collect::<Result<String, _>>().map_err(|error| error.message)?;
            println!("  {:<24}{speeds}", format!("{direction}, {memory}"));
        }
    }
    Ok(())
}

/// Converts a model; says how fast, and how busy each stage was.
fn convert(
    name: &str,
    device: &dyn Device,
    input: &Path,
    output: &Path,
) -> Result<Option<Box<Stages>>, String> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open_examined(&input.display().to_string()).map_err(|e| e.message)?;
    let order = Order::new(&input.display().to_string(), output);
    let plan = Plan::convert(&checkpoint, order).map_err(|e| e.message)?;
    let options = Options { proof: Proof::None, ..Options::default() };
    let progress = Progress::default();
    let run = Run {
        checkpoint: &checkpoint,
        adapters: &[],
        plan: &plan,
        options: &options,
        device,
        progress: &progress,
    };
    let outcome = run.carry_out().map_err(|error| error.message)?;
    let seconds = start.elapsed().as_secs_f64();
    let busy = |sum: &AtomicU64| sum.load(Ordering::Relaxed) as f64 / 1e9;
    println!(
        "  {name:<10} {seconds:>6.2} s  {:>6.2} GB/s written; thread seconds: read {:.2}, compute {:.2}, write {:.2}",
        outcome.bytes_written as f64 / seconds / 1e9,
        busy(&progress.busy.reading),
        busy(&progress.busy.computing),
        busy(&progress.busy.writing),
    );
    if let Some(stages) = &outcome.stages {
        println!("             {}", stages.words());
    }
    outcome.notes.iter().for_each(|note| println!("             {note}"));
    std::fs::remove_dir_all(output).map_err(|error| error.to_string())?;
    Ok(outcome.stages)
}

fn end_to_end(cards: &[Card], layers: u64, bars: &mut Bars) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("ckpt-bench-gpu-{}", std::process::id()));
    let done = model::FORMATS.iter().skip(1).try_for_each(|(name, add, quantization)| {
        let (input, output) = (folder.join(name), folder.join("dense"));
        model::make(&input, layers, *add, quantization).map_err(|error| error.to_string())?;
        println!("{name} to 16 bits, disk to disk, {layers} layers, the file read before");
        convert("warm-up", &Cpu, &input, &output)?;
        convert("processor", &Cpu, &input, &output)?;
        let values = Options::default().slot_bytes / 2;
        let cuda = Cuda::open(cards, values).map_err(|error| error.message)?;
        let stages = convert("GPU", &cuda, &input, &output)?;
        bars.limit(name, stages.as_deref());
        std::fs::remove_dir_all(&input).map_err(|error| error.to_string())
    });
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    done.and(removed)
}

fn measure(cards: &[Card]) -> Result<bool, String> {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<u64>().ok());
    let (millions, layers) = (numbers.next().unwrap_or(128), numbers.next().unwrap_or(10));
    let runs = numbers.next().unwrap_or(RUNS).max(1);
    let times = Times { runs: runs as usize, each: runs.min(LAUNCHES) as usize };
    let rows = (millions * 1_000_000 / COLUMNS / 256).max(1) * 256;
    let mut bars = Bars::default();
    for card in cards {
        let [major, minor] = card.capability;
        println!("cuda:{} {}, compute capability {major}.{minor}", card.ordinal, card.name);
        println!("Kernels, {rows} x {COLUMNS} weights, median of {runs}");
        let start = Instant::now();
        let meter = Meter::open(card).map_err(|error| error.message)?;
        println!("  kernels compiled and loaded in {:.2} s", start.elapsed().as_secs_f64());
        kernels(&meter, rows, times, &mut bars)?;
        bus(&meter)?;
    }
    end_to_end(cards, layers, &mut bars)?;
    bars.0.iter().for_each(|line| println!("{line}"));
    Ok(!bars.1)
}

fn main() -> ExitCode {
    let cards = match cards() {
        Ok(cards) => cards,
        Err(why) => {
            println!("Nothing is measured, as no GPU can compute here: {why}");
            return ExitCode::SUCCESS;
        }
    };
    match measure(&cards) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("FAIL  not measured to the end: {why}");
            ExitCode::FAILURE
        }
    }
}
