//! Memory: what loading, generating and training take, against the memory of each GPU.
//!
//! At the top the five numbers that can be changed; one row a task with its bar, all in one scale, and a verdict a
//! GPU; below, the task under the cursor by part, each with how it is known; then the KV cache, the weights by
//! format, and what the files do not tell.

mod bars;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthStr as _;

use self::bars::{Scale, bar, role_of};
use super::gauge_bar::format_lines;
use super::pane::{text, wrap};
use super::theme::{Role, Theme};
use crate::app::App;
use crate::app::memory::{Field, Memory, places};
use crate::footprint::words::{self, Place};
use crate::footprint::{Footprint, Known, PartKind, Task, Verdict};
use crate::gauges::Sample;
use crate::name::{cut_middle, escape};
use crate::units;

/// Cells of a task's name, with the cursor's gutter.
const NAME: usize = 25;
/// Cells of a task's need.
const NEED: usize = 11;
/// Cells of a device's column.
const DEVICE: usize = 19;
/// Cells of a bar, at least; with fewer there is none.
const BAR_MIN: usize = 14;
/// Cells of a bar, at most.
const BAR_MAX: usize = 48;
/// Width from which on the keys of the numbers are said beside them; the footer has them too.
const HINT_MIN: usize = 100;
/// Cells before the words of a part.
const PART: usize = 15 + 12 + 16;

/// Draws the tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let width = usize::from(block.inner(area).width.saturating_sub(2));
    let sample = app.sample.clone();
    let held = app.board().map(|board| std::sync::Arc::clone(&board.held));
    let Some(ready) = app.ready_mut() else { return };
    ready.memory().take_adapter(held.as_ref());
    let formats: Vec<(String, u64)> =
        ready.summary.formats.iter().map(|f| (escape(&f.label).into_owned(), f.bytes)).collect();
    let memory = ready.memory();
    memory.task = memory.task.min(memory.footprint().tasks.len().saturating_sub(1));
    let view = View {
        footprint: memory.footprint(),
        memory,
        places: sample.as_ref().map(places).unwrap_or_default(),
        sample: sample.as_ref(),
        formats,
        width,
        theme,
    };
    let lines = view.lines().into_iter().map(|mut line| {
        line.spans.insert(0, Span::raw(" "));
        line
    });
    let lines = lines.collect();
    let top = ready.tab_top;
    ready.tab_top = text(frame, area, block, lines, top);
}

/// What is drawn.
struct View<'a> {
    memory: &'a Memory,
    footprint: Footprint,
    places: Vec<Place>,
    sample: Option<&'a Sample>,
    formats: Vec<(String, u64)>,
    width: usize,
    theme: &'a Theme,
}

