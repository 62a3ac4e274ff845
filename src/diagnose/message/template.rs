//! Template: a known message with places for what differs, and where it stands in a pasted text.
//!
//! Both are compared without white space and with quotes made alike, so that wrapping and versions do not matter. What
//! stands in a place must look like what the place is for.

mod cut_off;

use super::text::{Text, alike, is_left_out};

/// Bytes that one place takes at most: lists of keys are long.
const PLACE_BYTES_MAX: usize = 4000;
/// Places where the first literal part of a message is looked at: a hostile text repeats it without end.
const TRIES_MAX: usize = 10_000;
/// Bytes of a name, a path, a class.
const WORD_BYTES_MAX: usize = 400;

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// First byte in the compact text.
    pub begin: usize,
    /// Behind the last byte.
    pub end: usize,
    /// What stands in the places, by their names.
    pub captured: Vec<(&'static str, String)>,
    /// Bytes of the literal parts: how much of it is certain.
    pub literal: usize,
}

/// A part of a template.
#[derive(Debug)]
enum Piece {
    Literal(String),
    Place(&'static str),
}

/// A message taken apart.
#[derive(Debug)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Takes a message apart.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self(pieces(text))
    }

    /// Returns every place where it stands in a text; else where it stands and is cut off.
    #[must_use]
    pub fn find(&self, text: &Text) -> Vec<Match> {
        let found = find(&self.0, text);
        if found.is_empty() { cut_off::find(&self.0, text).into_iter().collect() } else { found }
    }
}

fn find(pieces: &[Piece], text: &Text) -> Vec<Match> {
    let Some(at) = pieces.iter().position(|piece| matches!(piece, Piece::Literal(_))) else {
        return Vec::new();
    };
    let Piece::Literal(first) = &pieces[at] else { return Vec::new() };
    let compact = text.compact.as_str();
    let mut found = Vec::new();
    let mut from = 0;
    for _ in 0..TRIES_MAX {
        let Some(begin) = compact[from..].find(first.as_str()).map(|found| found + from) else { break };
        from = begin + first.len();
        let mut matched = Match { begin, end: from, captured: Vec::new(), literal: first.len() };
        if starts_word(text, begin, first)
            && before(&pieces[..at], text, &mut matched)
            && after(&pieces[at + 1..], text, &mut matched)
        {
            from = from.max(matched.end);
            found.push(matched);
        }
    }
    found
}

/// A message that begins with a letter does not begin inside a name.
fn starts_word(text: &Text, begin: usize, literal: &str) -> bool {
    // White space is gone: only a name on the same line that goes on is told apart.
    let goes_on = text.compact[..begin].ends_with('_') && text.begin_of_line(begin) != begin;
    !(literal.starts_with(char::is_alphanumeric) && goes_on)
}

/// Takes what stands before the first literal part: the end of a name on that line.
fn before(pieces: &[Piece], text: &Text, matched: &mut Match) -> bool {
    let [Piece::Place(name)] = pieces else { return pieces.is_empty() };
    let mut line = text.begin_of_line(matched.begin);
    if line == matched.begin && line > 0 {
        // It was wrapped behind the name.
        line = text.begin_of_line(line - 1);
    }
    let room = &text.compact[line..matched.begin];
    let begin = room
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_of(name, *c) && *c != '\'')
        .last()
        .map_or(room.len(), |(at, _)| at);
    let taken = &room[begin..];
    if taken.is_empty() || taken.len() > WORD_BYTES_MAX {
        return false;
    }
    matched.captured.push((name, taken.to_owned()));
    matched.begin = line + begin;
    true
}

/// Takes the places and literal parts that follow.
fn after(pieces: &[Piece], text: &Text, matched: &mut Match) -> bool {
    let compact = text.compact.as_str();
    let mut rest = pieces.iter();
    while let Some(piece) = rest.next() {
        let Piece::Place(name) = piece else { return false };
        let from = matched.end;
        let most = if matches!(*name, "any" | "shape") { PLACE_BYTES_MAX } else { WORD_BYTES_MAX };
        let end = match rest.next() {
            Some(Piece::Literal(next)) => {
                let limit = floor(compact, from.saturating_add(most + next.len()));
                let Some(room) = compact.get(from..limit) else { return false };
                let fits = |found: &usize| is_whole(name, room[..*found].trim_matches('\''));
                let found = room.match_indices(next.as_str()).map(|(at, _)| at).find(fits);
                let Some(found) = found else { return false };
                matched.literal += next.len();
                matched.end = from + found + next.len();
                from + found
            }
            Some(Piece::Place(_)) => return false,
            None => {
                // A quote around the place is no part of it.
                let from = from + usize::from(compact[from..].starts_with('\''));
                matched.end = trailing(name, text, from, most);
                matched.end
            }
        };
        let taken = compact[from..end].trim_matches('\'');
        if !is_whole(name, taken) {
            return false;
        }
        matched.captured.push((name, taken.to_owned()));
    }
    true
}

/// Lines over which a place at the end of a message goes on, where it is not whole at the end of its line.
const WRAPPED_LINES_MAX: usize = 3;

/// Returns where a place ends that ends a message: at the end of its line, or of a next one if it was wrapped inside a
/// shape.
fn trailing(name: &str, text: &Text, from: usize, most: usize) -> usize {
    let compact = text.compact.as_str();
    let mut line = from;
    let mut end = from;
    for _ in 0..WRAPPED_LINES_MAX {
        line = text.end_of_line(line);
        let room = &compact[from..floor(compact, line.min(from + most))];
        end = from + room.char_indices().find(|(_, c)| !is_of(name, *c)).map_or(room.len(), |(at, _)| at);
        if name != "shape" || end < line || is_whole(name, &compact[from..end]) {
            break;
        }
    }
    end
}

