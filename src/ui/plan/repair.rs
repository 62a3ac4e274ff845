//! What a repair does: what stands in its way, each key as it is and as it will be, the config, and what is left out.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthChar as _;

use super::{fact, indented};
use crate::adapter::repair::{Rekeyed, Repair};
use crate::app::form::{Planned, in_form_words};
use crate::name::escape;
use crate::plan::Plan;
use crate::ui::pane::{window, wrap};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Reasons against a repair that are listed.
const REFUSED_MAX: usize = 500;

/// Returns what the title of the plan says.
pub(super) fn verdict(planned: &Planned) -> &'static str {
    let Some(repair) = &planned.repair else { return "" };
    match (repair.refused.is_empty(), repair.is_empty()) {
        (false, _) => "✗ not everything can be repaired",
        (true, true) => "✓ nothing to repair",
        (true, false) if planned.obstacle.is_some() => "✗ not yet",
        (true, false) if planned.options.force => "▲ replaces",
        (true, false) => "✓ ready",
    }
}

/// A repair as lines. Of its keys only those that show are written: an adapter of experts has thousands.
pub(super) struct List<'a> {
    above: Vec<Line<'static>>,
    keys: Vec<&'a Rekeyed>,
    below: Vec<Line<'static>>,
    width: usize,
    theme: &'a Theme,
}

impl<'a> List<'a> {
    /// Returns the list of a repair, with what stands above and below it.
    pub(super) fn new(
        repair: &'a Repair,
        plan: &Plan,
        (above, below): (Vec<Line<'static>>, Vec<Line<'static>>),
        width: usize,
        theme: &'a Theme,
    ) -> Self {
        let keys: Vec<&Rekeyed> = repair.keys.iter().filter(|key| key.is_changed()).collect();
        let mut page = Page { lines: above, width, theme };
        page.refused(repair);
        if !keys.is_empty() {
            let words = format!("{} renamed; the values stay as they are", units::plural(keys.len(), "key"));
            page.head(&words, Role::Heading);
        }
        let above = std::mem::take(&mut page.lines);
        page.changes(repair, !above.is_empty());
        if repair.refused.is_empty() && !repair.is_empty() {
            page.lines.push(Line::default());
            page.lines.extend(folder(repair, plan, width, theme));
        }
        page.lines.extend(below);
        Self { above, keys, below: page.lines, width, theme }
    }

    /// Draws it from a line on; returns the first line that shows.
    pub(super) fn draw(self, frame: &mut Frame<'_>, area: Rect, block: Block<'_>, top: usize) -> usize {
        let heights = self.heights();
        let count = self.above.len() + heights.iter().sum::<usize>() + self.below.len();
        window(frame, area, block, (count, top), |top, height| indented(self.lines(&heights, top, height)))
    }

    /// Returns how many lines each key has, old and new.
    fn heights(&self) -> Vec<usize> {
        // The lines of a plain key are counted without writing them.
        let is_plain = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let height = |text: &str| match text.len().saturating_sub(self.room(0)) {
            0 if is_plain(text) => 1,
            more if is_plain(text) => 1 + more.div_ceil(self.room(1)),
            _ => self.pieces(text).len(),
        };
        self.keys.iter().map(|key| height(&key.from) + height(&new_key(key))).collect()
    }

