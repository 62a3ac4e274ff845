//! Diagnose: why a checkpoint does not load, train or merge, or is not what it seems: rules, findings, fixes.
//!
//! A rule is one file and one row of `RULES`: what it looks for in the files, why that fails, the messages that
//! a user meets upstream, and what helps. Rules read what opening and examining gathered (headers, configs, side
//! data); nothing is read for them, so that a diagnosis costs milliseconds. A finding is a rule that saw something:
//! a sentence with names and numbers, the places, the fixes. A fix is a plan that the workbench can carry out
//! (`Act::Convert`, `Act::Edit` …), or advice, marked so.
//!
//! Causes stand before consequences: what is damaged comes first, then what fails silently, then the rest.
//!
#![doc = include_str!("diagnose/CODES.md")]

pub mod adapter;
pub mod config;
pub mod config_class;
pub mod container;
pub mod finding;
pub mod keys;
pub mod matrix;
pub mod message;
pub mod quant;
pub mod rule;
pub mod rules;
pub mod serving;
pub mod shards;
pub mod subject;
pub mod treatment;
pub mod values;

use std::cmp::Reverse;

pub use self::finding::{Act, Finding, Fix, Seen};
pub use self::rule::{Purpose, Rule};
pub use self::rules::RULES;
pub use self::subject::{About, AdapterView, Subject};
use crate::problem::Severity;

/// What all rules saw in a checkpoint, for every purpose at once.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Everything that was seen, worst first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Lets every rule look.
    #[must_use]
    pub fn of(subject: &Subject<'_>) -> Self {
        let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule.findings(subject)).collect();
        findings.sort_by_key(|finding| (finding.severity, rank(finding)));
        Self { findings }
    }

    /// Returns what concerns a purpose, worst first, each with its severity there.
    pub fn for_purpose(&self, purpose: Purpose) -> impl Iterator<Item = (&Finding, Severity)> {
        let mut found: Vec<(&Finding, Severity)> = self
            .findings
            .iter()
            .filter_map(|finding| Some((finding, finding.severity_for(purpose)?)))
            .collect();
        found.sort_by_key(|(finding, severity)| (*severity, rank(finding)));
        found.into_iter()
    }

    /// Returns how many errors and how many warnings concern a purpose.
    #[must_use]
    pub fn count(&self, purpose: Purpose) -> (usize, usize) {
        let count = |wanted| self.for_purpose(purpose).filter(|(_, severity)| *severity == wanted).count();
        (count(Severity::Error), count(Severity::Warning))
    }
}

/// Returns where a finding stands among those of its severity: damage first, which explains much of the rest, then
/// what no loader says, then by the order of the rules.
fn rank(finding: &Finding) -> (u8, usize) {
    let is_damage = finding.rule.code().starts_with(['K', 'S', 'D']);
    let group = if is_damage { 0 } else { u8::from(!finding.rule.is_silent) + 1 };
    let row = RULES.iter().position(|rule| std::ptr::eq(*rule, finding.rule));
    (group, row.unwrap_or(RULES.len()))
}

/// Returns the rule of a code (`Q001`) or a name (`already-quantized`), in any case of letters.
#[must_use]
pub fn find(code: &str) -> Option<&'static Rule> {
    let is_it =
        |rule: &&&Rule| rule.code().eq_ignore_ascii_case(code) || rule.kind.name.eq_ignore_ascii_case(code);
    RULES.iter().find(is_it).copied()
}

/// Returns the codes and names nearest to a text that is neither.
#[must_use]
pub fn nearest(text: &str) -> Vec<&'static Rule> {
    const SHOWN: usize = 3;
    let text = text.to_ascii_lowercase();
    let words: Vec<&str> = text.split(['-', ' ', '_']).filter(|word| word.len() > 2).collect();
    let score = |rule: &Rule| {
        let same = rule.code().to_ascii_lowercase().chars().zip(text.chars()).filter(|(a, b)| a == b).count();
        words.iter().filter(|word| rule.kind.name.contains(**word)).count() * 4 + same
    };
    let mut rules: Vec<&'static Rule> = RULES.iter().copied().filter(|rule| score(rule) > 1).collect();
    rules.sort_by_key(|rule| Reverse(score(rule)));
    rules.truncate(SHOWN);
    rules
}

#[cfg(test)]
mod tests;
