//! Cut off: a message of which the end or the beginning is missing, because the paste began late or ended early.
//!
//! What is there must be long enough to be sure of it, and the text must really end (or begin) where the message does
//! not: other words in their place make it another message.

use super::{Match, Piece, WORD_BYTES_MAX, floor, is_of};
use crate::diagnose::message::text::Text;

/// Literal bytes that a message without its end must have.
const HEAD_BYTES_MIN: usize = 24;
/// Literal bytes that are enough whatever is missing.
const HEAD_BYTES_SURE: usize = 60;
/// Literal bytes that a message without its beginning must have, where it is a line of its own.
const TAIL_BYTES_MIN: usize = 14;

/// Returns where a message stands that is cut off.
pub(super) fn find(pieces: &[Piece], text: &Text) -> Option<Match> {
    without_end(pieces, text).or_else(|| without_beginning(pieces, text))
}

/// A message whose end is missing: the text, or its line, ends inside it.
fn without_end(pieces: &[Piece], text: &Text) -> Option<Match> {
    let compact = text.compact.as_str();
    let [Piece::Literal(head), rest @ ..] = pieces else { return None };
    let needle = head.get(..floor(head, HEAD_BYTES_MIN)).filter(|needle| needle.len() >= HEAD_BYTES_MIN)?;
    let begin = compact.rfind(needle)?;
    let mut matched = Match { begin, end: begin, captured: Vec::new(), literal: 0 };
    let same = common(head, &compact[begin..]);
    (matched.end, matched.literal) = (begin + same, same);
    if same < head.len() {
        // A short beginning is that of other messages as well.
        let is_enough = same * 2 >= head.len() || same >= HEAD_BYTES_SURE;
        return (is_enough && ends_at(text, matched.end)).then_some(matched);
    }
    // The head is whole: the text ends inside a place, or inside a later part.
    let mut rest = rest.iter();
    while let Some(Piece::Place(name)) = rest.next() {
        let from = matched.end;
        let room = &compact[from..];
        let next = match rest.next() {
            Some(Piece::Literal(next)) => next.as_str(),
            _ => return None,
        };
        if let Some(at) = room.find(next).filter(|at| *at < WORD_BYTES_MAX) {
            matched.captured.push((name, room[..at].to_owned()));
            matched.end = from + at + next.len();
            matched.literal += next.len();
            continue;
        }
        let taken = room.char_indices().find(|(_, c)| !is_of(name, *c)).map_or(room.len(), |(at, _)| at);
        let is_name = *name != "any" && taken < WORD_BYTES_MAX;
        matched.end = from + taken;
        return (is_name && matched.end == compact.len()).then_some(matched);
    }
    None
}

/// A message whose beginning is missing: a line is its end, and nothing else.
fn without_beginning(pieces: &[Piece], text: &Text) -> Option<Match> {
    let Some(Piece::Literal(tail)) = pieces.last() else { return None };
    for (number, said) in &text.said {
        if said.len() < TAIL_BYTES_MIN || said.len() >= tail.len() || !tail.ends_with(said.as_str()) {
            continue;
        }
        let begin = text.compact.rfind(said.as_str()).filter(|at| text.line_at(*at) >= *number)?;
        let end = begin + said.len();
        return Some(Match { begin, end, captured: Vec::new(), literal: said.len() });
    }
    None
}

/// Bytes that two texts have in common from their beginning.
fn common(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    floor(a, same)
}

/// Returns true if a text or its line ends here.
fn ends_at(text: &Text, at: usize) -> bool {
    at == text.compact.len() || text.end_of_line(at.saturating_sub(1)) <= at
}
