//! The plan of what a form says: what becomes of the layers, what is written, and what that needs.

mod candidates;
mod fixes;
mod repair;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::command_line;
use super::pane::{block, text, wrap};
use super::theme::{Role, Theme};
use crate::app::App;
use crate::app::form::{Content, FORMAT, Form, Planned, Task, There};
use crate::app::jobs::{Context, Measured};
use crate::engine::choice::Choice as Device;
use crate::error::Error;
use crate::gauges::GpuSample;
use crate::name::{cut_middle, escape};
use crate::plan::{Coverage, Group};
use crate::units;

/// Cells of a row of alike steps.
const GROUP_CELLS_MAX: usize = 66;
/// Modules that are left out and named.
const LEFT_NAMED_MAX: usize = 4;
/// Files of a folder that are named.
const FILES_NAMED_MAX: usize = 6;

/// Draws the plan of a form; returns the first line that shows.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, (app, form): (&App, &Form), theme: &Theme) -> usize {
    let width = usize::from(area.width.saturating_sub(4));
    let verdict = match (&form.plan, form.is_planning()) {
        (_, true) | (None, _) => "…",
        (Some(Err(_)), _) => "✗ refused",
        (Some(Ok(planned)), _) if planned.repair.is_some() => repair::verdict(planned),
        (Some(Ok(planned)), _) if planned.obstacle.is_some() => "✗ not yet",
        (Some(Ok(planned)), _) if planned.options.force => "▲ replaces",
        (Some(Ok(_)), _) => "✓ ready",
    };
    let mut command = vec![
        Line::default(),
        Line::from(vec![
            Span::styled("same thing in a shell", theme.style(Role::Heading)),
            Span::styled("   Y copies", theme.style(Role::Muted)),
        ]),
    ];
    command.extend(command_line::lines(&form.command().join(" "), width, theme));
    let frame_block = block(&format!("Plan  {verdict}"), false, theme);
    let mut lines = match &form.plan {
        None => vec![Line::from(Span::styled("reading what the layers need", theme.style(Role::Muted)))],
        Some(Err(error)) => refusal(error, form.task, width, theme),
        Some(Ok(planned)) => {
            if let Some(found) = &planned.repair {
                let above = standing(planned, width, theme);
                let list = repair::List::new(found, &planned.plan, (above, command), width, theme);
                return list.draw(frame, area, frame_block, form.top);
            }
            match (&planned.fixes, &form.fixing) {
                (Some(found), Some(fixing)) => fixes::lines((fixing, found), planned, app, width, theme),
                _ => planned_lines(planned, app, width, theme),
            }
        }
    };
    let mut candidates = candidates::lines(form, width, theme);
    // Who chooses a format looks at them: without room for all they come first.
    let height = usize::from(area.height.saturating_sub(2));
    if form.field().name == FORMAT && lines.len() + candidates.len() > height && !candidates.is_empty() {
        candidates.remove(0);
        candidates.push(Line::default());
        lines.splice(0..0, candidates);
    } else {
        lines.extend(candidates);
    }
    lines.extend(command);
    text(frame, area, frame_block, indented(lines), form.top)
}

/// Puts a blank before each line.
pub(super) fn indented(lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
    let indent = |mut line: Line<'static>| {
        line.spans.insert(0, Span::raw(" "));
        line
    };
    lines.into_iter().map(indent).collect()
}

fn planned_lines(planned: &Planned, app: &App, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let plan = &planned.plan;
    let mut lines = standing(planned, width, theme);
    if let Some(coverage) = &plan.coverage {
        lines.extend(merged(coverage, false, width, theme));
        lines.push(Line::default());
    }
    lines.extend(group_lines(&plan.groups(), width, theme));
    lines.push(Line::default());
    if let Some(target) = &plan.target {
        let method = target.method();
        let words = if method.is_empty() { target.label() } else { format!("{}: {method}", target.label()) };
        lines.extend(fact("packs", &words, Role::Quant, width, theme));
    }
    let files = units::plural(plan.shards.len(), "file");
    let written: Vec<String> = std::iter::once(format!("{files} of tensors"))
        .chain(plan.written().into_iter().map(|file| escape(file).into_owned()))
        .collect();
    lines.extend(fact("writes", &written.join(", "), Role::Text, width, theme));
    let names: Vec<&str> = plan.copied().map(|copied| copied.file.as_str()).collect();
    if !names.is_empty() {
        lines.extend(fact("copies", &escape(&names.join(", ")), Role::Text, width, theme));
    }
    lines.push(Line::default());
    lines.extend(needs(planned, app, width, theme));
    if let Some(time) = time(planned, app.jobs.measured) {
        lines.extend(fact("time", &time, Role::Text, width, theme));
    }
    // What hinders the start stands under the button.
    for warning in &plan.warnings {
        let (words, role) = (format!("▲ {warning}"), Role::Warn);
        lines.push(Line::default());
        lines.extend(
            wrap(&words, width).into_iter().map(|line| Line::from(Span::styled(line, theme.style(role)))),
        );
    }
    lines
}

