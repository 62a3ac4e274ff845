//! Filter: what a person types to leave some layers or tensors.
//!
//! | part            | leaves                                                                    |
//! |-----------------|---------------------------------------------------------------------------|
//! | `word`          | names with a component that contains it; capitals count if it has any       |
//! | `a.b`           | names that contain it, dots included                                      |
//! | `~word`         | names with a component that has its letters in order                      |
//! | `dtype:F16`     | a stored tensor's dtype begins so                                         |
//! | `format:gptq`   | the format's name or word contains it                                     |
//! | `shape:1536`    | a dimension is 1536; `shape:[1536,1536]`, `shape:1536x*` the whole shape    |
//! | `shard:2`       | the second shard; `shard:of-00004` part of the file's name                |
//! | `bits:4`        | bits of a code                                                            |
//! | `is:broken`     | also `quantized`, `dense`, `tied`, `odd`                                  |
//! | `-part`         | what the part would not leave                                             |
//!
//! All parts must hold. A layer has the names and dtypes of all its tensors. Case is that of ASCII.

use std::ops::Range;

use super::words::{Fuzzy, Text};
use crate::name::escape;

/// What a person typed, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    terms: Vec<Term>,
}

/// One part of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) kind: TermKind,
    pub(super) is_negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TermKind {
    Word(Text),
    /// A word with dots, in its components.
    Path(Vec<Text>),
    Fuzzy(String),
    Dtype(String),
    Format(String),
    Shape(ShapePattern),
    Shard(ShardPattern),
    Millibits(u32),
    Is(Is),
}

/// Properties that `is:` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Broken,
    Quantized,
    Dense,
    Tied,
    Odd,
}

/// The words of `is:`.
const IS: [(&str, Is); 5] = [
    ("broken", Is::Broken),
    ("quantized", Is::Quantized),
    ("dense", Is::Dense),
    ("tied", Is::Tied),
    ("odd", Is::Odd),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShapePattern {
    /// Some dimension.
    Any(u64),
    /// The whole shape; `None` is any dimension.
    Whole(Vec<Option<u64>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShardPattern {
    /// Counted from 1, as screens do.
    Number(usize),
    Name(Text),
}

/// Bits that a filter may use: one a part, and one a component of a word with dots.
pub(super) const FILTER_BITS_MAX: usize = 64;
/// The predicates, for messages.
const PREDICATES: &str = "dtype: format: shape: shard: bits: is:";

impl Filter {
    /// Returns the filter of a text.
    ///
    /// # Errors
    /// A predicate that does not exist, or a value that it cannot take, as a line to show.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_words(text, false)
    }

    /// Returns the filter of a text whose plain words match fuzzily, as `~word` does.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_fuzzy(text: &str) -> Result<Self, String> {
        Self::parse_words(text, true)
    }

    fn parse_words(text: &str, is_fuzzy: bool) -> Result<Self, String> {
        let mut terms = Vec::new();
        for token in tokens(text) {
            let (is_negated, rest) = token.strip_prefix('-').map_or((false, token), |rest| (true, rest));
            let (is_fuzzy, rest) = rest.strip_prefix('~').map_or((is_fuzzy, rest), |rest| (true, rest));
            // A sign alone is the beginning of a part that is still being typed.
            if !rest.is_empty() {
                terms.push(Term { kind: TermKind::parse(rest, is_fuzzy)?, is_negated });
            }
        }
        let bits: usize = terms.iter().map(|term| term.kind.bits()).sum();
        if bits > FILTER_BITS_MAX {
            return Err(format!("the filter has {bits} parts, {FILTER_BITS_MAX} are looked at"));
        }
        Ok(Self { text: text.to_owned(), terms })
    }

    /// Returns the text as typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns true if it leaves everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Returns the bytes of a label that the filter's words hit, in order and apart from each other.
    #[must_use]
    pub fn highlight(&self, label: &str) -> Vec<Range<usize>> {
        let mut hits = Vec::new();
        for term in self.terms.iter().filter(|term| !term.is_negated) {
            match &term.kind {
                TermKind::Word(word) => hits.extend(word.find_all(label)),
                TermKind::Path(pieces) => highlight_path(pieces, label, &mut hits),
                TermKind::Fuzzy(word) => highlight_fuzzy(word, label, &mut hits),
                _ => {}
            }
        }
        hits.retain(|hit| !hit.is_empty());
        hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
        let mut joined: Vec<Range<usize>> = Vec::new();
        for hit in hits {
            match joined.last_mut() {
                Some(last) if hit.start <= last.end => last.end = last.end.max(hit.end),
                _ => joined.push(hit),
            }
        }
        joined
    }
}

/// Splits at blanks, but not inside the brackets of a shape.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let is_shape = rest.trim_start_matches('-').starts_with("shape:[");
        let end = if is_shape { rest.find(']').map_or(blank, |at| at + 1) } else { blank };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

impl TermKind {
    fn parse(text: &str, is_fuzzy: bool) -> Result<Self, String> {
        let predicate = text.split_once(':');
        let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase());
        let Some((key, value)) = predicate.filter(|(key, _)| is_key(key)) else {
            return Ok(if is_fuzzy {
                Self::Fuzzy(text.to_owned())
            } else if text.contains('.') {
                Self::Path(text.split('.').map(|piece| Text::new(piece, text)).collect())
            } else {
                Self::Word(Text::new(text, text))
            });
        };
        let wants = |what: &str| format!("{key}: wants {what}, not {}", quote(value));
        match key {
            "dtype" if !value.is_empty() => Ok(Self::Dtype(value.to_ascii_lowercase())),
            "dtype" => Err(wants("a dtype, as dtype:F16")),
            "format" if !value.is_empty() => Ok(Self::Format(value.to_ascii_lowercase())),
            "format" => Err(wants("a format, as format:gptq")),
            "shape" => ShapePattern::parse(value)
                .map(Self::Shape)
                .ok_or_else(|| wants("dimensions, as shape:1536 or shape:[1536,*]")),
            "shard" => ShardPattern::parse(value)
                .map(Self::Shard)
                .ok_or_else(|| wants("a number from 1 or part of a file name")),
            "bits" => value
                .parse::<f64>()
                .ok()
                .filter(|bits| (0.0..=BITS_MAX).contains(bits))
                .map(|bits| Self::Millibits((bits * 1000.0).round() as u32))
                .ok_or_else(|| wants("a number, as bits:4")),
            "is" => {
                IS.iter().find(|(word, _)| *word == value).map(|&(_, is)| Self::Is(is)).ok_or_else(|| {
                    let words: Vec<&str> = IS.iter().map(|(word, _)| *word).collect();
                    wants(&words.join(", "))
                })
            }
            _ => Err(format!("no predicate {}; there are {PREDICATES}", quote(&format!("{key}:")))),
        }
    }

    /// Returns how many bits it takes: its result, and the states of a word with dots.
    pub(super) fn bits(&self) -> usize {
        match self {
            Self::Path(pieces) => pieces.len(),
            _ => 1,
        }
    }
}

