//! Detail: the row under the cursor: what it is, what it is made of, why we think so, what is wrong.

mod whole;

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthStr as _;

use super::pane::{text, wrap};
use super::theme::{Role, Theme};
use crate::app::{App, Ready};
use crate::checkpoint::summary::FormatSum;
use crate::checkpoint::tree::{Row, RowKind};
use crate::diagnose::rule::Purpose;
use crate::name::{cut_middle, escape};
use crate::problem::{Problem, Severity};
use crate::quant::LayerSpec;
use crate::units;

/// Rows of metadata, shards and problems that are spelled out.
const LIST_MAX: usize = 40;

/// Draws the tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let width = usize::from(block.inner(area).width.saturating_sub(2));
    let good_for = good_for(app, width, theme);
    let compared = super::compare::detail::lines(app, width, theme);
    let Some(ready) = app.ready_mut() else { return };
    ready.sum_group();
    let page = Page { ready, good_for, width, theme };
    let lines = compared.unwrap_or_else(|| page.lines());
    let lines = lines.into_iter().map(|mut line| {
        line.spans.insert(0, Span::raw(" "));
        line
    });
    ready.detail_top = text(frame, area, block, lines.collect(), ready.detail_top);
}

/// For what the checkpoint is good: a line each purpose, with what stands in its way. Empty before that is known, and
/// where nothing does.
fn good_for(app: &App, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let Some(diagnosis) = app.findings().and_then(|findings| findings.diagnosis.as_deref()) else {
        return Vec::new();
    };
    let examined = app.ready().is_some_and(|ready| ready.checkpoint.examined);
    let worst =
        |purpose| diagnosis.for_purpose(purpose).next().filter(|(_, severity)| *severity != Severity::Info);
    if !examined || Purpose::ALL.into_iter().all(|purpose| worst(purpose).is_none()) {
        return Vec::new();
    }
    let line = |purpose: Purpose| {
        let (glyph, role, words) = match worst(purpose) {
            Some((finding, severity)) => {
                let (glyph, role) = super::findings::mark(severity);
                (glyph, role, format!("{:?}", finding.rule))
            }
            None => ("✓", Role::Ok, String::new()),
        };
        let room = width.saturating_sub(14);
        let words = cut_middle(&words, room.saturating_sub(2)).into_owned();
        let key = if words.is_empty() { "" } else { "d" };
        let pad = " ".repeat(room.saturating_sub(words.width()));
        Line::from(vec![
            Span::styled(format!("  {:<7}", purpose.name()), theme.style(Role::Text)),
            Span::styled(format!("{glyph} "), theme.style(role)),
            Span::styled(words, theme.style(Role::Muted)),
            Span::raw(pad),
            Span::styled(key, theme.style(Role::Key)),
        ])
    };
    Purpose::ALL.into_iter().map(line).collect()
}

struct Page<'a> {
    ready: &'a Ready,
    good_for: Vec<Line<'static>>,
    width: usize,
    theme: &'a Theme,
}

