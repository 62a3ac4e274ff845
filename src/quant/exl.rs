//! ExLlama: EXL2 (mixed 2- to 8-bit groups) and EXL3 (trellis codes).
//!
//! | EXL2 tensor   | dtype | shape               | holds                                    |
//! |---------------|-------|---------------------|------------------------------------------|
//! | `q_weight`    | I32   | `[Σ R_g*b_g/32, out]` | codes, `b_g` bits in group `g`         |
//! | `q_scale`     | I32   | `[groups, out/8]`   | 4-bit scales                             |
//! | `q_scale_max` | F16   | `[groups]`          | scale of the scales                      |
//! | `q_groups`    | I16   | `[2*groups]`        | bits and first word row of each group    |
//! | `q_invperm`   | I32, I16 | `[in]`           | permutation of the inputs                |
//!
//! | EXL3 tensor | dtype | shape                     | holds                              |
//! |-------------|-------|---------------------------|------------------------------------|
//! | `trellis`   | I16   | `[in/16, out/16, 16*K]`   | `K`-bit trellis codes of 16×16 tiles |
//! | `suh`, `svh`| F16   | `[in]`, `[out]`           | sign and scale of inputs, outputs  |
//!
//! Source: exllamav2 `ext.py`, exllamav3 `modules/quant/exl3.py`.

use super::side::{NumberRead, add_bias, bits_word, integers};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::units;

/// The EXL2 format.
pub struct Exl2;
/// The EXL3 format.
pub struct Exl3;

/// Numbers of `q_groups` that are read: two a group, groups of at least 32 inputs.
const GROUP_NUMBERS_MAX: usize = 1 << 16;

impl QuantFormat for Exl2 {
    fn name(&self) -> &'static str {
        "exl2"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["q_weight"],
            parts: &["q_scale", "q_scale_max", "q_groups", "q_invperm", "q_perm", "q_group_map", "bias"],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let codes = parts.get("q_weight")?;
        let mut spec = LayerSpec::new(FormatId::find("exl2")?);
        let mut faults = Vec::new();
        for part in ["q_scale", "q_scale_max", "q_groups"] {
            if !parts.has(part) {
                spec.broken.push(format!("missing {part}"));
                faults.push(Fault::new(&kind::LAYER_INCOMPLETE, format!("missing {part}")));
            }
        }
        let outputs = codes.shape.get(1).copied().unwrap_or(0);
        let order =
            parts.get("q_invperm").or_else(|| parts.get("q_perm")).and_then(|p| p.shape.first().copied());
        let groups = integers(parts, "q_groups", GROUP_NUMBERS_MAX);
        let by_groups = match &groups {
            NumberRead::Numbers(numbers) => inputs_of(numbers, codes.shape.first().copied().unwrap_or(0)),
            _ => None,
        };
        match order.or(by_groups) {
            Some(inputs) => spec = spec.with_shape(&[outputs, inputs]),
            None => spec.shape_known = false,
        }
        if let (Some(a), Some(b)) = (order, by_groups)
            && a != b
        {
            spec.broken.push("q_groups and q_invperm disagree".into());
            let detail = format!("q_groups cover {b} inputs, q_invperm has {a}");
            faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("q_groups"));
        }
        spec.pending = groups == NumberRead::Pending && parts.has("q_groups");
        // Mean bits: the packed words over the weights.
        if spec.parameters > 0 {
            spec.millibits =
                (u128::from(codes.bytes) * 8000 / u128::from(spec.parameters)).min(64_000) as u32;
        }
        spec.dtype = Some(crate::tensor::Dtype::F16);
        spec.symmetric = Some(true);
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("EXL2 {}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(codes) = parts.get("q_weight") {
            lines.push(Evidence::new(
                "q_weight",
                format!("{} {}", codes.dtype, units::shape(codes.shape)),
                None,
            ));
        }
        if let Some(scales) = parts.get("q_scale_max") {
            let groups = scales.shape.first().copied().unwrap_or(0);
            lines.push(Evidence::new(
                "q_groups",
                format!("{groups} groups, mean {:.2} bits", layer.bits()),
                None,
            ));
        }
        lines
    }
}

/// Returns the inputs that the groups cover: each group's word rows times 32 over its bits.
fn inputs_of(numbers: &[i64], rows: u64) -> Option<u64> {
    let groups: Vec<(u64, u64)> = numbers
        .chunks_exact(2)
        .map(|pair| {
            Some((u64::try_from(pair[0]).ok().filter(|b| (2..=8).contains(b))?, u64::try_from(pair[1]).ok()?))
        })
        .collect::<Option<_>>()?;
    let mut inputs = 0u64;
    for (at, &(bits, first)) in groups.iter().enumerate() {
        let next = groups.get(at + 1).map_or(rows, |&(_, next)| next);
        inputs = inputs.checked_add(next.checked_sub(first)?.checked_mul(32)? / bits)?;
    }
    (inputs > 0).then_some(inputs)
}

impl QuantFormat for Exl3 {
    fn name(&self) -> &'static str {
        "exl3"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["trellis"], parts: &["suh", "svh", "su", "sv", "mcg", "mul1", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let trellis = parts.get("trellis")?;
        let mut spec = LayerSpec::new(FormatId::find("exl3")?);
        let mut faults = Vec::new();
        for (part, old) in [("suh", "su"), ("svh", "sv")] {
            if !parts.has(part) && !parts.has(old) {
                spec.broken.push(format!("missing {part}"));
                faults.push(Fault::new(&kind::LAYER_INCOMPLETE, format!("missing {part}")));
            }
        }
        if let [rows, columns, words] = *trellis.shape {
            let shape = [columns.saturating_mul(16), rows.saturating_mul(16)];
            spec = spec.with_shape(&shape);
            spec.millibits = (words / 16).min(8) as u32 * 1000;
            if words % 16 != 0 || !(1..=8).contains(&(words / 16)) {
                spec.broken.push(format!("{words} words a tile"));
                let detail = format!("trellis has {words} words a tile, not 16 times 1 to 8 bits");
                faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("trellis"));
            }
        } else {
            spec.shape_known = false;
            spec.broken.push("trellis is not 3-D".into());
            let detail = format!("trellis is {}, not 3-D", units::shape(trellis.shape));
            faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("trellis"));
        }
        spec.variant = ["mcg", "mul1"].iter().find(|flag| parts.has(flag)).map_or("", |flag| flag).into();
        spec.dtype = Some(crate::tensor::Dtype::F16);
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("EXL3 {}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let text = parts.get("trellis").map_or_else(String::new, |t| {
            format!("{} {}: tiles of 16 × 16, {} bits", t.dtype, units::shape(t.shape), bits_word(layer))
        });
        vec![Evidence::new("trellis", text, None)]
    }
}
