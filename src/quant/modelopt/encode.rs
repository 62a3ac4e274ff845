//! Encoding modelopt as it is stored: on its own scales, or on new ones for the same groups.
//!
//! | layout       | new scales                                                                              |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | fp8          | `max|w| / 448`                                                                          |
//! | nvfp4        | `e4m3(max|w| / (6 · second))`; the second one stays while the largest magnitude fits it, |
//! |              | else it is that magnitude `/ 2688`                                                      |
//! | mxfp4, mxfp8 | `max|w| / 6` or `/ 448`, rounded up to a power of two                                   |
//! | int4         | not written, nor what has a `pre_quant_scale` or a low-rank part                        |
//!
//! Written from the description of modelopt 0.47, `torch/quantization/qtensor`, and not compared with it: new scales may
//! differ from its own by a rounding. Codes on the stored scales are the nearest ones.

use super::{Variant, scale_of, second_scale_of, weight_of};
use crate::quant::decode::{bytes_of, floats_as};
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::fp8::encode::{finish, is_written, usable};
use crate::quant::fp8::rules::{Kept, Scaling};
use crate::quant::grain::Grain;
use crate::quant::tiled::{Finish, Fresh, Layout, Made, Own, Packed};
use crate::quant::tiles::kernel::{Finder, Finding, number_of};
use crate::quant::tiles::{Code, Coder, Rule, Step, Tiling, magnitude};
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::narrow::{E2M1_MAX, E4M3_MAX, e4m3_code};
use crate::tensor::{Dtype, values};

pub(super) fn encode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    let variant = Variant::of(parts).ok_or("not a layout of modelopt")?;
    if variant == Variant::Int4 || parts.has("pre_quant_scale") {
        return Err("int4 and what has a pre_quant_scale cannot be written, only decoded: --to dense".into());
    }
    // What does not fit is refused as decoding refuses it.
    super::decode::decode(parts, layer)?;
    let weight = weight_of(parts).ok_or("missing weight")?;
    let scale = scale_of(parts).ok_or("missing weight_scale")?;
    let is_e4m3 = matches!(variant, Variant::Fp8 | Variant::Mxfp8);
    if is_e4m3 && weight.dtype != Dtype::F8E4M3 {
        return Err(format!("its codes are {}, only E4M3 is written", weight.dtype));
    }
    let [.., outputs, inputs] = *layer.shape else { return Err("its shape is not known".into()) };
    let grain =
        Grain::of(scale.shape, &layer.shape, variant.hint(parts)).ok_or("its scales do not fit it")?;
    let again = Again { parts, layer, weight, scale, variant, grain, sizes: [outputs, inputs] };
    if variant == Variant::Nvfp4 { again.nvfp4() } else { again.plain() }
}

/// A layer that is encoded again.
struct Again<'p, 'a> {
    parts: &'p Parts<'a>,
    layer: &'p LayerSpec,
    weight: &'p Part<'a>,
    scale: &'p Part<'a>,
    variant: Variant,
    grain: Grain,
    /// Outputs and inputs of a matrix.
    sizes: [u64; 2],
}

impl Again<'_, '_> {
    fn layout(&self, scales: Dtype, is_one: bool) -> Result<Layout, String> {
        let block = if is_one { [1, self.sizes[1]] } else { self.grain.block(self.sizes) };
        let is_nibbles = matches!(self.variant, Variant::Nvfp4 | Variant::Mxfp4);
        Ok(Layout {
            tiling: Tiling::new(&self.layer.shape, block)?,
            packed: if is_nibbles { Packed::Nibbles } else { Packed::Bytes },
            scales,
            has_zeros: false,
            wants_largest: is_one || self.variant == Variant::Nvfp4,
        })
    }

    fn decoded(&self) -> Dtype {
        self.layer.dtype.unwrap_or(Dtype::BF16)
    }

