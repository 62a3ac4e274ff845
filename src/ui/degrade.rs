//! The degrade pass: one walk over the finished buffer that makes it fit the terminal.
//!
//! Widgets and themes draw in true color and with every glyph; `apply` then maps colors down to 256, 16
//! or none, and glyphs to ASCII cell for cell, so that no layout moves. Attributes (bold, reverse,
//! underline) always survive: without color they carry the cursor.
//!
//! What the terminal can do is decided by `decide`, a pure function over the environment's strings and
//! two flags. Nothing is asked of the terminal itself.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;
use unicode_width::UnicodeWidthStr;

/// What the terminal shows of colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// 24 bit.
    True,
    /// The 256 colors of xterm.
    Indexed,
    /// The eight colors and their bright twins.
    Sixteen,
    /// None; attributes only.
    None,
}

/// The values of `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorFlag {
    /// As the environment says.
    #[default]
    Auto,
    /// As the environment says, but `NO_COLOR` does not count and there is some color.
    Always,
    /// 24 bit.
    TrueColor,
    /// 256 colors.
    Indexed,
    /// 16 colors.
    Sixteen,
    /// No color.
    Never,
}

impl ColorFlag {
    /// Returns the flag for a value of `--color`: `auto always truecolor 256 16 never`.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "auto" => Self::Auto,
            "always" => Self::Always,
            "truecolor" => Self::TrueColor,
            "256" => Self::Indexed,
            "16" => Self::Sixteen,
            "never" => Self::Never,
            _ => return None,
        })
    }
}

/// The environment variables that decide, as they stand; an unset one is `None`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NO_COLOR`: any non-empty value turns color off (no-color.org).
    pub no_color: Option<String>,
    /// `COLORTERM`: `truecolor` or `24bit`.
    pub colorterm: Option<String>,
    /// `TERM`.
    pub term: Option<String>,
    /// `TERM_PROGRAM`.
    pub term_program: Option<String>,
    /// `LC_ALL`, the first of three that name the locale.
    pub lc_all: Option<String>,
    /// `LC_CTYPE`, the second.
    pub lc_ctype: Option<String>,
    /// `LANG`, the third.
    pub lang: Option<String>,
}

impl Environment {
    /// Reads the variables from `get`, which returns the value of one that is set.
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            no_color: get("NO_COLOR"),
            colorterm: get("COLORTERM"),
            term: get("TERM"),
            term_program: get("TERM_PROGRAM"),
            lc_all: get("LC_ALL"),
            lc_ctype: get("LC_CTYPE"),
            lang: get("LANG"),
        }
    }
}

/// What the pass has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degrade {
    /// The colors that may stay.
    pub colors: Colors,
    /// True when every glyph becomes ASCII.
    pub is_ascii: bool,
}

/// Returns what the terminal can show, from its environment and the flags `--color` and `--ascii`.
#[must_use]
pub fn decide(environment: &Environment, color: ColorFlag, ascii: bool) -> Degrade {
    let is_off = environment.no_color.as_deref().is_some_and(|value| !value.is_empty());
    let colors = match color {
        ColorFlag::TrueColor => Colors::True,
        ColorFlag::Indexed => Colors::Indexed,
        ColorFlag::Sixteen => Colors::Sixteen,
        ColorFlag::Never => Colors::None,
        ColorFlag::Auto if is_off => Colors::None,
        ColorFlag::Auto => terminal_colors(environment),
        ColorFlag::Always => match terminal_colors(environment) {
            Colors::None => Colors::Sixteen,
            colors => colors,
        },
    };
    Degrade { colors, is_ascii: ascii || !shows_glyphs(environment) }
}

/// Terminals that show 24-bit color and may not say so in `COLORTERM` (ssh does not carry it).
const TRUE_COLOR_TERMS: [&str; 6] =
    ["xterm-kitty", "alacritty", "foot", "xterm-ghostty", "wezterm", "contour"];
/// The same by `TERM_PROGRAM`.
const TRUE_COLOR_PROGRAMS: [&str; 5] = ["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper"];

