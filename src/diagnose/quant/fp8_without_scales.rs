//! Q023 fp8-without-scales: FP8 weights without scales: a plain cast, or scales that were lost.

use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::quant::LayerSpec;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q023", name: "fp8-without-scales", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Matrices of 8-bit floats that no scale belongs to, in any shard.",
    why: "An 8-bit float reaches from 0.002 to 448. Quantizers divide weights by a scale to use that range \
          and store the scale; a plain cast stores none. Without scales every loader takes the values as \
          they are, and says nothing if scales were lost.",
    messages: &[
        message("\"addmm_cuda\" not implemented for 'Float8_e4m3fn'", "torch"),
        message("\"mul_cuda\" not implemented for 'Float8_e4m3fn'", "torch"),
        message("Promotion for Float8 Types is not supported", "torch"),
    ],
    remedy: "Compare some weights with the original model: if they are about 100 times too large, scales \
             are missing and must come from the source. If they agree, cast to BF16.",
    sources: "ComfyUI#4577, ComfyUI#5090, ComfyUI#10910; measured: 4.37 to 5.23 load the raw values",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns how many matrices are 8-bit floats without scales, and the first.
pub(super) fn unscaled(subject: &Subject<'_>) -> (usize, Option<String>) {
    let (layers, names) = (&subject.checkpoint.layers, &subject.files().names);
    let raw: Vec<bool> = layers.specs().iter().map(is_raw).collect();
    if !raw.contains(&true) {
        return (0, None);
    }
    // Other parts than a bias would be scales of a format that is not known.
    let is_alone = |layer: &u32| layers.tensors(*layer).len() <= 2;
    let found: Vec<u32> = (0..layers.len() as u32)
        .filter(|&layer| raw[layers.list()[layer as usize].spec as usize])
        .filter(is_alone)
        .collect();
    (found.len(), found.first().map(|&layer| layers.name(names, layer)))
}

/// Returns true for a matrix of 8-bit floats with nothing beside it but a bias.
pub(super) fn is_raw(spec: &LayerSpec) -> bool {
    let is_narrow = spec.dtype.is_some_and(|dtype| dtype.is_narrow_float() && dtype.bits() == Some(8.0));
    let is_plain = match spec.format.get().name() {
        "dense" => true,
        "unknown" => !spec.variant.contains("scale"),
        _ => false,
    };
    is_plain && is_narrow && spec.shape.len() >= 2
}

/// An error where the config promises scales: then they are lost.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let (count, first) = unscaled(subject);
    if count == 0 {
        return Vec::new();
    }
    let matrices =
        if count == 1 { "1 FP8 matrix has".to_owned() } else { format!("{count} FP8 matrices have") };
    let scaled = ["fp8", "fbgemm_fp8", "compressed-tensors", "modelopt"];
    let block =
        subject.quant_block().filter(|block| block.method.as_deref().is_some_and(|m| scaled.contains(&m)));
    let seen = Seen::tensors(first, format!("{} without scales", units::plural(count, "layer")));
    let Some(block) = block else {
        let title = format!(
            "{matrices} no scales, and no config speaks of any. Either a plain cast, or they are lost."
        );
        return vec![Finding::new(rule, title).seen(seen)];
    };
    let method = block.method.as_deref().unwrap_or_default();
    let title = format!("{matrices} no scales, though {} says {method}: the scales are lost.", block.file);
    let place = Seen::config(&block.file, &block.key, method);
    vec![Finding::new(rule, title).severity(Severity::Error).seen(place).seen(seen)]
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
