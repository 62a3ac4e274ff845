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

mod decode;

use super::decode::Decoding;
use super::draft::Draft;
use super::side::{NumberRead, add_bias, bits_word, integers, matrix};
use super::{Evidence, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::tensor::{Dtype, elements};
use crate::units;

/// The EXL2 format.
pub struct Exl2;
/// The EXL3 format.
pub struct Exl3;

/// Numbers of `q_groups` that are read: two a group, groups of at least 32 inputs.
const GROUP_NUMBERS_MAX: usize = 1 << 16;
/// Side of a tile of EXL3.
const TILE: u64 = 16;

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
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("exl2")?));
        for part in ["q_scale", "q_scale_max", "q_groups"].iter().filter(|part| !parts.has(part)) {
            draft.lacks(part);
        }
        let [rows, outputs] = matrix(codes).unwrap_or_else(|| {
            draft.misfit("q_weight", format!("q_weight is {}, not 2-D", units::shape(codes.shape)));
            [0, 0]
        });
        let order = parts.get("q_invperm").or_else(|| parts.get("q_perm")).and_then(|p| elements(p.shape));
        let groups = integers(parts, "q_groups", GROUP_NUMBERS_MAX);
        let by_groups = match &groups {
            NumberRead::Numbers(numbers) => inputs_of(numbers, rows),
            _ => None,
        };
        match order.or(by_groups).filter(|&inputs| inputs > 0 && outputs > 0) {
            Some(inputs) => draft.shape(&[outputs, inputs]),
            None => draft.shape_unknown(),
        }
        match (&groups, by_groups, order) {
            (NumberRead::Numbers(_), None, _) => {
                draft.misfit("q_groups", format!("q_groups do not cover the {rows} word rows of q_weight"));
            }
            (_, Some(a), Some(b)) if a != b => {
                draft.misfit("q_groups", format!("q_groups cover {a} inputs, q_invperm has {b}"));
            }
            _ => {}
        }
        check_groups(&mut draft, outputs);
        draft.spec.pending = groups == NumberRead::Pending;
        // Mean bits: the packed words over the weights.
        if draft.spec.parameters > 0 {
            let mean = u128::from(codes.bytes) * 8000 / u128::from(draft.spec.parameters);
            draft.spec.millibits = mean.min(64_000) as u32;
        }
        draft.spec.dtype = Some(Dtype::F16);
        draft.spec.symmetric = Some(true);
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
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

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// The scales must be there for each group, four bits for each output.
fn check_groups(draft: &mut Draft<'_, '_>, outputs: u64) {
    let parts = draft.parts;
    let dims = |suffix: &str| parts.get(suffix).map(|part| part.shape);
    let Some(&[groups]) = dims("q_scale_max") else { return };
    let needed = [groups, outputs.div_ceil(8)];
    if let Some(scales) = dims("q_scale").filter(|scales| *scales != needed) {
        let (has, needs) = (units::shape(scales), units::shape(&needed));
        draft.misfit("q_scale", format!("q_scale is {has}, {groups} groups need {needs}"));
    }
    if let Some(numbers) = dims("q_groups").filter(|&shape| elements(shape) != groups.checked_mul(2)) {
        let has = units::shape(numbers);
        draft.misfit("q_groups", format!("q_groups is {has}, q_scale_max has {groups} groups"));
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
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("exl3")?));
        for (part, old) in [("suh", "su"), ("svh", "sv")] {
            if !parts.has(part) && !parts.has(old) {
                draft.lacks(part);
            }
        }
        if let [rows, columns, words] = *trellis.shape {
            let [inputs, outputs] = [rows, columns].map(|tiles| tiles.saturating_mul(TILE));
            draft.shape(&[outputs, inputs]);
            let bits = words / TILE;
            draft.spec.millibits = bits.min(8) as u32 * 1000;
            if words % TILE != 0 || !(1..=8).contains(&bits) {
                let detail = format!("trellis has {words} words a tile, not 16 times 1 to 8 bits");
                draft.misfit("trellis", detail);
            }
            for (part, needed) in [("suh", inputs), ("svh", outputs)] {
                let has = parts.get(part).and_then(|p| elements(p.shape));
                if let Some(has) = has.filter(|&has| has != needed) {
                    draft.misfit(part, format!("{part} has {has} elements, the trellis needs {needed}"));
                }
            }
        } else {
            draft.shape_unknown();
            draft.misfit("trellis", format!("trellis is {}, not 3-D", units::shape(trellis.shape)));
        }
        draft.spec.variant =
            ["mcg", "mul1"].iter().find(|flag| parts.has(flag)).map_or("", |flag| flag).into();
        draft.spec.dtype = Some(Dtype::F16);
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
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

#[cfg(test)]
mod tests;