fn terminal_colors(environment: &Environment) -> Colors {
    let term = environment.term.as_deref().unwrap_or_default();
    let program = environment.term_program.as_deref().unwrap_or_default();
    let says_true = matches!(environment.colorterm.as_deref(), Some("truecolor" | "24bit"));
    let is_multiplexed = term.starts_with("tmux") || term.starts_with("screen");
    if term == "dumb" {
        Colors::None
    } else if is_multiplexed && program != "tmux" {
        // GNU screen hands COLORTERM through and garbles 24-bit sequences before version 5.
        Colors::Indexed
    } else if says_true
        || term.ends_with("-direct")
        || TRUE_COLOR_TERMS.contains(&term)
        || TRUE_COLOR_PROGRAMS.contains(&program)
    {
        Colors::True
    } else if term.contains("256color") || program == "Apple_Terminal" || is_multiplexed {
        Colors::Indexed
    } else {
        Colors::Sixteen
    }
}

/// Languages whose terminals may draw `◆●▲×·≈` two cells wide ("ambiguous width").
const WIDE_LANGUAGES: [&str; 3] = ["zh", "ja", "ko"];

fn shows_glyphs(environment: &Environment) -> bool {
    // The Linux console's fonts hold neither ✓ nor the eighths of a block.
    if matches!(environment.term.as_deref(), Some("dumb" | "linux")) {
        return false;
    }
    let named = [&environment.lc_all, &environment.lc_ctype, &environment.lang];
    let locale = named.into_iter().flatten().find(|value| !value.is_empty());
    let Some(locale) = locale.map(|value| value.to_ascii_lowercase()) else { return false };
    let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
    is_utf8 && !WIDE_LANGUAGES.iter().any(|language| locale.starts_with(language))
}

/// Maps every cell of `buffer` to what the terminal shows.
pub fn apply(buffer: &mut Buffer, degrade: Degrade) {
    let mut colors = ColorMap { to: degrade.colors, last: (Color::Reset, Color::Reset) };
    let has_colors = degrade.colors != Colors::True;
    if !has_colors && !degrade.is_ascii {
        return;
    }
    for cell in &mut buffer.content {
        if has_colors {
            cell.fg = colors.map(cell.fg);
            cell.bg = colors.map(cell.bg);
        }
        if degrade.is_ascii {
            to_ascii(cell);
        }
    }
}

fn to_ascii(cell: &mut Cell) {
    let symbol = cell.symbol();
    if symbol.is_ascii() {
        return;
    }
    let mut chars = symbol.chars();
    let glyph = match (chars.next(), chars.next()) {
        (Some(c), None) => ascii_of(c),
        _ => '?',
    };
    // A wide glyph owns the next cell too: a second mark keeps the row as long as it was.
    if symbol.width() > 1 {
        cell.set_symbol("??");
    } else {
        cell.set_char(glyph);
    }
}

/// Returns the ASCII stand-in of a glyph, as in the design's table.
#[must_use]
pub fn ascii_of(glyph: char) -> char {
    match glyph {
        '◆' | '█' | '▇' | '▉' | '▊' | '▋' => '#',
        '·' | '░' | '▂' | '▏' | '▎' | '▍' => '.',
        '●' => '@',
        '✓' => 'o',
        '▲' => '!',
        '✗' => 'X',
        '≈' => '%',
        '▾' | '↓' => 'v',
        '▸' | '▶' | '→' | '≥' | '›' => '>',
        '←' | '≤' | '‹' => '<',
        '▌' => '*',
        '×' => 'x',
        '…' | '±' => '~',
        'α' => 'a',
        '▒' => ':',
        '▁' => '_',
        '▅' | '▆' => '=',
        '▀' => '"',
        '↑' => '^',
        '°' | '\u{a0}' => ' ',
        '▃' | '▄' | '–' | '—' | '─' | '━' | '╌' | '┄' | '┈' | '═' => '-',
        '▐' | '│' | '┃' | '╎' | '┆' | '┊' | '║' => '|',
        '▓' | '\u{2500}'..='\u{257f}' => '+',
        // Everything else, a name in another script above all.
        _ => '?',
    }
}

