//! The stages of a job that runs: how fast each is and how busy, and which one holds up the others.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{WIDE, bar_cells};
use crate::app::jobs::Job;
use crate::app::jobs::meter::Speed;
use crate::engine::Proof;
use crate::engine::busy::{Stage, StageRate};
use crate::name::cut_middle;
use crate::ui::gauge_bar::{bar, gib_per_second};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// A row for each stage; the busiest holds up the others.
pub(super) fn lines(job: &Job, speed: Option<&Speed>, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let muted = |words: &'static str| Line::from(Span::styled(words, theme.style(Role::Muted)));
    let counts = job.meter.counts();
    let Some(speed) = speed else {
        let words = match (counts.is_proving, job.facts.proof) {
            (true, Proof::None) => "All is written; the folder gets its name.",
            (true, _) => "All is written. It is read again and compared with the input.",
            (false, _) => "Rates show after the first second.",
        };
        return vec![muted(words)];
    };
    let head = match (speed.stages.has_gpus(), width >= WIDE) {
        (false, _) => " stage           rate   busy",
        (true, false) => " stage           rate   busy    stages of GPUs: rate while at work",
        (true, true) => {
            " stage           rate   busy                      stages of GPUs: the rate while at work"
        }
    };
    let rows = speed.stages.iter().map(|stage| row(job, speed, stage, width, theme));
    std::iter::once(muted(head)).chain(rows).collect()
}

/// A stage: of reading and writing the rate at which the job goes on, of GPUs' stages what they do while they work.
fn row(job: &Job, speed: &Speed, rate: &StageRate, width: usize, theme: &Theme) -> Line<'static> {
    let cells = bar_cells(width).min(24);
    let bytes = match rate.stage {
        Stage::Read => Some(speed.read),
        Stage::Write => Some(speed.write),
        _ => rate.rate(),
    };
    let bytes = bytes.map_or_else(|| "-".to_owned(), |rate| format!("{} GiB/s", gib_per_second(rate)));
    let is_bottleneck = rate.stage == speed.stages.bottleneck().stage;
    let note = match rate.stage {
        _ if is_bottleneck => format!("  ▲ bottleneck: {}", rate.stage.what()),
        Stage::Compute => format!("  {}", units::plural(job.facts.threads, "thread")),
        Stage::Copies => "  to and from pinned memory".to_owned(),
        _ => String::new(),
    };
    // Without room for why, what it is must do.
    let room = width.saturating_sub(23 + cells + 5);
    let note = if note.width() > room { note.split(':').next().unwrap_or_default() } else { &note };
    let percent = format!("{:.0}%", rate.share * 100.0);
    Line::from(vec![
        Span::raw(if is_bottleneck { "▌" } else { " " }),
        Span::styled(format!("{:<8}", rate.stage.word()), theme.style(Role::Text)),
        Span::styled(format!("{bytes:>11}   "), theme.style(Role::Number)),
        Span::styled(bar(cells, rate.share), theme.style(Role::BarThis)),
        Span::styled(format!(" {percent:>4}"), theme.style(Role::Number)),
        Span::styled(
            cut_middle(note, room).into_owned(),
            theme.style(if is_bottleneck { Role::Warn } else { Role::Muted }),
        ),
    ])
}
