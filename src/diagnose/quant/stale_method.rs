//! Q024 stale-quant-method: the config names a quantization method that nobody knows, over weights that are not
//! packed.

use super::config_blocks;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::quant::is_known_method;

static KIND: ProblemKind =
    ProblemKind { code: "Q024", name: "stale-quant-method", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    looks_for: "A `quant_method` of `config.json` that no loader has (`bf16`, `fp16` …), and no packed \
                layer.",
    why: "A cast to 16-bit renamed the method instead of taking the block out. Up to about 4.44 \
          transformers stops; since then it warns and loads the weights as they are. vLLM stops.",
    messages: &[
        message(
            "Unknown quantization type, got {method} - supported types are:",
            "transformers; an error up to 4.4x, a warning since",
        ),
        message("Unknown quantization method: {method}. Must be one of {any}", "vLLM"),
    ],
    outside: "An old transformers says it of a method that only newer versions know.",
    remedy: "Take the quantization block out of the config.",
    sources: "transformers#35471, DeepSeek-V3#558; reproduced on 4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() || subject.packed_layers().0 > 0 || subject.files().tensors.is_empty() {
        return Vec::new();
    }
    let mut blocks = config_blocks::all(subject).filter(|block| block.file == "config.json");
    let Some(block) = blocks.find(|block| block.method.as_deref().is_some_and(|m| !is_known_method(m)))
    else {
        return Vec::new();
    };
    let method = block.method.as_deref().unwrap_or_default();
    let title = format!(
        "config.json says quant_method {}, which is of no loader that was looked at, and none of {} layers is packed.",
        escape(method),
        subject.checkpoint.layers.len(),
    );
    let place = Seen::config(&block.file, config_blocks::key(block, "quant_method"), method);
    vec![Finding::new(rule, title).fill("method", method).seen(place)]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let edits = config_blocks::take_all_out(subject);
    vec![Fix::new(
        "take the quantization block out of the config; the weights stay as they are",
        Act::Edit(edits),
    )]
}
