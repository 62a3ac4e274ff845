//! Themes: which style each role has.
//!
//! A widget names a role (`Role::Quant`), never a color. A theme file maps roles to styles, in TOML:
//!
//! ```toml
//! inherits = "dark"                              # what this file does not name
//! quant = "#c8a6ff"                              # a foreground color: #rrggbb, a name, or 0-255
//! cursor = { fg = "#ffffff", bg = "#2b4a6f", add_modifier = "BOLD" }
//! [sixteen]                                      # the same roles on a terminal with 16 colors
//! quant = "13"
//! ```
//!
//! Role names are those of the design's table of colors; the five built-in themes are compiled in from
//! `themes/`. Reading user themes from the config folder is left to the caller, which passes a function
//! from name to text. `Theme::at` chooses the styles for what the terminal can show; `ui/degrade.rs`
//! then only has to catch what no theme named.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::degrade::Colors;
use crate::error::{Error, Result};
use crate::name;

/// A theme has 30 roles, twice; a file beyond this is not a theme.
const THEME_BYTES_MAX: usize = 64 << 10;
/// `inherits` chains of people are two or three long.
const INHERITS_DEPTH_MAX: usize = 8;
/// A theme's name is a file name in the config folder.
const NAME_BYTES_MAX: usize = 64;

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What a piece of the screen means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Role { $($(#[doc = $doc])+ $variant,)+ }

        impl Role {
            /// Every role, in the order of the table of colors.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name that theme files use.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

roles! {
    /// Body and names.
    Text = "text",
    /// Shapes, dtypes, second lines, keys that are off.
    Muted = "muted",
    /// Layers that are not quantized; inherits `muted`.
    Dense = "dense",
    /// Units behind a number; inherits `muted`.
    Unit = "unit",
    /// Numbers; inherits `text`.
    Number = "number",
    /// Pane titles, the first line of Detail.
    Heading = "heading",
    /// Pane lines.
    Border = "border",
    /// Lines of the focused pane.
    BorderFocus = "border.focus",
    /// The row under the cursor.
    Cursor = "cursor",
    /// The same row while another pane has focus.
    CursorAway = "cursor.away",
    /// `◆` and its format word.
    Quant = "quant",
    /// `●`, adapter names, delta numbers.
    Adapter = "adapter",
    /// `✓` and fits.
    Ok = "ok",
    /// `▲`.
    Warn = "warn",
    /// `✗`, does not fit, over.
    Error = "error",
    /// `≈` can be repaired.
    Repair = "repair",
    /// Key letters in footer, help, palette.
    Key = "key",
    /// Files, config keys, commands after `$`.
    Path = "path",
    /// Filter hits inside a name.
    Match = "match",
    /// Text fields.
    Input = "input",
    /// What this job uses; progress.
    BarThis = "bar.this",
    /// What other processes use.
    BarOthers = "bar.others",
    /// The part above free memory.
    BarOver = "bar.over",
    /// The first of two compared checkpoints, always with the letter A.
    SideA = "side.a",
    /// The second, always with the letter B.
    SideB = "side.b",
    /// The lightest step of a heat map, `░`.
    Heat1 = "heat.1",
    /// The second step, `▒`.
    Heat2 = "heat.2",
    /// The third step, `▓`.
    Heat3 = "heat.3",
    /// The densest step, `█`.
    Heat4 = "heat.4",
    /// The cell of the cursor on a heat map in colors: far from all four; inherits `warn`.
    HeatCursor = "heat.cursor",
}

impl Role {
    /// Returns the role that stands in when a theme does not name this one.
    fn parent(self) -> Option<Self> {
        match self {
            Self::Dense | Self::Unit => Some(Self::Muted),
            Self::Number => Some(Self::Text),
            Self::HeatCursor => Some(Self::Warn),
            _ => None,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }
}

/// A built-in theme.
pub struct BuiltIn {
    /// The name that `--theme` takes.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// The built-in themes; the first is the default.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn { name: "dark", text: include_str!("../../themes/dark.toml") },
    BuiltIn { name: "light", text: include_str!("../../themes/light.toml") },
    BuiltIn { name: "high-contrast", text: include_str!("../../themes/high-contrast.toml") },
    BuiltIn { name: "16-color", text: include_str!("../../themes/16-color.toml") },
    BuiltIn { name: "none", text: include_str!("../../themes/none.toml") },
];

/// Gives the text of the user theme of that name.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<String>;

type Styles = [Style; Role::ALL.len()];

/// The style of every role, for a terminal with all colors, with 16, and with none.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    name: String,
    styles: Styles,
    sixteen: Option<Styles>,
}

impl Default for Theme {
    fn default() -> Self {
        Self::built_in(BUILT_IN[0].name).expect("built-in themes parse: a test reads each")
    }
}

impl Theme {
    /// Returns the theme called `name`: a user's (`find` returns its text), else a built-in one.
    ///
    /// # Errors
    /// Input: no such theme, or its text is not a theme (see `parse`).
    pub fn load(name: &str, find: Find<'_>) -> Result<Self> {
        let layers = Layers::default().push_named(name, find)?;
        Ok(layers.resolve(name))
    }

    /// Returns the theme that `text` describes; `find` gives the text of a user theme it inherits from.
    ///
    /// # Errors
    /// Input, naming file, line and column: not TOML, an unknown role (with the nearest one), a bad color
    /// or attribute, `inherits` in a circle or of a theme that does not exist.
    pub fn parse(name: &str, text: &str, find: Find<'_>) -> Result<Self> {
        let layers = Layers::default().push(name, text, find)?;
        Ok(layers.resolve(name))
    }

    /// Returns the built-in theme called `name`.
    ///
    /// # Errors
    /// Input: there is none of that name.
    pub fn built_in(name: &str) -> Result<Self> {
        Self::load(name, &|_| None)
    }

    /// Returns the theme's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the style of `role`.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.styles[role as usize]
    }

    /// Returns the theme for a terminal with `colors`: with 16 colors its `[sixteen]` styles, without
    /// color the built-in `none`, so that the cursor is still seen.
    ///
    /// # Panics
    /// Never: the built-in themes parse, and a test reads each.
    #[must_use]
    pub fn at(self, colors: Colors) -> Self {
        match colors {
            Colors::True | Colors::Indexed => self,
            Colors::Sixteen => match self.sixteen {
                Some(styles) => Self { styles, ..self },
                None => self,
            },
            Colors::None => Self::built_in("none").expect("built-in themes parse: a test reads each"),
        }
    }
}

/// The files of one theme, outermost first.
#[derive(Default)]
struct Layers {
    names: Vec<String>,
    files: Vec<File>,
}

/// One parsed file.
#[derive(Default)]
struct File {
    styles: BTreeMap<&'static str, Style>,
    sixteen: BTreeMap<&'static str, Style>,
}

impl Layers {
    fn push_named(self, name: &str, find: Find<'_>) -> Result<Self> {
        let text = self.text_of(name, find);
        let text = text.map_err(|why| Error::input(format!("theme {}: {why}", name::escape(name))))?;
        self.push(name, &text, find)
    }

    /// Returns the text of the theme called `name`, or what is wrong with asking for it.
    fn text_of(&self, name: &str, find: Find<'_>) -> std::result::Result<Cow<'static, str>, String> {
        if !is_theme_name(name) {
            return Err(format!("{} is no theme name: letters, digits, - and _ only", name::escape(name)));
        }
        // A user theme may be called like the built-in one that it builds on.
        let is_open = self.names.iter().any(|seen| seen == name);
        if let Some(text) = if is_open { None } else { find(name) } {
            return Ok(Cow::Owned(text));
        }
        if let Some(theme) = BUILT_IN.iter().find(|theme| theme.name == name) {
            return Ok(Cow::Borrowed(theme.text));
        }
        if is_open {
            return Err(format!("inherits in a circle: {} > {name}", self.names.join(" > ")));
        }
        Err(format!("{name} not found; there are {}", known_names()))
    }

    fn push(mut self, name: &str, text: &str, find: Find<'_>) -> Result<Self> {
        let source = Source { name, text };
        if text.len() > THEME_BYTES_MAX {
            let message = format!("{} bytes, a theme has at most {THEME_BYTES_MAX}", text.len());
            return Err(Error::input(format!("theme {name}: {message}")));
        }
        let (file, inherits) = source.parse()?;
        self.names.push(name.to_string());
        self.files.push(file);
        let Some(parent) = inherits else { return Ok(self) };
        if self.files.len() >= INHERITS_DEPTH_MAX {
            let message =
                format!("inherits through {INHERITS_DEPTH_MAX} files; stop at {}", parent.get_ref());
            return Err(source.error(parent.span(), &message));
        }
        let text = self.text_of(parent.get_ref(), find);
        let text = text.map_err(|why| source.error(parent.span(), &why))?;
        self.push(parent.get_ref(), &text, find)
    }

    fn resolve(&self, name: &str) -> Theme {
        let has_sixteen = self.files.iter().any(|file| !file.sixteen.is_empty());
        Theme {
            name: name.to_string(),
            styles: self.styles(|file| &file.styles),
            sixteen: has_sixteen.then(|| self.styles(|file| &file.sixteen)),
        }
    }

    fn styles(&self, part: impl Fn(&File) -> &BTreeMap<&'static str, Style>) -> Styles {
        let find = |role: Role| self.files.iter().find_map(|file| part(file).get(role.name()).copied());
        std::array::from_fn(|at| {
            let role = Role::ALL[at];
            find(role).or_else(|| role.parent().and_then(find)).unwrap_or_default()
        })
    }
}

/// Returns true for a name that is safe as a file name: `find` gets no other.
fn is_theme_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
}

fn known_names() -> String {
    BUILT_IN.iter().map(|theme| theme.name).collect::<Vec<_>>().join(", ")
}

/// A theme's text, for messages with a place.
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn parse(&self) -> Result<(File, Option<Spanned<String>>)> {
        let table = DeTable::parse(self.text).map_err(|error| self.toml_error(&error))?.into_inner();
        let (mut file, mut inherits) = (File::default(), None);
        for (key, value) in table {
            let span = value.span();
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("inherits", DeValue::String(parent)) => {
                    inherits = Some(Spanned::new(span, parent.to_string()));
                }
                ("inherits", other) => {
                    return Err(self.error(span, &format!("inherits is a {}, not a name", other.type_str())));
                }
                ("sixteen", DeValue::Table(roles)) => {
                    for (key, value) in roles.clone() {
                        let (role, style) = self.role(&key, value)?;
                        file.sixteen.insert(role.name(), style);
                    }
                }
                _ => {
                    let (role, style) = self.role(&key, value)?;
                    file.styles.insert(role.name(), style);
                }
            }
        }
        Ok((file, inherits))
    }

    fn role(&self, key: &Spanned<Cow<'_, str>>, value: Spanned<DeValue<'_>>) -> Result<(Role, Style)> {
        let Some(role) = Role::of_name(key.get_ref()) else {
            let message =
                format!("no role {}; the nearest is {}", name::escape(key.get_ref()), nearest(key.get_ref()));
            return Err(self.error(key.span(), &message));
        };
        let span = value.span();
        let is_color = value.get_ref().is_str();
        let value = ValueDeserializer::from(value);
        let style = if is_color {
            Color::deserialize(value).map(|color| Style::new().fg(color))
        } else {
            StyleFields::deserialize(value).map(StyleFields::style)
        };
        let style = style.map_err(|error| {
            // ratatui's own words for a bad color, which say nothing of what a good one is.
            let why = match error.message() {
                "Failed to parse Colors" => {
                    "not a color; one is #rrggbb, a name like red, or 0 to 255".to_string()
                }
                why => one_line(why),
            };
            self.error(error.span().unwrap_or(span), &format!("{}: {why}", role.name()))
        })?;
        Ok((role, style))
    }

    fn toml_error(&self, error: &toml::de::Error) -> Error {
        self.error(error.span().unwrap_or(0..0), &one_line(error.message()))
    }

    fn error(&self, span: Range<usize>, message: &str) -> Error {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Error::input(format!("theme {}.toml:{line}:{column}: {message}", name::escape(self.name)))
    }
}

/// The fields of a style; an unknown one is an error, not ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StyleFields {
    fg: Option<Color>,
    bg: Option<Color>,
    #[serde(default)]
    add_modifier: Modifier,
    #[serde(default)]
    sub_modifier: Modifier,
}

impl StyleFields {
    fn style(self) -> Style {
        let style = Style { fg: self.fg, bg: self.bg, ..Style::new() };
        style.add_modifier(self.add_modifier).remove_modifier(self.sub_modifier)
    }
}

fn one_line(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    name::escape(&words.join(" ")).into_owned()
}

/// Returns the role whose name is nearest to `wrong`, by edit distance.
fn nearest(wrong: &str) -> &'static str {
    let wrong: Vec<char> = wrong.chars().take(NAME_BYTES_MAX).collect();
    let names = Role::ALL.iter().map(|role| role.name());
    names.min_by_key(|role| name::distance(&wrong, role)).unwrap_or("text")
}

#[cfg(test)]
mod tests;
