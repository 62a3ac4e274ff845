//! C004 config-layer-count: the config has another number of layers than the tensors.

use super::{config_of, set};
use crate::checkpoint::stacks;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "The number of layers by the config (`num_hidden_layers`, `n_layer`) against the numbers in the \
                names (`model.layers`, `transformer.h`), for the architectures of text models that are known.",
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

/// Missing layers are an error; layers too many are a warning.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let incomplete = [&kind::MISSING_SHARD, &kind::INCOMPLETE_SET, &kind::INDEX_ESCAPES];
    if subject.has_problem(&incomplete) {
        return Vec::new();
    }
    let counted = stacks::stack_of(subject.files()).and_then(|stack| stacks::counts(subject.files(), stack));
    let is_short = counted.is_some_and(|(said, count, highest)| count < said || highest + 1 > count);
    let severity = if is_short { Severity::Error } else { Severity::Warning };
    let findings = Finding::of_problems(rule, subject);
    findings.into_iter().map(|finding| finding.severity(severity)).collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let files = subject.files();
    let counted = stacks::stack_of(files).and_then(|stack| Some((stack, stacks::counts(files, stack)?)));
    match counted {
        Some((stack, (said, count, highest))) if highest + 1 == count => {
            let loss = if count < said { "right only if the layers were left out on purpose" } else { "" };
            let summary = format!("set {} to {count}, the layers that are here", stack.key);
            let mut edits = vec![set("config.json", stack.key, Some(count.into()))];
            edits.extend(shortened(subject, count));
            vec![Fix::new(summary, Act::Edit(edits)).loss(loss)]
        }
        _ => vec![Fix::advice(finding.rule.remedy)],
    }
}

/// Returns the edits of the lists that have one entry a layer and are too long: transformers refuses them.
fn shortened(subject: &Subject<'_>, count: u64) -> Vec<Edit> {
    let config = config_of(subject).into_iter();
    let lists = config.flat_map(|config| {
        ["layer_types", "mlp_layer_types"]
            .into_iter()
            .filter_map(|key| Some((key, config.get(key)?.as_array()?)))
    });
    let longer = lists.filter(|(_, list)| list.len() as u64 > count);
    longer.map(|(key, list)| set("config.json", key, Some(list[..count as usize].into()))).collect()
}
