//! Rule: one known fault: how it is recognized, why it fails, what upstream says of it, what helps.

use super::finding::{Finding, Fix};
use super::subject::Subject;
use crate::problem::{ProblemKind, Severity};

/// What a checkpoint is wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Loading with current transformers and PEFT.
    #[default]
    Load,
    /// Training a LoRA on the base, quantized by bitsandbytes while it loads or as it is.
    Qlora,
    /// Merging the adapters into the base.
    Merge,
    /// Serving with vLLM.
    Vllm,
}

impl Purpose {
    /// All purposes, in the order of the header row.
    pub const ALL: [Self; 4] = [Self::Load, Self::Qlora, Self::Merge, Self::Vllm];

    /// Returns the word of `--for`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Qlora => "qlora",
            Self::Merge => "merge",
            Self::Vllm => "vllm",
        }
    }

    /// Returns the purpose of a word of `--for`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// Returns what it means, in a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Load => "load with transformers and PEFT",
            Self::Qlora => "train a LoRA on it with bitsandbytes",
            Self::Merge => "merge the adapter into it",
            Self::Vllm => "serve it with vLLM",
        }
    }
}

/// Every purpose: what is damaged is good for nothing.
pub const EVERY: &[Purpose] = &Purpose::ALL;

/// A message that upstream prints where a rule applies.
///
/// `{name}` stands for what differs from case to case; the names tell what it is, so that it can be held against
/// the files: `{key}` a tensor or module, `{file}` a path, `{shape}` numbers, `{method}` a quantization method or
/// the class of its config, `{n}` a number, `{class}` and `{any}` anything.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The literal parts, and the places of what differs.
    pub text: &'static str,
    /// Where it is seen: `transformers 4.32 to 4.55`.
    pub seen_in: &'static str,
}

/// Returns a message: what it says, and the library and versions that say it.
#[must_use]
pub const fn message(text: &'static str, seen_in: &'static str) -> Message {
    Message { text, seen_in }
}

/// A rule: one row of `RULES`.
pub struct Rule {
    /// Its code, its name for the bad pattern, how bad it is.
    pub kind: &'static ProblemKind,
    /// For what it matters.
    pub purposes: &'static [Purpose],
    /// Purposes for which an error of it is only a warning.
    pub milder: &'static [Purpose],
    /// True if no loader says anything: the result is wrong and nobody is told.
    pub is_silent: bool,
    /// True if no file shows it: it is known by its messages alone.
    pub is_outside: bool,
    /// What it looks for in the files: one or two sentences.
    pub looks_for: &'static str,
    /// Why that fails: two or three plain sentences.
    pub why: &'static str,
    /// What upstream prints, old and new wordings.
    pub messages: &'static [Message],
    /// What else brings these messages though the files are fine: versions, `device_map`, the driver. Empty: nothing
    /// that is known.
    pub outside: &'static str,
    /// What helps: one to three sentences.
    pub remedy: &'static str,
    /// Where the facts come from: issues (`transformers#39939`), source files, measurements.
    pub sources: &'static str,
    /// Looks at the files.
    pub look: fn(&'static Rule, &Subject<'_>) -> Vec<Finding>,
    /// Returns the fixes of a finding, the best first.
    pub fixes: fn(&Subject<'_>, &Finding) -> Vec<Fix>,
}

impl Rule {
    /// Returns a rule of this kind that collects the problems of its kind that opening saw; texts are to be set.
    #[must_use]
    pub const fn new(kind: &'static ProblemKind) -> Self {
        Self {
            kind,
            purposes: EVERY,
            milder: &[],
            is_silent: false,
            is_outside: false,
            looks_for: "",
            why: "",
            messages: &[],
            outside: "",
            remedy: "",
            sources: "",
            look: Finding::of_problems,
            fixes: no_fix,
        }
    }

    /// Returns a rule of this kind that no file shows: its messages come from versions, launchers or machines.
    #[must_use]
    pub const fn of_message(kind: &'static ProblemKind) -> Self {
        Self { is_outside: true, look: nothing, ..Self::new(kind) }
    }

    /// Returns its code: `Q001`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.code
    }

    /// Returns what it sees in a subject, with the fixes.
    #[must_use]
    pub fn findings(&'static self, subject: &Subject<'_>) -> Vec<Finding> {
        let mut findings = (self.look)(self, subject);
        for finding in &mut findings {
            finding.fixes = (self.fixes)(subject, finding);
        }
        findings
    }

    /// Returns how bad a finding of it is for a purpose, `None` if it does not matter there.
    #[must_use]
    pub fn severity_for(&self, severity: Severity, purpose: Purpose) -> Option<Severity> {
        let matters = self.purposes.contains(&purpose);
        let milder = self.milder.contains(&purpose).then_some(Severity::Warning);
        matters.then(|| milder.map_or(severity, |milder| severity.max(milder)))
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.code, self.kind.name)
    }
}

/// For rules whose remedy is advice that needs no numbers.
fn no_fix(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}

/// For rules that no file shows.
fn nothing(_: &'static Rule, _: &Subject<'_>) -> Vec<Finding> {
    Vec::new()
}
