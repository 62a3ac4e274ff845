//! Q018 gptq-version-disagrees: the config says GPTQ v1 and the zero points are of v2, or the other way round.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "`checkpoint_format` of the config (absent means v1), against zero points that are all 7 \
                (v1) or all 8 (v2).",
    why: "v1 stores zero points minus one, v2 as they are. A reader of the wrong version shifts every \
          weight by one step: the model loads, answers, and answers nonsense.",
    remedy: "Write the `checkpoint_format` that the zero points have.",
    sources: "vllm#38966, vllm#26092, AutoGPTQ#640",
    fixes,
    ..Rule::new(&kind::GPTQ_VERSION)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if let Some(format) = format_of_tensors(subject) {
        let edits: Vec<Edit> = config_blocks::all(subject)
            .filter(|block| block.method.as_deref() == Some("gptq"))
            .map(|block| {
                let key = if block.text(&["checkpoint_format"]).is_none() && block.text(&["format"]).is_some()
                {
                    "format"
                } else {
                    "checkpoint_format"
                };
                config_blocks::set(block, key, Some(format.into()))
            })
            .collect();
        if !edits.is_empty() {
            fixes.push(Fix::new(
                format!("write checkpoint_format {format} into the config"),
                Act::Edit(edits),
            ));
        }
    }
    fixes.extend(remedies::dequantize(subject, "by the zero points and not by the config"));
    remedies::or_advice(fixes, finding)
}

/// Returns the word for what all GPTQ layers are, if they are all alike.
fn format_of_tensors(subject: &Subject<'_>) -> Option<&'static str> {
    let specs = subject.checkpoint.layers.specs();
    let mut variants =
        specs.iter().filter(|spec| spec.format.get().name() == "gptq").map(|spec| spec.variant.as_str());
    let first = variants.next()?;
    let word = match first {
        "v1" => "gptq",
        "v2" => "gptq_v2",
        _ => return None,
    };
    variants.all(|variant| variant == first).then_some(word)
}
