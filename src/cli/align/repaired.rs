//! A repair, said and carried out: every change first, then a folder that appears when it is complete.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use super::{FOUND, Pair, board};
use crate::adapter::repair::Repair;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::TensorRecord;
use crate::checkpoint::folder::container_of;
use crate::cli::{DONE, json, stdout_error};
use crate::engine::cpu::Cpu;
use crate::engine::{Options, Progress, Run};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::folder::{Copied, Text};
use crate::plan::{Action, At, Order, OutShard, OutTensor, Plan, Source, Step};
use crate::tensor::elements;

/// What files of a trainer's state begin with; they are large, and of no use beside an adapter.
const TRAINING: [&str; 5] = ["optimizer", "scheduler", "scaler", "rng_state", "random_states"];

#[derive(Serialize)]
struct PlanEvent<'a> {
    event: &'static str,
    steps: &'a [Step],
    renames: Vec<RenameJson<'a>>,
    config: &'a [String],
    left_out: &'a [String],
    refused: &'a [String],
    bytes_read: u64,
    bytes_written: u64,
}

#[derive(Serialize)]
struct RenameJson<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
}

#[derive(Serialize)]
struct ResultEvent<'a> {
    event: &'static str,
    output: Option<String>,
    aligned: usize,
    total: usize,
    renamed: usize,
    config: &'a [String],
    refused: &'a [String],
    bytes_written: u64,
    verified: bool,
}

/// Says what a repair does, and does it: exit 0 done or nothing to do, 1 something cannot be repaired.
pub(super) fn run(pair: &Pair<'_>, out: &mut dyn Write) -> Result<u8> {
    let asked = pair.asked;
    let repair = Repair::plan_as(&pair.base, &pair.adapter, &pair.facts, &pair.alignment, pair.wishes());
    let result = repair.result(&pair.adapter);
    let plan = plan(pair, &repair, &result);
    let is_to_write = !repair.is_empty() && repair.refused.is_empty();
    if asked.json {
        if asked.dry_run {
            json::write_line(out, &event(&repair, &plan))?;
        }
    } else {
        said(pair, &repair, out).map_err(|e| stdout_error(&e))?;
    }
    let mut written = 0;
    let mut output = None;
    if is_to_write && !asked.dry_run {
        // What was said is seen before the first byte is written.
        out.flush().map_err(|e| stdout_error(&e))?;
        written = carry_out(pair, &result, &plan)?;
        output = Some(plan.order.output.display().to_string());
    }
    let code = if repair.refused.is_empty() { DONE } else { FOUND };
    if asked.json && !asked.dry_run {
        let done = ResultEvent {
            event: "result",
            verified: output.is_some(),
            output,
            aligned: pair.alignment.aligned(),
            total: pair.alignment.modules.len(),
            renamed: repair.renames(),
            config: &repair.changes,
            refused: &repair.refused,
            bytes_written: written,
        };
        json::write_line(out, &done)?;
    } else if !asked.json {
        let last = match (&output, is_to_write) {
            (Some(output), _) => format!("✓ {}: written and verified", escape(output)),
            (None, true) => "nothing was written: --dry-run".into(),
            (None, false) if repair.refused.is_empty() => "nothing to repair; nothing was written".into(),
            (None, false) => "not everything can be repaired; nothing was written".into(),
        };
        writeln!(out, "{last}").map_err(|e| stdout_error(&e))?;
    }
    Ok(code)
}

fn event<'a>(repair: &'a Repair, plan: &'a Plan) -> PlanEvent<'a> {
    let changed = repair.keys.iter().filter(|key| key.is_changed());
    PlanEvent {
        event: "plan",
        steps: &plan.steps,
        renames: changed.map(|key| RenameJson { from: &key.from, to: &key.to, form: key.form() }).collect(),
        config: &repair.changes,
        left_out: &repair.left_out,
        refused: &repair.refused,
        bytes_read: plan.bytes_read(),
        bytes_written: plan.bytes_written(),
    }
}

