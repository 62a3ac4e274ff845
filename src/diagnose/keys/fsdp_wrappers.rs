//! D006 fsdp-wrappers: names carry the parts that FSDP and activation checkpointing add.

use super::{nodes_of, tensors_with};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "D006", name: "fsdp-wrappers", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "`_fsdp_wrapped_module` or `_checkpoint_wrapped_module` in the names of tensors.",
    why: "FSDP and activation checkpointing wrap each block, and the names of the wrappers were saved with \
          the weights. Loaders do not find these layers and fill them with random values.",
    messages: &[
        message("Unexpected key(s) in state_dict: {any}_fsdp_wrapped_module.{any}", "torch load_state_dict"),
        message(
            "Unexpected key(s) in state_dict: {any}_checkpoint_wrapped_module.{any}",
            "torch load_state_dict",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}_fsdp_wrapped_module.{any}",
            "transformers up to 4.57",
        ),
        message(
            "_fsdp_wrapped_module.{any} | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
        message(
            "_checkpoint_wrapped_module.{any} | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    remedy: "Take the parts out of the names. The data stay as they are.",
    sources: "torch 2.15 source, fully_sharded_data_parallel.py and checkpoint_wrapper.py",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const PARTS: [&str; 2] = ["_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Returns the parts that are there, if any, in a model.
pub(super) fn found(subject: &Subject<'_>) -> Option<Vec<&'static str>> {
    let files = &subject.model()?.files;
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| files.names.find_label(part).is_some()).collect();
    (!parts.is_empty()).then_some(parts)
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(parts) = found(subject) else { return Vec::new() };
    let files = subject.files();
    let all = files.tensors.len();
    let mut finding = Finding::new(rule, String::new());
    let mut most = 0;
    for part in &parts {
        let (count, first) = tensors_with(files, part);
        most = most.max(count);
        finding =
            finding.seen(Seen::tensors(first, format!("{} with {part}", units::plural(count, "tensor"))));
    }
    finding.title = format!("{most} of {all} tensors have {} in their names.", parts.join(" and "));
    // Flat parameters of a rank have no shape of their own: no name can mend them.
    if !nodes_of(files, "_flat_param").is_empty() {
        finding.title.push_str(" Some are flat parameters of one rank, which cannot be taken apart here.");
    }
    vec![finding]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    if !nodes_of(subject.files(), "_flat_param").is_empty() {
        return vec![Fix::advice(
            "save again with FULL_STATE_DICT: flat parameters of a rank are no weights of the model",
        )];
    }
    let parts = found(subject).unwrap_or_default();
    let out = |part: &&str| Edit::Rename(Rename::Part { from: (*part).into(), to: String::new() });
    let summary = format!("take {} out of the names", parts.join(" and "));
    vec![Fix::new(summary, Act::Edit(parts.iter().map(out).collect()))]
}