    /// Returns the lines that show.
    fn lines(&self, heights: &[usize], top: usize, height: usize) -> Vec<Line<'static>> {
        let mut lines: Vec<Line<'static>> = self.above.iter().skip(top).take(height).cloned().collect();
        // The line that comes next, of all there are.
        let mut at = self.above.len();
        for (key, lines_of_key) in self.keys.iter().zip(heights) {
            if at + lines_of_key > top && lines.len() < height {
                let skipped = top.saturating_sub(at);
                lines.extend(self.rename(key).into_iter().skip(skipped));
            }
            at += lines_of_key;
        }
        let skipped = top.saturating_sub(at);
        lines.extend(self.below.iter().skip(skipped).take(height).cloned());
        lines.truncate(height);
        lines
    }

    /// Cells of a key behind its mark: in the first line, and in those that go on with it.
    fn room(&self, line: usize) -> usize {
        self.width.saturating_sub(if line == 0 { 2 } else { 4 }).max(8)
    }

    /// Returns a key in lines: nothing of it is left out, one that is too long goes on in the next line.
    fn pieces(&self, key: &str) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut cells = 0;
        for c in escape(key).chars() {
            let wide = c.width().unwrap_or(0);
            if cells + wide > self.room(pieces.len() - 1) {
                pieces.push(String::new());
                cells = 0;
            }
            cells += wide;
            if let Some(last) = pieces.last_mut() {
                last.push(c);
            }
        }
        pieces
    }

    /// A key as it is, and below it as it will be: what goes and what comes stands out.
    fn rename(&self, key: &Rekeyed) -> Vec<Line<'static>> {
        let (from, to) = (self.pieces(&key.from), self.pieces(&new_key(key)));
        let plain = self.theme.style(Role::Text);
        let mut lines = Vec::new();
        for (mark, pieces, other, role) in [("  ", &from, &to, Role::Warn), ("→ ", &to, &from, Role::Repair)]
        {
            let style = self.theme.style(role);
            if let ([text], [other]) = (pieces.as_slice(), other.as_slice()) {
                let (before, after) = alike(text, other);
                let end = text.len() - after;
                lines.push(Line::from(vec![
                    Span::styled(mark, style),
                    Span::styled(text[..before].to_owned(), plain),
                    Span::styled(text[before..end].to_owned(), style),
                    Span::styled(text[end..].to_owned(), plain),
                ]));
                continue;
            }
            for (at, piece) in pieces.iter().enumerate() {
                let mark = if at == 0 { mark } else { "    " };
                lines.push(Line::from(vec![Span::styled(mark, style), Span::styled(piece.clone(), plain)]));
            }
        }
        lines
    }
}

/// The key it gets, and whether its values are turned.
fn new_key(key: &Rekeyed) -> Cow<'_, str> {
    key.form().map_or_else(|| key.to.as_str().into(), |form| format!("{}  {form}", key.to).into())
}

/// Lines under headings.
struct Page<'a> {
    lines: Vec<Line<'static>>,
    width: usize,
    theme: &'a Theme,
}

impl Page<'_> {
    fn head(&mut self, words: &str, role: Role) {
        if self.lines.last().is_some_and(|line| line.width() > 0) {
            self.lines.push(Line::default());
        }
        let style = self.theme.style(role);
        self.lines.extend(wrap(words, self.width).into_iter().map(|l| Line::from(Span::styled(l, style))));
    }

    fn listed(&mut self, words: &str, role: Role) {
        for (at, line) in wrap(words, self.width.saturating_sub(4)).into_iter().enumerate() {
            let indent = if at == 0 { "  " } else { "    " };
            self.lines.push(Line::from(vec![Span::raw(indent), Span::styled(line, self.theme.style(role))]));
        }
    }

    /// What stands in the way; or that nothing is wrong.
    fn refused(&mut self, repair: &Repair) {
        let refused = &repair.refused;
        if !refused.is_empty() {
            let words =
                "✗ In the way, so that nothing is written: an adapter that loads in part would be wrong";
            self.head(words, Role::Error);
            for words in refused.iter().take(REFUSED_MAX) {
                self.listed(&in_form_words(&escape(words)), Role::Text);
            }
            if refused.len() > REFUSED_MAX {
                let more = refused.len() - REFUSED_MAX;
                self.listed(&format!("… {more} more; the command below prints all"), Role::Muted);
            }
        }
        match (repair.is_empty(), refused.is_empty()) {
            (true, true) => {
                let words = "✓ Every key is one that PEFT looks for, and the config agrees with the tensors.";
                self.head(words, Role::Text);
            }
            (true, false) => self.head("Nothing else would change.", Role::Text),
            (false, _) => {}
        }
    }

    /// What changes beside the keys, under what stands above.
    fn changes(&mut self, repair: &Repair, is_below: bool) {
        for (heading, list, role) in [
            ("adapter_config.json", &repair.changes, Role::Repair),
            ("left out", &repair.left_out, Role::Text),
        ] {
            if list.is_empty() {
                continue;
            }
            if self.lines.is_empty() && is_below {
                self.lines.push(Line::default());
                self.lines.push(Line::from(Span::styled(heading, self.theme.style(Role::Heading))));
            } else {
                self.head(heading, Role::Heading);
            }
            for words in list {
                self.listed(words, role);
            }
        }
    }
}

