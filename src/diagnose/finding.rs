//! Finding: a rule that saw something: a sentence with names and numbers, the places, the fixes.

use super::rule::{Message, Purpose, Rule};
use super::subject::{About, Subject};
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::{Problem, Severity};
use crate::units;

/// A rule that saw something.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is here; a rule may find a mild case of its fault.
    pub severity: Severity,
    /// One sentence: what was seen, with names and numbers of these files (escaped).
    pub title: String,
    /// The places.
    pub seen: Vec<Seen>,
    /// Of what it speaks: the checkpoint, or one of the adapters attached to it.
    pub about: About,
    /// What stands in the places of the rule's messages here: `("method", "GPTQ")`.
    pub fills: Vec<(&'static str, String)>,
    /// What can be done, the best first.
    pub fixes: Vec<Fix>,
}

/// A place where something was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// File in the folder.
    pub file: Option<String>,
    /// Key in a config: `quantization_config.bits`; or what was counted: `tensors`.
    pub key: Option<String>,
    /// Full name of a tensor or layer (unescaped): the workbench jumps to it.
    pub tensor: Option<String>,
    /// What was seen there.
    pub value: String,
}

/// Something that helps.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// What it does, in one sentence.
    pub summary: String,
    /// How it is done.
    pub act: Act,
    /// What it costs in quality; empty if nothing.
    pub loss: &'static str,
}

/// How a fix is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// By the user; nothing here can do it.
    Advice,
    /// `ckpt convert --to dense`: quantized layers become plain values.
    Dequantize,
    /// `ckpt convert --to NAME`: layers are packed as another format, in one pass.
    Pack(&'static str),
    /// `ckpt merge`: the attached adapters go into the base, decoded first if it is packed.
    Merge,
    /// `ckpt align --repair`: keys and config of the adapter become what PEFT looks for.
    Repair,
    /// `ckpt fix`: these edits, in a new folder.
    Edit(Vec<Edit>),
}

/// Places that one finding lists; the rest is counted.
pub const SEEN_MAX: usize = 12;

impl Finding {
    /// Returns a finding of a rule about the checkpoint: one sentence with names and numbers.
    #[must_use]
    pub fn new(rule: &'static Rule, title: impl Into<String>) -> Self {
        Self {
            rule,
            severity: rule.kind.severity,
            title: title.into(),
            seen: Vec::new(),
            about: About::Checkpoint,
            fills: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// Returns it as one about an adapter.
    #[must_use]
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Returns it with another severity than its rule's.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Returns it with one more place.
    #[must_use]
    pub fn seen(mut self, seen: Seen) -> Self {
        self.seen.push(seen);
        self
    }

    /// Returns it with what stands in a place of the rule's messages.
    #[must_use]
    pub fn fill(mut self, place: &'static str, value: impl Into<String>) -> Self {
        self.fills.push((place, value.into()));
        self
    }

    /// Returns how bad it is for a purpose, `None` if it does not matter there.
    #[must_use]
    pub fn severity_for(&self, purpose: Purpose) -> Option<Severity> {
        self.rule.severity_for(self.severity, purpose)
    }

    /// Returns true if it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns the rule's messages, those first that name what was found here: `gptq`.
    #[must_use]
    pub fn messages(&self) -> Vec<&'static Message> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
        let words: Vec<String> = self.fills.iter().map(|(_, value)| plain(value)).collect();
        let is_named = |message: &Message| {
            let text = plain(message.text);
            words.iter().any(|word| word.len() > 2 && text.contains(word.as_str()))
        };
        let mut messages: Vec<&'static Message> = self.rule.messages.iter().collect();
        messages.sort_by_key(|message| !is_named(message));
        messages
    }

    /// Collects the problems of the rule's kind that opening and aligning saw: one finding for the checkpoint, and
    /// one for each adapter.
    #[must_use]
    pub fn of_problems(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Self> {
        let mut findings: Vec<Self> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        for (about, problem) in subject.problems().filter(|(_, problem)| problem.kind == rule.kind) {
            let at = findings.iter().position(|finding| finding.about == about);
            let at = at.unwrap_or_else(|| {
                findings.push(Self::new(rule, escape(&problem.message).into_owned()).about(about));
                counts.push(0);
                findings.len() - 1
            });
            counts[at] += 1;
            if findings[at].seen.len() < SEEN_MAX {
                findings[at].seen.push(Seen::of(problem));
            }
        }
        for (finding, count) in findings.iter_mut().zip(counts) {
            if count > 1 {
                finding.title = format!("{} (and {} more like it)", finding.title, count - 1);
            }
            if count > SEEN_MAX {
                let more = units::plural(count - SEEN_MAX, "more place");
                finding.seen.push(Seen { value: format!("and {more}"), ..Seen::default() });
            }
        }
        findings
    }
}

impl Seen {
    /// Returns the place of a problem.
    #[must_use]
    pub fn of(problem: &Problem) -> Self {
        Self {
            file: problem.file.clone(),
            key: None,
            tensor: problem.tensor.clone(),
            value: problem.message.clone(),
        }
    }

    /// Returns a value of a config file.
    #[must_use]
    pub fn config(file: &str, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), key: Some(key.into()), tensor: None, value: value.into() }
    }

    /// Returns what was counted among tensors or layers, with the first of them.
    #[must_use]
    pub fn tensors(first: Option<String>, value: impl Into<String>) -> Self {
        Self { file: None, key: Some("tensors".into()), tensor: first, value: value.into() }
    }

    /// Returns what was seen of a file.
    #[must_use]
    pub fn file(file: impl Into<String>, value: impl Into<String>) -> Self {
        Self { file: Some(file.into()), key: None, tensor: None, value: value.into() }
    }
}

impl Fix {
    /// Returns advice: what the user can do and nothing here can.
    #[must_use]
    pub fn advice(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), act: Act::Advice, loss: "" }
    }

    /// Returns a fix that is carried out.
    #[must_use]
    pub fn new(summary: impl Into<String>, act: Act) -> Self {
        Self { summary: summary.into(), act, loss: "" }
    }

    /// Returns it with what it costs in quality.
    #[must_use]
    pub fn loss(mut self, loss: &'static str) -> Self {
        self.loss = loss;
        self
    }

    /// Returns true if it is carried out here, and not advice.
    #[must_use]
    pub fn applies(&self) -> bool {
        self.act != Act::Advice
    }
}
