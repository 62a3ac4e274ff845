//! C004 config-layer-count: the config has another number of layers than the tensors.

use super::{config_of, set_config};
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "num_hidden_layers against the numbers under `model.layers`, for Llama, Mistral, Qwen2, \
                Qwen3, Phi-3 and Gemma.",
    why: "Layers that the config has and the files lack are filled with random values, with no more than a \
          line in the log. Layers that the config does not have are dropped without a word.",
    messages: &[
        message(
            "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
             initialized: ['model.layers.{n}.{any}",
            "transformers up to 4.57",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             ['model.layers.{n}.{any}",
            "transformers up to 4.57",
        ),
        message(
            "model.layers.{any} | MISSING{any}those params were newly initialized because missing from the \
             checkpoint.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    remedy: "Set num_hidden_layers to the layers that are here if they were pruned or repeated on purpose; \
             else get the missing files.",
    sources: "measured with transformers 4.37 to 5.23",
    look,
    fixes,
    ..Rule::new(&kind::CONFIG_LAYERS)
};

/// Returns the layers that the config says, how many there are, and the highest number.
fn counts(subject: &Subject<'_>) -> Option<(u64, u64, u64)> {
    let said = config_of(subject)?.get("num_hidden_layers")?.as_u64()?;
    let names = &subject.files().names;
    let node = names.find("model.layers")?;
    let numbers = names.children(node).filter_map(|child| names.label(child).parse::<u64>().ok());
    let (count, highest) = numbers.fold((0, 0), |(count, highest), n| (count + 1, n.max(highest)));
    Some((said, count, highest))
}

/// Missing layers are an error; layers too many are a warning.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let incomplete = [&kind::MISSING_SHARD, &kind::INCOMPLETE_SET, &kind::INDEX_ESCAPES];
    if crate::diagnose::container::has_problem(subject, &incomplete) {
        return Vec::new();
    }
    let is_short = counts(subject).is_some_and(|(said, count, highest)| count < said || highest + 1 > count);
    let severity = if is_short { Severity::Error } else { Severity::Warning };
    let findings = Finding::of_problems(rule, subject);
    findings.into_iter().map(|finding| finding.severity(severity)).collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    match counts(subject) {
        Some((said, count, highest)) if highest + 1 == count => {
            let loss = if count < said { "right only if the layers were left out on purpose" } else { "" };
            let key = "num_hidden_layers";
            vec![
                set_config(format!("set {key} to {count}, the layers that are here"), key, count.into())
                    .loss(loss),
            ]
        }
        _ => vec![Fix::advice(finding.rule.remedy)],
    }
}
