//! What computes in a job that runs, and of GPUs the memory: what the job holds, what others do, and what was planned.

use std::sync::atomic::Ordering;

use ratatui::text::{Line, Span};

use super::WIDE;
use crate::app::App;
use crate::app::jobs::Job;
use crate::engine::Held;
use crate::gauges::GpuSample;
use crate::name::escape;
use crate::ui::gpu::shares;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the bar of memory.
const BAR_CELLS: usize = 10;

/// A line on the device and why it is that one, and a row for each GPU; nothing until it is known.
pub(super) fn lines(app: &App, job: &Job, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let Some(computing) = job.progress.device.get() else { return Vec::new() };
    if computing.held.is_empty() && computing.why.is_empty() {
        return Vec::new();
    }
    let mut words = format!("computes on {}", escape(&computing.name));
    if !computing.why.is_empty() {
        words = format!("{words}   {}", escape(&computing.why));
    }
    let role = theme.style(Role::Muted);
    let mut lines: Vec<Line<'static>> =
        wrap(&words, width).into_iter().map(|line| Line::from(Span::styled(line, role))).collect();
    for held in &computing.held {
        let gpu = app.gpus_now().iter().find(|gpu| gpu.uuid.as_ref().is_ok_and(|uuid| *uuid == held.uuid));
        lines.extend(rows(held, gpu, job.facts.vram, width, theme));
        lines.extend(job.context_of(held).map(|bytes| context(bytes, theme)));
    }
    lines.push(Line::default());
    lines
}

/// What the driver has taken beside.
fn context(bytes: u64, theme: &Theme) -> Line<'static> {
    Line::from(vec![
        Span::raw(" ".repeat(13)),
        Span::styled("beside it ", theme.style(Role::Muted)),
        Span::styled(units::bytes(bytes), theme.style(Role::Number)),
        Span::styled(" for the driver's context", theme.style(Role::Muted)),
    ])
}

/// Memory of a GPU: this job's now, at most, and as it was planned; and all that is used there. Numbers keep their width.
fn rows(
    held: &Held,
    gpu: Option<&GpuSample>,
    plan: Option<u64>,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let now = held.now.load(Ordering::Relaxed);
    let peak = held.peak.load(Ordering::Relaxed);
    let label = gpu.map_or_else(|| format!("cuda:{}", held.ordinal), GpuSample::label);
    let muted = |words: &str| Span::styled(words.to_owned(), theme.style(Role::Muted));
    let number = |bytes: u64| Span::styled(format!("{:>8}", units::bytes(bytes)), theme.style(Role::Number));
    let mut own = Line::from(vec![
        muted(&format!(" VRAM {label:<7}")),
        muted("this job "),
        number(now),
        muted("   peak "),
        number(peak),
    ]);
    if let Some(plan) = plan {
        let (glyph, role) = if peak <= plan { ("✓", Role::Ok) } else { ("▲", Role::Warn) };
        own.spans.extend([
            muted("   plan "),
            number(plan),
            Span::raw(" "),
            Span::styled(glyph, theme.style(role)),
        ]);
    }
    let Some(vram) = gpu.and_then(|gpu| gpu.vram.as_ref().ok()) else { return vec![own] };
    let mut all = shares(vram, now, BAR_CELLS, theme).to_vec();
    all.extend([
        Span::raw(" "),
        number(vram.used),
        muted(" of "),
        Span::styled(units::bytes(vram.total), theme.style(Role::Number)),
        muted(" used"),
    ]);
    if width >= WIDE {
        own.spans.push(Span::raw("   "));
        own.spans.extend(all);
        return vec![own];
    }
    all.insert(0, Span::raw(" ".repeat(13)));
    vec![own, Line::from(all)]
}
