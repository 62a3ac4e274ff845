//! Q032 layer-parts-in-shards: parts of packed layers lie in different shards.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q032", name: "layer-parts-in-shards", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    looks_for: "Packed layers whose weight and scales are in more than one file.",
    why: "Some loaders read shard by shard and look for the scales in the shard of the weight: bitsandbytes \
          8-bit layers in transformers up to 4.5x and diffusers, merges of unsloth. Loaders that put all \
          shards together first are not hurt.",
    messages: &[message("Missing quantization component `SCB`", "transformers up to 4.5x, diffusers")],
    outside: "Without such layers, the scales are missing in all shards.",
    remedy: "Save it again with larger shards, so that each layer is in one file.",
    sources: "transformers and diffusers `quantizer_bnb_8bit.py`; unsloth source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// A warning for bitsandbytes, whose loaders were hurt by it.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (layers, files) = (&subject.checkpoint.layers, subject.files());
    if files.shards.len() < 2 || subject.packed_layers().0 == 0 {
        return Vec::new();
    }
    let is_split = |layer: &u32| {
        let mut shards = layers.tensors(*layer).iter().map(|&tensor| files.tensors[tensor as usize].shard);
        let first = shards.next();
        layers.spec(*layer).is_quantized() && shards.any(|shard| Some(shard) != first)
    };
    let split: Vec<u32> = (0..layers.len() as u32).filter(is_split).collect();
    let Some(&first) = split.first() else { return Vec::new() };
    let is_bnb = split.iter().any(|&layer| layers.spec(layer).format.get().name().starts_with("bnb-"));
    let severity = if is_bnb { Severity::Warning } else { Severity::Info };
    let name = layers.name(&files.names, first);
    let count = units::plural(split.len(), "packed layer");
    let title = format!("{count} lie in more than one shard, {} first.", escape(&name));
    vec![Finding::new(rule, title).severity(severity).seen(Seen::tensors(Some(name), count))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let advice = Fix::advice(finding.rule.remedy);
    [advice].into_iter().chain(remedies::dequantize(subject, "which has no parts to keep together")).collect()
}
