//! Decoding compressed-tensors: `(code - zero) * scale`.
//!
//! | stored                    | code                                      | scale                                |
//! |---------------------------|-------------------------------------------|--------------------------------------|
//! | packed                    | bits, `2^(bits-1)` above the signed value  | as it is                             |
//! | int, float                | the byte's value                          | as it is                             |
//! | nvfp4                     | E2M1, low nibble first                    | E4M3 `/` global, divided in f32      |
//! | mxfp4, mxfp6, mxfp8       | E2M1; E2M3, four in three bytes; E4M3      | a power of two                       |
//!
//! Integers are exact in the scales' dtype, in which the product is rounded; so is that of fp8, whatever the
//! result's dtype. The products of nvfp4 and of powers of two are rounded to BF16. Source: compressed-tensors 0.20,
//! `compressors/` and `quantization/lifecycle/forward.py`.

use std::ops::Range;

use super::Stored;
use super::layer::{Declared, Layer, declared_shape};
use super::packing::Packing as Width;
use crate::quant::affine::{self, Affine, Groups, Sharing, Zeros};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::{Beside, DecodeRows, Decoding, as_numbers, floats, floats_as, words};
use crate::quant::grain::Grain;
use crate::quant::kernel::Program;
use crate::quant::pack::Packing;
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::{Dtype, values};
use crate::units;

pub(super) fn decode(parts: &Parts<'_>, stored: Stored, layer: &LayerSpec) -> Result<Decoding, String> {
    let codes = match stored {
        Stored::Marlin24 => return Err("marlin-24 holds 2:4 sparse weights, which are not decoded".into()),
        Stored::Gone => return Err(layer.broken.first().cloned().unwrap_or_else(|| "no codes".into())),
        _ => parts.get(stored.codes()).ok_or("no codes")?,
    };
    let sizes = Sizes::of(&layer.shape).filter(|_| layer.shape_known).ok_or_else(|| {
        format!("{} is {}, which gives no weight", stored.codes(), units::shape(codes.shape))
    })?;
    let scale = parts.get("weight_scale").ok_or("missing weight_scale")?;
    let grain = Layer::new(parts, stored).and_then(|seen| seen.grain_of(scale.shape, &layer.shape));
    let grain = grain.ok_or_else(|| {
        let (scales, weight) = (units::shape(scale.shape), units::shape(&layer.shape));
        format!("weight_scale is {scales}, the weight is {weight}")
    })?;
    let scales = Scales { part: scale, grain, sizes };
    match stored {
        Stored::Pack => packed(parts, codes, layer, &scales),
        _ => in_bytes(parts, codes, layer, stored, &scales),
    }
}

/// A weight as rows: those of all matrices of a stack.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: u64,
    /// Rows of one matrix.
    pub(super) outputs: u64,
    pub(super) inputs: u64,
}

impl Sizes {
    /// Returns the sizes of a weight that has any values.
    pub(super) fn of(shape: &[u64]) -> Option<Self> {
        let (&inputs, rest) = shape.split_last()?;
        let rows = rest.iter().try_fold(1u64, |rows, &dim| rows.checked_mul(dim))?;
        let sizes = Self { rows, outputs: *rest.last()?, inputs };
        (rows.checked_mul(inputs)? > 0).then_some(sizes)
    }
}

/// The scales of a weight, and how many weights share one.
pub(super) struct Scales<'p, 'a> {
    pub(super) part: &'p Part<'a>,
    pub(super) grain: Grain,
    pub(super) sizes: Sizes,
}

impl Scales<'_, '_> {
    /// Returns how many scales a row of them has, and of how many inputs each is.
    fn width(&self) -> (usize, usize) {
        match self.grain {
            Grain::Tensor | Grain::Channel => (1, self.sizes.inputs as usize),
            Grain::Group(size) | Grain::Block(_, size) => {
                (self.sizes.inputs.div_ceil(size.max(1)) as usize, size as usize)
            }
        }
    }

