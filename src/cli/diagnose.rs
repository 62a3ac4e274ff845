//! `ckpt diagnose`: why a checkpoint does not load, train, merge or serve, from the files or from a pasted error.

mod document;

use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{DONE, FOUND, json, stdout_error};
use crate::adapter::Adapter;
use crate::adapter::held::Held;
use crate::app::findings::seen_words;
use crate::app::fix_command;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::{has_weights, list};
use crate::diagnose::finding::Finding;
use crate::diagnose::message::{Answer, Verdict, explain, template};
use crate::diagnose::rule::Purpose;
use crate::diagnose::{Diagnosis, RULES, Subject, matrix};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::problem::{Problem, Severity, kind};
use crate::ui::findings::mark;
use crate::ui::pane::wrap;

/// Say why a checkpoint does not load, train, merge or serve: from the files, or from a pasted error.
#[derive(Debug, Args)]
pub struct Diagnose {
    /// Folder, file, or Hub name in the local cache.
    #[arg(required_unless_present = "error")]
    pub path: Option<String>,
    /// An adapter that is held against it; several are held one by one.
    #[arg(short = 'a', value_name = "ADAPTER")]
    pub adapters: Vec<String>,
    /// What it is wanted for: load it (transformers and PEFT), train a LoRA on it, merge the adapter, serve it.
    #[arg(long = "for", value_name = "PURPOSE", default_value = "load")]
    pub purpose: Wanted,
    /// An error to explain: a file with the message or the whole traceback, or - for stdin.
    #[arg(long, value_name = "FILE")]
    pub error: Option<String>,
    /// Read the data as well: NaN and infinities, and all scales and zero points however many there are.
    #[arg(long)]
    pub deep: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// The words of `--for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// Load it with transformers and PEFT, current versions.
    Load,
    /// Train a LoRA on it with bitsandbytes.
    Qlora,
    /// Merge the adapter into it.
    Merge,
    /// Serve it with vLLM.
    Vllm,
}

impl From<Wanted> for Purpose {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Load => Self::Load,
            Wanted::Qlora => Self::Qlora,
            Wanted::Merge => Self::Merge,
            Wanted::Vllm => Self::Vllm,
        }
    }
}

/// Bytes of an error text that are read; its end is what matters.
const ERROR_BYTES_MAX: u64 = 64 << 20;

/// Everything that was looked at, owned: rules borrow it.
pub(super) struct Looked {
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) facts: Option<Adapter>,
    pub(super) held: Vec<Held>,
    pub(super) deep: Vec<Problem>,
}