/// How many modules of adapters are merged, and the first of those that are not.
pub(super) fn merged(coverage: &Coverage, is_done: bool, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let Coverage { merged, total, left } = coverage;
    let (glyph, role) = if merged == total { ("✓", Role::Ok) } else { ("▲", Role::Warn) };
    let of = format!("{merged} of {}", units::plural(*total, "module"));
    let mut words = if is_done { format!("{glyph} {of} merged") } else { format!("{glyph} merges {of}") };
    if merged < total {
        words = format!("{words}, {} left out", total - merged);
    }
    let mut lines = vec![Line::from(Span::styled(words, theme.style(role)))];
    for why in left.iter().take(LEFT_NAMED_MAX) {
        let wrapped = wrap(&escape(why), width.saturating_sub(2));
        lines.extend(
            wrapped.into_iter().map(|l| Line::from(Span::styled(format!("  {l}"), theme.style(Role::Muted)))),
        );
    }
    if left.len() > LEFT_NAMED_MAX {
        lines.push(Line::from(Span::styled(
            format!("  … {} more", left.len() - LEFT_NAMED_MAX),
            theme.style(Role::Muted),
        )));
    }
    lines
}

/// What stands where the result goes, and what becomes of it.
fn standing(planned: &Planned, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let (force, resume) = (planned.options.force, planned.options.resume);
    let (words, role) = match &planned.there {
        There::Nothing => return Vec::new(),
        There::Checkpoint(content) if force => {
            (format!("▲ replaces {}; it goes when the new one is whole", listed(content)), Role::Warn)
        }
        There::Checkpoint(content) if resume => {
            (format!("compares {} with this plan; nothing is written", listed(content)), Role::Text)
        }
        There::Checkpoint(content) => (format!("there now: {}", listed(content)), Role::Text),
        There::Unfinished(content) if resume => {
            (format!("continues what an earlier run left: {}", listed(content)), Role::Text)
        }
        There::Unfinished(content) => {
            (format!("▲ removes what an earlier run left: {}", listed(content)), Role::Warn)
        }
    };
    let mut lines: Vec<Line<'static>> =
        wrap(&words, width).into_iter().map(|l| Line::from(Span::styled(l, theme.style(role)))).collect();
    lines.push(Line::default());
    lines
}

/// A folder's files: how many, their bytes, the first by name.
fn listed(content: &Content) -> String {
    let Content { files, bytes } = content;
    if files.is_empty() {
        return "an empty folder".into();
    }
    let mut names: Vec<String> =
        files.iter().take(FILES_NAMED_MAX).map(|name| escape(name).into_owned()).collect();
    if files.len() > FILES_NAMED_MAX {
        names.push("…".into());
    }
    format!("{}, {} ({})", units::plural(files.len(), "file"), units::bytes(*bytes), names.join(", "))
}

