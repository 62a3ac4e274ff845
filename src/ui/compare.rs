//! The tree of A while it is compared with B: formats of both, a strip of cells, and how far they lie apart.
//!
//! A strip has one cell a layer of a fold. Its scale is fixed, so that two comparisons are comparable by eye. Where a
//! fold has more layers than there is room for cells, a cell stands for several and shows the one that differs most.

pub mod beside;
pub mod detail;
mod distribution;
pub mod header;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::theme::{Role, Theme};
use crate::app::compare::Compare;
use crate::app::compare::figures::{Cell, Sum};
use crate::app::compare::show::Show;
use crate::app::{App, OpenState, Ready};
use crate::checkpoint::tree::{RowKind, Sort};
use crate::name::{cut_middle, cut_name, escape};
use crate::units;

/// Cells of the last column.
const NUMBER: usize = 7;
/// Cells that names keep beside all columns.
const LABEL: usize = 21;
/// Cells of a strip that formats leave at least, if its layers are as many.
const STRIP_MIN: usize = 12;
/// Rows that are looked at for the longest strip.
const ROWS_LOOKED: usize = 4096;
/// From this height of the pane on the glyphs are explained below the rows.
const LEGEND_FROM: u16 = 12;
/// Cells of the screen from which on the tree takes two thirds.
const WIDE: u16 = 100;
/// The share of the tree that a person has not changed.
const SPLIT: u16 = 48;
/// Below these a relative L2 is `░`, `▒`, `▓`; else it is `█`.
const STEPS: [f64; 3] = [0.08, 0.12, 0.20];

/// Returns the share of the tree in percent: while two are compared it has more columns.
#[must_use]
pub fn tree_percent(app: &App, width: u16) -> u16 {
    match app.split_percent {
        SPLIT if app.compare().is_some() => {
            if width >= WIDE {
                64
            } else {
                57
            }
        }
        _ => app.tree_percent(),
    }
}

/// Returns the glyph of a cell with its role.
fn glyph(cell: Cell) -> (char, Role) {
    match cell {
        Cell::OnlyA => ('-', Role::Warn),
        Cell::Waiting => ('?', Role::Muted),
        Cell::Unknown => ('×', Role::Error),
        Cell::Equal => ('=', Role::Ok),
        Cell::Apart(far) if far < STEPS[0] => ('░', Role::Heat1),
        Cell::Apart(far) if far < STEPS[1] => ('▒', Role::Heat2),
        Cell::Apart(far) if far < STEPS[2] => ('▓', Role::Heat3),
        Cell::Apart(_) => ('█', Role::Heat4),
    }
}

/// Returns a relative L2 in words: `0.071`, `0.00012` as `1.2e-4`, `Inf`.
#[must_use]
pub fn relative(far: f64) -> String {
    match far {
        _ if !far.is_finite() => "Inf".to_owned(),
        _ if far == 0.0 => "0.000".to_owned(),
        _ if !(0.000_95..100.0).contains(&far) => format!("{far:.1e}"),
        _ => format!("{far:.3}"),
    }
}

/// Returns what is known of some layers together, as the last column says it.
fn sum_words(sum: &Sum, only_b: usize) -> (String, Role) {
    let waits = sum.waiting() > 0;
    match sum.mean() {
        Some(mean) => {
            // A mean that leaves some out says so.
            let left_out = if sum.unknown > 0 {
                "×"
            } else if sum.only_a > 0 {
                "-"
            } else if only_b > 0 {
                "+"
            } else {
                ""
            };
            let words = relative(mean);
            let gap = if !left_out.is_empty() && words.len() < 6 { " " } else { "" };
            (format!("{words}{gap}{left_out}"), if waits { Role::Muted } else { Role::Number })
        }
        None if sum.infinite > 0 => ("Inf".into(), Role::Error),
        None if waits => (String::new(), Role::Muted),
        None if sum.unknown > 0 => ("×".into(), Role::Error),
        None if sum.only_a > 0 => ("-".into(), Role::Warn),
        None => (String::new(), Role::Muted),
    }
}

/// The columns of the tree while two are compared.
pub struct Columns<'a> {
    compare: &'a Compare,
    ready: &'a Ready,
    walked: Option<usize>,
    /// Cells of the formats of A and B; none where there is no room.
    formats: Option<[usize; 2]>,
    /// Cells of the strip.
    strip: usize,
    /// Layers that a cell stands for.
    per: usize,
    theme: &'a Theme,
}