    /// Returns the scales with the zero points, in the order of `groups` where there is one.
    fn affine(&self, values: Vec<f32>, zeros: Zeros, groups: Option<Groups>) -> Result<Affine, String> {
        let Sizes { rows, outputs, inputs } = self.sizes;
        let (width, run) = self.width();
        let sharing = match self.grain {
            Grain::Tensor if values.len() == 1 => Sharing { outputs: rows as usize, high: rows as usize },
            Grain::Tensor => Sharing { outputs: outputs as usize, high: outputs as usize },
            Grain::Block(high, _) => Sharing { outputs: outputs as usize, high: high as usize },
            Grain::Channel | Grain::Group(_) => Sharing { outputs: rows as usize, high: 1 },
        };
        Affine::shared(values, zeros, width, groups.unwrap_or(Groups::Runs(run)), sharing, [rows, inputs])
    }
}

/// Returns zero points that are stored as numbers, one a scale, above `middle`.
fn plain_zeros(parts: &Parts<'_>, zeros: &Part<'_>, scale: &Part<'_>, middle: f32) -> Result<Zeros, String> {
    if zeros.shape != scale.shape {
        let (has, needs) = (units::shape(zeros.shape), units::shape(scale.shape));
        return Err(format!("weight_zero_point is {has}, the scales are {needs}"));
    }
    let mut values = floats(parts, "weight_zero_point")?;
    for zero in &mut values {
        *zero += middle;
    }
    Ok(Zeros::Each(values))
}

/// Codes packed in words.
fn packed(
    parts: &Parts<'_>,
    codes: &Part<'_>,
    layer: &LayerSpec,
    scales: &Scales<'_, '_>,
) -> Result<Decoding, String> {
    let Sizes { rows, inputs, .. } = scales.sizes;
    match declared_shape(parts) {
        None => return Err("missing weight_shape".into()),
        Some(Declared::Shape(outputs, inputs)) if layer.shape == [outputs, inputs] => {}
        Some(_) => return Err("weight_shape is not read".into()),
    }
    let (bits, width) = (layer.millibits / 1000, codes.shape.last().copied().unwrap_or(0));
    let found = Width::of(width, inputs, Some(u64::from(bits))).filter(|found| found.bits == u64::from(bits));
    let bytes = rows.checked_mul(width).and_then(|words| words.checked_mul(4));
    let Some(found) = found.filter(|_| bytes == Some(codes.bytes)) else {
        let has = units::shape(codes.shape);
        return Err(format!("weight_packed is {has}, {rows} × {inputs} codes of {bits} bits do not fill it"));
    };
    let packing = if found.padded { Packing::Padded } else { Packing::Dense };
    let dtype = affine::rounded_to(scales.part)?;
    let values = floats(parts, "weight_scale")?;
    let middle = (1u32 << (bits - 1)) as f32;
    let zeros = match parts.get("weight_zero_point") {
        None => Zeros::One(middle),
        Some(zeros) if zeros.dtype == Dtype::I8 => plain_zeros(parts, zeros, scales.part, middle)?,
        Some(zeros) => packed_zeros(parts, zeros, scales, (packing, bits))?,
    };
    let groups = group_index(parts, scales)?;
    let affine = scales.affine(values, zeros, groups)?;
    let outputs = rows as usize;
    let packed = Packed { packing, bits, inputs: inputs as usize, outputs, row_bytes: width * 4, affine };
    let mut decoding = Decoding::weight(parts, codes, &layer.shape, Some(dtype), packed);
    // No row of a whole number of 32 codes is as wide in both.
    let either = packing == Packing::Dense && width > 1 && Packing::Padded.words(inputs, bits) == Some(width);
    if either && !32u32.is_multiple_of(bits) {
        decoding.caution =
            Some("its words are as many with gaps behind their codes as without: read as without");
    }
    Ok(decoding)
}

