//! Q009 quant-method-unknown: the config names a quantization method that no loader knows.

use super::{config_of_tensors, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "A `quant_method` that is in no list of transformers, vLLM or GPTQModel, over packed tensors.",
    why: "Since about 4.45 transformers warns and skips the quantization: it builds plain layers, finds no \
          plain weights, and fills them with random numbers. Older versions stop.",
    messages: &[message(
        "Unknown quantization type, got {method} - supported types are:",
        "transformers; an error up to 4.4x, a warning since",
    )],
    outside: "An old transformers says it of a method that only newer versions know.",
    remedy: "Write the method that the tensors have, or dequantize.",
    sources: "transformers#35471, DeepSeek-V3#558, LlamaFactory#6777; reproduced on 4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&kind::QUANT_METHOD_UNKNOWN)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let named = subject.quant_method().unwrap_or_default().to_owned();
    Finding::of_problems(rule, subject).into_iter().map(|found| found.fill("method", named.clone())).collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write a config that says what the tensors are", Act::Edit(edits)));
    let decoded = remedies::dequantize(subject, "by what the tensors are");
    remedies::or_advice(written.into_iter().chain(decoded), finding)
}
