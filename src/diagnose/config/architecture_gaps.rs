//! C008 architecture-gaps: tensors that the architecture needs are not here.

use crate::diagnose::finding::Finding;
use crate::diagnose::keys;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Qlora, Purpose::Merge, Purpose::Vllm],
    is_silent: true,
    looks_for: "The modules that Llama, Mistral, Qwen2, Qwen3, Phi-3 and Gemma have in each layer, against \
                the files; and where the layers of other text models are.",
    why: "What is missing is filled with random values when the model is built. No exception comes: the log \
          has a line, and the model works badly.",
    messages: &[
        message(
            "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
             initialized: ['{key}'",
            "transformers up to 4.57",
        ),
        message(
            "{key} | MISSING{any}those params were newly initialized because missing from the checkpoint.",
            "transformers 5, LOAD REPORT",
        ),
        message("Missing key(s) in state_dict: \"{key}\"", "torch load_state_dict"),
        message(
            "NotImplementedError: Cannot copy out of meta tensor; no data!",
            "accelerate, transformers up to 4.57",
        ),
    ],
    outside: "A classifier on a base (`score.weight`, `classifier.weight`) is new by design, and the line \
              about training it is right. The meta tensor error also comes from offload and from device_map \
              with DeepSpeed.",
    remedy: "Copy the missing tensors from the base, or save the model again in full. Where the config is of another \
             architecture, take the one that belongs to the tensors.",
    sources: "transformers source; measured with 4.37 to 5.23",
    look,
    ..Rule::new(&kind::ARCHITECTURE_GAPS)
};

/// Other names of the same weights are rules of their own: what they explain is not missing.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if keys::explains_gaps(subject) {
        return Vec::new();
    }
    // Layers that are there and broken come first: the files may be an excerpt that was made to show them.
    let has_broken =
        subject.problems().any(|(_, problem)| problem.is_error() && problem.kind.code.starts_with('Q'));
    let severity = if has_broken { Severity::Warning } else { Severity::Error };
    let findings = Finding::of_problems(rule, subject);
    let filled = findings.into_iter().map(|finding| {
        let key = finding.seen.first().and_then(|seen| seen.tensor.clone());
        let finding = finding.severity(severity);
        match key {
            Some(key) => finding.fill("key", key),
            None => finding,
        }
    });
    filled.collect()
}