/// Returns zero points that are packed along the outputs, `[words, scales of a row]`.
pub(super) fn packed_zeros(
    parts: &Parts<'_>,
    zeros: &Part<'_>,
    scales: &Scales<'_, '_>,
    (packing, bits): (Packing, u32),
) -> Result<Zeros, String> {
    let (outputs, (width, _)) = (scales.sizes.rows, scales.width());
    let needed = packing.words(outputs, bits).and_then(|words| words.checked_mul(width as u64));
    let stored = words(parts, "weight_zero_point")?;
    if needed != Some(stored.len() as u64) {
        let (has, scales) = (units::shape(zeros.shape), units::shape(scales.part.shape));
        return Err(format!(
            "weight_zero_point is {has}, the scales are {scales} and codes have {bits} bits"
        ));
    }
    let mut by_group = vec![0.0; outputs as usize * width];
    for (group, values) in by_group.chunks_exact_mut(outputs as usize).enumerate() {
        let column: Vec<[u8; 4]> =
            stored.iter().skip(group).step_by(width).map(|word| word.to_le_bytes()).collect();
        packing.unpack(&column, bits, values);
    }
    Ok(Zeros::Each(affine::transposed(&by_group, width, outputs as usize)))
}

/// Returns the group of each input where an index says it: one that was never filled is -1 throughout.
pub(super) fn group_index(parts: &Parts<'_>, scales: &Scales<'_, '_>) -> Result<Option<Groups>, String> {
    if !parts.has("weight_g_idx") {
        return Ok(None);
    }
    let list = words(parts, "weight_g_idx")?;
    if list.iter().all(|&group| group == u32::MAX) {
        return Ok(None);
    }
    let (width, run) = scales.width();
    match list.iter().position(|&group| group as usize >= width) {
        Some(at) => {
            let group = list[at].cast_signed();
            Err(format!("weight_g_idx is {group} at input {at}, there are {width} groups"))
        }
        None => Ok(Some(affine::in_order(list, run))),
    }
}

/// Rows of words.
struct Packed {
    packing: Packing,
    bits: u32,
    inputs: usize,
    outputs: usize,
    row_bytes: u64,
    affine: Affine,
}

impl Packed {
    /// Unpacks rows as numbers; `finish` is given each output with its codes.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let lines = codes.chunks_exact(self.row_bytes as usize);
        let outs = out.chunks_exact_mut(self.inputs);
        for ((out, line), output) in outs.zip(lines).zip(rows.start as usize..) {
            self.packing.unpack(line.as_chunks().0, self.bits, out);
            finish(output, 0, out);
        }
    }
}

impl DecodeRows for Packed {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let Self { packing, bits, inputs, row_bytes, outputs, affine } = self;
        let each = match packing {
            Packing::Padded => 32 / u64::from(*bits),
            _ => 0,
        };
        let own = [row_bytes / 4, u64::from(*bits), each];
        Some(affine.kernel("packed", [*outputs, *inputs], own)?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.bits)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        as_numbers(out, |numbers| self.unpack(&rows, codes, numbers, |_, _, _| {}));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.affine.beside(which)
    }
}

/// Codes of 4, 6 or 8 bits in bytes.
fn in_bytes(
    parts: &Parts<'_>,
    codes: &Part<'_>,
    layer: &LayerSpec,
    stored: Stored,
    scales: &Scales<'_, '_>,
) -> Result<Decoding, String> {
    let Sizes { rows, inputs, .. } = scales.sizes;
    let row_bits = inputs.checked_mul(stored.bits().unwrap_or(8));
    let row_bytes = row_bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
    let Some(row_bytes) = row_bytes.filter(|each| rows.checked_mul(*each) == Some(codes.bytes)) else {
        let (name, has) = (codes.suffix, codes.bytes);
        return Err(format!("{name} has {has} bytes, {rows} × {inputs} codes do not fill them"));
    };
    let meaning = meaning(stored, codes.dtype)?;
    let values = match stored {
        Stored::Nvfp4 => divided(parts, scales)?,
        _ => floats_as(parts, scales.part, stored.scales_read_as(scales.part.dtype))?,
    };
    let zeros = match parts.get("weight_zero_point") {
        Some(zeros) if stored.block().is_none() => plain_zeros(parts, zeros, scales.part, 0.0)?,
        _ => Zeros::One(0.0),
    };
    // In fp8 the product is rounded in the scales' dtype, in 4 bits and in MX in BF16, and the model's config
    // decides the result's.
    let (dtype, rounded) = match stored {
        Stored::Int => (Some(affine::rounded_to(scales.part)?), Dtype::F32),
        Stored::Float => (None, affine::rounded_to(scales.part)?),
        _ => (None, Dtype::BF16),
    };
    let affine = scales.affine(values, zeros, None)?;
    let coded = Coded { codes: meaning, rounded, rows, inputs: inputs as usize, row_bytes, affine };
    Ok(Decoding::weight(parts, codes, &layer.shape, dtype, coded))
}

