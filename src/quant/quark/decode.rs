//! Decoding quark: `(code - zero point) * scale` for integers, `code * scale` for floats, in f32.
//!
//! Integers in groups are stored transposed, `[in, out]`: codes of an input's outputs, and scales
//! `[groups, out]`. 4-bit codes lie eight a word, in the order 0 2 4 6 1 3 5 7 unless `pack_method` is `order`;
//! `int4` is signed. Zero points are packed as the weights are.
//! Source: quark 0.13, `torch/utils/pack.py`, `kernel/hw_emulation/hw_emulation_interface.py`.

use std::ops::Range;

use super::QuarkScheme;
use crate::quant::affine::{Affine, Groups, Sharing, Zeros};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::scaled::{Blocks, Scaled, transposed};
use crate::quant::decode::{Beside, DecodeRows, Decoding, bytes_of, floats_as};
use crate::quant::kernel::Program;
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::{Dtype, elements, values};
use crate::units;

const CAUTION: &str = "written from the format's source; not compared with its own library";
/// Codes of a 32-bit word.
const WORD: u64 = 8;
/// Where reordered codes of a word are.
const PLACES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let block = parts.config.block(&["quark"]).ok_or("no config says how it is quantized")?;
    let said = QuarkScheme::of(block, parts.module.name());
    let weight = parts.get("weight").ok_or("missing weight")?;
    let scale = parts.get("weight_scale").ok_or("missing weight_scale")?;
    let [outputs, inputs] = layer.shape[..] else { return Err("its shape is not known".into()) };
    if elements(&layer.shape).is_none_or(|n| n == 0) {
        return Err(format!("its shape is {}", units::shape(&layer.shape)));
    }
    if scale.dtype == Dtype::U8 && !matches!(said.scale_format, "" | "e8m0") {
        return Err(format!("scale_format {}", crate::name::escape(said.scale_format)));
    }
    let dtype = matches!(scale.dtype, Dtype::F16 | Dtype::BF16).then_some(scale.dtype);
    let this = Layer { parts, shape: [outputs, inputs], group: layer.group_size, scale };
    let decoding = match (weight.dtype, layer.variant.as_str()) {
        (Dtype::F8E4M3 | Dtype::F8E5M2, _) => this.floats(weight, Codes::of(weight.dtype)?, dtype),
        (Dtype::U8, "mxfp4") => this.floats(weight, Codes::new(4, values::e2m1), dtype),
        (Dtype::U8, "mxfp6") if said.dtype == "fp6_e2m3" => {
            this.floats(weight, Codes::new(6, values::e2m3), dtype)
        }
        (Dtype::U8, "mxfp6") if said.dtype == "fp6_e3m2" => this.floats(weight, Codes::new(6, e3m2), dtype),
        (Dtype::I32, "int4") => {
            let is_reordered =
                block.value.pointer("/export/pack_method").and_then(|m| m.as_str()) != Some("order");
            let codes = Order { is_reordered, is_signed: said.dtype == "int4" };
            match said.dtype {
                "int4" | "uint4" => this.int4(weight, codes, said.is_per_group, dtype),
                other => Err(format!("dtype {} in I32", crate::name::escape(other))),
            }
        }
        (Dtype::I8 | Dtype::U8, "int8") if !said.is_per_group => this.int8(weight, dtype),
        (other, variant) => Err(format!("quark's {variant} in {other} cannot be decoded")),
    }?;
    Ok(Decoding { caution: Some(CAUTION), ..decoding })
}

/// Returns the value of an E3M2 code: sign, 3 exponent bits of bias 3, 2 mantissa bits.
fn e3m2(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 2 & 7), f32::from(code & 3));
    let value = if exponent == 0 { mantissa / 16.0 } else { (4.0 + mantissa) * 2f32.powi(exponent - 5) };
    if code & 32 == 0 { value } else { -value }
}

/// How eight codes lie in a word.
#[derive(Clone, Copy)]
struct Order {
    is_reordered: bool,
    is_signed: bool,
}

