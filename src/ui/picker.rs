//! The picker: a field, and below it recent, cached and near checkpoints with what each holds.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::header::field_text;
use super::pane::{block, text};
use super::theme::{Role, Theme};
use crate::app::picker::{Facts, Group, NAMES, Picker, Place, Purpose};
use crate::name::{cut_middle, escape};
use crate::units;

/// Cells of the name of a field of names, and a blank.
const NAME_CELLS: usize = 15;
/// From this width on the number of files has a column.
const FILES_MIN: usize = 90;

/// Draws the picker in place of the panes. Returns the screen line of each place that shows.
pub fn draw(frame: &mut Frame<'_>, area: Rect, picker: &Picker, theme: &Theme) -> Vec<(u16, usize)> {
    let width = usize::from(area.width.saturating_sub(4));
    let (field, cursor) =
        field_text(picker.input.value(), picker.input.visual_cursor(), width.saturating_sub(6));
    let field = if picker.input.value().is_empty() {
        match picker.purpose {
            Purpose::Open | Purpose::Base | Purpose::Compare => {
                "path or Hub name (nothing is downloaded)".to_owned()
            }
            Purpose::Attach | Purpose::Merge => "an adapter's folder, file or Hub name".to_owned(),
        }
    } else {
        field
    };
    let role = if picker.input.value().is_empty() { Role::Muted } else { Role::Text };
    let room = width.saturating_sub(6);
    let mut lines = vec![Line::from(vec![
        Span::styled(" open ", theme.style(Role::Key)),
        Span::styled(format!("{field:<room$}"), theme.style(Role::Input).patch(theme.style(role))),
    ])];
    let named =
        if picker.purpose == Purpose::Compare { names(picker, width, &mut lines, theme) } else { None };
    let shown = picker.shown();
    let mut marked = 0;
    let mut places = Vec::new();
    for group in [Group::Open, Group::Beside, Group::Recent, Group::Hub, Group::Here] {
        let of_group = shown.iter().enumerate().filter(|(_, (_, place))| place.group == group);
        let rows: Vec<(usize, &Place)> = of_group.map(|(at, (_, place))| (at, *place)).collect();
        if rows.is_empty() {
            continue;
        }
        lines.push(Line::default());
        lines.push(Line::from(Span::styled(format!(" {}", group.title()), theme.style(Role::Heading))));
        for (at, place) in rows {
            if at == picker.cursor {
                marked = lines.len();
            }
            places.push((lines.len(), at));
            lines.push(row(place, at == picker.cursor, width, theme));
        }
    }
    if shown.is_empty() {
        let words = match (&picker.places, picker.input.value().is_empty()) {
            (None, _) if picker.purpose.is_adapter() => " looking for adapters…",
            (None, _) => " looking for checkpoints…",
            (Some(_), true) if picker.purpose.is_adapter() => {
                " No adapter was found near this checkpoint, here, or among recent ones. Type a path."
            }
            (Some(_), true) => {
                " No checkpoint was found here, in the Hub cache, or among recent ones. Type a path."
            }
            (Some(_), false) if picker.purpose.is_adapter() => " Nothing matches; Enter takes what is typed.",
            (Some(_), false) => " Nothing matches; Enter opens what is typed.",
        };
        lines.push(Line::default());
        lines.push(Line::from(Span::styled(words, theme.style(Role::Muted))));
    }
    let title = match picker.purpose {
        Purpose::Open => "Open",
        Purpose::Attach => "Attach an adapter",
        Purpose::Compare => "Compare with",
        Purpose::Merge => "Merge another adapter too",
        Purpose::Base => "Open the base of this adapter",
    };
    let height = usize::from(area.height.saturating_sub(2));
    let top = (marked + 2).saturating_sub(height);
    let foot = format!(" {} ", units::plural(shown.len(), "place"));
    let frame_block = block(title, true, theme).title_bottom(Line::from(foot).right_aligned());
    text(frame, area, frame_block, lines, top);
    if let Some((column, line)) = named.filter(|_| top == 0) {
        frame.set_cursor_position((area.x + column as u16, area.y + 1 + line as u16));
    } else if top == 0 {
        frame.set_cursor_position((area.x + 7 + cursor as u16, area.y + 1));
    }
    let shown = places.into_iter().filter(|(line, _)| (top..top + height).contains(line));
    shown.map(|(line, place)| (area.y + 1 + (line - top) as u16, place)).collect()
}

/// Adds the fields of how names are matched; returns column and line of the cursor if it is in one of them.
fn names(
    picker: &Picker,
    width: usize,
    lines: &mut Vec<Line<'static>>,
    theme: &Theme,
) -> Option<(usize, usize)> {
    let mut cursor = None;
    for (at, ((name, about), input)) in NAMES.iter().zip(&picker.names).enumerate() {
        let room = width.saturating_sub(NAME_CELLS + 1);
        let (field, column) = field_text(input.value(), input.visual_cursor(), room);
        if picker.in_name == Some(at) {
            cursor = Some((NAME_CELLS + 2 + column, lines.len()));
        }
        let (field, role) = if input.value().is_empty() {
            (cut_middle(about, room).into_owned(), Role::Muted)
        } else {
            (field, Role::Text)
        };
        lines.push(Line::from(vec![
            Span::styled(format!(" {name:<NAME_CELLS$}"), theme.style(Role::Key)),
            Span::styled(format!("{field:<room$}"), theme.style(Role::Input).patch(theme.style(role))),
        ]));
    }
    if let Some(why) = &picker.refused {
        lines.push(Line::from(Span::styled(format!(" ✗ {}", escape(why)), theme.style(Role::Error))));
    }
    cursor
}

fn row(place: &Place, is_marked: bool, width: usize, theme: &Theme) -> Line<'static> {
    // In a narrow screen the name has the room of the number of files.
    let is_wide = width >= FILES_MIN;
    let room = width.saturating_sub(if is_wide { 62 } else { 34 }).clamp(18, 60);
    let label = cut_middle(&escape(&place.label), room).into_owned();
    let mut spans =
        vec![Span::raw(if is_marked { "▌" } else { " " }), Span::raw(format!("{label:<room$}  "))];
    match &place.facts {
        Facts::Unknown => spans.push(Span::styled("…", theme.style(Role::Muted))),
        Facts::Gone(why) => {
            spans.push(Span::styled(format!("✗ {}", cut_middle(&escape(why), 50)), theme.style(Role::Error)));
        }
        Facts::Known { format, bytes, shards, errors } => {
            let format = cut_middle(&escape(format), 16).into_owned();
            spans.push(Span::styled(format!("{format:<17}"), theme.style(Role::Quant)));
            spans.push(Span::styled(format!("{:>9}", units::bytes(*bytes)), theme.style(Role::Number)));
            if is_wide {
                let files = format!("  {:<9}", units::plural(*shards, "file"));
                spans.push(Span::styled(files, theme.style(Role::Muted)));
            }
            if *errors > 0 {
                let words = if is_wide {
                    format!("✗ {}", units::plural(*errors, "problem"))
                } else {
                    format!(" ✗{errors}")
                };
                spans.push(Span::styled(words, theme.style(Role::Error)));
            }
        }
    }
    spans.push(Span::styled(format!("  {}", escape(&place.note)), theme.style(Role::Muted)));
    let line = Line::from(spans);
    if is_marked { line.style(theme.style(Role::Cursor)) } else { line }
}