impl Page<'_> {
    fn lines(&self) -> Vec<Line<'static>> {
        let Some(row) = self.ready.tree.current() else { return self.whole_file() };
        let mut lines = match row.kind {
            RowKind::Layer(layer) => self.layer(row, layer),
            RowKind::Tensor(tensor) => self.tensor(tensor),
            RowKind::Group => self.group(row),
            // They are there only while two are compared, and then Detail is about that.
            RowKind::Guest(_) => Vec::new(),
        };
        // The first row stands for the whole, whatever else it is: it is what a new screen shows.
        let is_first = self.ready.tree.cursor() == 0;
        let is_packed = |layer| self.ready.checkpoint.layers.spec(layer).is_quantized();
        let is_asked = is_first || matches!(row.kind, RowKind::Layer(layer) if is_packed(layer));
        if is_asked && !self.good_for.is_empty() {
            lines.extend([Line::default(), self.heading("what it is good for")]);
            lines.extend(self.good_for.iter().cloned());
        }
        if is_first {
            lines.push(Line::default());
            lines.extend(self.whole_file());
        }
        lines
    }

    fn style(&self, text: impl Into<String>, role: Role) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    fn heading(&self, words: &str) -> Line<'static> {
        Line::from(self.style(words, Role::Heading))
    }

    /// The full name, in as many lines as it takes, and a note at the right of the first.
    fn title(&self, name: &str, right: &str) -> Vec<Line<'static>> {
        let room = self.width.saturating_sub(right.width() + 2);
        // A name that fits without the note is not broken for its sake.
        let shown = escape(name);
        let (room, note) = if shown.width() <= room || shown.width() > self.width {
            (room, right)
        } else {
            (self.width, "")
        };
        let mut lines: Vec<Line<'static>> =
            wrap(&shown, room).into_iter().map(|part| Line::from(self.style(part, Role::Heading))).collect();
        if let Some(first) = lines.first_mut().filter(|_| !note.is_empty()) {
            let gap = self.width.saturating_sub(first.width() + note.width());
            first.spans.push(Span::raw(" ".repeat(gap)));
            first.spans.push(self.style(note, Role::Muted));
        }
        if note.is_empty() && !right.is_empty() {
            lines.push(Line::from(self.style(right, Role::Muted)));
        }
        lines
    }

    /// A word and what it is, in as many lines as it takes.
    fn fact(&self, word: &str, what: impl Into<String>, role: Role) -> Vec<Line<'static>> {
        let mut word = word;
        wrap(&what.into(), self.width.saturating_sub(9))
            .into_iter()
            .map(|part| {
                let word = std::mem::take(&mut word);
                Line::from(vec![self.style(format!("{word:<9}"), Role::Muted), self.style(part, role)])
            })
            .collect()
    }

    fn layer(&self, row: Row, layer: u32) -> Vec<Line<'static>> {
        let checkpoint = &self.ready.checkpoint;
        let spec = checkpoint.layers.spec(layer);
        let name = checkpoint.layers.name(&checkpoint.files.names, layer);
        let alike = self.ready.tree.place_among_alike(checkpoint, row.node);
        let right = alike.map_or_else(String::new, |(place, of)| format!("{place} of {of} alike"));
        let mut lines = self.title(&name, &right);
        let role = if spec.is_quantized() { Role::Quant } else { Role::Text };
        lines.extend(
            wrap(&words(spec), self.width).into_iter().map(|part| Line::from(self.style(part, role))),
        );
        lines.push(Line::default());
        let bytes = checkpoint.layers.bytes(&checkpoint.files, layer);
        lines.extend(self.fact("weight", weight_words(spec, self.width), Role::Text));
        lines.extend(self.fact("stored", stored_words(spec, bytes, self.width), Role::Text));
        if checkpoint.layers.list()[layer as usize].tied {
            lines.extend(self.fact("tied", "its weights are counted where they are shared", Role::Muted));
        }
        for broken in &spec.broken {
            lines.extend(self.fact("✗ broken", escape(broken).into_owned(), Role::Error));
        }
        lines.push(Line::default());
        lines.push(self.heading("made of"));
        lines.extend(self.parts(layer, &name));
        lines.push(Line::default());
        lines.push(self.heading("why we think so"));
        lines.extend(self.evidence(layer));
        lines.extend(self.problems_of(&name));
        lines
    }

    fn parts(&self, layer: u32, name: &str) -> Vec<Line<'static>> {
        let files = self.ready.files();
        let tensors = self.ready.checkpoint.layers.tensors(layer);
        let rows: Vec<[String; 5]> = tensors
            .iter()
            .map(|&tensor| {
                let record = &files.tensors[tensor as usize];
                let full = files.names.name(record.node);
                let rest = full.strip_prefix(name).unwrap_or(&full).trim_start_matches('.');
                let rest = if rest.is_empty() { full.as_str() } else { rest };
                // In a narrow pane the tail of `weight.absmax` is what tells the parts apart.
                let tail =
                    rest.strip_prefix("weight").filter(|tail| tail.starts_with('.') && self.width < NARROW);
                let rest = tail.unwrap_or(rest);
                let place = format!("shard {} @ {}", record.shard + 1, units::bytes(record.begin));
                [
                    escape(rest).into_owned(),
                    record.dtype.name().to_owned(),
                    units::shape(files.shape(record)),
                    units::bytes(record.bytes),
                    place,
                ]
            })
            .collect();
        let widest = |column: usize| rows.iter().map(|r| r[column].width()).max().unwrap_or(0);
        let (dtype, shape, bytes, place) = (widest(1), widest(2), widest(3), widest(4));
        let fixed = 1 + 2 + dtype + 1 + shape + 1 + bytes;
        // Where it lies is the first thing to go.
        let shows_place = self.width >= fixed + 12 + 3 + place;
        let room = self.width.saturating_sub(fixed + if shows_place { 3 + place } else { 0 });
        let first = widest(0).min(room.max(8));
        let line = |[part, d, s, b, p]: [String; 5]| {
            let part = cut_middle(&part, first).into_owned();
            let mut spans = vec![
                Span::raw(format!(" {part:<first$}  ")),
                self.style(format!("{d:<dtype$} {s:<shape$} "), Role::Muted),
                self.style(format!("{b:>bytes$}"), Role::Number),
            ];
            if shows_place {
                spans.push(self.style(format!("   {p}"), Role::Muted));
            }
            Line::from(spans)
        };
        rows.into_iter().map(line).collect()
    }

    fn evidence(&self, layer: u32) -> Vec<Line<'static>> {
        let known = self.ready.evidence.as_ref().filter(|(known, _)| *known == layer);
        let Some((_, evidence)) = known else {
            return vec![Line::from(self.style("  …", Role::Muted))];
        };
        let first = evidence.iter().map(|e| e.source.width()).max().unwrap_or(0).min(self.width / 3);
        let mut lines = Vec::new();
        for line in evidence {
            let source = cut_middle(&escape(&line.source), first).into_owned();
            let room = self.width.saturating_sub(first + 6);
            let (glyph, role) = match line.agrees {
                Some(true) => ("✓", Role::Ok),
                Some(false) => ("✗", Role::Error),
                None => ("", Role::Muted),
            };
            let wrapped = wrap(&escape(&line.text), room);
            let count = wrapped.len();
            for (at, words) in wrapped.into_iter().enumerate() {
                let source = if at == 0 { source.clone() } else { String::new() };
                let mut spans = vec![
                    self.style(format!("  {source:<first$}  "), Role::Path),
                    self.style(words, Role::Text),
                ];
                if at + 1 == count && !glyph.is_empty() {
                    // Verdicts stand in one column at the right.
                    let used: usize = spans.iter().map(|span| span.content.width()).sum();
                    spans.push(Span::raw(" ".repeat(self.width.saturating_sub(used + 1).max(1))));
                    spans.push(self.style(glyph, role));
                }
                lines.push(Line::from(spans));
            }
        }
        lines
    }

    fn problems_of(&self, name: &str) -> Vec<Line<'static>> {
        let inside = |problem: &&Problem| {
            problem
                .tensor
                .as_deref()
                .and_then(|t| t.strip_prefix(name))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
        };
        let found: Vec<&Problem> = self.ready.problems.iter().filter(inside).take(LIST_MAX).collect();
        if found.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![Line::default(), self.heading("problems")];
        for problem in found {
            let (glyph, role) = if problem.is_error() { ("✗", Role::Error) } else { ("▲", Role::Warn) };
            lines.push(Line::from(
                self.style(format!("{glyph} {} {}", problem.kind.code, problem.kind.name), role),
            ));
            lines.extend(
                wrap(&escape(&problem.message), self.width.saturating_sub(2))
                    .into_iter()
                    .map(|l| Line::from(format!("  {l}"))),
            );
        }
        lines
    }

    fn tensor(&self, tensor: u32) -> Vec<Line<'static>> {
        let files = self.ready.files();
        let record = &files.tensors[tensor as usize];
        let name = files.names.name(record.node);
        let shard = &files.shards[usize::from(record.shard)];
        let mut lines = self.title(&name, "tensor");
        lines.push(Line::default());
        lines.extend(self.fact("dtype", record.dtype.name(), Role::Text));
        lines.extend(self.fact("shape", units::shape(files.shape(record)), Role::Text));
        lines.extend(self.fact(
            "stored",
            format!("{}   {} byte", units::bytes(record.bytes), units::exact(record.bytes)),
            Role::Text,
        ));
        lines.extend(self.fact("file", escape(&shard.name).into_owned(), Role::Path));
        let end = record.begin.saturating_add(record.bytes);
        lines.extend(self.fact(
            "bytes",
            format!("{} … {}", units::exact(record.begin), units::exact(end)),
            Role::Muted,
        ));
        if let Some(view) = files.views.get(&tensor) {
            let strides = format!(
                "strides {} of a storage of {}",
                units::shape(&view.strides),
                units::bytes(view.storage.1.saturating_sub(view.storage.0))
            );
            lines.extend(self.fact("view", strides, Role::Muted));
        }
        if let Some(layer) = self.ready.layer() {
            let spec = self.ready.checkpoint.layers.spec(layer);
            lines.extend(self.fact(
                "layer",
                format!("{}  {}", spec.label(), weight_words(spec, self.width)),
                Role::Quant,
            ));
        }
        lines.extend(self.problems_of(&name));
        lines
    }

    fn group(&self, row: Row) -> Vec<Line<'static>> {
        let checkpoint = &self.ready.checkpoint;
        let names = &checkpoint.files.names;
        let at = self.ready.tree.cursor();
        let described = self.ready.tree.describe(checkpoint, at);
        let layers = checkpoint.layers.within(row.node, names.end(row.node));
        let right = described.fold.as_ref().map_or_else(String::new, |fold| format!("×{} alike", fold.count));
        let mut lines = self.title(&names.name(row.node), &right);
        lines.push(Line::default());
        let count = layers.len();
        let params =
            described.parameters.map_or_else(String::new, |p| format!("{} params   ", units::count(p)));
        lines.extend(self.fact("holds", format!("{params}{}", units::bytes(described.bytes)), Role::Text));
        lines.extend(self.fact(
            "layers",
            if right.is_empty() { count.to_string() } else { format!("{count} in each of them") },
            Role::Text,
        ));
        lines.push(Line::default());
        lines.push(self.heading("formats"));
        let sums = self.ready.sums.as_ref().filter(|(node, _)| *node == row.node);
        lines.extend(self.formats(sums.map_or(&[], |(_, sums)| sums)));
        lines
    }

    /// One line a format: layers, parameters, bytes, bits; the last two go first where it is narrow.
    fn formats(&self, sums: &[FormatSum]) -> Vec<Line<'static>> {
        let label = sums.iter().map(|sum| sum.label.width()).max().unwrap_or(0).clamp(4, 12);
        let line = |sum: &FormatSum| {
            let (glyph, role) = if sum.is_quantized { ("◆", Role::Quant) } else { ("·", Role::Dense) };
            let layers = if sum.layers == 1 { "1 layer ".into() } else { format!("{} layers", sum.layers) };
            let name = cut_middle(&escape(&sum.label), label).into_owned();
            let mut spans = vec![
                self.style(format!("  {glyph} {name:<label$}"), role),
                Span::raw(format!("{layers:>14}")),
            ];
            if self.width >= label + 38 {
                spans.push(self.style(format!("{:>9}", units::count(sum.parameters)), Role::Number));
            }
            spans.push(self.style(format!("{:>10}", units::bytes(sum.bytes)), Role::Number));
            if self.width >= label + 54 {
                spans.push(self.style(format!("   {:>5.2} bit/w", sum.bits_per_weight()), Role::Muted));
            }
            if sum.broken > 0 {
                spans.push(self.style(format!("  ✗ {} broken", sum.broken), Role::Error));
            }
            Line::from(spans)
        };
        sums.iter().take(LIST_MAX).map(line).collect()
    }
}

