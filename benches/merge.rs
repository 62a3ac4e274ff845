//! How fast an adapter is merged, disk to disk, against a copy and sync of the same output bytes and against the same
//! bytes copied in memory, in one run; and how long an adapter of many modules takes to be held against its base.
//!
//! `cargo bench --bench merge -- [LAYERS]`: ten layers make 1 GB of output, none skip the merges. The files go to the system's temporary
//! folder, which should be on a disk. The most memory that was held is printed for each row.
#![expect(clippy::print_stdout, reason = "its output is a table")]

mod held;
#[expect(dead_code, reason = "its own main serves it as an example")]
mod make_synthetic;
mod model;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ckpt::adapter::Adapter;
use ckpt::adapter::align::{Alignment, Asked};
use ckpt::adapter::held::Held;
use ckpt::app::{App, Effect, Event, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::Proof;
use ckpt::memory;
use ckpt::plan::merge::landing::Attached;
use ckpt::plan::{Merging, Order, Plan, To};
use ckpt::quant::HeadersOnly;
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{self, Look, Scroll};
use held::{forget_peak, memory_copy};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use model::{FORMATS, Format, Tensor, copy, each_linear, make, median};

/// Runs of each row; the median is shown.
const RUNS: usize = 5;
/// Ranks of the adapters.
const RANKS: [u64; 2] = [16, 64];
/// Modules of the adapter that is only held against its base.
const MODULES: usize = 10_000;

/// Adds the factors of a module, in 32 bits as PEFT writes them.
fn push_pair(module: &str, [outputs, inputs]: [u64; 2], rank: u64, tensors: &mut Vec<Tensor>) {
    // Values around a hundredth, of either sign.
    let values: Vec<u8> =
        (0..997u16).flat_map(|at| (0.01 * (f32::from(at % 251) - 125.0) / 125.0).to_le_bytes()).collect();
    for (part, shape) in [("lora_A", [rank, inputs]), ("lora_B", [outputs, rank])] {
        let name = format!("base_model.model.{module}.{part}.weight");
        let bytes = shape[0] * shape[1] * 4;
        tensors.push((name, "F32", shape.to_vec(), bytes, Some(values.clone())));
    }
}

/// Writes an adapter of these tensors.
fn write_adapter(folder: &Path, rank: u64, tensors: &[Tensor]) -> io::Result<()> {
    let config = format!(
        r#"{{"peft_type": "LORA", "r": {rank}, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}}"#
    );
    model::write(folder, ("adapter_model.safetensors", tensors), ("adapter_config.json", &config))
}

fn merge((base, to): (&Path, To), adapter: &Path, output: &Path, proof: Proof) -> Result<f64, String> {
    let start = Instant::now();
    let (path, adapter) = (base.display().to_string(), adapter.display().to_string());
    let base = Arc::new(Checkpoint::open_examined(&path).map_err(|e| e.message)?);
    let held = Held::open(Arc::clone(&base), &adapter, None).map_err(|e| e.message)?;
    let merging = Merging { adapters: vec![(adapter, 1.0)], ..Merging::default() };
    let order = Order { merging: Some(merging), to, ..Order::new(&path, output) };
    let attached = Attached::new(&held, 1.0);
    let plan = Plan::merge(&base, order, &[attached]).map_err(|e| e.message)?;
    model::carry_out(&plan, (&base, &[&held.adapter]), proof)?;
    Ok(start.elapsed().as_secs_f64())
}

fn measure(folder: &Path, layers: u64, format: Format) -> Result<(), String> {
    let (name, add, quantization) = format;
    let io = |e: io::Error| e.to_string();
    let (base, output) = (folder.join(name), folder.join("merged"));
    make(&base, layers, add, quantization).map_err(io)?;
    let rows = RANKS.map(|rank| (rank, To::Dense)).into_iter();
    // What bitsandbytes packed is packed again too.
    let rows = rows.chain(name.starts_with("nf4").then_some((RANKS[0], To::Same)));
    for (rank, to) in rows {
        let adapter = folder.join(format!("{name}-r{rank}"));
        let mut tensors = Vec::new();
        each_linear(layers, |module, outputs, inputs| {
            push_pair(module, [outputs, inputs], rank, &mut tensors);
        });
        write_adapter(&adapter, rank, &tensors).map_err(io)?;
        let [mut plain, mut proven, mut copied, mut moved] = [const { Vec::new() }; 4];
        let mut bytes = 0;
        let mut peak = 0;
        for _ in 0..RUNS {
            for (proof, times) in [(Proof::None, &mut plain), (Proof::Sample, &mut proven)] {
                forget_peak().map_err(io)?;
                times.push(merge((&base, to.clone()), &adapter, &output, proof)?);
                peak = peak.max(memory::peak_bytes().unwrap_or(0));
                let model = output.join("model.safetensors");
                bytes = model.metadata().map_err(io)?.len();
                if proof == Proof::Sample {
                    let target = folder.join("copy.safetensors");
                    copied.push(copy(&model, &target).map_err(io)?);
                    std::fs::remove_file(target).map_err(io)?;
                    moved.push(memory_copy(&model).map_err(io)?);
                }
                std::fs::remove_dir_all(&output).map_err(io)?;
            }
        }
        std::fs::remove_dir_all(&adapter).map_err(io)?;
        print_row(
            (name, rank, to, bytes),
            [median(plain), median(proven), median(copied), median(moved)],
            peak,
        );
    }
    std::fs::remove_dir_all(&base).map_err(io)
}

fn print_row((name, rank, to, bytes): (&str, u64, To, u64), times: [f64; 4], peak: u64) {
    let [plain, proven, copied, moved] = times;
    let gigabytes = bytes as f64 / 1e9;
    let again = if to == To::Same { ", packed again" } else { "" };
    println!("r {rank} on {name}{again}, {gigabytes:.2} GB of output (median of {RUNS})");
    println!(
        "  merge                {plain:>7.2} s  {:>5.2} GB/s  {:>5.2} x as fast as copy and sync",
        gigabytes / plain,
        copied / plain
    );
    println!(
        "  merge and proof      {proven:>7.2} s  {:>5.2} GB/s  {:>5.2} of the time without",
        gigabytes / proven,
        proven / plain
    );
    println!("  copy and sync        {copied:>7.2} s  {:>5.2} GB/s", gigabytes / copied);
    println!(
        "  copy in memory       {moved:>7.2} s  {:>5.2} GB/s  a merge takes {:.0} x as long",
        gigabytes / moved,
        plain / moved
    );
    println!("  most memory          {:>7.0} MB", peak as f64 / 1e6);
}

/// Holds an adapter of many modules against a base, by headers alone and with its values.
fn hold(folder: &Path) -> Result<(), String> {
    let io = |e: io::Error| e.to_string();
    let (base, adapter) = (folder.join("wide"), folder.join("wide-adapter"));
    // Seven linears of nine tensors a layer.
    make_synthetic::make(&base, "dense", 8, MODULES.div_ceil(7) * 9 + 3).map_err(io)?;
    let path = base.display().to_string();
    let open = || Checkpoint::open_examined(&path).map_err(|e| e.message);
    let opened = Arc::new(open()?);
    let mut tensors = Vec::new();
    for layer in 0..opened.layers.len() as u32 {
        let spec = opened.layers.spec(layer);
        let name = opened.layers.name(&opened.files.names, layer);
        if let (&[outputs, inputs], true) = (spec.shape.as_slice(), name.ends_with("_proj")) {
            push_pair(&name, [outputs, inputs], 1, &mut tensors);
        }
    }
    write_adapter(&adapter, 1, &tensors).map_err(io)?;
    let path = adapter.display().to_string();
    let [mut opening, mut headers, mut whole] = [const { Vec::new() }; 3];
    let mut modules = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let side = Checkpoint::open_examined(&path).map_err(|e| e.message)?;
        let facts = Adapter::read(&side);
        opening.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let asked = Asked { strip_prefix: None, name: None, values: &HeadersOnly };
        let alignment = Alignment::of(&opened, &side, &facts, &asked);
        headers.push(start.elapsed().as_secs_f64());
        modules = alignment.aligned();
        let start = Instant::now();
        Held::open(Arc::clone(&opened), &path, None).map_err(|e| e.message)?;
        whole.push(start.elapsed().as_secs_f64());
    }
    println!("an adapter of {modules} modules on {} layers (median of {RUNS})", opened.layers.len());
    println!("  open and read keys   {:>7.0} ms", median(opening) * 1e3);
    println!("  align by headers     {:>7.0} ms", median(headers) * 1e3);
    println!("  all, with its values {:>7.0} ms", median(whole) * 1e3);
    frames(&opened, &path)?;
    // The same in another spelling: all of them stand on the board as a row of their own.
    for tensor in &mut tensors {
        tensor.0 = tensor.0.replace("base_model.model.", "");
    }
    std::fs::remove_dir_all(&adapter).map_err(io)?;
    write_adapter(&adapter, 1, &tensors).map_err(io)?;
    println!("the same, every key in another spelling");
    frames(&opened, &path)?;
    std::fs::remove_dir_all(&base).map_err(io)?;
    std::fs::remove_dir_all(&adapter).map_err(io)
}

