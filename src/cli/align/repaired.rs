//! A repair, said and carried out: every change first, then a folder that appears when it is complete.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use super::{FOUND, Pair, board};
use crate::adapter::repair::Repair;
use crate::cli::{DONE, json, stdout_error};
use crate::engine::cpu::Cpu;
use crate::engine::{Options, Progress, Run};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::repaired::{self, Repaired};
use crate::plan::{Plan, Step};

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
    let order = repaired::order(&asked.adapter, asked.output.as_deref().unwrap_or_else(|| Path::new("")));
    let repaired = Repaired::plan(&pair.held, &pair.wishes(), order);
    let Repaired { repair, plan, .. } = &repaired;
    let is_to_write = repaired.obstacle().is_none();
    if asked.json {
        if asked.dry_run {
            json::write_line(out, &event(repair, plan))?;
        }
    } else {
        said(pair, repair, out).map_err(|e| stdout_error(&e))?;
    }
    let mut written = 0;
    let mut output = None;
    if is_to_write && !asked.dry_run {
        // What was said is seen before the first byte is written.
        out.flush().map_err(|e| stdout_error(&e))?;
        written = carry_out(pair, &repaired)?;
        output = Some(plan.order.output.display().to_string());
    }
    let code = if repair.refused.is_empty() { DONE } else { FOUND };
    if asked.json && !asked.dry_run {
        let done = ResultEvent {
            event: "result",
            verified: output.is_some(),
            output,
            aligned: pair.held.alignment.aligned(),
            total: pair.held.alignment.modules.len(),
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

fn carry_out(pair: &Pair<'_>, repaired: &Repaired) -> Result<u64> {
    let options = Options { force: pair.asked.force, ..Options::default() };
    let progress = Progress::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&progress.cancel))
            .map_err(|e| Error::input(format!("signal {signal}: {e}")))?;
    }
    let run = Run {
        checkpoint: &repaired.result,
        adapters: &[&pair.held.base],
        plan: &repaired.plan,
        options: &options,
        device: &Cpu,
        progress: &progress,
    };
    Ok(run.carry_out_as_asked()?.bytes_written)
}
