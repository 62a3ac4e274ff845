//! Q003 config-names-two-methods: two config files describe the quantization differently, and which one counts
//! depends on the loader.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`config.json` and a side file such as `quantize_config.json` that name different methods, \
                or different settings of one method.",
    why: "transformers and vLLM read `config.json`, AutoGPTQ and AutoAWQ read their own side file. The same \
          folder is then decoded in two ways, and one of them is wrong.",
    remedy: "Keep the block that agrees with the tensors and leave the other out.",
    sources: "AutoGPTQ and AutoAWQ source; GPTQModel#1080",
    fixes,
    ..Rule::new(&kind::QUANT_CONFIGS_DISAGREE)
};

/// The side file goes where `config.json` says what the tensors are.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let disputed = subject.has_problem(&[&kind::QUANT_METHOD_DISAGREES])
        || subject.has_problem(&[&kind::QUANT_BITS_DISAGREE])
        || subject.has_problem(&[&kind::QUANT_GROUP_DISAGREES]);
    let main = config_blocks::all(subject).any(|block| block.file == "config.json" && block.method.is_some());
    let aside: Vec<_> = config_blocks::all(subject)
        .filter(|block| block.file != "config.json")
        .map(config_blocks::take_out)
        .collect();
    let mut fixes = Vec::new();
    if main && !disputed && !aside.is_empty() {
        let what = "keep the block of config.json and leave the side files out";
        fixes.push(Fix::new(what, Act::Edit(aside)));
    }
    remedies::or_advice(fixes, finding)
}
