//! `ckpt convert`: a checkpoint in another format, in a new folder; `ckpt run`: a plan that was saved.

mod args;
mod candidates;
pub(super) mod packing;
mod quality;
mod report;
pub(super) mod saved;
mod vram;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

pub use self::args::{Convert, DtypeFlag, How, NamesFlag, Replay, VerifyFlag, What};
use self::packing::Packing;
use self::report::MergeCounts;
pub(super) use self::report::{FixedCounts, LeftJson, report};
use super::merge::Adapters;
use super::{DONE, UNPROVEN, json, shows_progress, stdout_error};
use crate::checkpoint::Checkpoint;
use crate::engine::choice::Choice;
use crate::engine::cpu::Cpu;
use crate::engine::sampled::{Sampled, sample};
use crate::engine::verify::totals::Totals;
use crate::engine::{self, Options, Outcome, Progress, Run, disk_free};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{Action, Order, Plan, Step};
use crate::units;

/// Runs `convert`: exit 0 done and proven, 3 done with layers skipped, 130 cancelled.
///
/// # Errors
/// The checkpoint cannot be opened or converted, or stdout fails.
pub fn run(convert: &Convert, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let checkpoint = Checkpoint::open_examined(&convert.path)?;
    let mut order = convert.what.order(&convert.path, &convert.output);
    order.names = convert.names.names();
    convert.packing.apply(&convert.to, &mut order)?;
    let make = |order| Plan::convert(&checkpoint, order);
    let job = Job { checkpoint: &checkpoint, adapters: &[], order: &order, plan: &make };
    job.planned((&convert.packing, &convert.what), quiet, out)
}

/// A task of the command line: its inputs, what is asked, and how plans of it are made.
pub(super) struct Job<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) adapters: &'a [&'a Checkpoint],
    pub(super) order: &'a Order,
    pub(super) plan: &'a dyn Fn(Order) -> Result<Plan>,
}

impl Job<'_> {
    /// Makes the plan, and saves it, prints it, or carries it out.
    pub(super) fn planned(
        &self,
        (packing, what): (&Packing, &What),
        quiet: bool,
        out: &mut dyn Write,
    ) -> Result<u8> {
        let options = what.how.options();
        if packing.candidates {
            return candidates::print(self, what.how.json, out);
        }
        let plan = (self.plan)(self.order.clone())?;
        if let Some(file) = &what.plan {
            return save(&plan, file, out);
        }
        if what.dry_run {
            return dry_run(self, &plan, &options, what.how.json, out);
        }
        self.carry_out(&plan, &options, (what.how.json, quiet), out)
    }

    /// Returns what a sample of the layers that are packed anew would lose.
    fn sampled(&self, plan: &Plan, options: &Options) -> Result<Option<Sampled>> {
        if plan.target.is_none() {
            return Ok(None);
        }
        let progress = Progress::default();
        let Self { checkpoint, adapters, .. } = *self;
        let run = Run { checkpoint, adapters, plan, options, device: &Cpu, progress: &progress };
        sample(&run).map(Some)
    }

    fn carry_out(
        &self,
        plan: &Plan,
        options: &Options,
        (json, quiet): (bool, bool),
        out: &mut dyn Write,
    ) -> Result<u8> {
        let outcome = execute((self.checkpoint, self.adapters), plan, options, (json, quiet), out)?;
        let quality = outcome.proof.as_ref().and_then(|proof| Totals::of(&proof.quality));
        if let Some(warning) = quality.and_then(|totals| totals.warning()) {
            let warning = warning.trim_start_matches("▲ ");
            warn(&format!("{warning}; {}", candidates::keepers(self)?), json, out)?;
        }
        report(plan, &outcome, None, json, out)?;
        let is_whole = plan.coverage.as_ref().is_none_or(|coverage| coverage.left.is_empty());
        Ok(if plan.broken.is_empty() && is_whole { DONE } else { UNPROVEN })
    }
}