/// What it needs, what there is, and whether that is enough.
fn needs(planned: &Planned, app: &App, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let sample = app.sample.as_ref();
    let ram = sample.and_then(|sample| sample.ram.as_ref().ok()).map(crate::gauges::Ram::free);
    let mut rows = vec![
        ("output", planned.plan.bytes_written(), 0, "disk".to_owned(), planned.disk_free),
        ("memory", planned.peak, 0, "RAM".to_owned(), ram),
    ];
    let may_compute = |gpu: &&GpuSample| {
        let card = app.gpus.card(gpu).filter(|card| card.refused.is_none());
        card.is_some_and(|card| planned.options.device.may_be(card.ordinal))
    };
    let gpus: Vec<&GpuSample> = app.gpus_now().iter().filter(may_compute).collect();
    for (at, gpu) in gpus.iter().enumerate() {
        let word = if at == 0 { "VRAM" } else { "" };
        let free = gpu.vram.as_ref().ok().map(|vram| vram.free);
        rows.extend(planned.vram.map(|need| (word, need, context(app, gpu).bytes, gpu.label(), free)));
    }
    if gpus.is_empty() && matches!(planned.options.device, Device::Cuda(_)) {
        rows.extend(planned.vram.map(|need| ("VRAM", need, 0, String::new(), None)));
    }
    let is_wide = width >= 50;
    let mut lines = Vec::new();
    for (word, need, beside, place, free) in rows {
        let mut spans = vec![
            Span::styled(format!("{word:<7}"), theme.style(Role::Muted)),
            Span::styled(format!("{:>9}", units::bytes(need)), theme.style(Role::Number)),
        ];
        if let Some(free) = free {
            let gap = if is_wide { "    " } else { " " };
            spans.push(Span::styled(format!("{gap}{place:<4}"), theme.style(Role::Muted)));
            spans.push(Span::styled(format!("{:>9}", units::bytes(free)), theme.style(Role::Number)));
            let (words, role) = match (free > need.saturating_add(beside), is_wide) {
                (true, _) => ("✓ fits", Role::Ok),
                (false, true) => ("✗ does not fit", Role::Error),
                (false, false) => ("✗ over", Role::Error),
            };
            spans.push(Span::styled(if is_wide { " free    " } else { "  " }, theme.style(Role::Muted)));
            spans.push(Span::styled(words, theme.style(role)));
        } else if word != "output" {
            spans.push(Span::styled(" at most", theme.style(Role::Muted)));
        }
        lines.push(Line::from(spans));
    }
    if !gpus.is_empty() {
        lines.extend(computes(planned, app, &gpus, width, theme));
    }
    lines
}

fn context(app: &App, gpu: &GpuSample) -> Context {
    app.context_of(gpu.uuid.as_deref().unwrap_or_default())
}

/// What the driver takes beside what is planned: the most of these GPUs, and how that is known.
fn beside(app: &App, gpus: &[&GpuSample], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let contexts = gpus.iter().map(|gpu| context(app, gpu));
    let Some(most) = contexts.max_by_key(|context| (context.bytes, !context.is_measured)) else {
        return Vec::new();
    };
    let bytes = units::bytes(most.bytes);
    let what = if width >= 50 { "for the driver's context" } else { "context" };
    let words = if most.is_measured {
        format!("+ {bytes} {what}, as before")
    } else {
        format!("+ ≈ {bytes} {what}, by guess")
    };
    fact("", &words, Role::Muted, width, theme)
}

/// On what it is computed, where GPUs may be what does: CUDA's numbers of them need not be the driver's.
fn computes(
    planned: &Planned,
    app: &App,
    gpus: &[&GpuSample],
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let device = planned.options.device;
    let words = match device.without_gpu(&planned.plan) {
        Some(why) => escape(&why).into_owned(),
        None if device == Device::Auto => "auto: one GPU, or the cpu if that is faster here".into(),
        None => {
            let named = gpus.iter().filter_map(|gpu| {
                let name = gpu.name.as_deref().unwrap_or("name not reported");
                Some(format!("cuda:{} is {} {}", app.gpus.card(gpu)?.ordinal, gpu.label(), escape(name)))
            });
            named.collect::<Vec<_>>().join(", ")
        }
    };
    let mut lines = planned.vram.map_or_else(Vec::new, |_| beside(app, gpus, width, theme));
    lines.extend(fact("device", &words, Role::Text, width, theme));
    let is_short = |gpu: &&GpuSample| {
        let free = gpu.vram.as_ref().ok().map(|vram| vram.free);
        free.zip(planned.vram)
            .is_some_and(|(free, need)| free <= need.saturating_add(context(app, gpu).bytes))
    };
    let is_short = gpus.iter().any(is_short);
    if is_short {
        let words = "▲ with less it takes fewer pieces at a time, or leaves them to the cpu";
        lines.extend(fact("", words, Role::Warn, width, theme));
    }
    lines
}