impl<'a> Columns<'a> {
    /// Returns the columns for rows of some cells; `None` if nothing is compared.
    #[must_use]
    pub fn of(app: &'a App, width: usize, theme: &'a Theme) -> Option<Self> {
        let (compare, ready) = (app.compare()?, app.ready()?);
        compare.matched()?;
        let tree = &ready.tree;
        let layers = tree.rows().iter().take(ROWS_LOOKED).filter(|row| matches!(row.kind, RowKind::Layer(_)));
        let longest = layers.map(|row| tree.alike(&ready.checkpoint, row.node)).max().unwrap_or(1) as usize;
        let b = app.opens.iter().find(|open| open.id == compare.b);
        let widest = |ready: &Ready| {
            ready.summary.formats.iter().map(|f| f.label.width()).max().unwrap_or(0).clamp(4, 8)
        };
        let of_b = b.and_then(|open| match &open.state {
            OpenState::Ready(ready) => Some(widest(ready)),
            _ => None,
        });
        let formats = [widest(ready), of_b.unwrap_or(4)];
        let room = width.saturating_sub(LABEL + NUMBER + 2);
        let beside = room.saturating_sub(formats[0] + formats[1] + 2);
        // Formats are in Detail too; a strip that stands for too many layers a cell says little.
        let has_room = beside >= longest.min(STRIP_MIN);
        let strip = (if has_room { beside } else { room }).clamp(1, longest.max(1));
        Some(Self {
            compare,
            ready,
            walked: app.walked_cell(),
            formats: has_room.then_some(formats),
            strip,
            per: longest.div_ceil(strip).max(1),
            theme,
        })
    }

    /// Returns the columns of a row, as they are written; the strip has the role of heat.
    #[must_use]
    pub fn right(&self, row: usize) -> Vec<(String, Role)> {
        let Some(at) = self.ready.tree.rows().get(row) else { return Vec::new() };
        if let RowKind::Guest(_) = at.kind {
            return self.guest(row);
        }
        let layers = self.ready.tree.alike_layers(&self.ready.checkpoint, row);
        let guests = self.ready.tree.guests_below(&self.ready.checkpoint, row);
        let table = &self.compare.table;
        let mut columns = Vec::new();
        let strip = match at.kind {
            RowKind::Layer(layer) => {
                if let Some(cells) = self.formats {
                    let labels = self.labels(layer);
                    columns.extend(labels.into_iter().zip(cells).zip([Role::SideA, Role::SideB]).map(
                        |((label, cells), role)| {
                            (format!("{:<cells$}", cut_middle(&escape(&label), cells)), role)
                        },
                    ));
                }
                let cells: Vec<Cell> = layers.iter().cloned().flatten().map(|l| table.cell(l)).collect();
                cells.chunks(self.per).map(|of| glyph(worst(of)).0).collect()
            }
            _ => String::new(),
        };
        let width = self.strip;
        columns.push((format!("{strip:<width$}"), Role::Heat1));
        let (words, role) = sum_words(&table.sum(layers), guests);
        columns.push((format!("{words:>NUMBER$}"), role));
        columns
    }

    /// Returns the columns of layers that only B has.
    fn guest(&self, row: usize) -> Vec<(String, Role)> {
        let guests = self.ready.tree.guests(row);
        let label = guests.first().zip(self.compare.facts.as_ref());
        let label =
            label.map_or_else(String::new, |(guest, facts)| facts.of[1].layers.spec(guest.layer).label());
        let mut columns = Vec::new();
        if let Some([a, b]) = self.formats {
            columns.push((format!("{:<a$}", "-"), Role::SideA));
            columns.push((format!("{:<b$}", cut_middle(&escape(&label), b)), Role::SideB));
        }
        let width = self.strip;
        let count = guests.len();
        let tied = guests.iter().find_map(|guest| self.compare.tied_pair(guest.layer));
        let is_tied = tied.is_some();
        let words = match count {
            1 if is_tied => vec!["only in B (tied in A)".to_owned(), "only in B".to_owned(), "+".to_owned()],
            1 => vec!["only in B".to_owned(), "+".to_owned()],
            _ => vec![format!("only in B ×{count}"), format!("+ ×{count}"), "+".repeat(count.min(width))],
        };
        let words = words.into_iter().find(|words| words.width() <= width).unwrap_or_default();
        columns.push((format!("{words:<width$}"), Role::SideB));
        // What A ties it to is held against it.
        let known =
            tied.and_then(|pair| self.compare.table.known.get(pair as usize)?.as_ref()?.as_ref().ok());
        let far = known.and_then(|figures| figures.relative_l2);
        let (words, role) =
            far.map_or_else(|| ("-".to_owned(), Role::SideB), |far| (relative(far), Role::Number));
        columns.push((format!("{words:>NUMBER$}"), role));
        columns
    }