/// Runs `run`: carries out a plan that was saved, if its inputs are still what they were.
///
/// # Errors
/// The file is no plan, its inputs changed, or as `run`.
pub fn replay(replay: &Replay, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let saved = saved::Saved::read(&replay.plan)?;
    if let Some(asked) = saved.as_fix() {
        return super::fix::replay(&saved, asked, replay, quiet, out);
    }
    let checkpoint = Arc::new(Checkpoint::open_examined(saved.input())?);
    let order = saved.order()?;
    let (how, json) = (replay.how.options(), replay.how.json);
    let adapters = order.merging.as_ref().map(|merging| Adapters::open(&checkpoint, merging)).transpose()?;
    let list = adapters.as_ref().map_or_else(Vec::new, Adapters::list);
    let make = |order| match &adapters {
        None => Plan::convert(&checkpoint, order),
        Some(adapters) => adapters.plan(&checkpoint, order),
    };
    let job = Job { checkpoint: &checkpoint, adapters: &list, order: &order, plan: &make };
    let plan = make(order.clone())?;
    saved.check(&plan, &[], &replay.plan)?;
    job.carry_out(&plan, &how, (json, quiet), out)
}

fn save(plan: &Plan, file: &std::path::Path, out: &mut dyn Write) -> Result<u8> {
    saved::Saved::of(plan).write(file)?;
    let shown = escape(&file.display().to_string()).into_owned();
    let steps = units::plural(plan.steps.len(), "layer");
    writeln!(out, "{shown}: plan of {steps}; `ckpt run {shown}` carries it out")
        .map_err(|e| stdout_error(&e))?;
    Ok(DONE)
}

/// Carries a plan out, and says meanwhile how far it is; what happened besides is said at the end.
pub(super) fn execute(
    (checkpoint, adapters): (&Checkpoint, &[&Checkpoint]),
    plan: &Plan,
    options: &Options,
    (json, quiet): (bool, bool),
    out: &mut dyn Write,
) -> Result<Outcome> {
    for warning in &plan.warnings {
        warn(warning, json, out)?;
    }
    let progress = Progress::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&progress.cancel))
            .map_err(|e| Error::input(format!("signal {signal}: {e}")))?;
    }
    let show = Show { plan, json, line: !quiet && !json && shows_progress() };
    let run = Run { checkpoint, adapters, plan, options, device: &Cpu, progress: &progress };
    let outcome = watched(run, &show, out)?;
    let fell_back = options.device != Choice::Auto && !outcome.device_why.is_empty();
    let why = fell_back.then_some(&outcome.device_why);
    for note in why.into_iter().chain(&outcome.notes) {
        warn(note, json, out)?;
    }
    if outcome.tally.overflows > 0 {
        let count = units::exact(outcome.tally.overflows);
        warn(&format!("{count} values are too large for F16 and became infinite"), json, out)?;
    }
    Ok(outcome)
}

/// What is shown while it runs.
struct Show<'a> {
    plan: &'a Plan,
    json: bool,
    line: bool,
}

/// Runs the engine and shows where it is, four times a second.
fn watched(run: Run<'_>, show: &Show<'_>, out: &mut dyn Write) -> Result<Outcome> {
    const TICK: Duration = Duration::from_millis(250);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running = scope.spawn(move || run.carry_out_as_asked());
        let mut shown = Instant::now();
        while !running.is_finished() {
            std::thread::park_timeout(Duration::from_millis(10));
            if shown.elapsed() >= TICK {
                shown = Instant::now();
                // Who reads the events has gone: the run goes on, its result is what was asked for.
                let _ = show.tick(run.progress, start.elapsed(), out);
            }
        }
        if show.line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        crate::checkpoint::joined(running)
    })
}

