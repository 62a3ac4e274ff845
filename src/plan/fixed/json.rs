//! One value of a JSON text set or taken out; all other bytes of the text stay as they are: order of the keys,
//! indentation, and how numbers are written.

use std::ops::Range;

use serde_json::Value;

/// A JSON text that is checked, and its value.
pub(super) struct Json {
    text: String,
    value: Value,
}

/// A key of an object with its value: where they stand.
struct Member {
    key: Range<usize>,
    name: String,
    value: Range<usize>,
}

impl Json {
    /// Checks a text.
    ///
    /// # Errors
    /// It is no JSON: in words, without the name of its file.
    pub(super) fn parse(text: String) -> Result<Self, String> {
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Self { text, value }),
            Err(error) => Err(format!("not JSON: {error}")),
        }
    }

    /// Returns a text of an empty object.
    pub(super) fn empty() -> Self {
        Self { text: "{}\n".into(), value: Value::Object(serde_json::Map::new()) }
    }

    /// Returns the value at a path.
    pub(super) fn get(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(&self.value, |value, key| value.as_object()?.get(key))
    }

    /// Returns the text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Sets the value at a path, or takes it out. Objects on the way that are not there are made.
    ///
    /// # Errors
    /// What stands on the way is no object: its path.
    pub(super) fn set(&mut self, path: &[String], value: Option<&Value>) -> Result<(), String> {
        let text = match (path, value) {
            ([], Some(value)) => format!("{value:#}\n"),
            ([], None) => return Err("the file itself".into()),
            _ => self.changed(path, value)?,
        };
        // What was put in is JSON where JSON stood: the text stays one.
        self.value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        self.text = text;
        Ok(())
    }

    fn changed(&self, path: &[String], value: Option<&Value>) -> Result<String, String> {
        let text = &self.text;
        let mut at = skip_space(text, 0);
        for (depth, name) in path.iter().enumerate() {
            if text.as_bytes().get(at) != Some(&b'{') {
                return Err(path[..depth].join("."));
            }
            let members = members(text, at);
            // Of a key that is there twice readers take the last.
            let Some(found) = members.iter().rposition(|member| member.name == *name) else {
                return Ok(value.map_or_else(
                    || text.clone(),
                    |value| inserted(text, (at, &members), name, &nested(&path[depth + 1..], value)),
                ));
            };
            if depth + 1 < path.len() {
                at = members[found].value.start;
                continue;
            }
            return Ok(match value {
                Some(value) => {
                    let Range { start, end } = members[found].value.clone();
                    let shown = indented(value, &indent_of(text, members[found].key.start));
                    [&text[..start], &shown, &text[end..]].concat()
                }
                None => without(text, (at, &members), name),
            });
        }
        Err(path.join("."))
    }
}

/// Returns a value below keys that are not there.
fn nested(path: &[String], value: &Value) -> Value {
    path.iter()
        .rev()
        .fold(value.clone(), |value, key| Value::Object(std::iter::once((key.clone(), value)).collect()))
}

/// Puts a key behind the last one of the object that begins at `open`.
fn inserted(text: &str, (open, members): (usize, &[Member]), name: &str, value: &Value) -> String {
    let key = Value::from(name);
    if let Some(last) = members.last() {
        let indent = indent_of(text, last.key.start);
        let before = &text[..last.key.start];
        let gap = &before[before.trim_end().len()..];
        let (head, tail) = text.split_at(last.value.end);
        return format!("{head},{gap}{key}: {}{tail}", indented(value, &indent));
    }
    let outer = indent_of(text, open);
    let inner = format!("{outer}  ");
    let close = skip_space(text, open + 1);
    let shown = indented(value, &inner);
    format!("{}\n{inner}{key}: {shown}\n{outer}{}", &text[..=open], &text[close..])
}

/// Takes every key of this name out of the object that begins at `open`.
fn without(text: &str, (open, members): (usize, &[Member]), name: &str) -> String {
    let kept: Vec<&Member> = members.iter().filter(|member| member.name != name).collect();
    let (Some(first), Some(last)) = (members.first(), members.last()) else { return text.to_owned() };
    let mut out = text[..=open].to_owned();
    if kept.is_empty() {
        out.push_str(text[last.value.end..].trim_start());
        return out;
    }
    out.push_str(&text[open + 1..first.key.start]);
    for (at, member) in kept.iter().enumerate() {
        if at > 0 {
            // The comma and the blanks that stood before the key.
            let before = &text[..member.key.start];
            let gap = &before[before.trim_end().len()..];
            out.push(',');
            out.push_str(gap);
        }
        out.push_str(&text[member.key.start..member.value.end]);
    }
    out.push_str(&text[last.value.end..]);
    out
}

/// Returns a value as text, its further lines indented as those around it.
fn indented(value: &Value, indent: &str) -> String {
    format!("{value:#}").replace('\n', &format!("\n{indent}"))
}

/// Returns the blanks at the beginning of the line in which a byte stands.
fn indent_of(text: &str, at: usize) -> String {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let blanks = text[line..at].len() - text[line..at].trim_start_matches([' ', '\t']).len();
    text[line..line + blanks].to_owned()
}

/// Returns the members of the object that begins at `open`, in a text that is known to be JSON.
fn members(text: &str, open: usize) -> Vec<Member> {
    let bytes = text.as_bytes();
    let mut members = Vec::new();
    let mut at = skip_space(text, open + 1);
    while bytes.get(at) == Some(&b'"') {
        let key = at..skip_value(text, at);
        let colon = skip_space(text, key.end);
        let start = skip_space(text, colon + 1);
        let value = start..skip_value(text, start);
        let name = serde_json::from_str(&text[key.clone()]).unwrap_or_else(|_| text[key.clone()].to_owned());
        at = skip_space(text, value.end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
        members.push(Member { key, name, value });
    }
    members
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at.min(text.len())..];
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Returns the end of the value that begins at `start`, in a text that is known to be JSON.
fn skip_value(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut is_text) = (start, 0usize, false);
    while let Some(&byte) = bytes.get(at) {
        if is_text {
            match byte {
                b'\\' => at += 1,
                b'"' => is_text = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => is_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        at += 1;
        if depth == 0 && !is_text && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
