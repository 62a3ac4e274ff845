//! Events of the terminal as events of the app, by what was drawn where.

use crossterm::event::{Event as TermEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};

use crate::app::{App, Event, Focus, Overlay, keys};
use crate::ui::Scroll;

/// Lines that a turn of the wheel moves.
const WHEEL_LINES: isize = 3;

/// Turns a terminal event into one of the app's, by what was drawn where.
pub(super) fn translate(event: &TermEvent, app: &App, scroll: &mut Scroll) -> Option<Event> {
    match event {
        TermEvent::Key(key) if key.kind != KeyEventKind::Release => keys::text(key).map(Event::Key),
        TermEvent::Paste(text) => Some(Event::Paste(text.clone())),
        TermEvent::Mouse(mouse) if matches!(app.overlay, Some(Overlay::Picker(_))) => {
            translate_picker_mouse(*mouse, scroll)
        }
        TermEvent::Mouse(mouse) if app.overlay.is_none() && app.is_form_open => {
            match mouse.kind {
                MouseEventKind::ScrollDown => return Some(Event::Wheel(Focus::Side, WHEEL_LINES)),
                MouseEventKind::ScrollUp => return Some(Event::Wheel(Focus::Side, -WHEEL_LINES)),
                MouseEventKind::Down(MouseButton::Left) => {}
                _ => return None,
            }
            let field = scroll.fields.iter().find(|(line, _)| *line == mouse.row)?;
            (mouse.column < scroll.side.x).then_some(Event::ClickField(field.1))
        }
        TermEvent::Mouse(mouse) if app.overlay.is_none() => translate_mouse(*mouse, app, scroll),
        _ => None,
    }
}

fn translate_picker_mouse(mouse: MouseEvent, scroll: &Scroll) -> Option<Event> {
    match mouse.kind {
        MouseEventKind::ScrollDown => Some(Event::Wheel(Focus::Side, 1)),
        MouseEventKind::ScrollUp => Some(Event::Wheel(Focus::Side, -1)),
        MouseEventKind::Down(MouseButton::Left) => {
            let (_, place) = scroll.places.iter().find(|(line, _)| *line == mouse.row)?;
            Some(Event::ClickPlace(*place))
        }
        _ => None,
    }
}

fn translate_mouse(mouse: MouseEvent, app: &App, scroll: &mut Scroll) -> Option<Event> {
    let at = (mouse.column, mouse.row).into();
    let focus = if scroll.tree.area.contains(at) { Focus::Tree } else { Focus::Side };
    match mouse.kind {
        MouseEventKind::ScrollDown => Some(Event::Wheel(focus, WHEEL_LINES)),
        MouseEventKind::ScrollUp => Some(Event::Wheel(focus, -WHEEL_LINES)),
        MouseEventKind::Down(MouseButton::Left) => {
            // The tree's right line and the side's left one are the border.
            let is_split = scroll.tree.area.width > 0 && scroll.side.width > 0;
            let inside = scroll.side.contains(at) && mouse.row > scroll.side.y;
            scroll.is_dragging = is_split && inside && mouse.column == scroll.side.x
                || is_split && mouse.row > scroll.side.y && mouse.column + 1 == scroll.side.x;
            if scroll.is_dragging {
                return None;
            }
            if let Some((_, tab)) = scroll.tabs.iter().find(|(area, _)| area.contains(at)) {
                return Some(Event::ClickTab(*tab));
            }
            if scroll.tree.area.contains(at) {
                let row = scroll.tree.row_at(mouse.row)?;
                let rows = app.ready()?.tree.rows().len();
                return (row < rows).then_some(Event::ClickRow(row));
            }
            if let Some((_, row)) = scroll.board.iter().find(|(line, _)| *line == mouse.row) {
                return Some(Event::ClickBoard(*row));
            }
            if let Some((_, row)) = scroll.findings.iter().find(|(line, _)| *line == mouse.row)
                && mouse.column < scroll.side.x + scroll.side.width * 38 / 100
            {
                return Some(Event::ClickFinding(*row));
            }
            if let Some((_, job)) = scroll.jobs.iter().find(|(line, _)| *line == mouse.row) {
                return Some(Event::ClickJob(*job));
            }
            if let Some((_, gpu)) = scroll.gpus.iter().find(|(line, _)| *line == mouse.row) {
                return Some(Event::ClickGpu(*gpu));
            }
            if let Some(cell) = scroll.map.at(mouse.column, mouse.row) {
                return Some(Event::ClickCell(cell));
            }
            scroll.side.contains(at).then_some(Event::ClickPane(Focus::Side))
        }
        MouseEventKind::Up(_) => {
            scroll.is_dragging = false;
            None
        }
        // The border between the panes can be dragged: the drag says where it goes.
        MouseEventKind::Drag(MouseButton::Left) if scroll.is_dragging => {
            let width = u32::from(scroll.tree.area.width + scroll.side.width + 2);
            Some(Event::Split((u32::from(mouse.column) * 100 / width.max(1)) as u16))
        }
        _ => None,
    }
}
