//! Formats that store codes into codebooks or sparse parts: AQLM, VPTQ, SpQR, HIGGS. Named with their
//! numbers; nothing here decodes them.
//!
//! | format | tensors                                             | shape by                              |
//! |--------|-----------------------------------------------------|---------------------------------------|
//! | AQLM   | `codes [out/og, in/ig, nc]`, `codebooks [nc, 2^b, og, ig]`, `scales` | the two    |
//! | VPTQ   | `indices [books, out/v, …]`, `centroids.weight`, `perm`, `weight_scale` | its config      |
//! | SpQR   | `dense_weights` I64, a word for 16 weights; `row_offsets`, `col_vals` | the architecture  |
//! | HIGGS  | `weight` I16, `scales`, `tables`, `tables2`         | `weight` columns are inputs           |
//!
//! VPTQ and SpQR tell their shape in the config alone (`config_for_layers`, `shapes` with the architecture).
//! Source: AQLM `inference.py`, VPTQ `vqlinear.py`, SpQR `inference.py`, transformers 5.23 `higgs.py`.

mod decode;

use super::decode::Decoding;
use super::draft::Draft;
use super::side::{add_bias, bits_word};
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantBlock, QuantFormat, Recognized, Signature};
use crate::tensor::{Dtype, elements};
use crate::units;

/// The AQLM format.
pub struct Aqlm;
/// The VPTQ format.
pub struct Vptq;
/// The `SpQR` format.
pub struct Spqr;
/// The HIGGS format.
pub struct Higgs;

/// Side of a tile of `SpQR`, the only one that its kernels take.
const SPQR_TILE: u64 = 16;
/// Most bits a weight that a codebook format can mean; beyond it the sizes contradict each other.
const MILLIBITS_MAX: u128 = 64_000;

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
        let mut draft = begin(parts, "aqlm", &["codes", "codebooks", "scales"])?;
        match (codes.map(|c| c.shape), books.map(|b| b.shape)) {
            (Some(&[rows, columns, count]), Some(&[books, size, out_group, in_group])) => {
                draft.shape(&[rows.saturating_mul(out_group), columns.saturating_mul(in_group)]);
                if count != books {
                    draft.misfit(
                        "codes",
                        format!("codes have {count} indices a group, there are {books} codebooks"),
                    );
                }
                // Bits a weight: codebooks times bits of an index, over the weights of a group.
                let index_bits = u64::from(64 - size.saturating_sub(1).leading_zeros());
                let group = out_group.saturating_mul(in_group);
                draft.spec.millibits = millibits(count.saturating_mul(index_bits), group);
                draft.spec.group_size = Some(in_group);
                draft.spec.variant = format!("{count}x{index_bits}");
                count_of(&mut draft, "scales", rows);
            }
            (codes, books) => {
                draft.shape_unknown();
                for (part, shape, rank) in [("codes", codes, 3), ("codebooks", books, 4)] {
                    if let Some(shape) = shape.filter(|shape| shape.len() != rank) {
                        draft.misfit(part, format!("{part} is {}, not {rank}-D", units::shape(shape)));
                    }
                }
            }
        }
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("AQLM {}", layer.variant)
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["codes", "codebooks", "scales"])
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::aqlm(parts, layer)
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
        let mut draft = begin(parts, "vptq", &["indices", "centroids.weight"])?;
        let said = VptqConfig::of(parts);
        let by_config = said.as_ref().and_then(|said| said.shape);
        match by_config.map(Vec::from).or_else(|| parts.config.shape_of(parts.module.name())) {
            Some(shape) => draft.shape(&shape),
            None => draft.shape_unknown(),
        }
        if let [_, inputs] = draft.spec.shape[..] {
            for part in ["perm", "weight_scale", "weight_bias"] {
                count_of(&mut draft, part, inputs);
            }
        }
        draft.spec.millibits = said.and_then(|said| said.millibits).unwrap_or_else(|| {
            let stored =
                ["indices", "res_indices", "outlier_indices"].iter().filter_map(|part| parts.get(part));
            stored_millibits(
                stored.map(|part| part.bytes).fold(0, u64::saturating_add),
                draft.spec.parameters,
            )
        });
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("VPTQ {}", bits_word(layer)).trim_end().to_owned()
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["indices", "centroids.weight", "weight_scale"])
    }
}

/// What `config_for_layers` says of one layer.
struct VptqConfig {
    /// Outputs and inputs.
    shape: Option<[u64; 2]>,
    /// Bits of the indices of a vector, over the vector's length.
    millibits: Option<u32>,
}

