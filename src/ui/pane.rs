//! Panes: bordered blocks, tab names in the border, and scrolled text.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::theme::{Role, Theme};
use crate::app::{App, Focus, Tab};
use crate::name::cut_middle;

/// Below this width of a pane tabs shrink to their digits.
const NAMES_MIN: u16 = 56;

/// Returns a bordered block with a title.
#[must_use]
pub fn block(title: &str, is_focused: bool, theme: &Theme) -> Block<'static> {
    let (border, heading) = if is_focused {
        (theme.style(Role::BorderFocus), theme.style(Role::Heading))
    } else {
        (theme.style(Role::Border), theme.style(Role::Muted))
    };
    Block::bordered().border_style(border).title(Span::styled(format!(" {title} "), heading))
}

/// Returns the block of the tab pane with the tab names in its border, and where each name stands.
#[must_use]
pub fn tab_block(area: Rect, app: &App, theme: &Theme) -> (Block<'static>, Vec<(Rect, Tab)>) {
    let is_focused = app.focus == Focus::Side;
    let border = theme.style(if is_focused { Role::BorderFocus } else { Role::Border });
    // A tab that has nothing to show is not offered.
    let is_adapter = app.ready().is_some_and(|ready| ready.adapter.is_some());
    let is_offered = |tab: Tab| match tab {
        Tab::Adapter => is_adapter || app.attached().is_some(),
        Tab::Jobs => !app.jobs.list.is_empty(),
        Tab::Gpu => tab == app.tab || !app.gpus_now().is_empty(),
        _ => true,
    };
    let offered: Vec<_> = Tab::ALL.into_iter().filter(|(_, tab, _)| is_offered(*tab)).collect();
    // Each has its digit and two blanks; one of them is in brackets, and the corners take two cells.
    let named: usize = offered.iter().map(|(_, _, name)| name.width() + 3).sum::<usize>() + 5;
    let has_names = area.width >= NAMES_MIN && named <= usize::from(area.width);
    let mut spans = vec![Span::raw(" ")];
    let mut tabs = Vec::new();
    let mut x = area.x + 2;
    for (digit, tab, name) in offered {
        let is_current = tab == app.tab;
        let label = if has_names || is_current { format!("{digit} {name}") } else { digit.to_string() };
        let text = if is_current { format!("[{label}]") } else { label };
        let width = text.width() as u16;
        tabs.push((Rect::new(x, area.y, width, 1), tab));
        x += width + 1;
        let role = if is_current { Role::Heading } else { Role::Muted };
        spans.push(Span::styled(text, theme.style(role)));
        spans.push(Span::raw(" "));
    }
    (Block::bordered().border_style(border).title(Line::from(spans)), tabs)
}

/// Draws lines into a block, scrolled so that `top` is at most the last page; returns the top used.
pub fn text(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, lines: Vec<Line<'_>>, top: usize) -> usize {
    let count = lines.len();
    window(frame, area, block, (count, top), |top, height| lines.into_iter().skip(top).take(height).collect())
}

/// Draws some of `count` lines into a block, scrolled so that `top` is at most the last page; `lines` makes those that
/// show, from a first one on. Returns the top used.
pub fn window<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    block: Block<'_>,
    (count, top): (usize, usize),
    lines: impl FnOnce(usize, usize) -> Vec<Line<'a>>,
) -> usize {
    let inner = block.inner(area);
    let height = usize::from(inner.height);
    let top = top.min(count.saturating_sub(height));
    let below = count.saturating_sub(top + height);
    let block = if below > 0 {
        block.title_bottom(Line::from(format!(" {below} more ")).right_aligned())
    } else {
        block
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(Text::from(lines(top, height))).block(block), area);
    top
}

/// Cells of a text that are wrapped.
const WRAP_CELLS_MAX: usize = 2000;

/// Returns a text in lines of at most `width` cells, broken at blanks, or inside a word that is longer.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    // A name may have any length; what is longer than a screen is cut in the middle.
    let text = &cut_middle(text, WRAP_CELLS_MAX);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while word.width() > width {
            let cut = word
                .char_indices()
                .map(|(at, _)| at)
                .take_while(|&at| word[..at].width() < width)
                .last()
                .unwrap_or(0);
            let cut = cut.max(word.chars().next().map_or(1, char::len_utf8));
            let rest = word.split_off(cut);
            lines.push(std::mem::replace(&mut word, rest));
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_broken_and_short_ones_are_not() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("model.layers.0.self_attn", 10).concat(), "model.layers.0.self_attn");
        assert_eq!(wrap("", 10), [""]);
    }
}
