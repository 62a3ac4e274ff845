//! Formats that store codes into codebooks or sparse parts: AQLM, VPTQ, SpQR, HIGGS. Named with their
//! numbers; nothing here decodes them.
//!
//! | format | tensors                                             | shape by                              |
//! |--------|-----------------------------------------------------|---------------------------------------|
//! | AQLM   | `codes [out/og, in/ig, nc]`, `codebooks [nc, 2^b, og, ig]`, `scales` | the two    |
//! | VPTQ   | `indices`, `centroids.weight`, `perm`, `weight_scale` | `perm`, `weight_scale` give inputs  |
//! | SpQR   | `dense_weights` I64, `row_offsets`, `col_vals`      | `row_offsets` gives outputs           |
//! | HIGGS  | `weight` I16, `scales`, `tables`, `tables2`         | `weight` columns are inputs           |
//!
//! Source: AQLM `inference.py`, VPTQ `qlinear.py`, SpQR `inference`, transformers `higgs.py`.

use super::side::{add_bias, bits_word};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

/// The AQLM format.
pub struct Aqlm;
/// The VPTQ format.
pub struct Vptq;
/// The `SpQR` format.
pub struct Spqr;
/// The HIGGS format.
pub struct Higgs;

impl QuantFormat for Aqlm {
    fn name(&self) -> &'static str {
        "aqlm"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["codes", "codebooks"], parts: &["scales", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let (codes, books) = (parts.get("codes"), parts.get("codebooks"));
        if codes.is_none() && books.is_none() {
            return None;
        }
        let (mut spec, faults) = complete(parts, "aqlm", &["codes", "codebooks", "scales"])?;
        spec.shape_known = false;
        if let (Some([rows, columns, count]), Some([_, size, out_group, in_group])) =
            (codes.map(|c| c.shape), books.map(|b| b.shape))
        {
            let shape = [rows.saturating_mul(*out_group), columns.saturating_mul(*in_group)];
            spec = spec.with_shape(&shape);
            spec.shape_known = true;
            // Bits a weight: codebooks times bits of an index, over the weights of a group.
            let index_bits = 64 - size.saturating_sub(1).leading_zeros();
            let group = out_group.saturating_mul(*in_group).max(1);
            spec.millibits =
                (count.saturating_mul(u64::from(index_bits)).saturating_mul(1000) / group).min(64_000) as u32;
            spec.group_size = Some(*in_group);
            spec.variant = format!("{count}x{index_bits}");
        }
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("AQLM {}", layer.variant)
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["codes", "codebooks", "scales"])
    }
}

impl QuantFormat for Vptq {
    fn name(&self) -> &'static str {
        "vptq"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["indices", "centroids.weight"],
            parts: &[
                "res_indices",
                "res_centroids.weight",
                "outlier_indices",
                "outlier_centroids.weight",
                "perm",
                "weight_scale",
                "weight_bias",
                "invert_perm",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        if !parts.has("indices") && !parts.has("centroids.weight") {
            return None;
        }
        let (mut spec, faults) = complete(parts, "vptq", &["indices", "centroids.weight"])?;
        // The tensors tell inputs (one scale each); outputs stand only in the config and the architecture.
        match parts.config.shape_of(parts.module) {
            Some(shape) => spec = spec.with_shape(&shape),
            None => spec.shape_known = false,
        }
        Some(Recognized { spec, faults })
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "VPTQ".into()
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["indices", "centroids.weight", "weight_scale"])
    }
}

impl QuantFormat for Spqr {
    fn name(&self) -> &'static str {
        "spqr"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["dense_weights"], parts: &["row_offsets", "col_vals", "in_perm", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let dense = parts.get("dense_weights")?;
        let (mut spec, faults) = complete(parts, "spqr", &["row_offsets", "col_vals"])?;
        // Tiles of 16 × 16 in 64-bit words; the shape stands in the architecture.
        match parts.config.shape_of(parts.module) {
            Some(shape) => {
                spec = spec.with_shape(&shape);
                let weights = u128::from(spec.parameters.max(1));
                spec.millibits = (u128::from(dense.bytes) * 8000 / weights).min(64_000) as u32;
            }
            None => spec.shape_known = false,
        }
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("SpQR {}", bits_word(layer)).trim_end().to_owned()
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["dense_weights", "row_offsets", "col_vals"])
    }
}

impl QuantFormat for Higgs {
    fn name(&self) -> &'static str {
        "higgs"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["tables", "tables2"], parts: &["scales", "weight", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let weight = parts.get("weight").filter(|w| w.dtype == Dtype::I16)?;
        if !parts.has("tables") && !parts.has("tables2") {
            return None;
        }
        let (mut spec, faults) = complete(parts, "higgs", &["scales", "tables", "tables2"])?;
        let block = parts.config.block(&["higgs"]);
        let bits = block.and_then(|b| b.int(&["bits"])).filter(|b| (2..=8).contains(b)).map(|b| b as u64);
        match (weight.shape, bits) {
            ([packed, inputs], Some(bits)) => {
                let shape = [packed.saturating_mul(16) / bits, *inputs];
                spec = spec.with_shape(&shape);
                spec.millibits = bits as u32 * 1000;
            }
            _ => spec.shape_known = false,
        }
        spec.group_size =
            block.and_then(|b| b.int(&["group_size"])).and_then(|g| u64::try_from(g).ok()).filter(|&g| g > 0);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("HIGGS{}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["weight", "scales", "tables", "tables2"])
    }
}

/// Returns a spec with its missing parts named, and its bias.
fn complete(parts: &Parts<'_>, format: &str, needed: &[&str]) -> Option<(LayerSpec, Vec<Fault>)> {
    let mut spec = LayerSpec::new(FormatId::find(format)?);
    let mut faults = Vec::new();
    for part in needed.iter().filter(|part| !parts.has(part)) {
        spec.broken.push(format!("missing {part}"));
        faults.push(Fault::new(&kind::LAYER_INCOMPLETE, format!("missing {part}")));
    }
    add_bias(parts, &mut spec);
    Some((spec, faults))
}

fn shapes(parts: &Parts<'_>, suffixes: &[&str]) -> Vec<Evidence> {
    let found = suffixes.iter().filter_map(|suffix| parts.get(suffix));
    found.map(|p| Evidence::new(p.suffix, format!("{} {}", p.dtype, units::shape(p.shape)), None)).collect()
}
