//! Explaining an error: the text that was pasted or typed, and what the rules say to it.
//!
//! The text is kept while the overlay is closed. Matching is done on a thread (`Effect::ExplainError`): a paste may
//! have a megabyte.

use super::{App, Effect, Overlay};
use crate::diagnose::Finding;
use crate::diagnose::finding::Fix;
use crate::diagnose::message::Answer;

/// Bytes of a text that are kept: the last ones.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The error that is explained.
#[derive(Default)]
pub struct ErrorText {
    /// The text as it was pasted and typed.
    pub text: String,
    /// What the rules say to it; `None` while they look, and for no text.
    pub answer: Option<Answer>,
    /// True if the answer has the focus and not the text.
    pub is_in_answer: bool,
    /// The line of the answer under the cursor, among its fixes.
    pub fix: usize,
    /// Lines that the text is scrolled up from its end.
    pub up: usize,
    /// First line of the answer that shows.
    pub top: usize,
    number: u32,
}

impl ErrorText {
    /// Adds a text at the end. Control characters but line ends and tabs are dropped when it is drawn.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(&text.replace("\r\n", "\n").replace('\r', "\n"));
        if self.text.len() > TEXT_BYTES_MAX {
            let mut from = self.text.len() - TEXT_BYTES_MAX;
            while !self.text.is_char_boundary(from) {
                from += 1;
            }
            self.text.drain(..from);
        }
        self.up = 0;
    }
}

impl App {
    /// Opens the overlay, with the text it had.
    pub(super) fn open_error(&mut self) -> Vec<Effect> {
        self.error.is_in_answer = false;
        self.overlay = Some(Overlay::Error);
        self.explain_error()
    }

    /// Takes a paste that no field took.
    pub(super) fn paste_error(&mut self, text: &str) -> Vec<Effect> {
        if !matches!(self.overlay, Some(Overlay::Error)) {
            // Another error than the one before.
            self.error.text.clear();
        }
        self.error.push(text);
        self.error.is_in_answer = false;
        self.overlay = Some(Overlay::Error);
        self.explain_error()
    }

    /// Asks the rules about the text, if there is one.
    pub(super) fn explain_error(&mut self) -> Vec<Effect> {
        if self.error.text.trim().is_empty() {
            self.error.answer = None;
            return Vec::new();
        }
        let number = self.next_id;
        self.next_id += 1;
        self.error.number = number;
        vec![Effect::ExplainError(number)]
    }

    /// Takes an answer, unless the text has changed since.
    pub(super) fn error_explained(&mut self, number: u32, answer: Answer) {
        if self.error.number == number {
            self.error.answer = Some(answer);
            (self.error.fix, self.error.top) = (0, 0);
        }
    }

    /// Returns the findings that confirm the message, of the checkpoint that is shown.
    #[must_use]
    pub fn confirmed(&self) -> Vec<&Finding> {
        let Some(answer) = &self.error.answer else { return Vec::new() };
        let Some(diagnosis) = self.findings().and_then(|findings| findings.diagnosis.as_ref()) else {
            return Vec::new();
        };
        answer.findings.iter().filter_map(|&at| diagnosis.findings.get(at)).collect()
    }

    /// Returns the fixes of the answer: of the finding that confirms it first.
    #[must_use]
    pub fn fixes_of_error(&self) -> Option<(&Finding, &[Fix])> {
        let finding = *self.confirmed().first()?;
        Some((finding, finding.fixes.as_slice()))
    }

    /// Takes a key of the overlay.
    pub(super) fn error_key(&mut self, key: &str) -> Vec<Effect> {
        self.overlay = Some(Overlay::Error);
        if key == "esc" {
            self.overlay = None;
            // Behind it is nothing but the picker, if nothing is open.
            return if self.opens.is_empty() { super::command::open(self) } else { Vec::new() };
        }
        if self.error.is_in_answer { self.answer_key(key) } else { self.text_key(key) }
    }

    fn text_key(&mut self, key: &str) -> Vec<Effect> {
        let error = &mut self.error;
        match key {
            "enter" | "tab" | "backtab" => {
                error.is_in_answer = error.answer.is_some();
                return Vec::new();
            }
            "pgup" => error.up = error.up.saturating_add(5).min(error.text.lines().count()),
            "pgdn" => error.up = error.up.saturating_sub(5),
            "up" => error.up = error.up.saturating_add(1).min(error.text.lines().count()),
            "down" => error.up = error.up.saturating_sub(1),
            "ctrl-u" => {
                error.text.clear();
                error.up = 0;
                return self.explain_error();
            }
            "backspace" | "ctrl-h" => {
                error.text.pop();
                return self.explain_error();
            }
            "space" => {
                error.push(" ");
                return self.explain_error();
            }
            _ => {
                let mut chars = key.chars();
                if let (Some(c), None) = (chars.next(), chars.next()) {
                    error.push(c.encode_utf8(&mut [0; 4]));
                    return self.explain_error();
                }
            }
        }
        Vec::new()
    }

    fn answer_key(&mut self, key: &str) -> Vec<Effect> {
        let fixes = self.fixes_of_error().map_or(0, |(_, fixes)| fixes.len());
        match key {
            "tab" | "backtab" => self.error.is_in_answer = false,
            "j" | "down" => {
                self.error.fix = (self.error.fix + 1).min(fixes.saturating_sub(1));
                self.error.top += usize::from(fixes == 0);
            }
            "k" | "up" => {
                self.error.fix = self.error.fix.saturating_sub(1);
                self.error.top = self.error.top.saturating_sub(usize::from(fixes == 0));
            }
            "pgdn" | "ctrl-d" => self.error.top += 5,
            "pgup" => self.error.top = self.error.top.saturating_sub(5),
            "ctrl-u" => {
                self.error.text.clear();
                self.error.is_in_answer = false;
                return self.explain_error();
            }
            "q" => return self.error_key("esc"),
            "y" => {
                let text = self.error.answer.as_ref().and_then(|answer| answer.matched.as_ref());
                let text = text.map(|matched| format!("{:?}", matched.rule));
                return text.map_or_else(Vec::new, |text| super::copy::copied(self, text));
            }
            "Y" => {
                let command = super::findings::command(self).map(|command| format!("{command} --error FILE"));
                return command.map_or_else(Vec::new, |command| super::copy::copied(self, command));
            }
            "enter" => {
                let chosen = self.fixes_of_error().map(|(finding, _)| finding.clone());
                if let Some(finding) = chosen {
                    let fix = self.error.fix;
                    return self.open_fix(&finding, fix);
                }
                self.toast = Some("no fix to open: these files do not show the fault".into());
            }
            _ => {}
        }
        Vec::new()
    }
}

/// Opens the overlay.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    app.open_error()
}
