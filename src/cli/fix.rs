//! `ckpt fix`: the fixes of findings carried out, in a new folder, and looked at again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::convert::saved::Saved;
use super::convert::{FixedCounts, How, LeftJson, Replay, execute, report};
use super::{DONE, UNPROVEN, json, stdout_error};
use crate::adapter::Adapter;
use crate::adapter::held::Held;
use crate::checkpoint::Checkpoint;
use crate::diagnose::Subject;
use crate::diagnose::treatment::{Treated, Treatment, Wanted};
use crate::engine::{Options, disk_free, peak_memory};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::fixed::Change;
use crate::plan::{Order, Step};
use crate::units;

/// What `fix` is asked.
#[derive(Debug, Args)]
pub struct Fix {
    /// Folder, file, or Hub name in the local cache.
    pub path: String,
    /// The codes or names of the findings: Q001 or already-quantized; Q001:2 takes its second fix.
    #[arg(required = true, value_name = "CODE")]
    pub codes: Vec<String>,
    /// An adapter on the checkpoint: a finding about it is fixed in a folder of its own.
    #[arg(short = 'a', long = "adapter", value_name = "ADAPTER")]
    pub adapters: Vec<String>,
    /// The folder to make. It appears when it is complete.
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Print each change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Save the plan in FILE, for `ckpt run`, and write nothing else.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// How it is carried out.
    #[command(flatten)]
    pub how: How,
}

/// A fix that is ready: what is opened, and what becomes of it.
struct Ready {
    base: Arc<Checkpoint>,
    adapters: Vec<(String, Arc<Held>)>,
    treatment: Treatment,
    treated: Treated,
}

/// Runs the command: exit 0 done and the findings are gone, 3 done and one is still there, 130 cancelled.
///
/// # Errors
/// A code is not known, finds nothing or has only advice; the fixes contradict each other; the result cannot be
/// written; or stdout fails.
pub fn run(fix: &Fix, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let ready = Ready::open(&fix.path, &fix.adapters, &fix.codes, &fix.output)?;
    let (options, is_json) = (fix.how.options(), fix.how.json);
    let Treated { plan, changes, .. } = &ready.treated;
    if let Some(file) = &fix.plan {
        Saved::of_fix(plan, &fix.path, &fix.adapters, changes).write(file)?;
        let shown = escape(&file.display().to_string()).into_owned();
        let count = units::plural(changes.len(), "change");
        return line(out, &format!("{shown}: plan of {count}; `ckpt run {shown}` carries it out"))
            .map(|()| DONE);
    }
    if fix.dry_run {
        return ready.dry_run(&options, is_json, out);
    }
    ready.carry_out(&options, (is_json, quiet), out)
}

/// Carries out a fix that was saved, if it is still the same.
pub(super) fn replay(
    saved: &Saved,
    (path, adapters, codes, output): (String, Vec<String>, Vec<String>, PathBuf),
    replay: &Replay,
    quiet: bool,
    out: &mut dyn Write,
) -> Result<u8> {
    let ready = Ready::open(&path, &adapters, &codes, &output)?;
    saved.check(&ready.treated.plan, &ready.treated.changes, &replay.plan)?;
    ready.carry_out(&replay.how.options(), (replay.how.json, quiet), out)
}

impl Ready {
    /// Opens everything, looks for the codes, and plans their fixes.
    fn open(path: &str, adapters: &[String], codes: &[String], output: &Path) -> Result<Self> {
        let wanted = codes.iter().map(|code| Wanted::parse(code)).collect::<Result<Vec<_>>>()?;
        let base = Arc::new(Checkpoint::open_examined(path)?);
        let hold = |path: &String| Ok((path.clone(), Arc::new(Held::open(Arc::clone(&base), path, None)?)));
        let adapters = adapters.iter().map(hold).collect::<Result<Vec<(String, Arc<Held>)>>>()?;
        let facts = Adapter::of(&base);
        let held: Vec<&Held> = adapters.iter().map(|(_, held)| &**held).collect();
        let subject = Subject { checkpoint: &base, facts: facts.as_ref(), held: &held, deep: &[] };
        let treatment = Treatment::of(&subject, &wanted)?;
        let order = Order { fixes: codes.to_vec(), ..Order::new(path, output) };
        let treated = treatment.plan(&base, &adapters, order)?;
        if treated.changes.is_empty() {
            let why = if treated.idle.is_empty() { "no edit".into() } else { treated.idle.join("; ") };
            return Err(Error::input(format!("nothing would change: {why}")));
        }
        Ok(Self { base, adapters, treatment, treated })
    }

