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

/// What packing as nf4 costs.
const NF4_LOSS: &str = "every weight is rounded a second time: nf4 has 16 values, and about a tenth of a weight's \
                        size is lost (relative error, measured and said at the end)";

/// Returns the fix that packs as bitsandbytes nf4 what is packed otherwise, in one pass.
pub(in crate::diagnose) fn pack_nf4(subject: &Subject<'_>) -> Option<Fix> {
    let can_decode = dequantize(subject, "").is_some();
    let is_gguf = subject.checkpoint.files.container.name() == "gguf";
    let summary = "make it bnb-nf4 in a new folder, in one pass: QLoRA trains on that as it is";
    (can_decode && !is_gguf).then(|| Fix::new(summary, Act::Pack("bnb-nf4")).loss(NF4_LOSS))
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