/// Returns the last boundary of a character that is not behind `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns true if a text is what a place of this name is for.
fn is_whole(name: &str, taken: &str) -> bool {
    let count = |wanted: char| taken.chars().filter(|c| *c == wanted).count();
    let is_closed = name != "shape" || (count('[') == count(']') && count('(') == count(')'));
    let has_digit = !matches!(name, "shape" | "n") || taken.bytes().any(|byte| byte.is_ascii_digit());
    let has_text = !taken.is_empty() || name == "any";
    has_text && is_closed && has_digit && taken.chars().all(|c| is_of(name, c))
}

/// Returns true if a character may stand in a place of this name.
fn is_of(name: &str, c: char) -> bool {
    match name {
        "n" => c.is_ascii_digit() || c == '.' || c == ',',
        "shape" => c.is_ascii_digit() || "[](),.x×*torchSize:".contains(c),
        "key" => c.is_alphanumeric() || "_.-*/:<>".contains(c),
        "method" | "class" => c.is_alphanumeric() || "_.-<>'".contains(c),
        "file" => !c.is_control() && !"'<>|*?".contains(c),
        _ => true,
    }
}

/// Takes a template apart; literal parts without white space.
fn pieces(template: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let place =
            rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).filter(|(name, _)| is_place(name));
        if let Some((name, behind)) = place {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Place(name));
            rest = behind;
        } else {
            if !is_left_out(c) {
                literal.push(alike(c));
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// The names that places have.
pub(in crate::diagnose) const PLACES: [&str; 7] = ["key", "file", "shape", "method", "class", "n", "any"];

fn is_place(name: &str) -> bool {
    PLACES.contains(&name)
}

/// Returns a message as it reads with what is known in its places; what is not known is `…`.
#[must_use]
pub fn filled(template: &'static str, fills: &[(&'static str, String)]) -> String {
    let mut text = template.to_owned();
    for name in PLACES {
        let place = format!("{{{name}}}");
        let mut values = fills.iter().filter(|(of, _)| *of == name).map(|(_, value)| value.as_str());
        let mut last = None;
        while let Some(at) = text.find(&place) {
            last = values.next().or(last);
            text.replace_range(at..at + place.len(), last.unwrap_or("…"));
        }
    }
    text
}

/// Returns the literal bytes of a template: what is certain of it.
#[must_use]
pub fn literal_bytes(template: &'static str) -> usize {
    let bytes = |piece: Piece| match piece {
        Piece::Literal(text) => text.len(),
        Piece::Place(_) => 0,
    };
    pieces(template).into_iter().map(bytes).sum()
}

/// Returns the words of a template or a text, for likeness.
pub(super) fn words(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.len() > 2 && !PLACES.contains(word));
    words.map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(template: &'static str, text: &str) -> Option<Vec<(&'static str, String)>> {
        Template::new(template).find(&Text::new(text)).into_iter().next().map(|found| found.captured)
    }

    #[test]
    fn wrapping_and_quotes_do_not_matter() {
        let template = "'BitsAndBytesConfig' object has no attribute 'get_loading_attributes'";
        for text in [
            "AttributeError: 'BitsAndBytesConfig' object has no attribute 'get_loading_attributes'",
            "AttributeError: 'BitsAndBytesConfig' object has no attribu\nte 'get_loading_attributes'",
            "AttributeError: “BitsAndBytesConfig” object has\n    no attribute \"get_loading_attributes\"",
        ] {
            assert_eq!(captured(template, text), Some(vec![]), "{text}");
        }
        for text in [
            "'BitsAndBytesConfig' object has no attribute 'get_loading_attribute'",
            "'BitsAndBytesConfig' object has no attribute 'load_in_4bit'",
            "'BitsAndBytesConfig' object",
            "",
        ] {
            assert_eq!(captured(template, text), None, "{text}");
        }
    }

    #[test]
    fn places_take_what_they_are_for() {
        let place = |name, value: &str| (name, value.to_owned());
        assert_eq!(
            captured(
                "KeyError: '{key}.base_layer.weight'",
                "KeyError: 'base_model.model.q_proj.base_layer.weight'"
            ),
            Some(vec![place("key", "base_model.model.q_proj")])
        );
        assert_eq!(
            captured("{class} does not support {any}", "ValueError: SiglipModel does not support device_map"),
            Some(vec![place("class", "SiglipModel"), place("any", "device_map")]).map(|mut all| {
                all[0].1 = "SiglipModel".into();
                all
            })
        );
        assert_eq!(captured("LoRA rank {n} is greater than", "LoRA rank sixteen is greater than"), None);
        assert_eq!(
            captured(
                "size mismatch for {key}: copying a param with shape {shape} from checkpoint, the shape in current \
                 model is {shape}.",
                "size mismatch for a.b: copying a param with shape torch.Size([8, 4]) from checkpoint, the shape in \
                 current model is torch.Size([4, 4])."
            ),
            Some(vec![
                place("key", "a.b"),
                place("shape", "torch.Size([8,4])"),
                place("shape", "torch.Size([4,4])"),
            ])
        );
    }

    #[test]
    fn a_message_reads_with_what_is_known() {
        let fills = [("method", "GPTQConfig".to_owned())];
        let text = filled("quantized with {method} but you are passing a {class} config", &fills);
        assert_eq!(text, "quantized with GPTQConfig but you are passing a … config");
    }
}
