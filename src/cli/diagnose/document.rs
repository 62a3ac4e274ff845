//! The JSON document of `ckpt diagnose`.

use serde::Serialize;

use super::Report;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::message::{Answer, template};
use crate::diagnose::rule::Purpose;
use crate::problem::Severity;

impl Report<'_> {
    /// Returns what is printed.
    pub(super) fn document(&self) -> Document<'_> {
        let findings = self.shown.iter().map(|(finding, severity)| self.finding_json(finding, *severity));
        let answer = self.answer;
        Document {
            path: self.asked.path.as_deref(),
            purpose: Purpose::from(self.asked.purpose).name(),
            findings: findings.collect(),
            purposes: self.subject.map(|(_, diagnosis)| {
                let count = |purpose: Purpose| {
                    let (errors, warnings) = diagnosis.count(purpose);
                    PurposeJson { purpose: purpose.name(), errors, warnings }
                };
                Purpose::ALL.into_iter().map(count).collect()
            }),
            message: MessageJson {
                given: answer.is_some(),
                recognized: answer.is_some_and(Answer::is_recognized),
                codes: answer.map(Answer::codes).unwrap_or_default(),
                confirmed: answer.is_some_and(Answer::is_confirmed),
                verdict: answer.map(Answer::headline),
                text: answer
                    .and_then(|answer| answer.matched.as_ref())
                    .map(|m| template::filled(m.message.text, &m.captured)),
                line: answer.and_then(|answer| answer.matched.as_ref()).map(|matched| matched.line + 1),
                why: answer.and_then(|answer| answer.matched.as_ref()).map(|matched| matched.rule.why),
                outside: answer
                    .and_then(|answer| answer.matched.as_ref())
                    .map(|matched| matched.rule.outside)
                    .filter(|outside| !outside.is_empty()),
                files_fine: answer.and_then(|answer| self.fine(answer)),
                checks: answer
                    .into_iter()
                    .flat_map(|answer| &answer.checks)
                    .map(|check| CheckJson {
                        message: &check.says,
                        files: &check.files,
                        agrees: check.agrees,
                    })
                    .collect(),
                nearest: answer
                    .into_iter()
                    .flat_map(|answer| &answer.nearest)
                    .map(|near| NearJson { code: near.rule.code(), message: near.message.text })
                    .collect(),
            },
        }
    }

    fn finding_json<'f>(&self, finding: &'f Finding, severity: Severity) -> FindingJson<'f> {
        let fixes: Vec<FixJson<'f>> = finding
            .fixes
            .iter()
            .enumerate()
            .map(|(at, fix)| FixJson {
                summary: &fix.summary,
                command: self.command(finding, at),
                applies: fix.applies(),
                loss: fix.loss,
            })
            .collect();
        FindingJson {
            code: finding.rule.code(),
            name: finding.rule.kind.name,
            severity: severity.name(),
            title: &finding.title,
            silent: finding.rule.is_silent,
            seen: finding.seen.iter().map(SeenJson::from).collect(),
            why: finding.rule.why,
            messages: messages(finding),
            fix: fixes.first().cloned(),
            fixes,
        }
    }
}

/// Returns the messages of a finding with what is known in their places.
fn messages(finding: &Finding) -> Vec<String> {
    finding.messages().into_iter().map(|message| template::filled(message.text, &finding.fills)).collect()
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    path: Option<&'a str>,
    #[serde(rename = "for")]
    purpose: &'static str,
    findings: Vec<FindingJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<Vec<PurposeJson>>,
    message: MessageJson<'a>,
}

#[derive(Serialize)]
struct PurposeJson {
    purpose: &'static str,
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    code: &'static str,
    name: &'static str,
    severity: &'static str,
    title: &'a str,
    silent: bool,
    seen: Vec<SeenJson<'a>>,
    why: &'static str,
    messages: Vec<String>,
    fix: Option<FixJson<'a>>,
    fixes: Vec<FixJson<'a>>,
}

#[derive(Serialize)]
struct SeenJson<'a> {
    file: Option<&'a str>,
    key: Option<&'a str>,
    tensor: Option<&'a str>,
    value: &'a str,
}

impl<'a> From<&'a Seen> for SeenJson<'a> {
    fn from(seen: &'a Seen) -> Self {
        Self {
            file: seen.file.as_deref(),
            key: seen.key.as_deref(),
            tensor: seen.tensor.as_deref(),
            value: &seen.value,
        }
    }
}

#[derive(Clone, Serialize)]
struct FixJson<'a> {
    summary: &'a str,
    command: Option<String>,
    applies: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    loss: &'static str,
}

#[derive(Serialize)]
struct MessageJson<'a> {
    given: bool,
    recognized: bool,
    codes: Vec<&'static str>,
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outside: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_fine: Option<String>,
    checks: Vec<CheckJson<'a>>,
    nearest: Vec<NearJson>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    message: &'a str,
    files: &'a str,
    agrees: Option<bool>,
}

#[derive(Serialize)]
struct NearJson {
    code: &'static str,
    message: &'static str,
}