    /// One scale a code.
    fn plain(&self) -> Result<Encoding, String> {
        let dtype = self.variant.scales_read_as(self.scale.dtype);
        let scales = floats_as(self.parts, self.scale, dtype)?;
        usable("weight_scale", &scales)?;
        let is_one = scales.len() == 1;
        let code = if self.variant == Variant::Mxfp4 { Code::E2M1 } else { Code::E4M3 };
        let kept = if self.variant == Variant::Fp8 { Kept::Quotient } else { Kept::Power };
        let rule = Scaling { kept, code, dtype, is_whole: is_one };
        let layout = self.layout(dtype, is_one)?;
        let own = Own {
            fresh: Fresh { layout, coder: rule.coder(), rule, finish: finish(self.scale) },
            stored: scales.iter().map(|&scale| Step::held(scale, 0.0)).collect(),
            kept: vec![bytes_of(self.parts, self.scale)?],
            order: None,
            decoded: self.decoded(),
            may_regroup: is_written(dtype),
        };
        let tensors = vec![Encoded::like(self.weight), Encoded::like(self.scale)];
        Ok(Encoding { tensors, encoder: Box::new(own) })
    }

    /// Scales around a second one.
    fn nvfp4(&self) -> Result<Encoding, String> {
        let second = second_scale_of(self.parts).ok_or("missing weight_scale_2")?;
        let seconds = floats_as(self.parts, second, second.dtype)?;
        let mut scales = floats_as(self.parts, self.scale, self.scale.dtype)?;
        super::decode::multiply(&mut scales, seconds.clone(), Some(seconds.len() as u64))?;
        usable("weight_scale", &scales)?;
        let rule = Second { stored: seconds.first().copied().unwrap_or(0.0) };
        let finish: Finish = Box::new(move |made: Made, largest| {
            vec![made.codes, made.scales, rule.second(largest).to_le_bytes().to_vec()]
        });
        let own = Own {
            fresh: Fresh {
                layout: self.layout(Dtype::F8E4M3, false)?,
                coder: Coder::nearest(Code::E2M1),
                rule,
                finish,
            },
            stored: scales.iter().map(|&scale| Step::held(scale, 0.0)).collect(),
            kept: vec![bytes_of(self.parts, self.scale)?, bytes_of(self.parts, second)?],
            order: None,
            decoded: self.decoded(),
            may_regroup: seconds.len() == 1
                && second.dtype == Dtype::F32
                && self.scale.dtype == Dtype::F8E4M3,
        };
        let tensors = [self.weight, self.scale, second].map(Encoded::like).to_vec();
        Ok(Encoding { tensors, encoder: Box::new(own) })
    }
}

/// Scales that are multiplied by a second one.
#[derive(Clone, Copy, Debug)]
struct Second {
    stored: f32,
}

impl Second {
    /// Returns the second scale of a layer of this largest magnitude.
    fn second(self, largest: f32) -> f32 {
        const RANGE: f32 = E4M3_MAX * E2M1_MAX;
        /// What rounds to the largest scale still fits, and what leaves the scales some powers of two to spare.
        const FITS: std::ops::RangeInclusive<f32> = 1.0 / 64.0..=1.03;
        let needed = largest / RANGE;
        if FITS.contains(&(needed / self.stored)) { self.stored } else { needed }
    }
}

impl Rule for Second {
    fn step(&self, range: [f32; 2], _values: &[f32], whole: f32) -> Result<Step, String> {
        /// The smallest E4M3.
        const LEAST: f32 = 1.0 / 512.0;
        let second = self.second(whole);
        let local = magnitude(range) / (E2M1_MAX * second);
        // Of zeros, and of a second scale of 0.
        let local = if local.is_finite() && local > 0.0 { local.max(LEAST) } else { 1.0 };
        let stored = values::e4m3(e4m3_code(local));
        Ok(Step { stored, ..Step::held(stored * second, 0.0) })
    }

    fn finder(&self, whole: f32) -> Option<Finder> {
        Some(Finder::new(Finding::Second, [number_of(self.second(whole))]))
    }
}
