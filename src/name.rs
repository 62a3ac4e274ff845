//! Names from files: escaping, natural order, and cutting to a width.
//!
//! Names come from strangers. Nothing here trusts them: control characters (C0, DEL, C1) and
//! bidirectional controls are made visible before a name reaches a terminal or a log.

pub mod json;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Returns true for characters that must not reach a terminal: controls, bidirectional controls, and
/// the line and paragraph separators.
#[must_use]
pub fn is_unsafe_char(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns `text` with unsafe characters spelled out: `\x1b`, `\u202e`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_unsafe_char(c) {
            out.push(c);
        } else if (c as u32) < 0x100 {
            let _ = write!(out, "\\x{:02x}", c as u32);
        } else {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
    }
    Cow::Owned(out)
}

/// Compares names so that `layers.2` comes before `layers.10`: runs of digits compare as numbers.
#[must_use]
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].is_ascii_digit() && b[j].is_ascii_digit() {
            let (x, y) = (digits(&a[i..]), digits(&b[j..]));
            let (tx, ty) = (trim_zeros(x), trim_zeros(y));
            let by_value = tx.len().cmp(&ty.len()).then_with(|| tx.cmp(ty));
            if by_value != Ordering::Equal {
                return by_value;
            }
            (i, j) = (i + x.len(), j + y.len());
        } else {
            match a[i].cmp(&b[j]) {
                Ordering::Equal => (i, j) = (i + 1, j + 1),
                other => return other,
            }
        }
    }
    (a.len() - i).cmp(&(b.len() - j)).then_with(|| a.cmp(b))
}

fn digits(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    &bytes[..end]
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|&b| b != b'0').unwrap_or(digits.len());
    &digits[start..]
}

/// Returns `text` cut in the middle to at most `width` cells, keeping two thirds for the tail:
/// `post_…on_layernorm`. The text must already be escaped.
#[must_use]
pub fn cut_middle(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    if width == 0 {
        return Cow::Borrowed("");
    }
    let tail_width = (width - 1) * 2 / 3;
    let head_width = width - 1 - tail_width;
    let mut out = String::with_capacity(width * 2);
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > head_width {
            break;
        }
        used += w;
        out.push(c);
    }
    out.push('…');
    let mut start = text.len();
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        let w = c.width().unwrap_or(0);
        if used + w > tail_width {
            break;
        }
        used += w;
        start = at;
    }
    out.push_str(&text[start..]);
    Cow::Owned(out)
}

/// Returns a dotted name cut to at most `width` cells as `cut_middle` does, but with its last two components
/// whole where they fit: `model.…255.up_proj`, never `mode…5.up_proj`. The text must already be escaped.
#[must_use]
pub fn cut_name(text: &str, width: usize) -> Cow<'_, str> {
    let dot_before = |end: usize| text[..end].rfind('.');
    let Some(tail) = dot_before(text.len()).and_then(dot_before).map(|dot| &text[dot + 1..]) else {
        return cut_middle(text, width);
    };
    let cut = cut_middle(text, width);
    // `…` and one cell of the head are the least that says that something was left out, and of what.
    let is_whole = cut.ends_with(&format!(".{tail}")) || cut.ends_with(&format!("…{tail}"));
    if is_whole || tail.width() + 2 > width {
        return cut;
    }
    let head_width = width - 1 - tail.width();
    let mut used = 0;
    let head = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= head_width
    });
    Cow::Owned(head.chain(std::iter::once('…')).chain(tail.chars()).collect())
}

/// Returns how many characters have to be put in, left out or changed to make one of the other (Levenshtein).
#[must_use]
pub fn distance(a: &[char], b: &str) -> usize {
    // One row of the matrix at a time.
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, cb) in b.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &ca) in a.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_order_by_value() {
        let mut names = vec!["layers.10", "layers.2", "layers.1", "layers.02", "a", "layers"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(names, ["a", "layers", "layers.1", "layers.02", "layers.2", "layers.10"]);
    }

    #[test]
    fn unsafe_characters_are_spelled_out() {
        assert_eq!(escape("a\x1b[31mred\x07"), "a\\x1b[31mred\\x07");
        assert_eq!(escape("a\u{202e}gnp"), "a\\u202egnp");
        assert_eq!(escape("plain.weight"), "plain.weight");
    }

    #[test]
    fn the_last_two_components_of_a_name_stay_whole() {
        let name = "model.layers.119.mlp.experts.255.gate_proj";
        assert_eq!(cut_name(name, 18), "mode…255.gate_proj");
        assert!(cut_name(name, 30).ends_with("255.gate_proj"));
        assert_eq!(cut_name(name, 12), cut_middle(name, 12));
        assert_eq!(cut_name("a.b", 18), "a.b");
        for width in 0..50 {
            assert!(cut_name(name, width).width() <= width);
        }
    }

    #[test]
    fn long_names_keep_their_tail() {
        assert_eq!(cut_middle("post_attention_layernorm", 18), "post_a…n_layernorm");
        assert_eq!(cut_middle("short", 18), "short");
        assert_eq!(cut_middle("abc", 0), "");
    }
}
