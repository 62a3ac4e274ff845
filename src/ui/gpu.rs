//! GPUs: a row for each, and below it the one under the cursor: its memory and who holds it, the last minute of its
//! load and power, its link, and whether it computes.

mod details;
mod none;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthStr as _;

use super::gauge_bar::{bar, short_name, used_of_total};
use super::pane::{block, text};
use super::plan::indented;
use super::theme::{Role, Theme};
use crate::app::App;
use crate::gauges::{GpuSample, Sample, Vram};
use crate::name::cut_middle;
use crate::units;

/// From this width on there is room for whole names and one more figure.
const WIDE: usize = 96;
/// Rows of GPUs that show at once, on a screen with room for the rest.
const ROWS_MAX: usize = 8;

/// Draws the tab; returns the screen line of each GPU that shows.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    tabs: Block<'_>,
    app: &mut App,
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let Some(sample) = app.sample.as_ref().filter(|sample| !sample.gpus.is_empty()) else {
        let width = usize::from(area.width.saturating_sub(4));
        let lines = none::lines(app, width, theme);
        app.gpus.top = text(frame, area, tabs, indented(lines), app.gpus.top);
        return Vec::new();
    };
    let gpus = &sample.gpus;
    // The details keep a line at least.
    let room = (area.height / 3).min(area.height.saturating_sub(6));
    let rows = gpus.len().min(ROWS_MAX).min(usize::from(room)).max(1);
    let [above, below] =
        Layout::vertical([Constraint::Length(rows as u16 + 3), Constraint::Min(3)]).areas(area);
    let width = usize::from(above.width.saturating_sub(2));
    let first = (app.gpus.cursor + 1).saturating_sub(rows);
    let mut shown = vec![head(width, theme)];
    let mut places = Vec::new();
    for (at, gpu) in gpus.iter().enumerate().skip(first).take(rows) {
        places.push((above.y + 1 + shown.len() as u16, at));
        shown.push(row(app, gpu, at == app.gpus.cursor, width, theme));
    }
    text(frame, above, tabs.title_bottom(Line::from(foot(sample)).right_aligned()), shown, 0);
    let Some(gpu) = app.gpu() else { return places };
    let width = usize::from(below.width.saturating_sub(4));
    let name = gpu.name.as_deref().unwrap_or("name not reported");
    let title = format!("{}  {}", gpu.label(), cut_middle(name, width.saturating_sub(12)));
    let lines = details::lines(app, gpu, width, theme);
    app.gpus.top = text(frame, below, block(&title, true, theme), indented(lines), app.gpus.top);
    places
}

/// The cells of a GPU's memory: what this program holds, what others do, and what is free. What is not nothing shows.
pub(super) fn shares(vram: &Vram, own: u64, cells: usize, theme: &Theme) -> [Span<'static>; 3] {
    let part = |bytes: u64| {
        let share = if vram.total == 0 { 0.0 } else { bytes as f64 / vram.total as f64 };
        ((share * cells as f64).round() as usize).clamp(usize::from(bytes > 0), cells)
    };
    let used = part(vram.used);
    let own = part(own.min(vram.used)).min(used);
    [
        Span::styled("█".repeat(own), theme.style(Role::BarThis)),
        Span::styled("▓".repeat(used - own), theme.style(Role::BarOthers)),
        Span::styled("░".repeat(cells - used), theme.style(Role::Muted)),
    ]
}

/// What stands below the rows: how many there are, whose driver, and what is wrong beside them.
fn foot(sample: &Sample) -> String {
    let whole = sample.gpus.iter().filter(|gpu| gpu.slice.is_none()).count();
    let slices = sample.gpus.len() - whole;
    let slices = if slices > 0 { format!(", {}", units::plural(slices, "slice")) } else { String::new() };
    let driver = sample.gpu_state.driver.as_deref();
    let driver = driver.map_or_else(String::new, |driver| format!("   driver {}", cut_middle(driver, 24)));
    let why = &sample.gpu_state.why;
    let why = if why.is_empty() { String::new() } else { format!("   ▲ {}", cut_middle(why, 48)) };
    format!(" {}{slices}{driver}{why} ", units::plural(whole, "GPU"))
}