/// Returns how many bytes two keys have in common at their beginnings and at their ends: whole parts between dots.
fn alike(a: &str, b: &str) -> (usize, usize) {
    let shared = |pairs: &mut dyn Iterator<Item = (&str, &str)>| -> usize {
        pairs.take_while(|(x, y)| x == y).map(|(x, _)| x.len()).sum()
    };
    let before = shared(&mut a.split_inclusive('.').zip(b.split_inclusive('.')));
    let (a, b) = (&a[before..], &b[before..]);
    (before, shared(&mut a.split_inclusive('.').rev().zip(b.split_inclusive('.').rev())))
}

/// What the folder holds.
fn folder(repair: &Repair, plan: &Plan, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let kept = repair.keys.len() - repair.renames();
    let mut lines = Vec::new();
    if kept > 0 {
        let words = format!("{} as they are", units::plural(kept, "key"));
        lines.extend(fact("keeps", &words, Role::Text, width, theme));
    }
    let bytes = units::bytes(plan.bytes_written());
    let words = format!("adapter_model.safetensors, adapter_config.json   {bytes} in all");
    lines.extend(fact("writes", &words, Role::Text, width, theme));
    if !plan.copies.is_empty() {
        let names: Vec<&str> = plan.copies.iter().map(|copied| copied.file.as_str()).collect();
        lines.extend(fact("copies", &escape(&names.join(", ")), Role::Text, width, theme));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_on_the_list_is_a_part_of_all_its_lines() {
        let key = |at: usize| {
            let long = "x.".repeat(at * 7 % 40);
            let from = format!("base.\u{1b}é{long}.{at}.lora_A");
            Rekeyed {
                tensor: at as u32,
                to: format!("base.{long}.{at}"),
                from,
                is_transposed: at.is_multiple_of(3),
                order: None,
                is_flat: false,
            }
        };
        let keys: Vec<Rekeyed> = (0..30).map(key).collect();
        let line = |words: &str| Line::from(words.to_owned());
        let theme = Theme::default();
        for width in [1, 9, 20, 38, 76, 200] {
            let list = List {
                above: vec![line("a"), line("b")],
                keys: keys.iter().collect(),
                below: vec![line("c"), line("d"), line("e")],
                width,
                theme: &theme,
            };
            let heights = list.heights();
            let count = 5 + heights.iter().sum::<usize>();
            let all = list.lines(&heights, 0, usize::MAX);
            assert_eq!(all.len(), count, "{width}: the heights are those of the lines");
            for top in 0..count {
                let shown = list.lines(&heights, top, 7);
                assert_eq!(shown, all[top..count.min(top + 7)], "{width} from {top}");
            }
        }
    }

    #[test]
    fn what_two_keys_share_is_found_at_both_ends_and_never_twice() {
        for (a, b, wanted) in [
            ("q.base_layer.lora_A", "q.lora_A", (2, 6)),
            ("module.q.a", "q.a", (0, 3)),
            ("a.language_model.layers.0", "a.layers.0", (2, 8)),
            ("aa", "a", (0, 0)),
            ("same.key", "same.key", (8, 0)),
            ("ä.x", "ö.x", (0, 1)),
            ("a..b", "a.b", (2, 1)),
            ("", "x", (0, 0)),
        ] {
            assert_eq!(alike(a, b), wanted, "{a} {b}");
        }
    }
}
