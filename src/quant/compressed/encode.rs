//! Encoding compressed-tensors as it is stored: on its own scales and zero points, or on new ones of the same groups.
//!
//! | stored           | new scales                                                                                  |
//! |------------------|---------------------------------------------------------------------------------------------|
//! | packed, int      | as `rules.rs` finds them; none where all rows share one                                      |
//! | float            | likewise                                                                                    |
//! | nvfp4            | likewise; the global scale stays while the largest magnitude fits it                          |
//! | mxfp4, mxfp8     | likewise                                                                                    |
//! | mxfp6, marlin-24 | not written                                                                                 |
//!
//! A group index, the shape and the bias stay as they are. Groups that do not follow each other (act-order) are put in
//! order first, as llm-compressor did. Source: compressed-tensors 0.20, `compressors/`.

use super::Stored;
use super::decode::{Scales, Sizes, divided, group_index, packed_zeros as unpacked_zeros};
use super::layer::Layer;
use super::packing::Packing as Width;
use super::rules::{Floats, Ints, Nvfp4, Powers, coder};
use super::target::packed_zeros;
use crate::quant::affine::{Groups, Zeros, rounded_to};
use crate::quant::decode::{bytes_of, floats, floats_as};
use crate::quant::encode::{Encode, Encoded, Encoding};
use crate::quant::fp8::encode::{finish, usable};
use crate::quant::grain::Grain;
use crate::quant::pack::Packing;
use crate::quant::target::Search;
use crate::quant::tiled::{Finish, Fresh, Layout, Made, Own, Packed};
use crate::quant::tiles::{Code, Coder, Rule, Step, Tiling};
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::Dtype;

pub(super) fn encode(parts: &Parts<'_>, stored: Stored, layer: &LayerSpec) -> Result<Encoding, String> {
    if matches!(stored, Stored::Mxfp6 | Stored::Marlin24) {
        return Err(format!("{} cannot be written, only decoded: --to dense", stored.variant()));
    }
    // What does not fit is refused as decoding refuses it.
    super::decode::decode(parts, stored, layer)?;
    let codes = parts.get(stored.codes()).ok_or("no codes")?;
    let scale = parts.get("weight_scale").ok_or("missing weight_scale")?;
    let sizes = Sizes::of(&layer.shape).ok_or("its shape is not known")?;
    let grain = Layer::new(parts, stored).and_then(|seen| seen.grain_of(scale.shape, &layer.shape));
    let grain = grain.ok_or("its scales do not fit it")?;
    let again = Again { parts, layer, codes, scales: Scales { part: scale, grain, sizes } };
    match stored {
        Stored::Pack => again.packed(),
        Stored::Int => again.ints(),
        Stored::Float => again.floats(codes.dtype),
        Stored::Nvfp4 => again.nvfp4(),
        Stored::Mxfp4 => again.powers(Code::E2M1),
        Stored::Mxfp8 => again.powers(Code::E4M3),
        Stored::Mxfp6 | Stored::Marlin24 | Stored::Gone => Err("its codes cannot be written".into()),
    }
}

/// A layer that is encoded again.
struct Again<'p, 'a> {
    parts: &'p Parts<'a>,
    layer: &'p LayerSpec,
    codes: &'p Part<'a>,
    scales: Scales<'p, 'a>,
}

/// What the tensors beside the codes hold.
struct Beside {
    stored: Vec<Step>,
    kept: Vec<Vec<u8>>,
    order: Option<Vec<u32>>,
    /// False if there is no way to find new scales.
    may_regroup: bool,
}

fn own<R: Rule>(fresh: Fresh<R>, decoded: Dtype, beside: Beside) -> Own<R> {
    let Beside { stored, kept, order, may_regroup } = beside;
    Own { fresh, stored, kept, order, decoded, may_regroup }
}

impl Again<'_, '_> {
    /// Returns the tiles; one scale for all needs no tiles of many rows.
    fn tiling(&self, is_one: bool) -> Result<Tiling, String> {
        let Sizes { outputs, inputs, .. } = self.scales.sizes;
        let block = if is_one { [1, inputs] } else { self.scales.grain.block([outputs, inputs]) };
        Tiling::new(&self.layer.shape, block)
    }

