//! Decoding EETQ and `BitNet`.
//!
//! EETQ keeps `[in, out]` bytes in the order of its GPU kernel (compute capability 7.5 and up), each plus 128:
//! every 16 inputs permuted, columns first, 64 inputs of two outputs in turn, and bytes 1 and 2 of each four
//! swapped. `value = (byte - 128) * scale` in F16. Source: EETQ `cutlass_preprocessors.cc`.
//!
//! `BitNet` packs rows of outputs in four planes of 2 bits; `value = (code - 1) / weight_scale` for
//! `linear_class` bitlinear, `* weight_scale` for autobitlinear. Source: transformers `integrations/bitnet.py`.

use std::ops::Range;

use crate::quant::decode::formula::Formula;
use crate::quant::decode::grid::divisor;
use crate::quant::decode::planes::{Packing, Planes, Share};
use crate::quant::decode::{Beside, DecodeRows, Decoding, floats, floats_as};
use crate::quant::kernel::{Kernel, Program};
use crate::quant::side::matrix;
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;
use crate::units;

/// Inputs of an output that lie together.
const TILE: usize = 64;
/// Outputs whose tiles take turns.
const INTERLEAVED: u64 = 2;

/// Rows of an EETQ weight.
struct Shuffled {
    inputs: u64,
    scales: Vec<f32>,
}

pub(super) fn eetq(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = parts.get("weight").or_else(|| parts.get("qweight")).ok_or("missing weight")?;
    let [inputs, outputs] =
        matrix(weight).filter(|_| weight.dtype == Dtype::I8).ok_or("weight is no matrix of I8")?;
    let shape = units::shape(weight.shape);
    if inputs.checked_mul(outputs).is_none_or(|n| n != weight.bytes || n == 0) {
        return Err(format!("weight is {shape} in {} bytes", weight.bytes));
    }
    if inputs % TILE as u64 != 0 || outputs % INTERLEAVED != 0 {
        return Err(format!(
            "weight is {shape}: the kernel's order needs whole tiles of {TILE} × {INTERLEAVED}"
        ));
    }
    let scale = parts.get("weight_scales").ok_or("missing weight_scales")?;
    let scales = floats_as(parts, scale, scale.dtype)?;
    if scales.len() as u64 != outputs || layer.shape != [outputs, inputs] {
        return Err(format!("{} weight_scales for {outputs} outputs", scales.len()));
    }
    let rows = Shuffled { inputs, scales };
    let decoding = Decoding::weight(parts, weight, &layer.shape, Some(Dtype::F16), rows);
    let caution = Some("written from the format's source; not compared with its own library");
    Ok(Decoding { caution, ..decoding })
}

impl Shuffled {
    /// Turns the byte of each weight, with its row, into what is wanted of it.
    fn unpack<T>(&self, rows: Range<u64>, codes: &[u8], out: &mut [T], value: impl Fn(u64, u8) -> T) {
        let first = rows.start / INTERLEAVED;
        for (row, out) in rows.zip(out.chunks_exact_mut(self.inputs as usize)) {
            let pair = &codes[((row / INTERLEAVED - first) * INTERLEAVED * self.inputs) as usize..];
            let turn = (row % INTERLEAVED) as usize;
            let tiles = pair.as_chunks::<TILE>().0.iter().skip(turn).step_by(INTERLEAVED as usize);
            for (out, tile) in out.as_chunks_mut::<TILE>().0.iter_mut().zip(tiles) {
                for (place, &byte) in tile.iter().enumerate() {
                    out[input_at(place)] = value(row, byte);
                }
            }
        }
    }
}

impl DecodeRows for Shuffled {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let pair = self.inputs * INTERLEAVED;
        rows.start / INTERLEAVED * pair..rows.end.div_ceil(INTERLEAVED) * pair
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(rows, codes, out, |row, byte| (f32::from(byte) - 128.0) * self.scales[row as usize]);
    }

    fn program(&self) -> Option<Program> {
        let inputs = u32::try_from(self.inputs).ok()?;
        i32::try_from(self.scales.len()).ok()?;
        let sizes = [self.inputs, divisor(inputs)?];
        Some(Kernel::new("shuffled").floats(&self.scales).numbers(sizes).into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(8)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.unpack(rows, codes, out, |_, byte| u16::from(byte));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        (which == Beside::Scales).then(|| self.scales.clone())
    }
}

/// Returns which of 64 inputs the byte at `place` of a tile holds.
fn input_at(place: usize) -> usize {
    let permuted = place & !3 | [0, 2, 1, 3][place % 4];
    let row = permuted % 16;
    permuted / 16 * 16 + 8 * (row % 4 / 2) + row % 2 + 2 * (row / 4)
}

pub(super) fn bitnet(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = parts.get("weight").ok_or("missing weight")?;
    let scale = parts.get("weight_scale").ok_or("missing weight_scale")?;
    let multiplies = match layer.variant.as_str() {
        "autobitlinear" => true,
        "bitlinear" => false,
        "" => return Err("no config says whether its scale multiplies or divides".into()),
        other => return Err(format!("linear_class {}", crate::name::escape(other))),
    };
    let [outputs, inputs] = layer.shape[..] else { return Err("its shape is not known".into()) };
    if outputs.checked_mul(inputs).is_none_or(|n| n / 4 != weight.bytes || n % 4 != 0) {
        return Err(format!(
            "weight has {} bytes, its shape is {}",
            weight.bytes,
            units::shape(&layer.shape)
        ));
    }
    let scales = floats(parts, "weight_scale")?;
    let dtype = matches!(scale.dtype, Dtype::F16 | Dtype::BF16).then_some(scale.dtype);
    let formula = if multiplies { Formula::CENTERED } else { Formula::CenteredQuotient };
    // Code 1 is 0.
    let shared = (Share::All, scales, vec![1.0]);
    let rows = Planes::new([outputs, inputs], inputs, weight.bytes, Packing::low_first(2), shared, formula)?;
    Ok(Decoding::weight(parts, weight, &layer.shape, dtype, rows.with_fixed_zero()))
}
