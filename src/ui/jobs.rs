//! Jobs: a row for each, and below it the one under the cursor: where it is and what holds it up, or its proof.

mod device;
mod ended;
mod quality;
mod stages;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthStr as _;

use super::command_line;
use super::gauge_bar::{JobSummary, bar, gib_per_second};
use super::pane::{block, text};
use super::plan::{group_lines, indented};
use super::spark::spark;
use super::theme::{Role, Theme};
use crate::app::App;
use crate::app::jobs::meter::{HISTORY_SECONDS, Rates};
use crate::app::jobs::{Job, JobState, Verdict, partial};
use crate::engine::Proof;
use crate::name::{cut_middle, escape};
use crate::units;

/// From this width on there is room for long bars and one more figure.
const WIDE: usize = 96;
/// Rows of jobs that show at once, on a screen with room for the rest.
const ROWS_MAX: usize = 6;

/// Cells of the column of states: `▶ cancelling`; more where one says more, `▲ 193 of 196 merged`.
fn state_cells(jobs: &[Job], width: usize) -> usize {
    let widest = jobs.iter().map(|job| state(job)).map(|(_, word, _)| word.width() + 2).max().unwrap_or(0);
    widest.clamp(12, if width >= WIDE { 22 } else { 16 })
}

/// Draws the tab; returns the screen line of each job that shows.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    tabs: Block<'_>,
    app: &mut App,
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let jobs = &app.jobs;
    let rows = jobs.list.len().min(ROWS_MAX).min(usize::from(area.height / 3)).max(1);
    let lines = rows as u16 + if rows > 1 || area.height > 14 { 3 } else { 2 };
    let [above, below] = Layout::vertical([Constraint::Length(lines), Constraint::Min(3)]).areas(area);
    let width = usize::from(above.width.saturating_sub(2));
    let first = (jobs.cursor + 1).saturating_sub(rows);
    let foot = format!(" {} ", units::plural(jobs.list.len(), "job"));
    let tabs = tabs.title_bottom(Line::from(foot).right_aligned());
    let cells = state_cells(&jobs.list, width);
    let mut shown = vec![head((width, cells), theme)];
    let mut places = Vec::new();
    for (at, job) in jobs.list.iter().enumerate().skip(first).take(rows) {
        places.push((above.y + 1 + shown.len() as u16, at));
        shown.push(row(job, at == jobs.cursor, (width, cells), theme));
    }
    text(frame, above, tabs, shown, 0);
    let Some(job) = jobs.current() else { return places };
    let width = usize::from(below.width.saturating_sub(4));
    let (glyph, word, _) = state(job);
    let mut frame_block = block(&format!("{}  {glyph} {word}", job.verb), true, theme);
    if matches!(job.state, JobState::Running) {
        frame_block = frame_block.title_bottom(Line::from(writing(job, width)).right_aligned());
    }
    let lines = match &job.state {
        JobState::Queued => queued(job, width, theme),
        JobState::Running => running(app, job, (width, usize::from(below.height.saturating_sub(2))), theme),
        _ => ended::lines(job, width, theme),
    };
    let top = text(frame, below, frame_block, indented(lines), jobs.top);
    app.jobs.top = top;
    places
}

/// Returns what the gauges row says of the job that runs.
#[must_use]
pub fn summary(app: &App) -> Option<JobSummary<'static>> {
    let job = app.jobs.running()?;
    let speed = job.speed();
    Some(JobSummary {
        verb: job.verb,
        ratio: Some(job.ratio()),
        bytes_per_second: speed.map(|speed| speed.write),
        left: speed.and_then(|speed| job.meter.left(job.facts.bytes, &speed)),
    })
}

/// Glyph, word and role of a job's state.
fn state(job: &Job) -> (&'static str, String, Role) {
    let (glyph, word, role) = match &job.state {
        JobState::Queued => ("·", "waiting", Role::Muted),
        JobState::Running if job.is_cancelling => ("▶", "cancelling", Role::Warn),
        JobState::Running if job.meter.counts().is_proving && job.facts.proof != Proof::None => {
            ("▶", "verifying", Role::Text)
        }
        JobState::Running => ("▶", "running", Role::Text),
        JobState::Done(outcome) => match job.verdict(outcome) {
            Verdict::Verified => ("✓", "verified", Role::Ok),
            Verdict::Partial(merged, total) => {
                return ("▲", format!("{merged} of {total} merged"), Role::Warn);
            }
            Verdict::NotProven => ("▲", "not proven", Role::Warn),
        },
        JobState::Failed(_) => ("✗", "failed", Role::Error),
        JobState::Cancelled(_) => ("×", "cancelled", Role::Muted),
    };
    (glyph, word.to_owned(), role)
}

/// Cells of the bar in a row of this width.
fn bar_cells(width: usize) -> usize {
    if width >= WIDE { 29 } else { (width / 6).max(8) }
}

/// Cells of the name in a row: gutter, name, blank, bar, percent, left, state.
fn name_cells(width: usize, state: usize) -> usize {
    width.saturating_sub(1 + 1 + bar_cells(width) + 5 + 8 + 2 + state)
}

fn head((width, state): (usize, usize), theme: &Theme) -> Line<'static> {
    let (name, bar) = (name_cells(width, state), bar_cells(width));
    let words = format!(" {:<name$} {:<bar$} {:>12}  {:<state$}", "job", "progress", "left", "state");
    Line::from(Span::styled(words, theme.style(Role::Muted)))
}