/// Returns what a layer is, in words: `GPTQ  4-bit  group 128  symmetric  no act-order  v1`.
#[must_use]
pub fn words(spec: &LayerSpec) -> String {
    let format = spec.format.get().name();
    let mut words = vec![if format == "dense" { spec.label() } else { format.to_owned() }];
    if format == "dense" {
        words.push("dense".into());
    } else if spec.millibits > 0 {
        let bits = format!("{:.3}", spec.bits());
        words.push(format!("{}-bit", bits.trim_end_matches('0').trim_end_matches('.')));
    }
    if let Some(group) = spec.group_size {
        let word = if format.starts_with("bnb") || format == "ggml" { "block" } else { "group" };
        words.push(format!("{word} {group}"));
    }
    match spec.symmetric {
        Some(true) => words.push("symmetric".into()),
        Some(false) => words.push("asymmetric".into()),
        None => {}
    }
    match spec.act_order {
        Some(true) => words.push("act-order".into()),
        Some(false) => words.push("no act-order".into()),
        None => {}
    }
    if !spec.variant.is_empty() {
        words.push(escape(&spec.variant).into_owned());
    }
    if spec.pending {
        words.push("(reading its quant state)".into());
    }
    words.join("  ")
}

/// Below this width facts are said shorter.
const NARROW: usize = 50;

fn weight_words(spec: &LayerSpec, width: usize) -> String {
    if !spec.shape_known {
        return "shape not known".into();
    }
    let order = if spec.shape.len() == 2 && width >= NARROW { " out × in" } else { "" };
    let bias = if spec.bias && width >= NARROW { " with bias" } else { "" };
    format!("{}{order}   {} params{bias}", units::shape(&spec.shape), units::count(spec.parameters))
}

fn stored_words(spec: &LayerSpec, bytes: u64, width: usize) -> String {
    let mut text = units::bytes(bytes);
    if spec.parameters > 0 && spec.shape_known {
        let _ = write!(text, "   {:.2} bit/weight", bytes as f64 * 8.0 / spec.parameters as f64);
    }
    if spec.is_quantized() && spec.shape_known && width >= NARROW {
        let _ = write!(text, "   16-bit: {}", units::bytes(spec.parameters.saturating_mul(2)));
    }
    text
}
