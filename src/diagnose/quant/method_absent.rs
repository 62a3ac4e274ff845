//! Q025 quant-method-absent: the quantization block of the config has no `quant_method`.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;
use crate::problem::{ProblemKind, Severity};
use crate::quant::QuantBlock;

static KIND: ProblemKind =
    ProblemKind { code: "Q025", name: "quant-method-absent", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "`quantization_config` of `config.json` without `quant_method`, `load_in_4bit` and \
                `load_in_8bit`.",
    why: "transformers chooses the loader by `quant_method` and stops where it is absent, even if the other \
          keys tell the method and whatever the tensors are.",
    messages: &[message(
        "The model's quantization config from the arguments has no `quant_method` attribute. Make sure \
             that the model has been correctly quantized",
        "transformers, all versions",
    )],
    remedy: "Write the method that the tensors have into the block, or take the block out if nothing is \
             packed.",
    sources: "transformers `quantizers/auto.py`; reproduced on 4.37, 4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Says nothing where the method is not implied either: that is told as a config that is missing.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_told = subject.has_problem(&[&kind::QUANT_CONFIG_MISSING]);
    let Some(block) = block_of(subject).filter(|_| subject.model().is_some() && !is_told) else {
        return Vec::new();
    };
    let title = match &block.method {
        Some(method) => format!(
            "config.json {} has no quant_method; its other keys mean {method}, and transformers does not go by them.",
            block.key
        ),
        None => format!("config.json {} has no quant_method, and transformers stops there.", block.key),
    };
    vec![Finding::new(rule, title).seen(Seen::config(
        &block.file,
        config_blocks::key(block, "quant_method"),
        "absent",
    ))]
}

/// Returns the block that transformers reads, if it names no method.
fn block_of<'a>(subject: &Subject<'a>) -> Option<&'a QuantBlock> {
    let is_silent = |block: &&QuantBlock| {
        let is_bnb =
            block.flag(&["load_in_4bit"]) == Some(true) || block.flag(&["load_in_8bit"]) == Some(true);
        block.key == "quantization_config" && block.text(&["quant_method"]).is_none() && !is_bnb
    };
    config_blocks::all(subject).filter(|block| block.file == "config.json").find(is_silent)
}

/// Methods that transformers has a loader for and that keys alone imply.
const LOADABLE: [&str; 4] = ["compressed-tensors", "awq", "gptq", "hqq"];

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(block) = block_of(subject) else { return vec![Fix::advice(finding.rule.remedy)] };
    let mut fixes = Vec::new();
    let (packed, _) = subject.packed_layers();
    let method = block.method.as_deref().filter(|method| LOADABLE.contains(method));
    if packed == 0 {
        let edits = vec![config_blocks::take_out(block)];
        fixes.push(Fix::new(
            "take the quantization block out of the config: nothing is packed",
            Act::Edit(edits),
        ));
    } else if let Some(method) = method {
        let edits = vec![config_blocks::set(block, "quant_method", Some(method.into()))];
        fixes.push(Fix::new(format!("write quant_method {method} into the block"), Act::Edit(edits)));
    }
    fixes.extend(remedies::dequantize(subject, "which needs no config"));
    remedies::or_advice(fixes, finding)
}