    /// Returns the formats of a layer in A and in B.
    fn labels(&self, layer: u32) -> [String; 2] {
        let pair = self.compare.table.pairs(layer)[0].and_then(|pair| self.compare.pair(pair));
        pair.map_or_else(
            || [self.ready.checkpoint.layers.spec(layer).label(), "-".to_owned()],
            |(pair, [a, b])| pair.labels(a, b),
        )
    }

    /// Draws the cells of a strip.
    pub fn draw_strip(&self, buffer: &mut Buffer, at: (u16, u16), strip: &str) {
        for (x, sign) in (at.0..).zip(strip.trim_end().chars()) {
            let role = match sign {
                '░' => Role::Heat1,
                '▒' => Role::Heat2,
                '▓' => Role::Heat3,
                '█' => Role::Heat4,
                '=' => Role::Ok,
                '×' => Role::Error,
                '-' => Role::Warn,
                _ => Role::Muted,
            };
            buffer.set_string(x, at.1, sign.to_string(), self.theme.style(role));
        }
    }

    /// Marks the cell that is walked to, on the row under the cursor.
    pub fn mark_walked(&self, buffer: &mut Buffer, line: Rect) {
        let Some(place) = self.walked else { return };
        let start = line.right().saturating_sub((self.strip + 1 + NUMBER) as u16);
        let at = start + (place / self.per) as u16;
        if let Some(cell) = buffer.cell_mut((at, line.y)) {
            cell.modifier.toggle(Modifier::REVERSED);
        }
    }

    /// Returns the line above the rows.
    #[must_use]
    pub fn head(&self, width: usize) -> Line<'static> {
        let style = |role| self.theme.style(role);
        let mut right = Vec::new();
        let mut used = 0;
        if let Some(cells) = self.formats {
            for ((cells, side), role) in cells.into_iter().zip(["A", "B"]).zip([Role::SideA, Role::SideB]) {
                right.push(Span::styled(format!(" {side:<cells$}"), style(role)));
                used += cells + 1;
            }
        }
        // A strip of a few cells has no room for a heading of its own.
        let strip = self.strip;
        let words = ["layers", "each", ""].into_iter().find(|words| words.len() <= strip);
        right.push(Span::styled(format!(" {:<strip$}", words.unwrap_or_default()), style(Role::Muted)));
        right.push(Span::styled(format!(" {:>NUMBER$}", "rel L2"), style(Role::Muted)));
        used += strip + NUMBER + 2;
        let room = width.saturating_sub(used);
        let mut spans = vec![Span::styled(format!("{:<room$}", "layer"), style(Role::Muted))];
        spans.extend(right);
        Line::from(spans)
    }

    /// Returns what is written below the rows: what the glyphs mean.
    #[must_use]
    pub fn foot(&self, width: usize, height: u16) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if height < LEGEND_FROM {
            return lines;
        }
        let muted = self.theme.style(Role::Muted);
        let scale: &[(&str, Role, &str)] = if width >= 54 {
            &[
                ("=", Role::Ok, " equal  "),
                ("░", Role::Heat1, " < 0.08  "),
                ("▒", Role::Heat2, " < 0.12  "),
                ("▓", Role::Heat3, " < 0.20  "),
                ("█", Role::Heat4, " ≥ 0.20"),
            ]
        } else {
            &[
                ("=", Role::Ok, " "),
                ("░", Role::Heat1, "<.08 "),
                ("▒", Role::Heat2, "<.12 "),
                ("▓", Role::Heat3, "<.20 "),
                ("█", Role::Heat4, "≥.20"),
            ]
        };
        let mut spans = vec![Span::styled("strip: ", muted)];
        for (glyph, role, words) in scale {
            spans.push(Span::styled(*glyph, self.theme.style(*role)));
            spans.push(Span::styled(*words, muted));
        }
        lines.push(Line::from(spans));
        let each = match self.per {
            1 => "one cell a layer".to_owned(),
            per => format!("one cell {per} layers, the worst"),
        };
        let signs = match (width >= 54, self.per) {
            (true, _) => "   ? not yet  - only in A  + only in B  × incomparable",
            (false, 1) => "  - only in A  + in B",
            (false, _) => "  ? not yet",
        };
        lines.push(Line::from(Span::styled(format!("{each}{signs}"), muted)));
        lines
    }
}

