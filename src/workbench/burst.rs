//! Bursts: a paste that the terminal does not mark as one arrives as keys, many at once. It is text all the same, and
//! none of it may be obeyed as a key.
//!
//! Keys that a hand or a script sends are few at a time, or the same one many times (a key that is held). A burst is
//! many keys of text in one read, of several kinds, with blanks or line ends among them.

use std::time::{Duration, Instant};

use crossterm::event::{Event as TermEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Keys of text in one read that are a paste: more than a script sends at once, less than a message has.
const KEYS_MIN: usize = 24;
/// Different keys among them: a key that is held is one.
const KINDS_MIN: usize = 8;
/// What comes this soon after a burst belongs to it: a long paste takes several reads.
const GOES_ON: Duration = Duration::from_millis(120);
/// How long is waited for more. Not zero: then the reader does not even look at what it has read already.
const MORE: Duration = Duration::from_millis(1);
/// Events that are taken at once.
const EVENTS_MAX: usize = 65_536;

/// Finds bursts among what was read.
#[derive(Default)]
pub(super) struct Bursts {
    last: Option<Instant>,
}

impl Bursts {
    /// Returns the events with keys that are a paste as one.
    pub(super) fn take(&mut self, events: Vec<TermEvent>, now: Instant) -> Vec<TermEvent> {
        let texts: Vec<Option<char>> = events.iter().map(text_of).collect();
        let is_text = texts.iter().all(Option::is_some) && !texts.is_empty();
        let goes_on = is_text && self.last.is_some_and(|last| now.saturating_duration_since(last) < GOES_ON);
        let text: String = texts.iter().flatten().collect();
        if goes_on || (is_text && is_burst(&text)) {
            self.last = Some(now);
            return vec![TermEvent::Paste(text)];
        }
        self.last = None;
        events
    }
}

/// Returns true for a text that no hand types at once.
fn is_burst(text: &str) -> bool {
    let mut kinds: Vec<char> = text.chars().collect();
    let count = kinds.len();
    kinds.sort_unstable();
    kinds.dedup();
    // A path and Enter, typed by a script, has none inside.
    count >= KEYS_MIN && kinds.len() >= KINDS_MIN && text.trim().contains([' ', '\n', '\t'])
}

/// Returns the character of a key that is text.
fn text_of(event: &TermEvent) -> Option<char> {
    let TermEvent::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return None };
    if *kind == KeyEventKind::Release {
        return None;
    }
    // A line end arrives as Enter, or as Ctrl-j.
    let is_line_feed = *modifiers == KeyModifiers::CONTROL && *code == KeyCode::Char('j');
    match code {
        _ if is_line_feed => Some('\n'),
        _ if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => None,
        KeyCode::Char(c) => Some(*c),
        KeyCode::Enter => Some('\n'),
        KeyCode::Tab => Some('\t'),
        _ => None,
    }
}

/// Waits for an event and returns it with all that are there already.
///
/// # Errors
/// The terminal is gone.
pub(super) fn next_events() -> std::io::Result<Vec<TermEvent>> {
    let mut events = vec![crossterm::event::read()?];
    while events.len() < EVENTS_MAX && crossterm::event::poll(MORE)? {
        events.push(crossterm::event::read()?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<TermEvent> {
        let code = |c| match c {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            c => KeyCode::Char(c),
        };
        text.chars().map(|c| TermEvent::Key(KeyEvent::new(code(c), KeyModifiers::NONE))).collect()
    }

    #[test]
    fn a_paste_without_marks_is_text_and_what_a_hand_types_is_keys() {
        let now = Instant::now();
        let error = "KeyError: 'base_model.model.q_proj'\nq\n";
        assert_eq!(Bursts::default().take(keys(error), now), [TermEvent::Paste(error.into())]);
        for typed in [
            "q",
            "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj",
            "dfjjl",
            "/q_proj\n",
            "/some/long/path/to/a/model-folder\n",
            "",
        ] {
            assert_eq!(Bursts::default().take(keys(typed), now), keys(typed), "{typed:?}");
        }
    }

    #[test]
    fn the_rest_of_a_long_paste_belongs_to_it() {
        let (now, mut bursts) = (Instant::now(), Bursts::default());
        bursts.take(keys("Traceback (most recent call last):\n"), now);
        let soon = now + Duration::from_millis(20);
        assert_eq!(bursts.take(keys("q"), soon), [TermEvent::Paste("q".into())]);
        let later = soon + Duration::from_millis(500);
        assert_eq!(bursts.take(keys("q"), later), keys("q"));
    }
}
