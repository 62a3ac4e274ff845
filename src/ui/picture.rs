//! A picture of a screen: a finished buffer as SVG, for the README and for looking at by eye.
//!
//! Cells are 9.03 × 17.5 px, the advance of `DejaVu` Sans Mono at 15 px, so that box lines join. Block
//! elements are drawn as rectangles: fonts leave seams between them, and so would edges that are smoothed.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::theme::{Role, Theme};

const CELL_WIDTH: f64 = 9.03;
const CELL_HEIGHT: f64 = 17.5;

/// What stands where a cell has no color of its own: what the terminal of a theme shows there.
#[derive(Clone, Copy)]
struct Ground {
    background: &'static str,
    foreground: &'static str,
}

const DARK: Ground = Ground { background: "#14171c", foreground: "#d7dbe2" };
const LIGHT: Ground = Ground { background: "#ffffff", foreground: "#24292f" };

impl Ground {
    /// Returns the ground on which the theme's text can be read.
    fn of(theme: &Theme) -> Self {
        match theme.style(Role::Text).fg {
            Some(Color::Rgb(r, g, b)) if u32::from(r) + u32::from(g) + u32::from(b) < 3 * 128 => LIGHT,
            _ => DARK,
        }
    }
}

/// Returns the buffer as an SVG document, on the ground that its theme is made for.
#[must_use]
pub fn svg(buffer: &Buffer, theme: &Theme) -> String {
    let ground = Ground::of(theme);
    let background = ground.background;
    let area = buffer.area;
    let (width, height) = (f64::from(area.width) * CELL_WIDTH, f64::from(area.height) * CELL_HEIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.2} {height:.2}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{background}\"/>\n\
         <g font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"15\" shape-rendering=\"crispEdges\" xml:space=\"preserve\">\n"
    );
    for y in area.y..area.bottom() {
        let mut x = area.x;
        while x < area.right() {
            x += run(buffer, x, y, ground, &mut out);
        }
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// Draws cells of one style from `(x, y)` on; returns how many.
fn run(buffer: &Buffer, x: u16, y: u16, ground: Ground, out: &mut String) -> u16 {
    let first = &buffer[(x, y)];
    let mut text = String::new();
    let mut count = 0;
    while x + count < buffer.area.right() {
        let cell = &buffer[(x + count, y)];
        // A blank ends a word: viewers that place a text by its start must not drift over long lines.
        let is_break = if is_block(first.symbol()) || is_block(cell.symbol()) {
            // Blocks that touch are one.
            cell.symbol() != first.symbol() || !is_wide_block(first.symbol())
        } else {
            text.ends_with(' ') != (cell.symbol() == " ")
        };
        if count > 0 && (is_break || look(cell, ground) != look(first, ground)) {
            break;
        }
        text.push_str(cell.symbol());
        count += 1;
    }
    let count = count.max(1);
    let (fg, bg, is_bold) = look(first, ground);
    let (left, top) = (f64::from(x) * CELL_WIDTH, f64::from(y) * CELL_HEIGHT);
    if let Some(bg) = bg {
        let width = f64::from(count) * CELL_WIDTH + 0.1;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{CELL_HEIGHT}\" fill=\"{bg}\"/>"
        );
    }
    if let Some((dx, width, dy, height)) = block_part(first.symbol()) {
        let (x, y) = (left + dx * CELL_WIDTH, top + dy * CELL_HEIGHT);
        let (w, h) = (width * f64::from(count) * CELL_WIDTH + 0.05, height * CELL_HEIGHT);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" fill=\"{fg}\"/>"
        );
    } else if !text.trim().is_empty() {
        let weight = if is_bold { " font-weight=\"bold\"" } else { "" };
        let baseline = top + 13.5;
        let _ = writeln!(
            out,
            "<text x=\"{left:.2}\" y=\"{baseline:.2}\" fill=\"{fg}\"{weight}>{}</text>",
            escape(&text)
        );
    }
    count
}

fn look(cell: &Cell, ground: Ground) -> (String, Option<String>, bool) {
    let (mut fg, mut bg) = (css(cell.fg), css(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (
            Some(bg.unwrap_or_else(|| ground.background.into())),
            Some(fg.unwrap_or_else(|| ground.foreground.into())),
        );
    }
    (fg.unwrap_or_else(|| ground.foreground.into()), bg, cell.modifier.contains(Modifier::BOLD))
}

fn css(color: Color) -> Option<String> {
    match color {
        Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        Color::Reset => None,
        // Pictures are made in full color; the 16 colors differ by terminal.
        other => Some(format!("{other}").to_ascii_lowercase()),
    }
}

fn is_block(symbol: &str) -> bool {
    block_part(symbol).is_some()
}

/// A block from the left edge of its cell to the right one.
fn is_wide_block(symbol: &str) -> bool {
    block_part(symbol).is_some_and(|(left, width, ..)| left == 0.0 && width == 1.0)
}

/// Returns left, width, top, height of a block element, in parts of a cell.
fn block_part(symbol: &str) -> Option<(f64, f64, f64, f64)> {
    let eighth = |n: f64| (0.0, n / 8.0, 0.0, 1.0);
    let lower = |n: f64| (0.0, 1.0, 1.0 - n / 8.0, n / 8.0);
    Some(match symbol {
        "▀" => (0.0, 1.0, 0.0, 0.5),
        "▁" => lower(1.0),
        "▂" => lower(2.0),
        "▃" => lower(3.0),
        "▄" => lower(4.0),
        "▅" => lower(5.0),
        "▆" => lower(6.0),
        "▇" => lower(7.0),
        "█" => eighth(8.0),
        "▉" => eighth(7.0),
        "▊" => eighth(6.0),
        "▋" => eighth(5.0),
        "▌" => eighth(4.0),
        "▍" => eighth(3.0),
        "▎" => eighth(2.0),
        "▏" => eighth(1.0),
        _ => return None,
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
