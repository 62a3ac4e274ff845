//! Detail while two are compared: how far the layer of A lies from that of B.

mod whole;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{distribution, relative};
use crate::app::compare::figures::{Cell, Figures, Sum};
use crate::app::compare::{Compare, Focused, Stage};
use crate::app::{App, Ready};
use crate::checkpoint::tree::RowKind;
use crate::name::escape;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Names of a list.
const LIST_MAX: usize = 12;
/// Alike layers from which on one is held against the middle of them.
const ALIKE_MIN: usize = 4;
/// How many times the middle one a layer is worth a word.
const FAR: f64 = 1.5;

/// Returns the lines of Detail; `None` if nothing is compared.
#[must_use]
pub fn lines(app: &App, width: usize, theme: &Theme) -> Option<Vec<Line<'static>>> {
    let (compare, ready) = (app.compare()?, app.ready()?);
    let page = Page { app, compare, ready, width, theme };
    Some(page.lines())
}

struct Page<'a> {
    app: &'a App,
    compare: &'a Compare,
    ready: &'a Ready,
    width: usize,
    theme: &'a Theme,
}

impl Page<'_> {
    fn lines(&self) -> Vec<Line<'static>> {
        match &self.compare.stage {
            Stage::Failed(why) => {
                let mut lines = vec![self.line("✗ B could not be opened", Role::Error), Line::default()];
                lines.extend(self.words(&escape(why), Role::Text));
                lines.push(Line::default());
                lines.extend(self.words("b chooses another, Esc ends the comparison", Role::Muted));
                return lines;
            }
            Stage::Opening => return vec![self.line("B is being opened", Role::Muted)],
            Stage::Matching => return vec![self.line("matching names", Role::Muted)],
            Stage::Running | Stage::Done | Stage::Stopped(_) => {}
        }
        let mut lines = match (self.app.focused(), self.ready.tree.current().map(|row| row.kind)) {
            (_, Some(RowKind::Guest(_))) => self.guests(),
            (Some(focused), _) => self.layer(focused),
            (None, _) => self.row(),
        };
        if self.ready.tree.cursor() == 0 {
            lines.extend(self.whole());
        }
        lines
    }

    fn span(&self, text: impl Into<String>, role: Role) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    fn line(&self, words: &str, role: Role) -> Line<'static> {
        Line::from(self.span(words, role))
    }

    fn words(&self, words: &str, role: Role) -> Vec<Line<'static>> {
        wrap(words, self.width).into_iter().map(|part| Line::from(self.span(part, role))).collect()
    }

    fn fact(&self, word: &str, what: &str, note: &str) -> Line<'static> {
        let mut spans = vec![
            self.span(format!("{word:<13}"), Role::Muted),
            self.span(format!("{what:<9}"), Role::Number),
        ];
        if !note.is_empty() && 23 + note.width() <= self.width {
            spans.push(self.span(format!(" {note}"), Role::Muted));
        }
        Line::from(spans)
    }

    fn title(&self, name: &str, right: &str) -> Vec<Line<'static>> {
        let shown = escape(name);
        let mut lines: Vec<Line<'static>> = self.words(&shown, Role::Heading);
        if right.is_empty() {
            return lines;
        }
        let last = lines.len() - 1;
        let gap = self.width.saturating_sub(lines[last].width() + right.width());
        if gap >= 2 {
            lines[last].spans.extend([Span::raw(" ".repeat(gap)), self.span(right, Role::Muted)]);
        } else {
            lines.push(self.line(right, Role::Muted));
        }
        lines
    }

    /// One layer: that under the cursor, or of a fold the one that differs most or that is walked to.
    fn layer(&self, focused: Focused) -> Vec<Line<'static>> {
        let table = &self.compare.table;
        let names = &self.ready.files().names;
        let right =
            if focused.of > 1 { format!("{} of {}", focused.place + 1, focused.of) } else { String::new() };
        let Some(number) = table.worst_pair(focused.layer) else {
            let mut lines = self.title(&self.ready.checkpoint.layers.name(names, focused.layer), &right);
            lines.extend([Line::default(), self.line("- only in A", Role::Warn)]);
            lines.extend(self.words("B has no layer of this name.", Role::Muted));
            return lines;
        };
        let Some((pair, of)) = self.compare.pair(number) else { return Vec::new() };
        // The bias of a layer has a pair of its own.
        let own = self.ready.checkpoint.layers.name(names, focused.layer);
        let name = if pair.bias.is_some() { pair.name.clone() } else { own };
        let mut lines = self.title(&name, &right);
        lines.extend(self.sides(pair, of));
        lines.push(Line::default());
        match table.known.get(number as usize) {
            Some(Some(Ok(figures))) => {
                let is_vector = pair.bias.is_some() || of[0].layers.spec(pair.a).shape.len() < 2;
                lines.extend(self.figures(figures, focused, is_vector));
            }
            Some(Some(Err(why))) => {
                lines.push(self.line("× values cannot be compared", Role::Error));
                // What the shapes are has been said.
                if pair.differs(of[0], of[1]).shape.is_none() {
                    lines.extend(self.words(&escape(without_name(why, &pair.name)), Role::Text));
                }
                return lines;
            }
            _ => lines.push(self.line("not compared yet", Role::Muted)),
        }
        lines.extend(self.other_pair(focused.layer, number));
        match self.compare.close(number) {
            Some(Ok(close)) => lines.extend(distribution::lines(close, self.width, self.theme)),
            Some(Err(why)) => lines.extend(self.words(&escape(why), Role::Error)),
            None => lines.extend([Line::default(), self.line("values  …", Role::Muted)]),
        }
        let causes = match self.compare.close(number) {
            Some(Ok(close)) => &close.causes[..],
            _ => &[],
        };
        let words: Vec<String> =
            self.among_alike(focused).into_iter().chain(causes.iter().cloned()).collect();
        if !words.is_empty() {
            lines.extend([Line::default(), self.line("reading it", Role::Heading)]);
        }
        lines.extend(words.iter().flat_map(|words| self.words(words, Role::Text)));
        lines
    }

    /// The formats and shapes of both, and a tie.
    fn sides(
        &self,
        pair: &crate::stats::Pair,
        of: [&crate::checkpoint::Checkpoint; 2],
    ) -> Vec<Line<'static>> {
        let labels = pair.labels(of[0], of[1]);
        let differs = pair.differs(of[0], of[1]);
        let mut lines = Vec::new();
        let mut spans = Vec::new();
        for ((label, side), role) in labels.iter().zip(["A", "B"]).zip([Role::SideA, Role::SideB]) {
            spans.push(self.span(format!("{side} {}   ", escape(label)), role));
        }
        if let Some((a, b)) = &differs.shape {
            lines.push(Line::from(spans));
            let words = format!("shape {} in A, {} in B", units::shape(a), units::shape(b));
            lines.extend(self.words(&words, Role::Warn));
        } else {
            if pair.bias.is_none() {
                let spec = of[0].layers.spec(pair.a);
                spans.push(self.span(units::shape(&spec.shape), Role::Muted));
            }
            lines.push(Line::from(spans));
        }
        if let Some(side) = pair.tied {
            let words = format!("{} does not store it: it is tied to its embeddings", side.name());
            lines.extend(self.words(&words, Role::Muted));
        }
        lines
    }

    fn figures(&self, figures: &Figures, focused: Focused, is_vector: bool) -> Vec<Line<'static>> {
        let number = |figure: Option<f64>| figure.map_or_else(|| "none".to_owned(), units::value);
        if figures.changed == 0 {
            let words = format!("= all {} values are the same", units::exact(figures.count));
            return vec![self.line(&words, Role::Ok)];
        }
        let worst = if focused.of > 1 && !focused.is_walked {
            format!("worst of {}", focused.of)
        } else {
            String::new()
        };
        let far = figures.relative_l2.map_or_else(|| "none".to_owned(), relative);
        let why_none = if figures.relative_l2.is_none() { "B has only zeros" } else { worst.as_str() };
        let (most, place) = figures.max_abs.map_or_else(
            || ("none".to_owned(), String::new()),
            |(value, [row, column])| {
                let place = if is_vector {
                    format!("at [{}]", units::exact(column))
                } else {
                    format!("at [{}, {}]", units::exact(row), units::exact(column))
                };
                (units::value(value), place)
            },
        );
        let cosine = figures.cosine.map_or_else(|| "none".to_owned(), cosine_words);
        let share = figures.changed as f64 / figures.count.max(1) as f64;
        let changed = format!("{} of {}", units::exact(figures.changed), units::exact(figures.count));
        let mut lines = vec![
            self.fact("relative L2", &far, why_none),
            self.fact("cosine", &cosine, ""),
            self.fact("max abs", &most, &place),
            self.fact("mean abs", &number(figures.mean_abs), ""),
            self.fact("changed", &share_words(share), &changed),
        ];
        for (what, [a, b]) in [("NaN", figures.nan), ("Inf", figures.infinite)] {
            if a + b > 0 {
                let words = format!("{} in A, {} in B; left out", units::exact(a), units::exact(b));
                lines.push(Line::from(vec![
                    self.span(format!("{what:<13}"), Role::Error),
                    self.span(words, Role::Error),
                ]));
            }
        }
        lines
    }

    /// Of a layer with a bias, a line about what is not shown.
    fn other_pair(&self, layer: u32, shown: u32) -> Option<Line<'static>> {
        let other = self.compare.table.pairs(layer).into_iter().flatten().find(|pair| *pair != shown)?;
        let (pair, _) = self.compare.pair(other)?;
        let word = if pair.bias.is_some() { "bias" } else { "weights" };
        let words = match self.compare.table.known.get(other as usize)? {
            Some(Ok(figures)) if figures.changed == 0 => "equal".to_owned(),
            Some(Ok(figures)) => figures.relative_l2.map_or_else(|| "differs".to_owned(), relative),
            Some(Err(_)) => "× not comparable".to_owned(),
            None => "not yet".to_owned(),
        };
        Some(self.fact(word, &words, ""))
    }

    /// One sentence where the other layers of the fold allow one.
    fn among_alike(&self, focused: Focused) -> Option<String> {
        let row = self.ready.tree.cursor();
        let mut alike = Vec::new();
        for layer in self.app.row_layers(row).into_iter().flatten() {
            match self.compare.table.cell(layer) {
                Cell::Apart(far) if far.is_finite() => alike.push(far),
                Cell::Equal => alike.push(0.0),
                _ => return None,
            }
        }
        let Cell::Apart(own) = self.compare.table.cell(focused.layer) else { return None };
        if alike.len() < ALIKE_MIN || !own.is_finite() {
            return None;
        }
        alike.sort_by(f64::total_cmp);
        let middle = alike[alike.len() / 2];
        Some(if middle == 0.0 {
            format!("Most of the {} alike layers are equal; this one is not.", alike.len())
        } else if own >= FAR * middle {
            let (middle, times) = (relative(middle), own / middle);
            format!(
                "The middle one of the {} alike layers is {middle}: this is {times:.1} times that.",
                alike.len()
            )
        } else {
            format!(
                "As the others: the middle one of the {} alike layers has {}.",
                alike.len(),
                relative(middle)
            )
        })
    }

    /// A group, or a fold of which some have not been compared.
    fn row(&self) -> Vec<Line<'static>> {
        let Some(row) = self.ready.tree.current() else { return Vec::new() };
        let names = &self.ready.files().names;
        let layers = self.app.row_layers(self.ready.tree.cursor());
        let name = match row.kind {
            RowKind::Layer(layer) => self.ready.checkpoint.layers.name(names, layer),
            _ => names.name(row.node),
        };
        let sum = self.compare.table.sum(layers.iter().cloned());
        let mut lines = self.title(&name, "");
        if matches!(row.kind, RowKind::Tensor(_)) {
            lines.extend([
                Line::default(),
                self.line("Layers are compared, not tensors: t shows them.", Role::Muted),
            ]);
            return lines;
        }
        let only_b = self.ready.tree.guests_below(&self.ready.checkpoint, self.ready.tree.cursor());
        lines.extend(self.sum(&sum, only_b as u32));
        let mut worst: Vec<(f64, u32)> = Vec::new();
        for layer in layers.into_iter().flatten() {
            if let Cell::Apart(far) = self.compare.table.cell(layer) {
                let at = worst.partition_point(|(known, _)| *known >= far);
                if at < LIST_MAX {
                    worst.insert(at, (far, layer));
                    worst.truncate(LIST_MAX);
                }
            }
        }
        if !worst.is_empty() {
            lines.extend([Line::default(), self.line("differ most", Role::Heading)]);
        }
        let full: Vec<String> =
            worst.iter().map(|(_, layer)| self.ready.checkpoint.layers.name(names, *layer)).collect();
        let shared = shared_prefix(&full);
        for ((far, _), name) in worst.iter().zip(&full) {
            lines.push(self.listed(&name[shared..], &relative(*far)));
        }
        lines
    }

    /// Layers that only B has.
    fn guests(&self) -> Vec<Line<'static>> {
        let guests = self.app.guests();
        let Some((first, facts)) = guests.first().zip(self.compare.facts.as_ref()) else { return Vec::new() };
        let (b, count) = (&facts.of[1], guests.len());
        let right = if count > 1 { format!("1 of {count}") } else { String::new() };
        let mut lines = self.title(&first.name, &right);
        let spec = b.layers.spec(first.layer);
        lines.push(Line::from(vec![
            self.span("A -   ", Role::SideA),
            self.span(format!("B {}   ", escape(&spec.label())), Role::SideB),
            self.span(if spec.shape_known { units::shape(&spec.shape) } else { String::new() }, Role::Muted),
        ]));
        lines.extend([Line::default(), self.line("+ only in B", Role::SideB)]);
        let own = b.layers.name(&b.files.names, first.layer);
        if own != first.name {
            lines.extend(self.words(&format!("There it is {}.", escape(&own)), Role::Muted));
        }
        let tied = self.compare.tied_pair(first.layer);
        if let Some((pair, of)) = tied.and_then(|number| self.compare.pair(number)) {
            let to = of[0].layers.name(&of[0].files.names, pair.a);
            let words = format!("A ties it to {}, against which it is held:", escape(&to));
            lines.extend(self.words(&words, Role::Text));
            lines.push(Line::default());
            match tied.and_then(|number| self.compare.table.known.get(number as usize)) {
                Some(Some(Ok(figures))) => {
                    let one = Focused { layer: pair.a, place: 0, of: 1, is_walked: false };
                    lines.extend(self.figures(figures, one, false));
                }
                Some(Some(Err(why))) => lines.extend(self.words(&escape(why), Role::Error)),
                _ => lines.push(self.line("not compared yet", Role::Muted)),
            }
        } else {
            lines.extend(self.words("A has no layer of this name.", Role::Muted));
        }
        if count > 1 {
            lines.extend([Line::default(), self.line("all of them", Role::Heading)]);
            let names: Vec<String> = guests.iter().take(LIST_MAX).map(|guest| guest.name.clone()).collect();
            let shared = shared_prefix(&names);
            lines.extend(names.iter().map(|name| self.listed(&name[shared..], "")));
            lines.extend(self.more(count));
        }
        lines
    }

    /// A name, and a number at the right.
    fn listed(&self, name: &str, number: &str) -> Line<'static> {
        let room = self.width.saturating_sub(12);
        let name = crate::name::cut_name(&escape(name), room).into_owned();
        Line::from(vec![
            self.span(format!("  {name:<room$}"), Role::Text),
            self.span(format!("{number:>9}"), Role::Number),
        ])
    }

    fn sum(&self, sum: &Sum, only_b: u32) -> Vec<Line<'static>> {
        let of = sum.layers - sum.only_a;
        let words = format!(
            "{} of {} layers compared",
            units::exact(u64::from(sum.compared)),
            units::exact(u64::from(of))
        );
        let words = if of == 0 { "no layer of it is in B" } else { &words };
        let mut lines = vec![self.line(words, Role::Muted), Line::default()];
        if let Some(mean) = sum.mean() {
            let note = if sum.waiting() > 0 { "mean so far" } else { "mean" };
            lines.push(self.fact("relative L2", &relative(mean), note));
        }
        let counts = [
            ("equal", sum.equal, Role::Ok),
            ("no number", sum.infinite, Role::Error),
            ("only in A", sum.only_a, Role::Warn),
            ("only in B", only_b, Role::SideB),
            ("incomparable", sum.unknown, Role::Error),
        ];
        for (what, count, role) in counts {
            if count > 0 {
                lines.push(Line::from(vec![
                    self.span(format!("{what:<13}"), Role::Muted),
                    self.span(units::exact(u64::from(count)), role),
                ]));
            }
        }
        lines
    }
}