/// Maps colors; neighbors are mostly alike, so the last answer is kept.
struct ColorMap {
    to: Colors,
    last: (Color, Color),
}

impl ColorMap {
    fn map(&mut self, color: Color) -> Color {
        if color == Color::Reset {
            return color;
        }
        if self.last.0 != color {
            self.last = (color, map_color(color, self.to));
        }
        self.last.1
    }
}

/// Returns the color that `to` has nearest to `color`.
#[must_use]
pub fn map_color(color: Color, to: Colors) -> Color {
    match (to, color) {
        (Colors::None, _) => Color::Reset,
        (Colors::Indexed, Color::Rgb(r, g, b)) => Color::Indexed(nearest_of_256([r, g, b])),
        (Colors::Sixteen, Color::Rgb(r, g, b)) => Color::Indexed(nearest_of_16([r, g, b])),
        (Colors::Sixteen, Color::Indexed(index @ 16..)) => Color::Indexed(nearest_of_16(rgb_of_256(index))),
        _ => color,
    }
}

/// Returns red, green and blue of a color that is the same on every terminal: of none of the 16 that each has its own of.
#[must_use]
pub fn rgb(color: Color) -> Option<[u8; 3]> {
    match color {
        Color::Rgb(r, g, b) => Some([r, g, b]),
        Color::Indexed(index @ 16..) => Some(rgb_of_256(index)),
        _ => None,
    }
}

/// The levels of each channel in xterm's 6x6x6 cube, at 16-231; 232-255 are the grays 8, 18, … 238.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn nearest_of_256(rgb: [u8; 3]) -> u8 {
    let level = |channel: u8| match channel {
        0..48 => 0,
        48..115 => 1,
        _ => (channel - 35) / 40,
    };
    let [r, g, b] = rgb.map(level);
    let cube = [r, g, b].map(|level| CUBE[usize::from(level)]);
    let mean = rgb.iter().map(|&channel| u32::from(channel)).sum::<u32>() / 3;
    let step = (mean.saturating_sub(3) / 10).min(23) as u8;
    let gray = [8 + 10 * step; 3];
    if distance(rgb, gray) < distance(rgb, cube) { 232 + step } else { 16 + 36 * r + 6 * g + b }
}

fn rgb_of_256(index: u8) -> [u8; 3] {
    match index {
        0..16 => [0; 3],
        16..232 => {
            let at = index - 16;
            [at / 36, at / 6 % 6, at % 6].map(|level| CUBE[usize::from(level)])
        }
        232.. => [8 + 10 * (index - 232); 3],
    }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// Returns the index of the nearest of the 16 colors by hue. Pastels lie near gray in RGB, and would all
/// turn gray by distance.
fn nearest_of_16(rgb: [u8; 3]) -> u8 {
    /// Below this spread of channels a color reads as gray.
    const GRAY_SPREAD_MAX: i32 = 32;
    /// From this level of the strongest channel on a hue reads as bright.
    const BRIGHT_MIN: i32 = 200;
    let [r, g, b] = rgb.map(i32::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let spread = high - low;
    if spread < GRAY_SPREAD_MAX {
        return match high {
            0..48 => 0,
            48..136 => 8,
            136..216 => 7,
            _ => 15,
        };
    }
    let sector = if high == r {
        (60 * (g - b) / spread).rem_euclid(360)
    } else if high == g {
        120 + 60 * (b - r) / spread
    } else {
        240 + 60 * (r - g) / spread
    };
    let hue = match sector {
        18..75 => 3,
        75..160 => 2,
        160..200 => 6,
        200..255 => 4,
        255..345 => 5,
        _ => 1,
    };
    if high >= BRIGHT_MIN { hue + 8 } else { hue }
}

#[cfg(test)]
mod tests;
