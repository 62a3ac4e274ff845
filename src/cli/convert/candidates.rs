//! What a checkpoint could be packed as, side by side; and which of that would keep an adapter.

use std::io::Write;

use serde::Serialize;

use super::Job;
use crate::cli::{DONE, json, stdout_error};
use crate::engine::Progress;
use crate::engine::candidates::{Candidate, aims, look};
use crate::error::Result;
use crate::name::escape;
use crate::units;

#[derive(Serialize)]
struct CandidatesEvent<'a> {
    event: &'static str,
    candidates: Vec<CandidateJson<'a>>,
}

#[derive(Serialize)]
struct CandidateJson<'a> {
    flags: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta_kept: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Prints what a checkpoint would be in each format; nothing is written.
pub(super) fn print(job: &Job<'_>, is_json: bool, out: &mut dyn Write) -> Result<u8> {
    let found = looked_at(job)?;
    if is_json {
        let candidates = found.iter().map(of).collect();
        json::write_line(out, &CandidatesEvent { event: "candidates", candidates })?;
        return Ok(DONE);
    }
    for line in lines(&found) {
        writeln!(out, "{line}").map_err(|e| stdout_error(&e))?;
    }
    Ok(DONE)
}

/// Returns the formats that would keep an adapter, in a line.
pub(super) fn keepers(job: &Job<'_>) -> Result<String> {
    let found = looked_at(job)?;
    let keeps = |candidate: &Candidate| {
        let estimate = candidate.estimate.as_ref().ok()?;
        let kept = estimate.sampled.delta_kept.filter(|_| estimate.sampled.keeps())?;
        Some(format!("{} ({:.0} %)", candidate.aim.flags(), 100.0 * kept))
    };
    let names: Vec<String> = found.iter().filter_map(keeps).collect();
    let all = std::iter::once("--to dense (100 %)".to_owned()).chain(names).collect::<Vec<_>>();
    let which = if all.len() == 1 { "only" } else { "these" };
    Ok(format!("by a sample {which} would keep it: {}", all.join(", ")))
}

fn looked_at(job: &Job<'_>) -> Result<Vec<Candidate>> {
    let aims = aims(job.checkpoint);
    look((job.checkpoint, job.adapters), job.order, job.plan, &aims, &Progress::default())
}

fn of(candidate: &Candidate) -> CandidateJson<'_> {
    let estimate = candidate.estimate.as_ref().ok();
    CandidateJson {
        flags: candidate.aim.flags(),
        label: estimate.map(|estimate| estimate.label.as_str()),
        bytes: estimate.map(|estimate| estimate.bytes),
        relative_error: estimate.map(|estimate| estimate.sampled.relative_error),
        delta_kept: estimate.and_then(|estimate| estimate.sampled.delta_kept),
        sampled_layers: estimate.map(|estimate| estimate.sampled.layers),
        why: candidate.estimate.as_ref().err().map(String::as_str),
    }
}

fn lines(found: &[Candidate]) -> Vec<String> {
    let is_merged = found.iter().any(|candidate| {
        candidate.estimate.as_ref().is_ok_and(|estimate| estimate.sampled.delta_kept.is_some())
    });
    let width = found.iter().map(|candidate| candidate.aim.flags().len()).max().unwrap_or(0);
    let kept = if is_merged { "  delta kept" } else { "" };
    let mut lines = vec![format!("{:<width$} {:>10} {:>9}{kept}", "", "size", "error")];
    for candidate in found {
        let flags = candidate.aim.flags();
        lines.push(match &candidate.estimate {
            Ok(estimate) => {
                let kept = estimate.sampled.delta_kept;
                let kept = kept.map(|kept| format!("  {:>10.1} %", 100.0 * kept)).unwrap_or_default();
                let error = format!("{:.2} %", 100.0 * estimate.sampled.relative_error);
                format!("{flags:<width$} {:>10} {error:>9}{kept}", units::bytes(estimate.bytes))
            }
            Err(why) => format!("{flags:<width$} not possible: {}", escape(why)),
        });
    }
    let layers = found.iter().filter_map(|candidate| Some(candidate.estimate.as_ref().ok()?.sampled.layers));
    if let Some(layers) = layers.max() {
        let layers = units::plural(layers, "layer");
        lines.push(format!(
            "error: relative, of some rows of {layers}, packed and decoded again; nothing was written"
        ));
    }
    lines
}