impl Show<'_> {
    fn tick(&self, progress: &Progress, elapsed: Duration, out: &mut dyn Write) -> Result<()> {
        let (read, written) =
            (progress.read.load(Ordering::Relaxed), progress.written.load(Ordering::Relaxed));
        let total = self.plan.bytes_written();
        let proving = progress.proving.load(Ordering::Relaxed);
        if self.json {
            let tensors = progress.tensors.load(Ordering::Relaxed);
            let of: usize = self.plan.shards.iter().map(|shard| shard.tensors.len()).sum();
            let event = ProgressEvent {
                event: "progress",
                stage: if proving { "verify" } else { "write" },
                tensors,
                of,
                bytes_read: read,
                bytes_written: written,
                total,
                elapsed: elapsed.as_secs_f64(),
            };
            json::write_line(out, &event)?;
            return out.flush().map_err(|e| stdout_error(&e));
        }
        if self.line {
            let percent = written.saturating_mul(100) / total.max(1);
            let rate = units::bytes((written as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
            let words = if proving {
                "written, comparing".to_owned()
            } else {
                let left =
                    elapsed.as_secs_f64() * (total.saturating_sub(written)) as f64 / written.max(1) as f64;
                format!(
                    "{percent}%  {} of {}  {rate}/s  {left:.0} s left",
                    units::bytes(written),
                    units::bytes(total)
                )
            };
            let _ = write!(std::io::stderr(), "\r\x1b[K{words}");
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ProgressEvent {
    event: &'static str,
    stage: &'static str,
    tensors: u64,
    of: usize,
    bytes_read: u64,
    bytes_written: u64,
    total: u64,
    elapsed: f64,
}

#[derive(Serialize)]
struct WarningEvent<'a> {
    event: &'static str,
    message: &'a str,
}

fn warn(message: &str, is_json: bool, out: &mut dyn Write) -> Result<()> {
    if is_json {
        return json::write_line(out, &WarningEvent { event: "warning", message });
    }
    let _ = writeln!(std::io::stderr(), "▲ {message}");
    Ok(())
}

#[derive(Serialize)]
struct PlanEvent<'a> {
    event: &'static str,
    steps: &'a [Step],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    merge: Option<MergeCounts<'a>>,
    bytes_read: u64,
    bytes_written: u64,
    peak_memory: u64,
    #[serde(flatten)]
    vram: vram::Vram,
    disk_free: u64,
    fits: bool,
    estimate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<Sampled>,
}

/// Prints the plan.
fn dry_run(job: &Job<'_>, plan: &Plan, options: &Options, is_json: bool, out: &mut dyn Write) -> Result<u8> {
    let sampled = job.sampled(plan, options)?;
    let disk = disk_free(&plan.order.output)?;
    let fits = disk > plan.bytes_written();
    let peak = engine::peak_memory(plan, options);
    let vram = vram::Vram::of(plan, options);
    if is_json {
        let event = PlanEvent {
            event: "plan",
            steps: &plan.steps,
            warnings: &plan.warnings,
            merge: MergeCounts::of(plan),
            bytes_read: plan.bytes_read(),
            bytes_written: plan.bytes_written(),
            peak_memory: peak,
            vram,
            disk_free: disk,
            fits,
            // Nothing has been measured on this machine yet.
            estimate: None,
            sampled,
        };
        json::write_line(out, &event)?;
        return Ok(DONE);
    }
    let mut lines =
        vec![format!("{} → {}", escape(&plan.order.input), escape(&plan.order.output.display().to_string()))];
    for group in plan.groups() {
        lines.push(format!(
            "  {:<10} {:>6}  {} → {}  {} → {}",
            group.action.verb(),
            group.layers,
            group.from,
            group.to,
            units::bytes(group.bytes_in),
            units::bytes(group.bytes_out)
        ));
        if let (Some(line), Some(note)) = (lines.last_mut(), &group.note) {
            let why = match (group.to.as_str(), group.action) {
                ("dense", _) => "stays plain: ",
                (_, Action::Copy) => "stays as it is: ",
                _ => "",
            };
            line.push_str("  ");
            line.push_str(why);
            line.push_str(&escape(note));
        }
    }
    if let Some(counts) = MergeCounts::of(plan) {
        lines.push(format!("  merges     {}", counts.words("modules")));
        lines.extend(counts.left.iter().map(|why| format!("  not merged {why}")));
    }
    if let (Some(sampled), Some(target)) = (sampled, &plan.target) {
        let method = target.method();
        let method = if method.is_empty() { method } else { format!(", {method}") };
        lines.push(format!("  packs      {}{method}: {}", target.label(), sampled.words()));
    }
    let files = units::plural(plan.shards.len(), "file");
    lines.push(format!("  writes     {} in {files} of tensors", units::bytes(plan.bytes_written())));
    if plan.makes_card() {
        lines.push(format!("  adds       {}", plan.written().join(", ")));
    }
    let others: Vec<&str> = plan.copied().map(|copied| copied.file.as_str()).collect();
    if !others.is_empty() {
        lines.push(format!("  copies     {}", escape(&others.join(", "))));
    }
    let verdict = if fits { "fits" } else { "does not fit" };
    lines.push(format!("  disk       {} free: {verdict}", units::bytes(disk)));
    lines.push(format!("  memory     at most about {}", units::bytes(peak)));
    lines.extend(vram.lines());
    lines.extend(plan.warnings.iter().map(|warning| format!("▲ {warning}")));
    lines.push("nothing was written".into());
    for line in lines {
        writeln!(out, "{line}").map_err(|e| stdout_error(&e))?;
    }
    Ok(DONE)
}