impl Order {
    /// Returns the bits of code `at` of a word.
    fn bits(self, word: u32, at: u64) -> u8 {
        let place = if self.is_reordered { PLACES[(at % WORD) as usize] } else { (at % WORD) as u32 };
        (word >> (4 * place) & 15) as u8
    }

    /// Returns what the bits of a code mean.
    fn value(self, code: u8) -> f32 {
        if self.is_signed { f32::from((code << 4) as i8 >> 4) } else { f32::from(code) }
    }

    /// Returns the places of a word's codes, four bits each, and above 32 bits the sign's bit, as kernels take them.
    fn number(self) -> u64 {
        let place = |at: u32| u64::from(if self.is_reordered { PLACES[at as usize] } else { at });
        let places = (0..8).fold(0, |all, at| all | place(at) << (4 * at));
        places | if self.is_signed { 8 << 32 } else { 0 }
    }
}

struct Layer<'p, 'a> {
    parts: &'p Parts<'a>,
    /// Outputs and inputs.
    shape: [u64; 2],
    group: Option<u64>,
    scale: &'p Part<'a>,
}

impl Layer<'_, '_> {
    /// Returns the outputs and inputs that share a scale, and the scales by output.
    fn scales(&self) -> Result<([u64; 2], Vec<f32>), String> {
        let [outputs, inputs] = self.shape;
        let dtype = if self.scale.dtype == Dtype::U8 { Dtype::F8E8M0 } else { self.scale.dtype };
        let scales = floats_as(self.parts, self.scale, dtype)?;
        let has = || format!("weight_scale is {}", units::shape(self.scale.shape));
        match (self.scale.shape, self.group) {
            _ if scales.len() == 1 => Ok(([outputs, inputs], scales)),
            (&[count] | &[count, 1], None) if count == outputs => Ok(([1, inputs], scales)),
            (&[rows, columns], Some(group)) if group > 0 => {
                let groups = inputs.div_ceil(group);
                if [rows, columns] == [outputs, groups] && (rows != columns || self.scale.dtype == Dtype::U8)
                {
                    Ok(([1, group], scales))
                } else if [rows, columns] == [groups, outputs] && rows != columns {
                    Ok(([1, group], transposed(&scales, rows as usize, columns as usize)))
                } else {
                    Err(format!("{}: its order is not known", has()))
                }
            }
            _ => Err(has()),
        }
    }

    fn floats(&self, weight: &Part<'_>, codes: Codes, dtype: Option<Dtype>) -> Result<Decoding, String> {
        let (block, scales) = self.scales()?;
        let blocks = Blocks::new(&self.shape, block, scales, Vec::new())?;
        let rows = Scaled::new(&self.shape, weight.bytes, codes, blocks, Formula::PRODUCT)?;
        Ok(Decoding::weight(self.parts, weight, &self.shape, dtype, rows))
    }

    fn int8(&self, weight: &Part<'_>, dtype: Option<Dtype>) -> Result<Decoding, String> {
        let (block, scales) = self.scales()?;
        let zeros = match self.parts.get("weight_zero_point") {
            Some(zero) => floats_as(self.parts, zero, zero.dtype)?,
            None => Vec::new(),
        };
        let is_signed = weight.dtype == Dtype::I8;
        let codes = Codes::of(if is_signed { Dtype::I8 } else { Dtype::U8 })?;
        let blocks = Blocks::new(&self.shape, block, scales, zeros)?;
        let rows = Scaled::new(&self.shape, weight.bytes, codes, blocks, Formula::CENTERED)?;
        Ok(Decoding::weight(self.parts, weight, &self.shape, dtype, rows))
    }