fn said(pair: &Pair<'_>, repair: &Repair, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}", board::gate(pair))?;
    for key in repair.keys.iter().filter(|key| key.is_changed()) {
        let form = key.form().map_or_else(String::new, |form| format!("  ({form})"));
        writeln!(out, "rename  {}\n     →  {}{form}", escape(&key.from), escape(&key.to))?;
    }
    for change in &repair.changes {
        writeln!(out, "config  {change}")?;
    }
    for left in &repair.left_out {
        writeln!(out, "without {left}")?;
    }
    for refused in &repair.refused {
        writeln!(out, "✗ {}", escape(refused))?;
    }
    Ok(())
}

/// Returns the plan of the folder.
fn plan(pair: &Pair<'_>, repair: &Repair, result: &Checkpoint) -> Plan {
    let files = &result.files;
    // Rows in another order are read as more dimensions than are written.
    let ordered: FxHashMap<&str, Vec<u64>> = repair
        .keys
        .iter()
        .filter(|key| key.order.is_some())
        .map(|key| (key.to.as_str(), key.shape(&pair.adapter.files)))
        .collect();
    let tensor = |(at, record): (usize, &TensorRecord)| OutTensor {
        shape: ordered
            .get(files.tensor_name(at as u32).as_str())
            .map_or_else(|| files.shape(record).to_vec(), Clone::clone),
        name: files.tensor_name(at as u32),
        dtype: record.dtype,
        // A view spans other bytes than its elements take.
        bytes: elements(files.shape(record)).and_then(|n| record.dtype.bytes_of(n)).unwrap_or(record.bytes),
        source: Source::Copy(At::base(at as u32)),
    };
    let mut tensors: Vec<OutTensor> = files.tensors.iter().enumerate().map(tensor).collect();
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bits().map_or(0, |bits| bits as u32)));
    let bytes = tensors.iter().map(|tensor| tensor.bytes).sum();
    let step = Step {
        layer: pair.adapter.files.title.clone(),
        action: Action::Copy,
        from: pair.alignment.kind.clone(),
        to: pair.alignment.kind.clone(),
        bytes_in: bytes,
        bytes_out: bytes,
    };
    let output = pair.asked.output.clone().unwrap_or_default();
    let order = Order { shard_bytes: u64::MAX, ..Order::new(&pair.asked.adapter, &output) };
    Plan {
        order,
        steps: vec![step],
        shards: vec![OutShard { file: "adapter_model.safetensors".into(), tensors }],
        merges: Vec::new(),
        shared: Vec::new(),
        shared_bytes: 0,
        coverage: None,
        texts: vec![Text { file: "adapter_config.json".into(), content: format!("{:#}\n", repair.config) }],
        copies: copies(pair),
        warnings: Vec::new(),
        broken: Vec::new(),
    }
}

/// Returns the files that go over as they are: all but weights and what is written anew.
fn copies(pair: &Pair<'_>) -> Vec<Copied> {
    let files = &pair.adapter.files;
    // Beside an adapter that was named as a file may be anything.
    if !files.path.is_dir() {
        return Vec::new();
    }
    let is_kept = |name: &str| {
        name != "adapter_config.json"
            && !name.starts_with('.')
            && !name.ends_with(".index.json")
            && !TRAINING.iter().any(|word| name.starts_with(word))
            && container_of(name).is_none()
    };
    let copied = |(name, bytes): &(String, u64)| Copied {
        from: files.folder.join(name),
        file: name.clone(),
        bytes: *bytes,
    };
    files.others.iter().filter(|(name, _)| is_kept(name)).map(copied).collect()
}

fn carry_out(pair: &Pair<'_>, result: &Checkpoint, plan: &Plan) -> Result<u64> {
    // The base is an input too: a result inside it would change it.
    let base = pair.base.files.folder.canonicalize().unwrap_or_else(|_| pair.base.files.folder.clone());
    let output = &plan.order.output;
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if pair.base.files.path.is_dir() && parent.canonicalize().is_ok_and(|parent| parent.starts_with(&base)) {
        return Err(
            Error::input(format!("-o {}: inside the base", escape(&output.display().to_string()))).at(output)
        );
    }
    let options = Options { force: pair.asked.force, ..Options::default() };
    let progress = Progress::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&progress.cancel))
            .map_err(|e| Error::input(format!("signal {signal}: {e}")))?;
    }
    let run =
        Run { checkpoint: result, adapters: &[], plan, options: &options, device: &Cpu, progress: &progress };
    Ok(run.carry_out()?.bytes_written)
}