    fn carry_out(
        &self,
        options: &Options,
        (is_json, quiet): (bool, bool),
        out: &mut dyn Write,
    ) -> Result<u8> {
        let Treated { checkpoint, adapters, plan, changes, idle } = &self.treated;
        if !is_json {
            for shown in changes.iter().flat_map(lines).chain(idle.iter().map(|words| format!("· {words}")))
            {
                line(out, &shown)?;
            }
            // What was said is seen before the first byte is written.
            out.flush().map_err(|e| stdout_error(&e))?;
        }
        let inputs: Vec<&Checkpoint> = adapters.iter().map(AsRef::as_ref).collect();
        let outcome = execute((checkpoint, &inputs), plan, options, (is_json, quiet), out)?;
        let left = self.treatment.left(&plan.order.output, &self.base, &self.adapters)?;
        let codes = self.treatment.codes();
        let is_left = |code: &str| left.iter().any(|(other, _)| *other == code);
        let counts = FixedCounts {
            fixed: codes.iter().filter(|code| !is_left(code)).count(),
            of: codes.len(),
            left: left.iter().map(|(code, title)| LeftJson { code, title: title.clone() }).collect(),
        };
        report(plan, &outcome, Some(&counts), is_json, out)?;
        let is_whole = plan.broken.is_empty() && plan.coverage.as_ref().is_none_or(|c| c.left.is_empty());
        Ok(if left.is_empty() && is_whole { DONE } else { UNPROVEN })
    }

    /// Prints each change, and what the folder needs.
    fn dry_run(&self, options: &Options, is_json: bool, out: &mut dyn Write) -> Result<u8> {
        let Treated { plan, changes, idle, .. } = &self.treated;
        let disk = disk_free(&plan.order.output)?;
        let fits = disk > plan.bytes_written();
        if is_json {
            let event = PlanEvent {
                event: "plan",
                edits: changes,
                unchanged: idle,
                steps: &plan.steps,
                warnings: &plan.warnings,
                bytes_read: plan.bytes_read(),
                bytes_written: plan.bytes_written(),
                peak_memory: peak_memory(plan, options),
                peak_vram: 0,
                disk_free: disk,
                fits,
                estimate: None,
            };
            return json::write_line(out, &event).map(|()| DONE);
        }
        let output = plan.order.output.display().to_string();
        let mut all = vec![format!("{} → {}", escape(&plan.order.input), escape(&output))];
        all.extend(changes.iter().flat_map(lines));
        all.extend(idle.iter().map(|words| format!("· {words}")));
        all.extend(plan.said_files());
        let verdict = if fits { "fits" } else { "does not fit" };
        all.push(format!(
            "disk    {} needed, {} free: {verdict}",
            units::bytes(plan.bytes_written()),
            units::bytes(disk)
        ));
        all.extend(plan.warnings.iter().map(|warning| format!("▲ {warning}")));
        all.push("nothing was written".into());
        all.iter().try_for_each(|shown| line(out, shown))?;
        Ok(DONE)
    }
}

/// Returns a change in lines: where, as it is, as it will be.
fn lines(change: &Change) -> Vec<String> {
    let Change { code, file, what, before, after } = change;
    let mut lines = vec![format!("{code}  {file}  {what}").trim_end().to_owned()];
    if !before.is_empty() {
        lines.push(format!("  - {before}"));
    }
    lines.push(format!("  + {after}"));
    lines
}

fn line(out: &mut dyn Write, text: &str) -> Result<()> {
    writeln!(out, "{text}").map_err(|e| stdout_error(&e))
}

#[derive(Serialize)]
struct PlanEvent<'a> {
    event: &'static str,
    edits: &'a [Change],
    unchanged: &'a [String],
    steps: &'a [Step],
    warnings: &'a [String],
    bytes_read: u64,
    bytes_written: u64,
    peak_memory: u64,
    peak_vram: u64,
    disk_free: u64,
    fits: bool,
    estimate: Option<f64>,
}