/// Returns the bytes of the whole components that all names begin with; none of a single name.
fn shared_prefix(names: &[String]) -> usize {
    let Some((first, others)) = names.split_first().filter(|(_, others)| !others.is_empty()) else {
        return 0;
    };
    let dots = first.match_indices('.').map(|(at, _)| at + 1);
    dots.take_while(|&at| others.iter().all(|name| name.starts_with(&first[..at]))).last().unwrap_or(0)
}

/// Returns a cosine with as many digits as tell it from 1.
fn cosine_words(cosine: f64) -> String {
    match 1.0 - cosine {
        gap if gap > 0.000_05 => format!("{cosine:.4}"),
        gap if gap > 0.000_000_05 => format!("{cosine:.7}"),
        gap if gap > 0.0 => ">0.9999999".to_owned(),
        _ => "1".to_owned(),
    }
}

/// Returns why a pair has no values, without its name before it.
fn without_name<'w>(why: &'w str, name: &str) -> &'w str {
    why.strip_prefix(&*escape(name)).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why)
}

/// Returns a share in percent: never 0% of something, never 100% of less than all.
fn share_words(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if share >= 1.0 => "100%".to_owned(),
        _ if percent > 99.9 => ">99.9%".to_owned(),
        _ if percent < 0.1 => "<0.1%".to_owned(),
        _ => format!("{percent:.1}%"),
    }
}
