//! A job that has ended: its proof, or why there is no result.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::what;
use crate::app::jobs::{After, Job, JobState, Verdict};
use crate::engine::Outcome;
use crate::engine::verify::Proven;
use crate::name::{cut_middle, escape};
use crate::ui::pane::wrap;
use crate::ui::plan::merged;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// From this width on the proof says what each part compares with.
const REASONS_MIN: usize = 90;

/// Returns the lines of a job that has ended.
pub(super) fn lines(job: &Job, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let paragraph = |words: &str, role: Role| -> Vec<Line<'static>> {
        wrap(words, width).into_iter().map(|l| Line::from(Span::styled(l, theme.style(role)))).collect()
    };
    let mut lines = Vec::new();
    match &job.state {
        JobState::Done(outcome) => {
            lines.extend(done(job, outcome, width, theme));
            lines.push(Line::default());
            let next = match job.after {
                After::Open => "Enter opens the result beside its input.",
                After::Attach(_) => "Enter attaches the repaired adapter in the place of the other.",
            };
            lines.extend(paragraph(next, Role::Text));
        }
        JobState::Failed(error) => {
            lines.extend(paragraph(&format!("✗ {}", escape(&error.message)), Role::Error));
            lines.push(Line::default());
            lines.extend(paragraph(
                "Nothing stands under the name of the result; the input is as it was.",
                Role::Muted,
            ));
        }
        JobState::Cancelled(words) => {
            lines.extend(paragraph(&format!("× {}", escape(words)), Role::Text));
        }
        JobState::Queued | JobState::Running => {}
    }
    lines.push(Line::default());
    lines.extend(what(job, width, theme));
    lines
}

fn done(job: &Job, outcome: &Outcome, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let seconds = outcome.elapsed.as_secs_f64();
    let rate = units::bytes((outcome.bytes_written as f64 / seconds.max(0.001)) as u64);
    let files = units::plural(job.facts.shards + job.facts.others, "file");
    let is_checked = outcome.bytes_written == 0;
    let is_partial = matches!(job.verdict(outcome), Verdict::Partial(..));
    let (glyph, verdict, role) = match (&outcome.proof, job.facts.broken) {
        (Some(_), 0) if is_partial => ("▲", "written, merged in part", Role::Warn),
        (Some(_), 1..) => ("▲", "written, not proven", Role::Warn),
        (Some(_), 0) if is_checked => ("✓", "complete and verified", Role::Ok),
        (Some(_), 0) => ("✓", "written and verified", Role::Ok),
        (None, _) => ("▲", "written, not verified", Role::Warn),
    };
    let price = if is_checked {
        format!("  nothing was written   {files} there   {}", took(seconds))
    } else {
        format!("  {} in {files}   {} at {rate}/s", units::bytes(outcome.bytes_written), took(seconds))
    };
    let path = cut_middle(&escape(&job.facts.output), width.saturating_sub(verdict.len() + 5)).into_owned();
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!("{glyph} {verdict}   "), theme.style(role)),
            Span::styled(path, theme.style(Role::Path)),
        ]),
        Line::from(Span::styled(price, theme.style(Role::Text))),
    ];
    if let Some(computed) = outcome.computed() {
        let wrapped = wrap(&escape(&computed), width.saturating_sub(2));
        lines.extend(
            wrapped.into_iter().map(|l| Line::from(Span::styled(format!("  {l}"), theme.style(Role::Muted)))),
        );
    }
    if let Some(stages) = &outcome.stages {
        let wrapped = wrap(&stages.words(), width.saturating_sub(2));
        lines.extend(
            wrapped.into_iter().map(|l| Line::from(Span::styled(format!("  {l}"), theme.style(Role::Muted)))),
        );
    }
    if let Some(coverage) = &job.facts.coverage {
        lines.extend(merged(coverage, true, width, theme));
    }
    lines.push(Line::default());
    if let Some(proof) = &outcome.proof {
        lines.push(Line::from(Span::styled("proof", theme.style(Role::Heading))));
        lines.extend(proven(proof, width, theme));
        lines.extend(super::quality::lines(job, proof, width, theme));
    } else {
        lines.push(Line::from("Nothing was compared: the form said verify none."));
        if !job.facts.packed.is_empty() {
            lines.push(Line::from("What packing took of the values was not measured."));
        }
    }
    let mut notes = Vec::new();
    if job.facts.broken > 0 {
        let layers = units::plural(job.facts.broken, "broken layer");
        notes.push((format!("▲ {layers} copied as stored: broken here as in the input"), Role::Warn));
    }
    if outcome.tally.overflows > 0 {
        let count = units::exact(outcome.tally.overflows);
        notes.push((format!("▲ {count} values are too large for F16 and became infinite"), Role::Warn));
    }
    notes.extend(outcome.notes.iter().map(|note| (format!("· {}", escape(note)), Role::Muted)));
    if !notes.is_empty() {
        lines.push(Line::default());
    }
    for (words, role) in notes {
        lines.extend(wrap(&words, width).into_iter().map(|l| Line::from(Span::styled(l, theme.style(role)))));
    }
    lines
}

/// Returns a time that has passed: short ones to the tenth or hundredth.
fn took(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.2} s"),
        ..60.0 => format!("{seconds:.1} s"),
        _ => units::clock(std::time::Duration::from_secs_f64(seconds)),
    }
}

/// What was compared, how many of how many, and with what.
fn proven(proof: &Proven, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let &Proven {
        files,
        copied,
        decoded,
        decoded_of,
        merged,
        merged_of,
        packed,
        packed_of,
        rows: in_f64,
        ulps,
        ..
    } = proof;
    let copied_words = match proof.unsampled {
        0 => format!("{} as in the source", units::plural(copied, "tensor")),
        more => format!("{copied} of {} as in the source", units::plural(copied + more, "tensor")),
    };
    let whole_words = format!("{} as in the source", units::plural(proof.whole, "file"));
    let decoded_words = if decoded == decoded_of {
        format!("all {} decoded again, equal", units::plural(decoded_of, "layer"))
    } else {
        format!("{decoded} of {decoded_of} layers decoded again, equal")
    };
    let rows = [
        (
            files,
            "structure",
            format!("{} read again", units::plural(files, "file")),
            "our reader, and the format's own strict one",
        ),
        (copied, "copied", copied_words, "byte by byte"),
        (
            proof.whole,
            "unchanged",
            whole_words,
            if proof.is_sampled { "parts of large ones, byte by byte" } else { "byte by byte" },
        ),
        (
            merged_of,
            "merged",
            format!(
                "{merged} of {merged_of} computed again, {} in f64",
                units::plural(in_f64 as usize, "row")
            ),
            &format!("an independent second way, at most {ulps:.2} ulp away"),
        ),
        (
            packed_of,
            "packed",
            format!("{packed} of {packed_of} layers encoded again, equal"),
            "inputs opened anew, other blocks of rows",
        ),
        (decoded_of, "decoded", decoded_words, "inputs opened anew, other blocks of rows"),
    ];
    let mut lines = Vec::new();
    for (count, word, words, with) in rows {
        if count == 0 {
            continue;
        }
        let mut spans = vec![
            Span::styled("  ✓ ", theme.style(Role::Ok)),
            Span::styled(format!("{word:<11}"), theme.style(Role::Text)),
            Span::styled(words.clone(), theme.style(Role::Text)),
        ];
        if width >= REASONS_MIN {
            spans.push(Span::raw(" ".repeat(44usize.saturating_sub(words.width()))));
            spans.push(Span::styled(with.to_owned(), theme.style(Role::Muted)));
        }
        lines.push(Line::from(spans));
    }
    lines
}