fn row(job: &Job, is_marked: bool, (width, cells): (usize, usize), theme: &Theme) -> Line<'static> {
    let room = name_cells(width, cells);
    let name = cut_middle(&escape(&format!("{}  {}", job.verb, job.subject)), room).into_owned();
    let pad = " ".repeat(room.saturating_sub(name.width()));
    let is_begun = !matches!(job.state, JobState::Queued);
    let percent = match job.state {
        JobState::Done(_) => "100%".to_owned(),
        _ if is_begun => units::percent_done(job.ratio()),
        _ => "-".to_owned(),
    };
    let left = match job.state {
        JobState::Running => {
            let left = job.speed().and_then(|speed| job.meter.left(job.facts.bytes, &speed));
            left.map_or_else(|| "…".to_owned(), units::clock)
        }
        _ => "-".to_owned(),
    };
    let (glyph, word, role) = state(job);
    let state = format!("{glyph} {word}");
    // Without room for the word, the numbers must do.
    let state = if state.width() > cells { state.replace(" merged", "") } else { state };
    let line = Line::from(vec![
        Span::raw(if is_marked { "▌" } else { " " }),
        Span::styled(format!("{name}{pad} "), theme.style(Role::Text)),
        Span::styled(bar(bar_cells(width), job.ratio()), theme.style(Role::BarThis)),
        Span::styled(format!(" {percent:>4}"), theme.style(Role::Number)),
        Span::styled(format!(" {left:>7}"), theme.style(Role::Number)),
        Span::styled(format!("  {:<cells$}", cut_middle(&state, cells)), theme.style(role)),
    ]);
    if is_marked { line.style(theme.style(Role::Cursor)) } else { line }
}

/// Where it is being written: a hidden folder beside the result.
fn writing(job: &Job, width: usize) -> String {
    let partial = partial(std::path::Path::new(&job.facts.output)).display().to_string();
    format!(" writing {} ", cut_middle(&escape(&partial), width.saturating_sub(12)))
}

fn queued(job: &Job, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let words = "It starts when the job before it has ended: one runs at a time.";
    let mut lines: Vec<Line<'static>> = super::pane::wrap(words, width).into_iter().map(Line::from).collect();
    lines.push(Line::default());
    lines.extend(what(job, width, theme));
    lines
}

/// What the job does: its steps, where it goes, and the command.
fn what(job: &Job, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let said = &job.facts.said;
    let mut lines = if said.is_empty() { group_lines(&job.facts.groups, width, theme) } else { Vec::new() };
    lines.extend(said.iter().map(|words| Line::from(cut_middle(&escape(words), width).into_owned())));
    lines.push(Line::default());
    lines.extend(command_line::lines(&job.command, width, theme));
    lines
}

fn running(app: &App, job: &Job, (width, height): (usize, usize), theme: &Theme) -> Vec<Line<'static>> {
    let counts = job.meter.counts();
    let facts = &job.facts;
    let speed = job.speed();
    let left = speed.and_then(|speed| job.meter.left(facts.bytes, &speed));
    let mut figures = vec![
        ("tensors", format!("{} of {}", units::exact(counts.tensors), units::exact(facts.tensors as u64))),
        ("written", format!("{} of {}", units::bytes(counts.written()), units::bytes(facts.bytes))),
        ("elapsed", units::clock(counts.elapsed)),
        ("left", left.map_or_else(|| "…".to_owned(), units::clock)),
    ];
    if width >= WIDE {
        figures.insert(1, ("read", units::bytes(counts.read())));
    }
    let mut lines = flow(&figures, width, theme);
    lines.push(Line::default());
    lines.extend(stages::lines(job, speed.as_ref(), width, theme));
    lines.push(Line::default());
    lines.extend(device::lines(app, job, width, theme));
    let what = what(job, width, theme);
    let history = history(job, width, theme);
    // It says how the run has been; what the run does comes first where there is no room for both.
    if lines.len() + history.len() + what.len() <= height {
        lines.extend(history);
    }
    lines.extend(what);
    lines
}

/// The rates of the last minute, as far as there are any.
fn history(job: &Job, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let history = job.meter.history();
    // A few seconds are no history.
    if history.len() < 3 {
        return Vec::new();
    }
    let cells = HISTORY_SECONDS.min(width.saturating_sub(35));
    let shown = history.len().min(cells);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for word in ["read", "write"] {
        let rate = |rates: &Rates| if word == "read" { rates.read } else { rates.write };
        let rates: Vec<f64> = history.iter().skip(history.len() - shown).map(rate).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        let spark = spark(rates.into_iter().map(Some), most);
        lines.push(Line::from(vec![
            Span::raw(" "),
            Span::styled(format!("{word:<8}"), theme.style(Role::Text)),
            Span::styled(format!("{spark}  "), theme.style(Role::BarThis)),
            Span::styled("up to ", theme.style(Role::Muted)),
            Span::styled(format!("{} GiB/s", gib_per_second(most).trim()), theme.style(Role::Number)),
        ]));
    }
    let last = format!("  last {shown} s");
    lines[1].spans.push(Span::styled(last, theme.style(Role::Muted)));
    lines.push(Line::default());
    lines
}

/// Words and their figures, as many in a line as fit.
fn flow(figures: &[(&'static str, String)], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut line = Line::default();
    for (word, figure) in figures {
        let cells = word.len() + 1 + figure.width();
        if line.width() > 0 && line.width() + 3 + cells > width {
            lines.push(std::mem::take(&mut line));
        }
        if line.width() > 0 {
            line.spans.push(Span::raw("   "));
        }
        line.spans.push(Span::styled(format!("{word} "), theme.style(Role::Muted)));
        line.spans.push(Span::styled(figure.clone(), theme.style(Role::Number)));
    }
    lines.push(line);
    lines
}