/// Returns the cell that stands for some: the one that differs most; none of them counts as equal while one is not known.
fn worst(cells: &[Cell]) -> Cell {
    let most = cells.iter().copied().max_by(|a, b| a.weight().total_cmp(&b.weight()));
    match most {
        Some(Cell::Equal) if cells.contains(&Cell::Waiting) => Cell::Waiting,
        most => most.unwrap_or(Cell::Waiting),
    }
}

/// Returns the name of what only B has in so many cells: with as many of its last components as there is room for, and
/// with its numbers, which tell it from others, before all else.
#[must_use]
pub fn guest_name(name: &str, room: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let is_number = |part: &&str| part.starts_with(|first: char| first.is_ascii_digit());
    let number = parts.iter().position(is_number);
    let last = number.unwrap_or(parts.len().saturating_sub(1));
    let tails = (1..=last).map(|from| format!("….{}", parts[from..].join(".")));
    let ends = number.zip(parts.last()).map(|(at, end)| format!("{}…{end}", parts[at]));
    let shown = tails.chain(ends).find(|text| text.width() <= room);
    shown.unwrap_or_else(|| cut_name(name, room).into_owned())
}

/// Returns the title of the tree's pane.
#[must_use]
pub fn title(compare: &Compare, ready: &Ready, width: usize) -> String {
    let title = whole_title(compare, ready);
    // The columns say that there are A and B.
    if title.width() + 2 > width { title.replacen("  A against B", "", 1) } else { title }
}

fn whole_title(compare: &Compare, ready: &Ready) -> String {
    let mut title = "Layers  A against B".to_owned();
    if compare.show != Show::All {
        title = format!("{title}  {}", compare.show.name());
    }
    if let Some(filter) = ready.tree.filter() {
        title = format!("{title}  /{}", cut_middle(&escape(filter.text()), 20));
    }
    match ready.tree.sort() {
        Sort::Natural => title,
        sort => format!("{title}  by {}", sort.name()),
    }
}

/// Returns the counts in the lower border of the tree's pane, in glyphs where words have no room.
#[must_use]
pub fn counts(compare: &Compare, ready: &Ready, width: usize) -> String {
    let whole = compare.table.whole();
    let only_b = compare.matched().map_or(0, |matched| matched.only_b.len() as u32);
    let all = u64::from(whole.layers + only_b);
    // Counts are of all layers, whatever shows.
    let shown = ready.tree.hits().map_or_else(String::new, |hits| {
        format!(" {} of {} shown ", units::exact(hits as u64), units::exact(all))
    });
    let first = format!(
        "{shown} {} compared  {} equal ",
        units::exact(u64::from(whole.compared)),
        units::exact(u64::from(whole.equal))
    );
    let rest = [
        (whole.unknown, "× ", "incomparable"),
        (whole.only_a, "- ", "only in A"),
        (only_b, "+ ", "only in B"),
    ];
    let rest = || rest.iter().filter(|(count, ..)| *count > 0);
    let exact = |count: &u32| units::exact(u64::from(*count));
    let words: Vec<String> = rest().map(|(count, _, words)| format!(" {} {words} ", exact(count))).collect();
    let words = first.clone() + &words.concat();
    if words.width() <= width {
        return words;
    }
    let glyphs: Vec<String> = rest().map(|(count, glyph, _)| format!(" {glyph}{} ", exact(count))).collect();
    let glyphs = first + &glyphs.concat();
    // What shows says most where there is little room.
    if glyphs.width() <= width || shown.is_empty() { glyphs } else { shown }
}
