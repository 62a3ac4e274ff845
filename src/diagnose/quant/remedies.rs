//! Remedies that several rules about quantized checkpoints offer.

use super::config_of_tensors;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::subject::Subject;
use crate::quant::LayerSpec;

/// What dequantizing costs.
pub(in crate::diagnose) const LOSS: &str =
    "what quantization lost stays lost: values are those of the packed layers";

/// Returns the fix that decodes every packed layer, if each of them is whole and of a known format.
pub(in crate::diagnose) fn dequantize(subject: &Subject<'_>, then: &str) -> Option<Fix> {
    let specs = subject.checkpoint.layers.specs();
    let is_bad = |spec: &LayerSpec| !spec.broken.is_empty() || spec.format.get().name() == "unknown";
    let works = specs.iter().any(LayerSpec::is_quantized) && !specs.iter().any(is_bad);
    let summary = if then.is_empty() {
        "dequantize to 16-bit in a new folder".to_owned()
    } else {
        format!("dequantize to 16-bit in a new folder, {then}")
    };
    works.then(|| Fix::new(summary, Act::Dequantize).loss(LOSS))
}

/// Returns these fixes, or the rule's remedy as advice where none of them can be carried out.
pub(in crate::diagnose) fn or_advice(fixes: impl IntoIterator<Item = Fix>, finding: &Finding) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = fixes.into_iter().collect();
    if !fixes.iter().any(Fix::applies) {
        fixes.push(Fix::advice(finding.rule.remedy));
    }
    fixes
}

/// Returns the fixes of a config whose numbers are not those of the tensors: write these, or decode by the tensors.
pub(in crate::diagnose) fn numbers_of_tensors(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write the numbers of the tensors into the config", Act::Edit(edits)));
    or_advice(written.into_iter().chain(dequantize(subject, "by what the tensors are")), finding)
}
