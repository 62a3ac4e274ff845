//! A command line on screen: `$` before it, broken before a flag where it is longer than the pane.

use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::theme::{Role, Theme};
use crate::name::escape;

/// Returns a command line in lines of at most `width` cells, as a shell would take them.
#[must_use]
pub fn lines(command: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let command = escape(command);
    let mut lines: Vec<String> = Vec::new();
    let mut line = "$".to_owned();
    let parts = parts(&command);
    for (at, part) in parts.iter().enumerate() {
        // Two cells for what says that it goes on.
        let more = if at + 1 < parts.len() { 2 } else { 0 };
        if line.width() > 3 && line.width() + 1 + part.width() + more > width {
            lines.push(format!("{line} \\"));
            "   ".clone_into(&mut line);
        }
        line = format!("{line} {part}");
    }
    lines.push(line);
    let style = theme.style(Role::Path);
    lines
        .into_iter()
        .flat_map(|line| chopped(&line, width))
        .map(|line| Line::from(Span::styled(line, style)))
        .collect()
}

/// Returns a line in pieces of at most `width` cells: a path has no blank to break it at.
fn chopped(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let mut pieces = vec![String::new()];
    for c in line.chars() {
        let cells = c.width().unwrap_or(0);
        if pieces.last().is_some_and(|last| last.width() + cells > width.max(INDENT.len() + 2)) {
            pieces.push(INDENT.to_owned());
        }
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

/// Returns the words of a command: what is quoted stays whole, and a flag stays with its value.
fn parts(command: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut is_quoted = false;
    let mut is_new = true;
    for c in command.chars() {
        is_quoted ^= c == '\'';
        if c == ' ' && !is_quoted {
            is_new = true;
            continue;
        }
        // A flag takes the word after it along.
        let is_value = parts.last().is_some_and(|last| last.starts_with('-') && !last.contains(' '));
        match parts.last_mut() {
            Some(last) if is_new && is_value && c != '-' => {
                last.push(' ');
                last.push(c);
            }
            Some(last) if !is_new => last.push(c),
            _ => parts.push(c.to_string()),
        }
        is_new = false;
    }
    parts
}

#[cfg(test)]
mod tests;