/// Draws the board of an adapter: opened, moved in, filtered, its keys shown.
fn frames(base: &Arc<Checkpoint>, adapter: &str) -> Result<(), String> {
    let path = base.files.path.display().to_string();
    let (mut app, _) = App::new(std::slice::from_ref(&path), keys::keymap(None)?);
    let opened = Checkpoint::open_examined(&path).map_err(|e| e.message)?;
    app.update(Event::Opened(0, Box::new(Ok(opened))));
    let held =
        |id, number| Event::Attached(id, number, Box::new(Held::open(Arc::clone(base), adapter, None)));
    let effects = app.attach(adapter);
    let attached = effects.into_iter().find_map(|effect| match effect {
        Effect::Attach(id, number) => Some(held(id, number)),
        _ => None,
    });
    app.update(attached.ok_or("nothing was attached")?);
    let theme = Theme::default();
    let look = Look { theme: &theme, degrade: Degrade { colors: Colors::True, is_ascii: false } };
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).map_err(|e| e.to_string())?;
    let mut scroll = Scroll::default();
    let mut slowest = (0.0, "");
    for key in
        ["4", "j", "G", "g", "g", "n", "enter", "j", "esc", "f", "j", "esc", "/", "q", "enter", "G", "1", "4"]
    {
        let start = Instant::now();
        app.update(Event::Key(key.to_owned()));
        terminal.draw(|frame| ui::draw(frame, &mut app, &mut scroll, &look)).map_err(|e| e.to_string())?;
        let seconds = start.elapsed().as_secs_f64();
        if seconds > slowest.0 {
            slowest = (seconds, key);
        }
    }
    println!("  slowest board frame  {:>7.1} ms, key {}", slowest.0 * 1e3, slowest.1);
    Ok(())
}

fn main() -> Result<(), String> {
    let layers: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10);
    memory::map_large_blocks();
    let folder = std::env::temp_dir().join(format!("ckpt-bench-merge-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    // No layers: only what is held.
    let merges = || {
        FORMATS[..if layers == 0 { 0 } else { 3 }]
            .iter()
            .try_for_each(|format| measure(&folder, layers, *format))
    };
    let done = merges().and_then(|()| hold(&folder));
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    done
}