    fn int4(
        &self,
        weight: &Part<'_>,
        codes: Order,
        is_per_group: bool,
        dtype: Option<Dtype>,
    ) -> Result<Decoding, String> {
        let [outputs, inputs] = self.shape;
        let count = elements(&self.shape).ok_or("its shape overflows")?;
        if weight.bytes != count / 2 {
            return Err(format!("weight has {} bytes for {count} codes of 4 bits", weight.bytes));
        }
        let ([shared, group], scales) = self.scales()?;
        let groups = inputs.div_ceil(group);
        let zeros = self.zeros(codes, is_per_group, scales.len())?;
        let has = (scales.len(), zeros.len());
        let needed = (groups * outputs.div_ceil(shared)) as usize;
        if has.0 != needed || (has.1 != needed && has.1 != 0) {
            return Err(format!("{} scales and {} zero points, not {needed} each", has.0, has.1));
        }
        let zeros = if zeros.is_empty() { Zeros::One(0.0) } else { Zeros::Each(zeros) };
        let sharing = Sharing { outputs: outputs as usize, high: shared as usize };
        let runs = Groups::Runs(group as usize);
        let affine = Affine::shared(scales, zeros, groups as usize, runs, sharing, self.shape)?;
        let rows = Words { shape: self.shape, codes, is_per_group, affine };
        Ok(Decoding::weight(self.parts, weight, &self.shape, dtype, rows))
    }

    /// Returns the zero points by output, as the scales are; none if they are not there.
    fn zeros(&self, codes: Order, is_per_group: bool, scales: usize) -> Result<Vec<f32>, String> {
        let Some(part) = self.parts.get("weight_zero_point") else { return Ok(Vec::new()) };
        if part.dtype != Dtype::I32 {
            return Err(format!("weight_zero_point is {}", part.dtype));
        }
        let bytes = bytes_of(self.parts, part)?;
        let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        if part.shape.is_empty() {
            return Ok(words.map(|word| word as i32 as f32).collect());
        }
        let zeros: Vec<f32> =
            words.flat_map(|word| (0..WORD).map(move |at| codes.value(codes.bits(word, at)))).collect();
        let outputs = self.shape[0] as usize;
        if zeros.len() != scales || outputs == 0 {
            return Err(format!("{} zero points for {scales} scales", zeros.len()));
        }
        Ok(if is_per_group { transposed(&zeros, scales / outputs, outputs) } else { zeros })
    }
}

/// Rows of 4-bit codes, eight a word along inputs, or along outputs where they are stored transposed.
struct Words {
    shape: [u64; 2],
    codes: Order,
    is_per_group: bool,
    affine: Affine,
}

impl Words {
    /// Turns the bits of the codes of rows into what is wanted of them; `finish` is given each row then.
    fn unpack<T>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        value: impl Fn(u8) -> T,
        finish: impl Fn(u64, &mut [T]),
    ) {
        let [outputs, inputs] = self.shape;
        let words = codes.as_chunks::<4>().0;
        let base = self.codes(rows.clone()).start / 4;
        for (row, out) in rows.zip(out.chunks_exact_mut(inputs as usize)) {
            for (input, out) in out.iter_mut().enumerate() {
                let input = input as u64;
                let (word, at) = if self.is_per_group {
                    (input * (outputs / WORD) + row / WORD, row)
                } else {
                    (row * (inputs / WORD) + input / WORD - base, input)
                };
                *out = value(self.codes.bits(u32::from_le_bytes(words[word as usize]), at));
            }
            finish(row, out);
        }
    }
}

impl DecodeRows for Words {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let [outputs, inputs] = self.shape;
        if self.is_per_group {
            0..outputs * inputs / 2
        } else {
            rows.start * inputs / 2..rows.end * inputs / 2
        }
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let value = |code| self.codes.value(code);
        self.unpack(rows, codes, out, value, |row, out| self.affine.apply(row as usize, 0, out));
    }

    fn program(&self) -> Option<Program> {
        let [outputs, inputs] = self.shape;
        let (name, along) = if self.is_per_group { ("words_down", outputs) } else { ("words_along", inputs) };
        // Words that hold codes of two rows have no kernel.
        let words = along.is_multiple_of(WORD).then_some(along / WORD)?;
        let shape = [outputs as usize, inputs as usize];
        Some(self.affine.kernel(name, shape, [words, self.codes.number()])?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.unpack(rows, codes, out, u16::from, |_, _| {});
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.affine.beside(which)
    }
}