impl Looked {
    /// Opens a checkpoint, and holds adapters against it.
    pub(super) fn open(path: &str, adapters: &[String], deep: bool, quiet: bool) -> Result<Self> {
        let opened = Checkpoint::open(path)?;
        let checkpoint = Arc::new(if deep { opened.examine_deep() } else { opened.examine() });
        let mut read = Vec::new();
        if deep {
            read = super::verify::read_all(&checkpoint, quiet).problems;
        }
        let mut held = Vec::new();
        for adapter in adapters {
            match Held::open(Arc::clone(&checkpoint), adapter, None) {
                Ok(found) => held.push(found),
                // A folder that holds the config alone is a fault of the adapter, and not of what was asked.
                Err(error) if is_config_alone(Path::new(adapter)) => {
                    let problem = Problem::new(&kind::ADAPTER_WEIGHTS, error.message);
                    read.push(problem.file(format!("{adapter}/adapter_config.json")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { facts: Adapter::of(&checkpoint), checkpoint, held, deep: read })
    }

    /// Lets `look` see it as rules do.
    pub(super) fn with<R>(&self, look: impl FnOnce(&Subject<'_>) -> R) -> R {
        let held: Vec<&Held> = self.held.iter().collect();
        look(&Subject {
            checkpoint: &self.checkpoint,
            facts: self.facts.as_ref(),
            held: &held,
            deep: &self.deep,
        })
    }
}

/// Runs the command: exit 0 without an error finding, 1 with one.
///
/// # Errors
/// Something cannot be opened or read, or stdout fails.
pub fn run(asked: &Diagnose, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let text = asked.error.as_deref().map(read_error).transpose()?;
    let Some(path) = &asked.path else {
        let answer = explain(text.as_deref().unwrap_or_default(), None);
        let report = Report { asked, answer: Some(&answer), shown: Vec::new(), subject: None };
        return report.write(out);
    };
    let looked = Looked::open(path, &asked.adapters, asked.deep, quiet)?;
    looked.with(|subject| {
        let diagnosis = Diagnosis::of(subject);
        let answer = text.map(|text| explain(&text, Some((subject, &diagnosis))));
        let purpose = asked.purpose.into();
        let mut shown: Vec<(&Finding, Severity)> = Vec::new();
        // What the message is about comes first, whatever it is wanted for.
        if let Some(answer) = &answer {
            let confirmed = answer.findings.iter().filter_map(|&at| diagnosis.findings.get(at));
            shown.extend(confirmed.map(|finding| (finding, finding.severity)));
        }
        for (finding, severity) in diagnosis.for_purpose(purpose) {
            if !shown.iter().any(|(other, _)| std::ptr::eq(*other, finding)) {
                shown.push((finding, severity));
            }
        }
        let report = Report { asked, answer: answer.as_ref(), shown, subject: Some((subject, &diagnosis)) };
        report.write(out)
    })
}

/// Returns true for a folder that has the config of an adapter and no file of weights.
fn is_config_alone(folder: &Path) -> bool {
    let files = list(folder).unwrap_or_default();
    files.iter().any(|(name, _)| name == "adapter_config.json") && !has_weights(&files)
}

/// Reads the text of an error: a file, or stdin to its end.
fn read_error(from: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let source: Box<dyn std::io::Read> = if from == "-" {
        Box::new(std::io::stdin())
    } else {
        let path = std::path::Path::new(from);
        let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, &e))?;
        Box::new(file)
    };
    let mut limited = source.take(ERROR_BYTES_MAX);
    let path = std::path::Path::new(if from == "-" { "stdin" } else { from });
    limited.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.trim().is_empty() {
        return Err(Error::input(format!("--error {}: it is empty", escape(from))));
    }
    Ok(text)
}

/// What is printed.
struct Report<'a> {
    asked: &'a Diagnose,
    answer: Option<&'a Answer>,
    shown: Vec<(&'a Finding, Severity)>,
    subject: Option<(&'a Subject<'a>, &'a Diagnosis)>,
}

impl Report<'_> {
    fn write(&self, out: &mut dyn Write) -> Result<u8> {
        if self.asked.json {
            json::write_line(out, &self.document())?;
        } else {
            self.write_text(out).map_err(|e| stdout_error(&e))?;
        }
        let is_error = self.shown.iter().any(|(_, severity)| *severity == Severity::Error);
        Ok(if is_error { FOUND } else { DONE })
    }

    fn command(&self, finding: &Finding, at: usize) -> Option<String> {
        let (subject, _) = self.subject?;
        let path = self.asked.path.as_deref()?;
        fix_command(finding.fixes.get(at)?, finding, subject, (path, &self.asked.adapters))
    }

    fn write_text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        if let Some(answer) = self.answer {
            self.write_answer(answer, out)?;
        }
        let Some((subject, diagnosis)) = self.subject else { return Ok(()) };
        for (number, (finding, severity)) in self.shown.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            self.write_finding(finding, *severity, out)?;
        }
        let purpose: Purpose = self.asked.purpose.into();
        if self.shown.is_empty() {
            let rules = RULES.iter().filter(|rule| rule.purposes.contains(&purpose)).count();
            writeln!(out, "✓ {}: nothing found; {rules} rules looked", purpose.name())?;
        } else {
            writeln!(out)?;
        }
        if purpose == Purpose::Qlora && subject.model().is_some() {
            for (at, line) in matrix::lines(subject.checkpoint).iter().enumerate() {
                labeled(out, if at == 0 { "matrix" } else { " " }, line)?;
            }
            writeln!(out)?;
        }
        let others: Vec<String> = Purpose::ALL
            .into_iter()
            .filter(|other| *other != purpose)
            .map(|other| match diagnosis.count(other) {
                (0, 0) => format!("{} ✓", other.name()),
                (0, warnings) => format!("{} ▲{warnings}", other.name()),
                (errors, _) => format!("{} ✗{errors}", other.name()),
            })
            .collect();
        writeln!(out, "other purposes (--for): {}", others.join("   "))
    }

    fn write_answer(&self, answer: &Answer, out: &mut dyn Write) -> std::io::Result<()> {
        let words = answer.headline();
        writeln!(out, "{words}")?;
        if let Some(matched) = &answer.matched {
            let said = template::filled(matched.message.text, &matched.captured);
            labeled(out, "message", &escape(&said))?;
            labeled(
                out,
                " ",
                &format!("line {} of the text; {}", matched.line + 1, matched.message.seen_in),
            )?;
            if let Some(fine) = self.fine(answer) {
                labeled(out, "files", &fine)?;
            }
            if answer.verdict == Verdict::NotShown {
                labeled(out, "usually", matched.rule.why)?;
                if !matched.rule.outside.is_empty() {
                    labeled(out, "outside", matched.rule.outside)?;
                }
                labeled(out, "helps", matched.rule.remedy)?;
            }
        }
        for check in &answer.checks {
            let mark = match check.agrees {
                Some(true) => "  ✓ agrees",
                Some(false) => "  ✗ differs",
                None => "",
            };
            writeln!(out, "  {}: {}{mark}", check.says, check.files)?;
        }
        for near in &answer.nearest {
            writeln!(out, "  {:?}: {}", near.rule, near.message.text)?;
        }
        if !answer.also.is_empty() {
            let also: Vec<String> = answer.also.iter().map(|rule| format!("{rule:?}")).collect();
            writeln!(out, "  the same message is also of: {}", also.join(", "))?;
        }
        writeln!(out)
    }

    /// Says that the files are fine, where they are, as loudly as a fault.
    fn fine(&self, answer: &Answer) -> Option<String> {
        let (subject, diagnosis) = self.subject?;
        answer.fine_words(subject, diagnosis)
    }

    fn write_finding(
        &self,
        finding: &Finding,
        severity: Severity,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        let silent = if finding.rule.is_silent { "  (silent: no loader says it)" } else { "" };
        writeln!(out, "{} {:?}{silent}", mark(severity).0, finding.rule)?;
        labeled(out, "", &finding.title)?;
        labeled(out, "", finding.rule.why)?;
        for (at, seen) in finding.seen.iter().enumerate() {
            labeled(out, if at == 0 { "seen" } else { " " }, &seen_words(seen))?;
        }
        for (at, message) in finding.messages().into_iter().take(MESSAGES_MAX).enumerate() {
            let text = template::filled(message.text, &finding.fills);
            let label = if at == 0 { "message" } else { " " };
            labeled(out, label, &format!("{}   ({})", escape(&text), message.seen_in))?;
        }
        let more = finding.rule.messages.len().saturating_sub(MESSAGES_MAX);
        if more > 0 {
            labeled(out, " ", &format!("and {more} more: ckpt explain {}", finding.rule.code()))?;
        }
        for (at, fix) in finding.fixes.iter().enumerate() {
            let kind = if fix.applies() { "" } else { "   (advice)" };
            labeled(out, &format!("fix {}", at + 1), &format!("{}{kind}", escape(&fix.summary)))?;
            if !fix.loss.is_empty() {
                labeled(out, " ", &format!("cost: {}", fix.loss))?;
            }
            if let Some(command) = self.command(finding, at) {
                writeln!(out, "            $ {}", escape(&command))?;
            }
        }
        Ok(())
    }
}

/// Messages of a finding that are printed; `ckpt explain` has all.
const MESSAGES_MAX: usize = 4;
/// Cells of a line.
const WIDTH: usize = 100;
/// Cells of the column of labels.
const LABEL: usize = 10;

/// Writes a text in lines, behind a label if there is one.
fn labeled(out: &mut dyn Write, label: &str, text: &str) -> std::io::Result<()> {
    let by = if label.is_empty() { 0 } else { LABEL };
    for (at, line) in wrap(text, WIDTH - by - 2).into_iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        writeln!(out, "  {label:<by$}{line}")?;
    }
    Ok(())
}