impl View<'_> {
    fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    /// Text in lines of the width, all in one role.
    fn wrapped(&self, role: Role, text: &str) -> Vec<Line<'static>> {
        wrap(&escape(text), self.width).into_iter().map(|line| Line::from(self.span(role, line))).collect()
    }

    fn lines(&self) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let is_alone = self.memory.anatomy.is_adapter;
        if !is_alone {
            lines.extend(self.numbers());
            lines.push(Line::default());
        }
        lines.extend(self.table());
        if let Some(task) = self.footprint.tasks.get(self.memory.task) {
            lines.push(Line::default());
            lines.extend(self.parts(task));
        }
        if !is_alone {
            lines.push(Line::default());
            let best = self.shown(usize::MAX).max_by_key(|place| place.free);
            let cache = words::cache_lines(&self.memory.anatomy, &self.memory.settings, best);
            for (at, line) in cache.iter().enumerate() {
                lines.extend(self.wrapped(if at == 0 { Role::Text } else { Role::Muted }, line));
            }
        }
        lines.push(Line::default());
        lines.push(Line::from(self.span(Role::Heading, "weights as they are stored")));
        lines.extend(format_lines(&self.formats, self.width, self.theme));
        for line in &self.footprint.unknown {
            lines.extend(self.wrapped(Role::Muted, &format!("not known from the files: {line}")));
        }
        lines
    }

    /// The numbers that can be changed, in as many lines as they need.
    fn numbers(&self) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let (mut spans, mut used) = (Vec::new(), 0);
        for field in Field::ALL {
            let value = self.memory.value(field);
            let cells = field.name().width() + value.width() + 5;
            if used > 0 && used + cells + 3 > self.width {
                lines.push(Line::from(std::mem::take(&mut spans)));
                used = 0;
            }
            if used > 0 {
                spans.push(Span::raw("   "));
                used += 3;
            }
            let is_marked = field == self.memory.field;
            let role = match (is_marked, self.memory.is_on_number) {
                (true, true) => Role::Input,
                (true, false) => Role::Key,
                (false, _) => Role::Number,
            };
            let (left, right) = if is_marked { ("‹ ", " ›") } else { ("  ", "  ") };
            spans.push(
                self.span(if is_marked { Role::Heading } else { Role::Muted }, format!("{} ", field.name())),
            );
            spans.push(self.span(Role::Key, left));
            spans.push(self.span(role, value));
            spans.push(self.span(Role::Key, right));
            used += cells;
        }
        lines.push(Line::from(spans));
        if self.width < HINT_MIN {
            return lines;
        }
        let hint = if self.memory.is_on_number {
            "← → change it, digits too; Tab goes to the next one, Esc back to the tasks"
        } else {
            "← → change the marked one, Tab goes to it and to the next; every bar answers at once"
        };
        lines.extend(self.wrapped(Role::Muted, hint));
        lines
    }

    /// Devices of the table, at most `count`: those with most free memory, in their own order.
    fn shown(&self, count: usize) -> impl Iterator<Item = &Place> {
        let is_ram = |place: &&Place| place.label == "RAM";
        let has_gpu = self.places.iter().any(|place| !is_ram(&place));
        let mut list: Vec<(usize, &Place)> =
            self.places.iter().enumerate().filter(|(_, place)| !(has_gpu && is_ram(place))).collect();
        list.sort_by_key(|(_, place)| std::cmp::Reverse(place.free));
        list.truncate(count);
        list.sort_by_key(|(at, _)| *at);
        list.into_iter().map(|(_, place)| place)
    }

    /// The tasks: need, bar, a verdict a device.
    fn table(&self) -> Vec<Line<'static>> {
        let room = self.width.saturating_sub(NAME + NEED + 2);
        let count = self.shown(usize::MAX).count().min(match self.width {
            ..57 => 0,
            57..110 => room / DEVICE,
            _ => room / 2 / DEVICE,
        });
        let cells = room.saturating_sub(count * DEVICE + 2).min(BAR_MAX);
        let scale = (cells >= BAR_MIN).then(|| Scale::of(&self.footprint, cells));
        let mut head = vec![self.span(Role::Muted, format!("{:<NAME$}{:>NEED$}", "task", "likely"))];
        if let Some(scale) = &scale {
            let of = if cells < 22 { "cell" } else { "one cell is" };
            let words = format!("{of} {}", units::bytes(scale.cell_bytes));
            head.push(self.span(Role::Muted, format!("   {words:<cells$}")));
        } else {
            head.push(Span::raw("  "));
        }
        for place in self.shown(count) {
            let free = format!("{} {} free", place.label, units::bytes(place.free));
            head.push(self.span(Role::Muted, format!(" {:<1$}", free, DEVICE - 1)));
        }
        let mut lines = vec![Line::from(head)];
        for (at, task) in self.footprint.tasks.iter().enumerate() {
            lines.push(self.row(task, at == self.memory.task, scale.as_ref(), count));
        }
        lines.extend(self.below_table(count, scale.is_some()));
        lines
    }

    fn row(&self, task: &Task, is_current: bool, scale: Option<&Scale>, count: usize) -> Line<'static> {
        let has_focus = !self.memory.is_on_number;
        let role = match (is_current, has_focus) {
            (true, true) => Role::Cursor,
            (true, false) => Role::CursorAway,
            _ => Role::Text,
        };
        let gutter = if is_current { "▌" } else { " " };
        let name = cut_middle(&task.name, NAME - 2).into_owned();
        let mut spans = vec![
            self.span(role, format!("{gutter}{name:<0$}", NAME - 1)),
            self.span(if is_current { role } else { Role::Number }, format!("{:>NEED$}", words::need(task))),
        ];
        match scale {
            Some(scale) => {
                spans.push(Span::raw("   "));
                spans.extend(bar(task, scale, self.theme));
            }
            None => spans.push(Span::raw("  ")),
        }
        for place in self.shown(count) {
            let role = match task.verdict(place.free) {
                Verdict::Fits => Role::Ok,
                Verdict::Over(_) => Role::Error,
                Verdict::Unknown => Role::Warn,
            };
            let words = words::verdict(task, place.free);
            spans.push(self.span(role, format!(" {words:<0$}", DEVICE - 1)));
        }
        Line::from(spans)
    }

    /// What the table does not show: devices without room or without a figure, the legend of the bars.
    fn below_table(&self, count: usize, has_bars: bool) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let Some(sample) = self.sample else {
            lines.extend(self.wrapped(Role::Muted, "free memory is not sampled: the gauges are off"));
            return self.with_legend(lines, has_bars);
        };
        if sample.gpus.is_empty() {
            let state = &sample.gpu_state;
            let why = if state.why.is_empty() { state.kind.name() } else { &state.why };
            lines.extend(self.wrapped(Role::Muted, &format!("no GPU: {why}")));
        }
        for gpu in &sample.gpus {
            if let Err(why) = &gpu.vram {
                lines.extend(
                    self.wrapped(Role::Muted, &format!("{}: free memory not known: {why}", gpu.label())),
                );
            }
        }
        if let Err(why) = &sample.ram {
            lines.extend(self.wrapped(Role::Muted, &format!("RAM: free memory not known: {why}")));
        }
        let hidden = self.shown(usize::MAX).count() - count;
        if hidden > 0 {
            let devices = units::plural(hidden, "more device");
            lines.extend(self.wrapped(
                Role::Muted,
                &format!("no room for {devices}, with no more free memory than these"),
            ));
        }
        self.with_legend(lines, has_bars)
    }

    fn with_legend(&self, mut lines: Vec<Line<'static>>, has_bars: bool) -> Vec<Line<'static>> {
        if !has_bars {
            return lines;
        }
        let (mut spans, mut used) = (Vec::new(), 0);
        for kind in PartKind::ALL {
            if !self.footprint.tasks.iter().any(|task| task.part(kind).is_some()) {
                continue;
            }
            let words = format!(" {}   ", kind.words());
            if used + 1 + words.width() > self.width {
                lines.push(Line::from(std::mem::take(&mut spans)));
                used = 0;
            }
            used += 1 + words.width();
            spans.push(self.span(role_of(kind), kind.letter().to_string()));
            spans.push(self.span(Role::Muted, words));
        }
        lines.push(Line::from(spans));
        lines
    }

    /// The task under the cursor by part, each with how it is known.
    fn parts(&self, task: &Task) -> Vec<Line<'static>> {
        let mut lines = vec![Line::from(vec![
            self.span(Role::Heading, task.name.trim().to_owned()),
            self.span(Role::Muted, ", by part"),
        ])];
        for part in &task.parts {
            let sign = if part.known == Known::Exact { "" } else { "≈ " };
            let amount = format!("{sign}{}", units::bytes(part.bytes));
            let head = vec![
                self.span(role_of(part.kind), format!(" {} ", part.kind.letter())),
                self.span(Role::Text, format!("{:<12}", part.kind.words())),
                self.span(Role::Number, format!("{amount:>12}")),
                self.span(Role::Muted, format!("  {:<14}", known(part.known))),
            ];
            let room = self.width.saturating_sub(PART).max(16);
            for (at, words) in wrap(&escape(&part.words), room).into_iter().enumerate() {
                let mut spans = if at == 0 { head.clone() } else { vec![Span::raw(" ".repeat(PART))] };
                spans.push(self.span(Role::Text, words));
                lines.push(Line::from(spans));
            }
        }
        for why in &task.left_out {
            lines.extend(self.wrapped(Role::Warn, &format!("▲ not computed: {why}")));
        }
        lines.extend(self.wrapped(Role::Muted, &words::span(task)));
        lines
    }
}

/// How a part is known, in few cells.
fn known(known: Known) -> String {
    match known {
        Known::Exact => "exact".into(),
        Known::Formula(percent) => format!("± {percent}%"),
        Known::Guess(percent) => format!("± {percent}% guess"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_a_letter_of_its_own() {
        let mut letters: Vec<char> = PartKind::ALL.map(PartKind::letter).to_vec();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), PartKind::ALL.len());
        assert!(
            PartKind::ALL
                .iter()
                .all(|kind| known(Known::Guess(35)).width() <= 14 && kind.words().width() <= 12)
        );
    }
}