/// Returns the scales of nvfp4, divided by the global one; a stack may have one a matrix.
pub(super) fn divided(parts: &Parts<'_>, scales: &Scales<'_, '_>) -> Result<Vec<f32>, String> {
    if scales.part.dtype != Dtype::F8E4M3 {
        return Err(format!("weight_scale is {}, not F8_E4M3", scales.part.dtype));
    }
    let mut values = floats(parts, "weight_scale")?;
    let globals = floats(parts, "weight_global_scale")?;
    let matrices = (scales.sizes.rows / scales.sizes.outputs.max(1)) as usize;
    if globals.is_empty() || globals.len() != 1 && globals.len() != matrices {
        return Err(format!("weight_global_scale has {} values for {matrices} matrices", globals.len()));
    }
    // A number without dimensions does not widen what it divides: the quotient is rounded where the codes are.
    let is_scalar = parts.get("weight_global_scale").is_some_and(|global| global.shape.is_empty());
    let each = values.len().div_ceil(globals.len()).max(1);
    for (scales, global) in values.chunks_mut(each).zip(globals) {
        for scale in scales {
            *scale = values::round(if is_scalar { Dtype::BF16 } else { Dtype::F32 }, *scale / global);
        }
    }
    Ok(values)
}

/// Returns what the stored codes mean.
fn meaning(stored: Stored, dtype: Dtype) -> Result<Codes, String> {
    match stored {
        Stored::Nvfp4 | Stored::Mxfp4 => Ok(Codes::new(4, values::e2m1)),
        Stored::Mxfp6 => Ok(Codes::new(6, values::e2m3)),
        _ => Codes::of(dtype).map_err(|why| format!("weight: {why}")),
    }
}

/// Rounds values.
fn rounded(values: &mut [f32], round: impl Fn(f32) -> f32) {
    for value in values {
        *value = round(*value);
    }
}

/// Rows of bytes.
struct Coded {
    codes: Codes,
    /// The dtype in which products are rounded; F32 for those that are not.
    rounded: Dtype,
    rows: u64,
    inputs: usize,
    row_bytes: u64,
    affine: Affine,
}

impl DecodeRows for Coded {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let lines = codes.chunks_exact(self.row_bytes as usize);
        let outs = out.chunks_exact_mut(self.inputs);
        for ((out, line), output) in outs.zip(lines).zip(rows.start as usize..) {
            self.codes.unpack(line, out);
            self.affine.apply(output, 0, out);
            match self.rounded {
                // Spelled out, so that each loop knows its dtype.
                Dtype::BF16 => rounded(out, |value| values::round(Dtype::BF16, value)),
                Dtype::F16 => rounded(out, |value| values::round(Dtype::F16, value)),
                _ => {}
            }
        }
    }

    fn program(&self) -> Option<Program> {
        self.affine.grid([self.rows, self.inputs as u64], self.rounded)?.program(&self.codes, false)
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.codes.bits())
    }

    fn stored_codes(&self, _rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.codes.stored_rows(codes, self.inputs, out);
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.affine.beside(which)
    }
}

#[cfg(test)]
mod tests;