impl VptqConfig {
    fn of(parts: &Parts<'_>) -> Option<Self> {
        let layer =
            parts.config.block(&["vptq"])?.value.get("config_for_layers")?.get(parts.module.name())?;
        let size = |key: &str| layer.get(key)?.as_u64().filter(|&n| n > 0);
        // Each is a pair: of the outliers, and of the rest; -1 where there is none.
        let second = |key: &str| layer.get(key)?.get(1)?.as_u64();
        let index_bits = |key: &str| second(key).map_or(0, |n| u64::from(n.max(1).ilog2()));
        let bits = index_bits("num_centroids") + index_bits("num_res_centroids");
        let vector = second("vector_lens").filter(|&n| n > 0);
        Some(Self {
            shape: size("out_features").zip(size("in_features")).map(|(out, inputs)| [out, inputs]),
            millibits: vector.filter(|_| bits > 0).map(|vector| millibits(bits, vector)),
        })
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
        let mut draft = begin(parts, "spqr", &["row_offsets", "col_vals"])?;
        let block = parts.config.block(&["spqr"]);
        match parts.config.shape_of(parts.module.name()) {
            Some(shape) => {
                draft.shape(&shape);
                if let [outputs, inputs] = shape[..] {
                    let tiles = outputs.div_ceil(SPQR_TILE).saturating_mul(inputs.div_ceil(SPQR_TILE));
                    count_of(&mut draft, "dense_weights", tiles.saturating_mul(SPQR_TILE));
                }
            }
            None => draft.shape_unknown(),
        }
        // A word holds 16 codes, their scale, zero point and a share of the second order: more than the bits.
        let bits = positive(block, "bits").filter(|bits| (2..=8).contains(bits));
        draft.spec.millibits = bits
            .map_or_else(|| stored_millibits(dense.bytes, draft.spec.parameters), |bits| bits as u32 * 1000);
        draft.spec.group_size = positive(block, "beta2");
        draft.spec.symmetric = Some(false);
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
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
        let tables = parts.get("tables");
        if tables.is_none() && !parts.has("tables2") {
            return None;
        }
        let mut draft = begin(parts, "higgs", &["scales", "tables", "tables2"])?;
        let block = parts.config.block(&["higgs"]);
        // `tables` has an entry for each code.
        let by_table = tables.and_then(|t| elements(t.shape)).filter(|n| n.is_power_of_two());
        let bits = positive(block, "bits").or_else(|| by_table.map(|n| u64::from(n.ilog2())));
        match (weight.shape, bits.filter(|bits| (2..=8).contains(bits))) {
            (&[packed, inputs], Some(bits)) => {
                let outputs = packed.saturating_mul(16) / bits;
                draft.shape(&[outputs, inputs]);
                draft.spec.millibits = bits as u32 * 1000;
                let groups = parts.get("scales").and_then(|scales| scales.shape.get(1)).filter(|&&g| g > 0);
                draft.spec.group_size =
                    positive(block, "group_size").or_else(|| groups.map(|groups| inputs / groups));
                if let Some(group) = draft.spec.group_size.filter(|&group| group > 0) {
                    count_of(&mut draft, "scales", outputs.saturating_mul(inputs / group));
                }
            }
            _ => draft.shape_unknown(),
        }
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("HIGGS{}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        shapes(parts, &["weight", "scales", "tables", "tables2"])
    }
}

/// Starts a layer, with the parts that it lacks.
fn begin<'p, 'a>(parts: &'p Parts<'a>, format: &str, needed: &[&str]) -> Option<Draft<'p, 'a>> {
    let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find(format)?));
    for part in needed.iter().filter(|part| !parts.has(part)) {
        draft.lacks(part);
    }
    Some(draft)
}

/// Notes a part that has not as many elements as the others need.
fn count_of(draft: &mut Draft<'_, '_>, suffix: &str, needed: u64) {
    let has = draft.parts.get(suffix).map(|part| elements(part.shape).unwrap_or(u64::MAX));
    if let Some(has) = has.filter(|&has| has != needed) {
        draft.misfit(suffix, format!("{suffix} has {has} elements, the layer needs {needed}"));
    }
}

/// Returns `bits` that `weights` weights share, in thousandths a weight.
fn millibits(bits: u64, weights: u64) -> u32 {
    (u128::from(bits) * 1000 / u128::from(weights.max(1))).min(MILLIBITS_MAX) as u32
}

fn stored_millibits(bytes: u64, weights: u64) -> u32 {
    if weights == 0 { 0 } else { millibits(bytes.saturating_mul(8), weights) }
}

fn positive(block: Option<&QuantBlock>, key: &str) -> Option<u64> {
    block.and_then(|b| b.int(&[key])).and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0)
}

fn shapes(parts: &Parts<'_>, suffixes: &[&str]) -> Vec<Evidence> {
    let found = suffixes.iter().filter_map(|suffix| parts.get(suffix));
    let line = |p: &Part<'_>| Evidence::new(p.suffix, format!("{} {}", p.dtype, units::shape(p.shape)), None);
    found.map(line).collect()
}

#[cfg(test)]
mod tests;