/// Cells of the name's column.
fn name_cells(width: usize) -> usize {
    if width >= WIDE { 30 } else { 13 }
}

/// Cells of the bar of memory.
fn bar_cells(width: usize) -> usize {
    if width >= WIDE { 16 } else { 8 }
}

fn head(width: usize, theme: &Theme) -> Line<'static> {
    let (name, memory) = (name_cells(width), bar_cells(width) + 1 + 14);
    let power = if width >= WIDE { 12 } else { 7 };
    let words = format!(
        " {:<8}{:<name$}{:<memory$}{:>6}{:>7}{:>power$}  {}",
        "GPU", "name", "memory", "load", "heat", "power", "computes"
    );
    Line::from(Span::styled(words, theme.style(Role::Muted)))
}

fn row(app: &App, gpu: &GpuSample, is_marked: bool, width: usize, theme: &Theme) -> Line<'static> {
    let is_wide = width >= WIDE;
    let cells = name_cells(width);
    let name = match &gpu.name {
        Ok(name) if is_wide => cut_middle(name, cells - 2).into_owned(),
        Ok(name) => short_name(name),
        Err(_) => "?".into(),
    };
    let pad = |text: &str, cells: usize| " ".repeat(cells.saturating_sub(text.width()));
    let role = if is_marked { Role::Cursor } else { Role::Text };
    let label = gpu.label();
    let gutter = if is_marked { "▌" } else { " " };
    let mut spans = vec![
        Span::styled(format!("{gutter}{label}{}", pad(&label, 8)), theme.style(role)),
        Span::styled(format!("{name}{}", pad(&name, cells)), theme.style(role)),
    ];
    let room = bar_cells(width) + 1 + 14;
    match &gpu.vram {
        Ok(vram) => {
            let ratio = if vram.total == 0 { 0.0 } else { vram.used as f64 / vram.total as f64 };
            spans.push(Span::styled(bar(bar_cells(width), ratio), theme.style(Role::BarOthers)));
            let numbers = format!(" {} GiB", used_of_total(vram.used, vram.total));
            let after = pad(&numbers, 15);
            spans.push(Span::styled(numbers + &after, theme.style(Role::Number)));
        }
        Err(why) => {
            let why = cut_middle(&why.0, room - 1).into_owned();
            let after = pad(&why, room);
            spans.push(Span::styled(why + &after, theme.style(Role::Muted)));
        }
    }
    let dash = || "-".to_owned();
    let load = gpu.utilization_percent.as_ref().map_or_else(|_| dash(), |percent| format!("{percent}%"));
    let heat = gpu.temperature_celsius.as_ref().map_or_else(|_| dash(), |celsius| format!("{celsius} °C"));
    let power = match (&gpu.power_watts, &gpu.power_limit_watts) {
        (Ok(watts), Ok(limit)) if is_wide => format!("{watts:.0}/{limit:.0} W"),
        (Ok(watts), _) => format!("{watts:.0} W"),
        (Err(_), _) => dash(),
    };
    let cells = if is_wide { 12 } else { 7 };
    spans.push(Span::styled(format!("{load:>6}{heat:>7}{power:>cells$}  "), theme.style(Role::Number)));
    let (words, role) = computes(app, gpu);
    spans.push(Span::styled(words, theme.style(role)));
    Line::from(spans)
}

/// Whether CUDA computes there, in few cells.
fn computes(app: &App, gpu: &GpuSample) -> (String, Role) {
    match (&app.gpus.probed, app.gpus.card(gpu)) {
        (None, _) => ("…".into(), Role::Muted),
        (_, Some(card)) if card.refused.is_none() => (format!("✓ cuda:{}", card.ordinal), Role::Ok),
        // One that is refused is something to look at; one that CUDA does not list is another maker's, or a slice.
        (_, Some(_)) => ("▲ no".into(), Role::Warn),
        (_, None) => ("no".into(), Role::Muted),
    }
}