/// How long it takes at the rate of the last job, if that one proved as much and nothing is there already.
fn time(planned: &Planned, measured: Option<Measured>) -> Option<String> {
    let Measured { bytes_per_second, proof } = measured?;
    if proof != planned.options.proof || planned.options.resume {
        return None;
    }
    let seconds = planned.plan.bytes_written() as f64 / bytes_per_second;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    let about = if seconds < 1.0 { "under 0:01".into() } else { format!("about {}", units::clock(time)) };
    Some(format!("{about} at {}/s, the rate of the last job", units::bytes(bytes_per_second as u64)))
}

/// A word and what it means here, wrapped beside it.
pub(super) fn fact(word: &str, what: &str, role: Role, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let wrapped = wrap(what, width.saturating_sub(8));
    let row = |(at, line): (usize, String)| {
        let word = if at == 0 { word } else { "" };
        Line::from(vec![
            Span::styled(format!("{word:<8}"), theme.style(Role::Muted)),
            Span::styled(line, theme.style(role)),
        ])
    };
    wrapped.into_iter().enumerate().map(row).collect()
}

/// Alike steps: how many layers, what becomes of them, and their bytes before and after.
pub(super) fn group_lines(groups: &[Group], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    // The rows of a table are not drawn apart over a wide pane; what costs most comes first.
    let width = width.min(GROUP_CELLS_MAX);
    let mut groups: Vec<&Group> = groups.iter().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes_out));
    let count = groups.iter().map(|group| units::exact(group.layers as u64).len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for group in groups {
        let what = if group.from == group.to {
            group.from.clone()
        } else {
            format!("{} → {}", group.from, group.to)
        };
        let what = group.note.as_ref().map_or(what.clone(), |note| format!("{what}  {}", escape(note)));
        let layers = units::exact(group.layers as u64);
        let role = if group.from == "dense" { Role::Dense } else { Role::Quant };
        let bytes = if group.bytes_in == group.bytes_out {
            units::bytes(group.bytes_in)
        } else {
            format!("{} → {}", units::bytes(group.bytes_in), units::bytes(group.bytes_out))
        };
        let what = cut_middle(&what, width.saturating_sub(count + 12)).into_owned();
        let head = vec![
            Span::styled(format!("{layers:>count$} "), theme.style(Role::Number)),
            Span::styled(format!("{:<11}", group.action.verb()), theme.style(Role::Text)),
            Span::styled(what, theme.style(role)),
        ];
        let used: usize = head.iter().map(|span| span.content.width()).sum();
        let mut line = Line::from(head);
        if used + 2 + bytes.width() > width {
            lines.push(std::mem::take(&mut line));
            line.spans.push(Span::raw(" ".repeat(width.saturating_sub(bytes.width()))));
        } else {
            line.spans.push(Span::raw(" ".repeat(width - used - bytes.width())));
        }
        line.spans.push(Span::styled(bytes, theme.style(Role::Number)));
        lines.push(line);
    }
    lines
}

/// What a checkpoint is when a task is done.
fn done_word(task: Task) -> &'static str {
    match task {
        Task::Convert => "converted",
        Task::Merge => "merged",
        Task::Repair => "repaired",
        Task::Fix => "fixed",
    }
}

/// Why there is no plan: each thing that stands in the way on a line of its own.
fn refusal(error: &Error, task: Task, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::from(Span::styled(
            format!("✗ This cannot be {} as it is", done_word(task)),
            theme.style(Role::Error),
        )),
        Line::default(),
    ];
    // What is refused is a list behind a colon.
    let mut message = escape(&error.message).into_owned();
    for head in [
        "cannot be decoded: ",
        "as they are): ",
        "can be repaired): ",
        "would be merged: ",
        "What was seen: ",
    ] {
        message = message.replacen(head, &format!("{}; ", head.trim_end()), 1);
    }
    message = message.replacen(". What was seen:", "; seen in the files:", 1);
    for (at, part) in message.split("; ").enumerate() {
        let indent = if at == 0 { "" } else { "  " };
        let wrapped = wrap(part, width.saturating_sub(indent.len()));
        lines.extend(wrapped.into_iter().map(|line| Line::from(format!("{indent}{line}"))));
    }
    lines
}
