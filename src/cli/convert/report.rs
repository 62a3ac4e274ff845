//! What a run says at its end: what became of the layers, what was proven, and of a fix which codes are gone.

use std::io::Write;

use serde::Serialize;

use super::quality::{self, LayerQuality};
use crate::adapter::delta::Combine;
use crate::cli::{json, stdout_error};
use crate::engine::Outcome;
use crate::engine::busy::StageRate;
use crate::error::Result;
use crate::memory;
use crate::name::escape;
use crate::plan::{Action, Coverage, Plan};
use crate::units;

#[derive(Serialize)]
struct LayerCounts {
    copied: usize,
    #[serde(skip_serializing_if = "is_none")]
    renamed: usize,
    #[serde(skip_serializing_if = "is_none")]
    dropped: usize,
    cast: usize,
    dequantized: usize,
    merged: usize,
    quantized: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct ResultEvent<'a> {
    event: &'static str,
    output: String,
    layers: LayerCounts,
    skipped: &'a [String],
    bytes_read: u64,
    bytes_written: u64,
    elapsed: f64,
    peak_memory: Option<u64>,
    device: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device_why: &'a str,
    /// The stages until all was written, where GPUs computed: bytes, seconds and the share of the time in which each worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<Vec<StageJson>>,
    /// The stage that held up the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_by: Option<&'static str>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    merge: Option<MergeCounts<'a>>,
    proof: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Vec<LayerQuality<'a>>>,
    overflows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<&'a FixedCounts>,
}

/// A stage of a run.
#[derive(Serialize)]
struct StageJson {
    /// `read`, `compute`, `copies`, `to GPU`, `kernels`, `from GPU` or `write`.
    stage: &'static str,
    /// Bytes that passed through; 0 where they are not counted, as of what the processor computes.
    bytes: u64,
    /// Seconds in which it worked, of one of those that do it at a time.
    busy: f64,
    /// The share of the time in which it worked, 0 to 1.
    share: f64,
}

impl StageJson {
    fn of(rate: &StageRate) -> Self {
        Self { stage: rate.stage.word(), bytes: rate.bytes, busy: rate.seconds, share: rate.share }
    }
}

/// How many codes a fix was for, and those that are found in its result all the same.
#[derive(Serialize)]
pub(in crate::cli) struct FixedCounts {
    pub(in crate::cli) fixed: usize,
    pub(in crate::cli) of: usize,
    pub(in crate::cli) left: Vec<LeftJson>,
}

/// A finding that is there after its fix.
#[derive(Serialize)]
pub(in crate::cli) struct LeftJson {
    pub(in crate::cli) code: &'static str,
    pub(in crate::cli) title: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// How many modules of adapters are merged.
#[derive(Serialize)]
pub(super) struct MergeCounts<'a> {
    aligned: usize,
    total: usize,
    pub(super) left: &'a [String],
    /// How several adapters became one delta; absent where they are merged one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    combine: Option<Combine>,
}

impl<'a> MergeCounts<'a> {
    pub(super) fn of(plan: &'a Plan) -> Option<Self> {
        let Coverage { merged, total, left } = plan.coverage.as_ref()?;
        Some(Self { aligned: *merged, total: *total, left, combine: combination(plan) })
    }

    /// Returns what is said of them: `14 of 14 modules merged, combined (cat)`.
    pub(super) fn words(&self, modules: &str) -> String {
        let combined = match self.combine {
            None | Some(Combine::Sequential) => "",
            Some(Combine::Cat) => ", combined (cat)",
            Some(Combine::Linear) => ", combined (linear)",
        };
        format!("{} of {} {modules}{combined}", self.aligned, self.total)
    }
}

/// Returns how adapters are combined, if they are.
fn combination(plan: &Plan) -> Option<Combine> {
    let combine = plan.order.merging.as_ref()?.combine;
    (combine != Combine::Sequential).then_some(combine)
}

/// Says what a run did; of a fix also which codes are gone.
pub(in crate::cli) fn report(
    plan: &Plan,
    outcome: &Outcome,
    fixed: Option<&FixedCounts>,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let layers = LayerCounts {
        renamed: plan.count(Action::Rename),
        dropped: plan.count(Action::Drop),
        copied: plan.count(Action::Copy) - plan.broken.len(),
        cast: plan.count(Action::Cast),
        dequantized: plan.count(Action::Dequantize),
        merged: plan.count(Action::Merge),
        quantized: plan.packed().len(),
        skipped: plan.broken.len(),
    };
    let proof = outcome.proof.as_ref().map(crate::engine::verify::Proven::words);
    if is_json {
        let event = ResultEvent {
            event: "result",
            output: plan.order.output.display().to_string(),
            layers,
            skipped: &plan.broken,
            bytes_read: outcome.bytes_read,
            bytes_written: outcome.bytes_written,
            elapsed: outcome.elapsed.as_secs_f64(),
            peak_memory: memory::peak_bytes(),
            device: &outcome.device,
            device_why: &outcome.device_why,
            stages: outcome.stages.as_ref().map(|stages| stages.iter().map(StageJson::of).collect()),
            limited_by: outcome.stages.as_ref().map(|stages| stages.bottleneck().stage.word()),
            verified: outcome.proof.is_some() && plan.broken.is_empty(),
            merge: MergeCounts::of(plan),
            proof,
            quality: quality::json(plan, outcome),
            overflows: outcome.tally.overflows,
            fixed,
        };
        return json::write_line(out, &event);
    }
    let LayerCounts { copied, renamed, dropped, cast, dequantized, merged, quantized, skipped } = layers;
    let counts = [
        (merged, "merged"),
        (quantized, "quantized"),
        (dequantized, "dequantized"),
        (cast, "cast"),
        (renamed, "renamed"),
        (copied, "copied"),
        (dropped, "left out"),
        (skipped, "skipped, broken"),
    ];
    let words: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let seconds = outcome.elapsed.as_secs_f64();
    let rate = units::bytes((outcome.bytes_written as f64 / seconds.max(0.001)) as u64);
    let shown = escape(&plan.order.output.display().to_string()).into_owned();
    let mut lines = vec![format!(
        "{shown}: {}, {} written in {seconds:.1} s ({rate}/s)",
        words.join(", "),
        units::bytes(outcome.bytes_written)
    )];
    lines.push(match &proof {
        Some(words) if plan.broken.is_empty() => format!("✓ verified: {words}"),
        Some(words) => format!("▲ not proven: {} broken; {words}", units::plural(skipped, "layer")),
        None => "▲ not verified: --verify none".into(),
    });
    lines.extend(outcome.computed().map(|words| escape(&words).into_owned()));
    lines.extend(outcome.stages.as_ref().map(|stages| stages.words()));
    if let Some(counts) = MergeCounts::of(plan) {
        lines.push(counts.words("modules merged"));
        lines.extend(counts.left.iter().map(|why| format!("  not merged {why}")));
    }
    lines.extend(quality::lines(plan, outcome));
    lines.extend(plan.broken.iter().map(|name| format!("  skipped {}", escape(name))));
    if let Some(FixedCounts { fixed, of, left }) = fixed {
        lines.push(format!("{} fixed {fixed} of {of}", if fixed == of { "✓" } else { "▲" }));
        lines.extend(left.iter().map(|left| format!("  still there: {} {}", left.code, left.title)));
    }
    for line in lines {
        writeln!(out, "{line}").map_err(|e| stdout_error(&e))?;
    }
    Ok(())
}
