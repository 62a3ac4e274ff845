//! Keys: their names, the key map, and editing of text fields.
//!
//! A key is a text: `j`, `G`, `ctrl-d`, `enter`, `pgdn`. Shift is part of a letter or sign, never named.
//! The user's `keys.toml` binds such texts to names of commands:
//! ```toml
//! [keys]
//! "ctrl-o" = "open"
//! ```

use std::collections::HashMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest};

use super::command::{COMMANDS, Command};
use crate::name::escape;

/// What each key runs.
pub type Keymap = HashMap<String, &'static Command>;

/// Keys that are called by a name; all others by the character that they type, or `f1` to `f12`.
const NAMED: [(KeyCode, &str); 15] = [
    (KeyCode::Char(' '), "space"),
    (KeyCode::Enter, "enter"),
    (KeyCode::Esc, "esc"),
    (KeyCode::Tab, "tab"),
    (KeyCode::BackTab, "backtab"),
    (KeyCode::Backspace, "backspace"),
    (KeyCode::Delete, "delete"),
    (KeyCode::Up, "up"),
    (KeyCode::Down, "down"),
    (KeyCode::Left, "left"),
    (KeyCode::Right, "right"),
    (KeyCode::Home, "home"),
    (KeyCode::End, "end"),
    (KeyCode::PageUp, "pgup"),
    (KeyCode::PageDown, "pgdn"),
];

/// Returns the name of a key, or `None` for keys that have none here.
#[must_use]
pub fn text(event: &KeyEvent) -> Option<String> {
    let named = NAMED.iter().find(|(code, _)| *code == event.code).map(|(_, name)| (*name).to_owned());
    let name = match event.code {
        _ if named.is_some() => named?,
        KeyCode::Char(c) => c.to_string(),
        KeyCode::F(n) => format!("f{n}"),
        _ => return None,
    };
    if event.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(if is_control { format!("ctrl-{}", name.to_ascii_lowercase()) } else { name })
}

/// Checks that a text is the name of a key.
///
/// # Errors
/// It is not; the line says what names there are.
pub fn check(key: &str) -> Result<(), String> {
    let plain = key.strip_prefix("ctrl-").unwrap_or(key);
    let mut chars = plain.chars();
    let is_char =
        chars.next().is_some_and(|c| !c.is_whitespace() && !c.is_control()) && chars.next().is_none();
    let is_function =
        plain.strip_prefix('f').and_then(|n| n.parse().ok()).is_some_and(|n| (1..=12).contains(&n));
    if is_char || is_function || NAMED.iter().any(|(_, name)| *name == plain) {
        return Ok(());
    }
    let names: Vec<&str> = NAMED.iter().map(|(_, name)| *name).collect();
    let key = escape(key);
    Err(format!(
        "no key is named {key}; there are single characters, f1 to f12, {}, each also after ctrl-",
        names.join(", ")
    ))
}

/// Returns the keys of all commands, with the user's own bindings over them.
///
/// # Errors
/// The text is not TOML, or names a key or a command that does not exist.
pub fn keymap(user: Option<&str>) -> Result<Keymap, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        keys: HashMap<String, String>,
    }
    let mut map = Keymap::new();
    for command in COMMANDS {
        map.extend(command.keys.iter().map(|key| ((*key).to_owned(), command)));
    }
    let Some(user) = user else { return Ok(map) };
    let file: File = toml::from_str(user).map_err(|e| format!("keys.toml: {}", e.message()))?;
    let mut bindings: Vec<_> = file.keys.into_iter().collect();
    bindings.sort();
    for (key, name) in bindings {
        check(&key).map_err(|why| format!("keys.toml: {why}"))?;
        let command = COMMANDS.iter().find(|c| c.name == name);
        let command = command.ok_or_else(|| format!("keys.toml: no command is named {name}"))?;
        map.insert(key, command);
    }
    Ok(map)
}

/// Returns the keys that run `command`: those that the user bound first, then its own that still do.
#[must_use]
pub fn keys_of<'a>(map: &'a Keymap, command: &Command) -> Vec<&'a str> {
    let runs = |(key, bound): (&'a String, &&Command)| (bound.name == command.name).then_some(key.as_str());
    let mut keys: Vec<&str> = map.iter().filter_map(runs).collect();
    keys.sort_by_key(|key| (command.keys.iter().position(|own| own == key), *key));
    keys
}

/// Applies a key to a text field; returns true if the text changed.
pub fn edit(input: &mut Input, key: &str) -> bool {
    let mut chars = key.chars();
    let request = match (key, chars.next(), chars.next()) {
        ("space", ..) => InputRequest::InsertChar(' '),
        ("backspace" | "ctrl-h", ..) => InputRequest::DeletePrevChar,
        ("delete", ..) => InputRequest::DeleteNextChar,
        ("left", ..) => InputRequest::GoToPrevChar,
        ("right", ..) => InputRequest::GoToNextChar,
        ("home" | "ctrl-a", ..) => InputRequest::GoToStart,
        ("end" | "ctrl-e", ..) => InputRequest::GoToEnd,
        ("ctrl-u", ..) => InputRequest::DeleteLine,
        ("ctrl-w", ..) => InputRequest::DeletePrevWord,
        (_, Some(c), None) => InputRequest::InsertChar(c),
        _ => return false,
    };
    input.handle(request).is_some_and(|changed| changed.value)
}

/// Inserts text into a field at its cursor.
pub fn insert(input: &mut Input, text: &str) {
    for c in text.chars() {
        input.handle(InputRequest::InsertChar(c));
    }
}

#[cfg(test)]
mod tests;
