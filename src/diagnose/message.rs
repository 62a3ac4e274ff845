//! Message: a pasted error, held against the messages that the rules know and against the files.
//!
//! The text is cleaned (`text.rs`), every message of every rule is looked for in it (`template.rs`), the innermost
//! one is taken: of exceptions that hang together the one that was raised first. What it names is held against the
//! files (`check.rs`). The answer is one of three: this is your cause; this usually means …, and your files do not
//! show it; not a message we know.

pub mod check;
pub mod template;
pub mod text;

use std::cmp::Reverse;
use std::sync::LazyLock;

use self::check::{Check, checks};
use self::template::{Match, Template};
use self::text::{Role, Text};
use super::finding::Finding;
use super::rule::{Message, Purpose, Rule};
use super::subject::Subject;
use super::{Diagnosis, RULES};
use crate::problem::Severity;
use crate::units;

/// What a pasted message comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule knows the message, and the files show its fault.
    Cause,
    /// A rule knows the message, and the files do not show its fault.
    NotShown,
    /// No rule knows the message.
    Unknown,
}

/// A message that was found.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The rule that knows it.
    pub rule: &'static Rule,
    /// The message.
    pub message: &'static Message,
    /// What stood in its places.
    pub captured: Vec<(&'static str, String)>,
    /// The line of the text where it begins, from 0.
    pub line: usize,
    /// Its score: how far inside, how certain.
    score: Score,
}

/// How a match stands among others, best first: in an exception, of the last chain, the innermost, the most literal.
type Score = (bool, u32, Reverse<u32>, usize);

impl Matched {
    /// Returns true if it belongs to an exception that hangs together with another's, or neither to one.
    fn is_with(&self, other: &Self) -> bool {
        let ((is_raised, chain, ..), (other_raised, other_chain, ..)) = (self.score, other.score);
        is_raised == other_raised && (!is_raised || chain == other_chain)
    }
}

/// A message that is like the pasted one.
#[derive(Clone, Debug)]
pub struct Near {
    /// The rule that knows it.
    pub rule: &'static Rule,
    /// The message.
    pub message: &'static Message,
}

/// The answer to a pasted text.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it comes to.
    pub verdict: Verdict,
    /// The message that was found, with the rule that explains it best.
    pub matched: Option<Matched>,
    /// Other rules that know the same message.
    pub also: Vec<&'static Rule>,
    /// The findings that confirm it: places in `Diagnosis::findings`.
    pub findings: Vec<usize>,
    /// What the message names against what the files say.
    pub checks: Vec<Check>,
    /// Messages like it, where none was found.
    pub nearest: Vec<Near>,
    /// Lines of the text.
    pub lines: usize,
}