/// Bits of a value that make sense: a complex of two doubles.
const BITS_MAX: f64 = 128.0;

/// Returns a text as messages quote it, cut at a bound.
fn quote(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    if text.is_empty() {
        return "nothing".into();
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", escape(&cut))
}

impl ShapePattern {
    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'))?;
        let is_whole = inner.len() < text.len();
        if inner.trim().is_empty() {
            return is_whole.then(|| Self::Whole(Vec::new()));
        }
        let dimension = |text: &str| match text.trim() {
            "*" => Some(None),
            number => number.parse::<u64>().ok().map(Some),
        };
        let dimensions: Option<Vec<Option<u64>>> = inner.split([',', 'x']).map(dimension).collect();
        match dimensions?.as_slice() {
            [Some(one)] if !is_whole => Some(Self::Any(*one)),
            whole => Some(Self::Whole(whole.to_vec())),
        }
    }

    pub(super) fn matches(&self, shape: &[u64]) -> bool {
        match self {
            Self::Any(wanted) => shape.contains(wanted),
            Self::Whole(wanted) => {
                let pairs = || wanted.iter().zip(shape);
                wanted.len() == shape.len() && pairs().all(|(want, dim)| want.is_none_or(|want| want == *dim))
            }
        }
    }
}

impl ShardPattern {
    fn parse(text: &str) -> Option<Self> {
        match text.parse::<usize>() {
            // `00002` is part of a name.
            Ok(number) if !text.starts_with('0') => Some(Self::Number(number)),
            _ if text.is_empty() || text == "0" => None,
            _ => Some(Self::Name(Text::new(text, text))),
        }
    }

    pub(super) fn matches(&self, index: usize, name: &str) -> bool {
        match self {
            Self::Number(number) => index + 1 == *number,
            Self::Name(text) => text.is_in(name),
        }
    }
}

fn highlight_path(pieces: &[Text], label: &str, hits: &mut Vec<Range<usize>>) {
    let whole = Text::join(pieces).find_all(label);
    if !whole.is_empty() {
        hits.extend(whole);
        return;
    }
    let ([first, .., last], length) = (pieces, label.len()) else { return };
    if pieces[1..pieces.len() - 1].iter().any(|piece| piece.is_all_of(label)) {
        hits.push(0..length);
    } else if !last.is_empty() && last.begins(label) {
        hits.push(0..last.len());
    } else if !first.is_empty() && first.ends(label) {
        hits.push(length - first.len()..length);
    }
}

fn highlight_fuzzy(word: &str, label: &str, hits: &mut Vec<Range<usize>>) {
    let mut fuzzy = Fuzzy::new(word);
    let mut start = 0;
    for component in label.split('.') {
        for at in fuzzy.positions(component) {
            if let Some((offset, c)) = component.char_indices().nth(at as usize) {
                hits.push(start + offset..start + offset + c.len_utf8());
            }
        }
        start += component.len() + 1;
    }
}

#[cfg(test)]
mod tests;
