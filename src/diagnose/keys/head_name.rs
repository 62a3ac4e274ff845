//! N012 head-under-another-name: the head is called `embed_out` where `lm_head` is looked for, or the other
//! way.

use super::top;
use crate::checkpoint::expected::modules_of;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "N012", name: "head-under-another-name", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "`embed_out` in a Llama, Mistral, Qwen, Phi-3 or Gemma, and `lm_head` in a GPT-NeoX.",
    why: "GPT-NeoX calls its head embed_out, most others lm_head. A head under the other name is not found, \
          and the loader makes up one of random values. For GPT-NeoX version 5 takes both names, version 4 \
          embed_out alone.",
    messages: &[
        message(
            "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
             initialized: ['embed_out.weight']",
            "transformers up to 4.57",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             ['embed_out.weight']",
            "transformers up to 4.57",
        ),
        message(
            "embed_out.weight | UNEXPECTED{any}can be ignored when loading from different task/architecture; \
             not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    remedy: "Rename the head.",
    sources: "transformers 5.23 source, conversion_mapping.py",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns the name that the head has, the one that it should have, and how bad that is.
fn names(subject: &Subject<'_>) -> Option<(&'static str, &'static str, Severity)> {
    const ONE: &str = "lm_head";
    const OTHER: &str = "embed_out";
    let files = &subject.model()?.files;
    let architecture = files.configs.architecture()?;
    let has = |label| top(files, label).is_some();
    if modules_of(architecture).is_some() && has(OTHER) && !has(ONE) {
        Some((OTHER, ONE, Severity::Error))
    } else if architecture == "GPTNeoXForCausalLM" && has(ONE) && !has(OTHER) {
        Some((ONE, OTHER, Severity::Warning))
    } else {
        None
    }
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((from, to, severity)) = names(subject) else { return Vec::new() };
    let architecture = subject.files().configs.architecture().unwrap_or_default();
    let title = format!("The head is stored as {from}.weight, and {architecture} calls it {to}.weight.");
    let seen = Seen::tensors(Some(format!("{from}.weight")), from.to_owned());
    vec![Finding::new(rule, title).severity(severity).seen(seen)]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some((from, to, _)) = names(subject) else { return Vec::new() };
    let part = Edit::Rename(Rename::Part { from: from.into(), to: to.into() });
    vec![Fix::new(format!("rename {from} to {to}"), Act::Edit(vec![part]))]
}
