//! N004 wrapper-prefix: names carry the prefix of a wrapper around the model.

use super::{common_prefix, tensors_with};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "N004", name: "wrapper-prefix", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "`module.` (DDP, DeepSpeed) or `_orig_mod.` (torch.compile) before all names, or `_orig_mod` \
                inside them.",
    why: "The state dict of the wrapper was saved and not that of the model in it. Loaders find none of the \
          names they look for: the model loads without an exception and all its weights are random.",
    messages: &[
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}module.{any}",
            "transformers up to 4.57",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}_orig_mod.{any}",
            "transformers up to 4.57",
        ),
        message("Unexpected key(s) in state_dict: \"module.{key}\"", "torch load_state_dict"),
        message("Unexpected key(s) in state_dict: \"_orig_mod.{key}\"", "torch load_state_dict"),
        message(
            "_orig_mod.{any} | UNEXPECTED{any}can be ignored when loading from different task/architecture; \
             not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
        message(
            "module.model.{any} | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    remedy: "Take the prefix off all names. The data stay as they are.",
    sources: "pytorch#94575, timm#2003, open_clip#639; measured on 4.37, 4.46, 4.57, 5.23: random weights on \
              all",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const COMPILED: &str = "_orig_mod";

/// The prefix of all names, and how many names have `_orig_mod` behind it, with the first.
pub(super) struct Found {
    prefix: String,
    inside: usize,
    first: Option<String>,
}

pub(super) fn found(subject: &Subject<'_>) -> Option<Found> {
    let files = &subject.model()?.files;
    let prefix = common_prefix(files, &["module", COMPILED]);
    let (inside, first) = if prefix.contains(COMPILED) { (0, None) } else { tensors_with(files, COMPILED) };
    let first = first.or_else(|| (!files.tensors.is_empty()).then(|| files.tensor_name(0)));
    (!prefix.is_empty() || inside > 0).then_some(Found { prefix, inside, first })
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(found) = found(subject) else { return Vec::new() };
    let all = subject.files().tensors.len();
    let (title, counted) = if found.prefix.is_empty() {
        let count = units::plural(found.inside, "tensor");
        (format!("{count} of {all} have {COMPILED} of torch.compile in their names."), count)
    } else {
        let count = units::plural(all, "tensor");
        (format!("All {all} names begin with {}, which no loader looks for.", found.prefix), count)
    };
    let key =
        found.first.clone().map(|name| name.strip_prefix(&found.prefix).map_or(name.clone(), str::to_owned));
    let mut finding = Finding::new(rule, title).seen(Seen::tensors(found.first, counted));
    if let Some(key) = key {
        finding = finding.fill("key", key);
    }
    vec![finding]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some(found) = found(subject) else { return Vec::new() };
    let mut edits = Vec::new();
    let mut words = Vec::new();
    if !found.prefix.is_empty() {
        words.push(found.prefix.clone());
        edits.push(Edit::Rename(Rename::Strip(found.prefix)));
    }
    if found.inside > 0 {
        words.push(COMPILED.to_owned());
        edits.push(Edit::Rename(Rename::Part { from: COMPILED.into(), to: String::new() }));
    }
    vec![Fix::new(format!("take {} out of the names", words.join(" and ")), Act::Edit(edits))]
}