/// Explains a pasted text. `files` are what is open and what was found there, if anything is.
#[must_use]
pub fn explain(pasted: &str, files: Option<(&Subject<'_>, &Diagnosis)>) -> Answer {
    let text = Text::new(pasted);
    let mut matches = matches(&text);
    matches.sort_by_key(|matched| Reverse(matched.score));
    let lines = text.lines.iter().filter(|line| !line.text.trim().is_empty()).count();
    let Some(best) = matches.first() else {
        return Answer {
            verdict: Verdict::Unknown,
            matched: None,
            also: Vec::new(),
            findings: Vec::new(),
            checks: Vec::new(),
            nearest: nearest(&text),
            lines,
        };
    };
    // Rules that know a message of the same chain of exceptions (or of the same log), the innermost and most literal
    // first: any of them may be the cause.
    let same: Vec<&Matched> = matches.iter().filter(|matched| matched.is_with(best)).collect();
    let mut answer = Answer {
        verdict: Verdict::NotShown,
        matched: Some(best.clone()),
        also: Vec::new(),
        findings: Vec::new(),
        checks: Vec::new(),
        nearest: Vec::new(),
        lines,
    };
    if let Some((subject, diagnosis)) = files {
        answer.checks = checks(&best.captured, subject, &[]);
        let mut shown: Vec<(Severity, usize, &Matched)> = Vec::new();
        for (at, matched) in same.iter().enumerate() {
            let own = diagnosis.findings.iter().filter(|finding| std::ptr::eq(finding.rule, matched.rule));
            if let Some(worst) = own.map(|finding| finding.severity).min() {
                shown.push((worst, at, matched));
            }
        }
        shown.sort_by_key(|(severity, at, _)| (*severity, *at));
        for (.., matched) in shown {
            let own: Vec<(usize, &Finding)> = diagnosis
                .findings
                .iter()
                .enumerate()
                .filter(|(_, finding)| std::ptr::eq(finding.rule, matched.rule))
                .collect();
            let of_rule: Vec<&Finding> = own.iter().map(|(_, finding)| *finding).collect();
            let checks = checks(&matched.captured, subject, &of_rule);
            // A message about other names, shapes or methods is of other files.
            if checks.iter().any(|check| check.agrees == Some(false)) {
                continue;
            }
            if answer.verdict != Verdict::Cause {
                answer.verdict = Verdict::Cause;
                answer.matched = Some((*matched).clone());
                answer.checks = checks;
            }
            answer.findings.extend(own.iter().map(|(at, _)| *at));
        }
    }
    if answer.verdict == Verdict::NotShown && files.is_some() {
        // Where the files show nothing, a cause outside of them explains the same words best.
        let outside = same.iter().find(|matched| matched.rule.is_outside && matched.line == best.line);
        answer.matched = outside.map(|matched| (*matched).clone()).or(answer.matched);
    }
    let main = answer.matched.as_ref().map(|matched| matched.rule);
    for matched in same {
        let is_new = main.is_none_or(|main| !std::ptr::eq(main, matched.rule))
            && !answer.also.iter().any(|rule| std::ptr::eq(*rule, matched.rule));
        if is_new {
            answer.also.push(matched.rule);
        }
    }
    answer
}

impl Answer {
    /// Returns true if a rule knows the message.
    #[must_use]
    pub fn is_recognized(&self) -> bool {
        self.verdict != Verdict::Unknown
    }

    /// Returns true if the files show the fault.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.verdict == Verdict::Cause
    }

    /// Returns the verdict in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let rule = self.matched.as_ref().map(|matched| format!("{:?}", matched.rule)).unwrap_or_default();
        match self.verdict {
            Verdict::Cause => format!("✗ This is your cause: {rule}"),
            Verdict::NotShown => format!("▲ This message usually means {rule}; the files do not show it"),
            Verdict::Unknown if self.nearest.is_empty() => "· Not a message we know".into(),
            Verdict::Unknown => "· Not a message we know; nearest:".into(),
        }
    }

    /// Returns in words that nothing is wrong with the files, with what was looked at; `None` if something is, or they
    /// show the fault.
    #[must_use]
    pub fn fine_words(&self, subject: &Subject<'_>, diagnosis: &Diagnosis) -> Option<String> {
        let (errors, warnings) = diagnosis.count(Purpose::Load);
        if self.verdict != Verdict::NotShown || errors > 0 {
            return None;
        }
        let mut facts = vec![format!("{} rules looked", RULES.len())];
        for held in subject.held {
            let (aligned, total) = (held.alignment.aligned(), held.alignment.modules.len());
            facts.push(format!("{aligned} of {total} modules of the adapter aligned"));
        }
        if warnings > 0 {
            facts.push(units::plural(warnings, "warning"));
        }
        Some(format!("✓ These files are fine: no error was found for loading ({})", facts.join(", ")))
    }

    /// Returns the codes of the rules that know the message, the best first.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        let main = self.matched.iter().map(|matched| matched.rule.code());
        main.chain(self.also.iter().map(|rule| rule.code())).collect()
    }
}

/// Every message of every rule, taken apart once.
static KNOWN: LazyLock<Vec<(&'static Rule, &'static Message, Template)>> = LazyLock::new(|| {
    let of_rule = |rule: &'static Rule| {
        rule.messages.iter().map(move |message| (rule, message, Template::new(message.text)))
    };
    RULES.iter().copied().flat_map(of_rule).collect()
});

/// Finds every message of every rule.
fn matches(text: &Text) -> Vec<Matched> {
    let mut found = Vec::new();
    for (rule, message, template) in KNOWN.iter() {
        for Match { begin, captured, literal, .. } in template.find(text) {
            let at = text.line_at(begin);
            let line = &text.lines[at];
            // An assertion's text stands in its frame; its exception has none.
            let is_raised = line.role != Role::Other;
            let score = (is_raised, line.chain, Reverse(line.depth), literal);
            found.push(Matched { rule, message, captured, line: at, score });
        }
    }
    found
}

/// Messages of which this share of the words is in a text are like it.
const LIKE: f64 = 0.5;
/// How many are named.
const NEAREST_MAX: usize = 3;

/// Returns the messages that are most like the last words of a text.
fn nearest(text: &Text) -> Vec<Near> {
    let Some((_, last)) = text.last_words() else { return Vec::new() };
    let words = template::words(last);
    if words.is_empty() {
        return Vec::new();
    }
    let mut near: Vec<(f64, Near)> = Vec::new();
    for rule in RULES.iter().copied() {
        for message in rule.messages {
            let own = template::words(message.text);
            let shared = own.iter().filter(|word| words.contains(word)).count();
            let all = own.len() + words.len() - shared.min(words.len());
            // How much of the two is the same, and how much of the message is there.
            let share =
                shared as f64 / own.len().max(1) as f64 * 0.7 + shared as f64 / all.max(1) as f64 * 0.3;
            if shared > 1 && share >= LIKE {
                near.push((share, Near { rule, message }));
            }
        }
    }
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut seen: Vec<&str> = Vec::new();
    near.retain(|(_, near)| {
        let is_new = !seen.contains(&near.rule.code());
        seen.push(near.rule.code());
        is_new
    });
    near.into_iter().take(NEAREST_MAX).map(|(_, near)| near).collect()
}