    fn layout(&self, packed: Packed, is_one: bool) -> Result<Layout, String> {
        Ok(Layout {
            tiling: self.tiling(is_one)?,
            packed,
            scales: self.scales.part.dtype,
            has_zeros: false,
            wants_largest: false,
        })
    }

    /// Returns the scales as they are used, which are finite.
    fn values(&self, read_as: Dtype) -> Result<Vec<f32>, String> {
        let values = floats_as(self.parts, self.scales.part, read_as)?;
        usable("weight_scale", &values)?;
        Ok(values)
    }

    fn encoding(&self, more: &[&Part<'_>], encoder: impl Encode + 'static) -> Encoding {
        let tensors = [self.codes, self.scales.part].into_iter().chain(more.iter().copied());
        Encoding { tensors: tensors.map(Encoded::like).collect(), encoder: Box::new(encoder) }
    }

    /// Integers in words.
    fn packed(&self) -> Result<Encoding, String> {
        let Sizes { inputs, .. } = self.scales.sizes;
        let bits = self.layer.millibits / 1000;
        let width = self.codes.shape.last().copied().unwrap_or(0);
        let width = Width::of(width, inputs, Some(u64::from(bits))).ok_or("its words do not fit it")?;
        let packing = if width.padded { Packing::Padded } else { Packing::Dense };
        let zeros = self.parts.get("weight_zero_point");
        let values = match zeros {
            Some(zeros) if zeros.dtype != Dtype::I8 => {
                let unpacked = unpacked_zeros(self.parts, zeros, &self.scales, (packing, bits))?;
                let Zeros::Each(values) = unpacked else { return Err("its zero points are not read".into()) };
                // Stored codes are counted from the least on.
                let middle = (1u32 << (bits - 1)) as f32;
                values.iter().map(|zero| zero - middle).collect()
            }
            zeros => self.plain_zeros(zeros)?,
        };
        let packs_zeros = zeros.filter(|zeros| zeros.dtype != Dtype::I8).map(|_| (packing, bits));
        self.integers(Packed::Words(packing, bits), bits, (zeros, values), packs_zeros)
    }

    /// Integers in bytes.
    fn ints(&self) -> Result<Encoding, String> {
        let zeros = self.parts.get("weight_zero_point");
        self.integers(Packed::Bytes, 8, (zeros, self.plain_zeros(zeros)?), None)
    }

    /// Returns zero points that are stored as numbers, none if there are none.
    fn plain_zeros(&self, zeros: Option<&Part<'_>>) -> Result<Vec<f32>, String> {
        zeros.map_or(Ok(Vec::new()), |_| floats(self.parts, "weight_zero_point"))
    }

    fn integers(
        &self,
        packed: Packed,
        bits: u32,
        (zeros, zero_values): (Option<&Part<'_>>, Vec<f32>),
        packs_zeros: Option<(Packing, u32)>,
    ) -> Result<Encoding, String> {
        let dtype = rounded_to(self.scales.part)?;
        let values = self.values(dtype)?;
        let is_one = values.len() == 1;
        let whole = matches!(self.scales.grain, Grain::Tensor);
        let zero = |at: usize| zero_values.get(at).copied().unwrap_or(0.0);
        let stored = values.iter().enumerate().map(|(at, &scale)| Step::held(scale, zero(at))).collect();
        let mut kept = vec![bytes_of(self.parts, self.scales.part)?];
        if let Some(zeros) = zeros {
            kept.push(bytes_of(self.parts, zeros)?);
        }
        let symmetric = zeros.is_none();
        let layout = Layout { has_zeros: !symmetric, ..self.layout(packed, is_one)? };
        let width = layout.tiling.width();
        let finish: Finish = Box::new(move |made: Made, _| {
            let mut tensors = vec![made.codes, made.scales];
            match packs_zeros {
                _ if symmetric => {}
                Some(how) => tensors.push(packed_zeros(&made.zeros, width, how)),
                None => tensors.push(made.zeros),
            }
            tensors
        });
        let rule = Ints { bits, symmetric, dtype, search: Search::None };
        let fresh = Fresh { layout, coder: coder(Code::Int(bits), dtype), rule, finish };
        let order = self.order(layout.tiling)?;
        let beside = Beside { stored, kept, order, may_regroup: !whole };
        let own = own(fresh, dtype, beside);
        Ok(self.encoding(&zeros.into_iter().collect::<Vec<_>>(), own))
    }

    /// Returns the columns in the order of their groups, where these do not follow each other.
    fn order(&self, tiling: Tiling) -> Result<Option<Vec<u32>>, String> {
        let Some(Groups::Strewn(groups)) = group_index(self.parts, &self.scales)? else { return Ok(None) };
        let mut order: Vec<u32> = (0..groups.len() as u32).collect();
        order.sort_by_key(|&column| groups.get(column as usize));
        let is_whole = order.iter().enumerate().all(|(at, &column)| {
            groups.get(column as usize).is_some_and(|&group| group as usize == at / tiling.wide)
        });
        if is_whole { Ok(Some(order)) } else { Err("groups of its index have different sizes".into()) }
    }

    /// 8-bit floats.
    fn floats(&self, codes: Dtype) -> Result<Encoding, String> {
        if codes != Dtype::F8E4M3 {
            return Err(format!("its codes are {codes}, only E4M3 is written"));
        }
        if floats(self.parts, "weight_zero_point").is_ok_and(|zeros| zeros.iter().any(|&zero| zero != 0.0)) {
            return Err("its floats have zero points".into());
        }
        let dtype = rounded_to(self.scales.part)?;
        let values = self.values(dtype)?;
        let is_one = values.len() == 1;
        let layout = Layout { wants_largest: is_one, ..self.layout(Packed::Bytes, is_one)? };
        let rule = Floats { dtype, is_whole: is_one };
        let finish = finish(self.scales.part);
        let fresh = Fresh { layout, coder: coder(Code::E4M3, dtype), rule, finish };
        let beside = Beside {
            stored: values.iter().map(|&scale| Step::held(scale, 0.0)).collect(),
            kept: vec![bytes_of(self.parts, self.scales.part)?],
            order: None,
            may_regroup: true,
        };
        Ok(self.encoding(&[], own(fresh, dtype, beside)))
    }

    /// Floats whose scales are powers of two.
    fn powers(&self, code: Code) -> Result<Encoding, String> {
        let values = self.values(Dtype::F8E8M0)?;
        let packed = if code == Code::E2M1 { Packed::Nibbles } else { Packed::Bytes };
        let layout = self.layout(packed, false)?;
        let rule = Powers { code, dtype: Dtype::BF16 };
        let finish = finish(self.scales.part);
        let fresh = Fresh { layout, coder: coder(code, Dtype::BF16), rule, finish };
        let beside = Beside {
            stored: values.iter().map(|&scale| Step::held(scale, 0.0)).collect(),
            kept: vec![bytes_of(self.parts, self.scales.part)?],
            order: None,
            may_regroup: true,
        };
        Ok(self.encoding(&[], own(fresh, Dtype::BF16, beside)))
    }

    /// 4-bit floats whose scales stand around a global one.
    fn nvfp4(&self) -> Result<Encoding, String> {
        let global = self.parts.get("weight_global_scale").ok_or("missing weight_global_scale")?;
        let globals = floats(self.parts, "weight_global_scale")?;
        if globals.contains(&0.0) {
            return Err("its global scale is 0, and scales are divided by it".into());
        }
        usable("weight_global_scale", &globals)?;
        let worths = divided(self.parts, &self.scales)?;
        usable("weight_scale", &worths)?;
        let layout = Layout { wants_largest: true, ..self.layout(Packed::Nibbles, false)? };
        let rule = Nvfp4 { dtype: Dtype::BF16, stored: globals.first().copied() };
        let is_f32 = global.dtype == Dtype::F32;
        let finish: Finish = Box::new(move |made: Made, largest| {
            vec![made.codes, made.scales, rule.global(largest).to_le_bytes().to_vec()]
        });
        let coder = Coder { rounded: Dtype::F32, ..coder(Code::E2M1, Dtype::BF16) };
        let beside = Beside {
            stored: worths.iter().map(|&worth| Step::held(worth, 0.0)).collect(),
            kept: vec![bytes_of(self.parts, self.scales.part)?, bytes_of(self.parts, global)?],
            order: None,
            // One number for all matrices that is stored as a list of one: a scalar rounds otherwise.
            may_regroup: is_f32 && global.shape == [1],
        };
        let own = own(Fresh { layout, coder, rule, finish }, Dtype::BF16, beside);
        Ok(self.encoding(&[global], own))
    }
}

#[cfg(test)]
mod tests;
