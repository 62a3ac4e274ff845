//! Words of a filter: texts to find in components, and letters to find in order.

use std::ops::Range;

use memchr::{memchr2, memchr2_iter};
use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use crate::checkpoint::names::Names;

/// Bytes of a component that fuzzy words look at. Names of real components have about twenty.
const FUZZY_BYTES_MAX: usize = 1024;

/// A text to find; small letters find capitals too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    text: String,
    is_exact: bool,
}

impl Text {
    /// Returns a piece of a word; capitals anywhere in the word make all its pieces exact.
    pub(super) fn new(piece: &str, word: &str) -> Self {
        Self { text: piece.to_owned(), is_exact: word.contains(char::is_uppercase) }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn is_at(&self, bytes: &[u8]) -> bool {
        let wanted = self.text.as_bytes();
        bytes.len() == wanted.len()
            && if self.is_exact { bytes == wanted } else { bytes.eq_ignore_ascii_case(wanted) }
    }

    pub(super) fn is_in(&self, label: &str) -> bool {
        let (Some(&first), bytes) = (self.text.as_bytes().first(), label.as_bytes()) else { return true };
        let other = if self.is_exact { first } else { first.to_ascii_uppercase() };
        let Some(last_start) = bytes.len().checked_sub(self.text.len()) else { return false };
        let starts = bytes[..=last_start].iter().enumerate();
        starts
            .filter(|&(_, &byte)| byte == first || byte == other)
            .any(|(at, _)| self.is_at(&bytes[at..at + self.text.len()]))
    }

    /// Calls `found` with the id of each label that contains the text. One search over the text of all labels,
    /// for the letter that is rarest there.
    pub(super) fn each_label(&self, names: &Names, mut found: impl FnMut(u32)) {
        const SAMPLE_BYTES: usize = 16 << 10;
        let (bytes, starts) = (names.all_labels().as_bytes(), names.label_starts());
        let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
        let cases = |byte: u8| {
            let other = if self.is_exact { byte } else { byte.to_ascii_uppercase() };
            (byte, other)
        };
        let count = |&(_, &byte): &(usize, &u8)| {
            let (one, other) = cases(byte);
            memchr2_iter(one, other, sample).count()
        };
        let Some((offset, &rarest)) = self.text.as_bytes().iter().enumerate().min_by_key(count) else {
            return (0..names.label_count() as u32).for_each(found);
        };
        let (one, other) = cases(rarest);
        let (mut from, mut label) = (offset, 0);
        while let Some(at) = bytes.get(from..).and_then(|rest| memchr2(one, other, rest)) {
            let at = from + at;
            while starts[label + 1] as usize <= at {
                label += 1;
            }
            let (start, end) = (at - offset, starts[label + 1] as usize);
            let fits = start >= starts[label] as usize && start + self.text.len() <= end;
            if fits && self.is_at(&bytes[start..start + self.text.len()]) {
                found(label as u32);
                from = end + offset;
            } else {
                from = at + 1;
            }
        }
    }

    pub(super) fn is_all_of(&self, label: &str) -> bool {
        self.is_at(label.as_bytes())
    }

    pub(super) fn begins(&self, label: &str) -> bool {
        label.as_bytes().get(..self.text.len()).is_some_and(|head| self.is_at(head))
    }

    pub(super) fn ends(&self, label: &str) -> bool {
        let start = label.len().checked_sub(self.text.len());
        start.is_some_and(|start| self.is_at(&label.as_bytes()[start..]))
    }

    /// Returns the text of these pieces joined by dots.
    pub(super) fn join(pieces: &[Self]) -> Self {
        let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        Self { text: texts.join("."), is_exact: pieces.iter().any(|piece| piece.is_exact) }
    }

    pub(super) fn find_all(&self, label: &str) -> Vec<Range<usize>> {
        let mut hits = Vec::new();
        let mut at = 0;
        while !self.is_empty() && at + self.text.len() <= label.len() {
            let range = at..at + self.text.len();
            if self.is_at(&label.as_bytes()[range.clone()]) {
                at = range.end;
                hits.push(range);
            } else {
                at += 1;
            }
        }
        hits
    }
}

/// A fuzzy word and the matcher's memory.
pub(super) struct Fuzzy {
    matcher: Matcher,
    atom: Atom,
    chars: Vec<char>,
    /// The word's letters, lower and upper case, if it is ASCII; exact if it has capitals.
    ascii: Option<Vec<(u8, u8)>>,
}

impl Fuzzy {
    pub(super) fn new(word: &str) -> Self {
        let atom = Atom::new(word, CaseMatching::Smart, Normalization::Never, AtomKind::Fuzzy, false);
        let is_exact = word.contains(char::is_uppercase);
        let both = |byte: u8| (byte, if is_exact { byte } else { byte.to_ascii_uppercase() });
        let ascii = word.is_ascii().then(|| word.bytes().map(both).collect());
        Self { matcher: Matcher::new(Config::DEFAULT), atom, chars: Vec::new(), ascii }
    }

    pub(super) fn matches(&mut self, component: &str) -> bool {
        if component.len() > FUZZY_BYTES_MAX {
            return false;
        }
        if let Some(letters) = self.ascii.as_ref().filter(|_| component.is_ascii()) {
            // Letters in order is all that the matcher asks for; it also ranks, which nobody needs here.
            let mut rest = component.bytes();
            return letters.iter().all(|&(one, other)| rest.any(|byte| byte == one || byte == other));
        }
        let text = Utf32Str::new(component, &mut self.chars);
        self.atom.score(text, &mut self.matcher).is_some()
    }

    /// Returns the characters of a component that the word's letters hit, by number.
    pub(super) fn positions(&mut self, component: &str) -> Vec<u32> {
        let mut positions = Vec::new();
        // The matcher counts characters as `chars` does only where none combine.
        if component.len() <= FUZZY_BYTES_MAX && component.is_ascii() {
            let text = Utf32Str::new(component, &mut self.chars);
            self.atom.indices(text, &mut self.matcher, &mut positions);
        }
        positions.sort_unstable();
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_all_labels_as_in_each_and_letters_as_the_matcher_does() {
        let labels =
            ["", "a", "A", "aab", "abAB", "ba", "b.a", "größe", "o_proj", "down_proj", "PROJ", "\u{212a}"];
        let mut header = crate::container::Header::default();
        for label in labels {
            header.push(label, crate::tensor::Dtype::F16, &[1], 0, 2);
        }
        let (names, _) = Names::build(&[header]);
        for word in ["a", "A", "b", "ab", "aB", "proj", "pj", "Pj", "ö", "k", "größe", "xyz"] {
            let (text, mut fuzzy) = (Text::new(word, word), Fuzzy::new(word));
            let mut found = Vec::new();
            text.each_label(&names, |label| found.push(label));
            let each: Vec<u32> =
                (0..names.label_count() as u32).filter(|&l| text.is_in(names.label_text(l))).collect();
            assert_eq!(found, each, "{word}");
            for label in labels {
                let quick = fuzzy.matches(label);
                let atom = Atom::new(word, CaseMatching::Smart, Normalization::Never, AtomKind::Fuzzy, false);
                let mut chars = Vec::new();
                let score = atom.score(Utf32Str::new(label, &mut chars), &mut Matcher::new(Config::DEFAULT));
                assert_eq!(quick, score.is_some(), "~{word} in {label}");
            }
        }
    }
}
