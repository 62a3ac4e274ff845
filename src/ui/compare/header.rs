//! Row 1 while two are compared: what A is, what B is, and how far the comparison is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::compare::{Compare, Stage};
use crate::app::{App, OpenState};
use crate::name::{cut_middle, escape};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// From this width on both have their sizes, and the comparison its name.
const WIDE: u16 = 100;
/// Cells of a name, at most.
const NAME: usize = 34;

/// Draws the row.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, compare: &Compare, theme: &Theme) {
    let is_wide = area.width >= WIDE;
    let (status, role) = status(compare, is_wide);
    let sides = [(compare.a, "A", Role::SideA), (compare.b, "B", Role::SideB)];
    let facts = sides.map(|(id, ..)| facts(app, id, is_wide));
    let fixed: usize = facts.iter().map(|(_, facts)| facts.width() + 5).sum();
    let room = usize::from(area.width).saturating_sub(fixed + status.width() + 1);
    // What one name does not take the other has.
    let widths = [0, 1].map(|side: usize| facts[side].0.width());
    let half = (room / 2).max(8);
    let first = widths[0].min(half.max(room.saturating_sub(widths[1])));
    let names = [first, room.saturating_sub(first.min(room)).max(8)];
    let mut spans = vec![Span::raw(" ")];
    for (side, (_, letter, role)) in sides.into_iter().enumerate() {
        let name = cut_middle(&facts[side].0, names[side].min(NAME)).into_owned();
        spans.push(Span::styled(format!("{letter} "), theme.style(role)));
        spans.push(Span::styled(name, theme.style(Role::Heading)));
        spans.push(Span::styled(facts[side].1.clone(), theme.style(Role::Text)));
        spans.push(Span::raw("   "));
    }
    let used: usize = spans.iter().map(|span| span.content.width()).sum();
    spans.push(Span::raw(" ".repeat(usize::from(area.width).saturating_sub(used + status.width() + 1))));
    spans.push(Span::styled(status, theme.style(role)));
    frame.render_widget(Line::from(spans), area);
}

/// Returns the name of a side, and its format and size.
fn facts(app: &App, id: u32, is_wide: bool) -> (String, String) {
    let Some(open) = app.opens.iter().find(|open| open.id == id) else { return Default::default() };
    match &open.state {
        OpenState::Ready(ready) => {
            let title = escape(&ready.files().title).into_owned();
            // Where there is little room the first word says most.
            let words =
                if is_wide { &ready.headline } else { ready.headline.split(' ').next().unwrap_or_default() };
            let format = cut_middle(&escape(words), 16).into_owned();
            let size =
                if is_wide { format!("  {}", units::bytes(ready.summary.bytes)) } else { String::new() };
            (title, format!("  {format}{size}"))
        }
        OpenState::Opening(_) => (escape(&open.path).into_owned(), "  opening".into()),
        OpenState::Failed(_) => (escape(&open.path).into_owned(), "  ✗ not opened".into()),
    }
}

/// Returns how far the comparison is.
fn status(compare: &Compare, is_wide: bool) -> (String, Role) {
    let what = if is_wide { "compare by values " } else { "" };
    let whole = compare.table.whole();
    let (all, done) = (whole.layers - whole.only_a, whole.compared + whole.unknown);
    let far = format!("{} of {}", units::exact(u64::from(done)), units::exact(u64::from(all)));
    match &compare.stage {
        Stage::Opening => (format!("{what}opening"), Role::Muted),
        Stage::Failed(_) => (format!("{what}✗ not opened"), Role::Error),
        Stage::Matching => (format!("{what}matching names"), Role::Muted),
        Stage::Running => (format!("{what}{far}"), Role::BarThis),
        Stage::Done => (format!("{what}✓ done"), Role::Ok),
        Stage::Stopped(_) => (format!("{what}stopped at {far}"), Role::Warn),
    }
}
