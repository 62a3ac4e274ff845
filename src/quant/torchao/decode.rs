//! Decoding torchao's tensors, each by the rule of its class, to the dtype that its metadata names.
//!
//! | class                                   | value                                         |
//! |-----------------------------------------|-----------------------------------------------|
//! | `Int8Tensor`, `IntxUnpackedToInt8Tensor` | `(code - zero point) * scale`                |
//! | `Float8Tensor`                          | `code * scale`, in f32                        |
//! | `MXTensor`                              | `code * 2^(scale - 127)`                      |
//! | `NVFP4Tensor`                           | `code * (tensor scale * scale)`               |
//! | `Int4Tensor`                            | `code * scale + zero point`, codes -8 to 7    |
//! | `Int4TilePackedTo4dTensor`              | see `tiles`                                   |
//!
//! The scales of `MXTensor` and `NVFP4Tensor` may be swizzled (`is_swizzled_scales`): see `unswizzled`. Codes
//! in an order of one kernel's own (preshuffled) are refused by name.
//! Source: torchao 0.18, `dequantize` of each class, `quant_primitives.py`.

use serde_json::Value;

use super::{described, tiles};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::scaled::{Blocks, Scaled, transposed};
use crate::quant::decode::{Decoding, floats_as};
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::values::{self, round};
use crate::tensor::{Dtype, elements};
use crate::units;

pub(super) const CAUTION: &str = "written from the format's source; not compared with its own library";

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let meta = described(parts).ok_or("no metadata says which torchao tensor this is")?;
    let class = meta.get("_type").and_then(Value::as_str).ok_or("its metadata has no _type")?;
    let data = meta.get("_data").unwrap_or(&Value::Null);
    if parts.has("_weight_act_pre_scale") {
        return Err(format!("{class} with act_pre_scale: its inputs are scaled at run time"));
    }
    let dtype = layer.dtype.filter(|d| matches!(d, Dtype::F16 | Dtype::BF16 | Dtype::F32));
    let dtype = dtype.ok_or_else(|| format!("{class} without a dtype for its values"))?;
    let codes = parts.get("_weight_qdata").ok_or("missing _weight_qdata")?;
    let this = Class { parts, data, codes, dtype };
    match class {
        "Int8Tensor" | "IntxUnpackedToInt8Tensor" => this.int8(),
        "Float8Tensor" => this.float8(),
        "MXTensor" => this.mx(),
        "NVFP4Tensor" => this.nvfp4(),
        "Int4Tensor" => this.int4(),
        "Int4TilePackedTo4dTensor" => tiles::decode(parts, data, codes, dtype),
        other => Err(format!("torchao's {} cannot be decoded", crate::name::escape(other))),
    }
}

/// A tensor of one class.
struct Class<'p, 'a> {
    parts: &'p Parts<'a>,
    data: &'p Value,
    codes: &'p Part<'a>,
    dtype: Dtype,
}

impl<'p, 'a> Class<'p, 'a> {
    fn part(&self, suffix: &str) -> Result<&'p Part<'a>, String> {
        self.parts.get(suffix).ok_or_else(|| format!("missing {suffix}"))
    }

    fn int8(&self) -> Result<Decoding, String> {
        let (codes, dtype) = (self.codes, self.dtype);
        if codes.dtype != Dtype::I8 {
            return Err(format!("_weight_qdata is {}, not I8", codes.dtype));
        }
        let scale = self.part("_weight_scale")?;
        let zeros = match self.parts.get("_weight_zero_point") {
            Some(zero) => floats_as(self.parts, zero, zero.dtype)?,
            None => Vec::new(),
        };
        let scales = floats_as(self.parts, scale, scale.dtype)?;
        let blocks = Blocks::new(codes.shape, self.block()?, scales, zeros)?;
        let formula = Formula::Centered { difference: dtype, product: Dtype::F32 };
        let codes_mean = Codes::of(Dtype::I8)?;
        let rows = Scaled::new(codes.shape, codes.bytes, codes_mean, blocks, formula)?;
        Ok(Decoding::weight(self.parts, codes, codes.shape, Some(dtype), rows))
    }

    /// Returns the rows and columns that share a scale: the last of `block_size`, whose others are 1.
    fn block(&self) -> Result<[u64; 2], String> {
        let said = self.data.get("block_size").and_then(Value::as_array).ok_or("no block_size")?;
        let said: Option<Vec<u64>> = said.iter().map(Value::as_u64).collect();
        match said.as_deref() {
            Some([leading @ .., rows, columns])
                if leading.len() + 2 == self.codes.shape.len() && leading.iter().all(|&n| n == 1) =>
            {
                Ok([*rows, *columns])
            }
            _ => Err(format!("block_size does not fit {}", units::shape(self.codes.shape))),
        }
    }

    fn float8(&self) -> Result<Decoding, String> {
        let (codes, dtype) = (self.codes, self.dtype);
        let codes_mean = match codes.dtype {
            Dtype::F8E4M3 | Dtype::F8E5M2 => Codes::of(codes.dtype)?,
            other => return Err(format!("_weight_qdata is {other}")),
        };
        let scale = self.part("_weight_scale")?;
        let scales = floats_as(self.parts, scale, scale.dtype)?;
        let [.., rows, columns] = *codes.shape else { return Err("_weight_qdata is no matrix".into()) };
        // Each dimension of the scales divides that of the codes, or is 1.
        let block = match *scale.shape {
            _ if scales.len() == 1 => [rows, columns],
            [.., a, b] if scale.shape.len() == codes.shape.len() && a > 0 && b > 0 => {
                if rows % a != 0 || columns % b != 0 {
                    return Err(format!("_weight_scale is {}, no blocks fit", units::shape(scale.shape)));
                }
                [rows / a, columns / b]
            }
            _ => return Err(format!("_weight_scale is {}", units::shape(scale.shape))),
        };
        let blocks = Blocks::new(codes.shape, block, scales, Vec::new())?;
        let rows = Scaled::new(codes.shape, codes.bytes, codes_mean, blocks, Formula::PRODUCT)?;
        Ok(Decoding::weight(self.parts, codes, codes.shape, Some(dtype), rows))
    }

    fn mx(&self) -> Result<Decoding, String> {
        let dtype = self.dtype;
        let element = self.data.get("elem_dtype");
        let element = element.and_then(|e| e.get("_data").unwrap_or(e).as_str()).unwrap_or_default();
        let codes_mean = match (self.codes.dtype, element) {
            (Dtype::F8E4M3 | Dtype::F8E5M2, _) => Codes::of(self.codes.dtype)?,
            (Dtype::U8, "float4_e2m1fn_x2") => Codes::new(4, values::e2m1),
            (other, name) => return Err(format!("MXTensor of {} in {other}", crate::name::escape(name))),
        };
        let scale = self.part("_weight_scale")?;
        let scales = floats_as(self.parts, scale, Dtype::F8E8M0)?;
        let scales = scales.into_iter().map(|scale| round(dtype, scale)).collect();
        let scales = self.in_rows(scales, codes_mean.bits())?;
        self.groups(codes_mean, scales, Vec::new(), Formula::PRODUCT)
    }

    fn nvfp4(&self) -> Result<Decoding, String> {
        let scale = self.part("_weight_scale")?;
        let mut scales = floats_as(self.parts, scale, scale.dtype)?;
        if let Some(all) = self.parts.get("_weight_per_tensor_scale") {
            let [all] = floats_as(self.parts, all, all.dtype)?[..] else {
                return Err(format!("_weight_per_tensor_scale is {}, not one", units::shape(all.shape)));
            };
            for scale in &mut scales {
                *scale *= all;
            }
        }
        let scales = self.in_rows(scales, 4)?;
        self.groups(Codes::new(4, values::e2m1), scales, Vec::new(), Formula::PRODUCT)
    }

    /// Returns scales row by row, of codes of this many bits.
    fn in_rows(&self, scales: Vec<f32>, bits: u32) -> Result<Vec<f32>, String> {
        if self.data.get("is_swizzled_scales").and_then(Value::as_bool) != Some(true) {
            return Ok(scales);
        }
        let &[rows, bytes] = self.codes.shape else {
            return Err(format!("swizzled scales of {}, which is no matrix", units::shape(self.codes.shape)));
        };
        let inputs = bytes.checked_mul(8 / u64::from(bits)).ok_or("its shape overflows")?;
        let columns = inputs.div_ceil(self.group()?);
        unswizzled(&scales, rows, columns).ok_or_else(|| {
            let count = scales.len();
            format!("{count} swizzled scales, tiles of 128 × 4 over {rows} × {columns} need another count")
        })
    }

    /// Returns how many codes along inputs share a scale.
    fn group(&self) -> Result<u64, String> {
        let said = self.data.get("block_size");
        let group = said.and_then(|said| said.as_array().and_then(|b| b.last()).unwrap_or(said).as_u64());
        group.filter(|&group| group > 0).ok_or_else(|| "no block_size".to_owned())
    }

    fn int4(&self) -> Result<Decoding, String> {
        let (scale, zero) = (self.part("_weight_scale")?, self.part("_weight_zero_point")?);
        let read = |part: &Part<'_>| -> Result<Vec<f32>, String> {
            let [.., groups, outputs] = *part.shape else {
                return Err(format!("{} is no matrix", part.suffix));
            };
            let values = floats_as(self.parts, part, part.dtype)?;
            Ok(transposed(&values, groups as usize, outputs as usize))
        };
        let codes = Codes::new(4, |code| f32::from((code << 4) as i8 >> 4));
        let formula = Formula::Sum { product: Dtype::F32, sum: Dtype::F32 };
        // The library has no decoder of this class to compare with.
        let decoding = self.groups(codes, read(scale)?, read(zero)?, formula)?;
        Ok(Decoding { caution: Some(CAUTION), ..decoding })
    }

    /// Returns rows with a scale for each `block_size` codes along inputs.
    fn groups(
        &self,
        codes_mean: Codes,
        scales: Vec<f32>,
        offsets: Vec<f32>,
        formula: Formula,
    ) -> Result<Decoding, String> {
        let codes = self.codes;
        let group = self.group()?;
        let mut shape = codes.shape.to_vec();
        let last = shape.last_mut().ok_or("_weight_qdata is no matrix")?;
        *last = last.checked_mul(8 / u64::from(codes_mean.bits())).ok_or("its shape overflows")?;
        if elements(&shape).is_none_or(|n| n == 0) {
            return Err(format!("its shape is {}", units::shape(&shape)));
        }
        let blocks = Blocks::new(&shape, [1, group], scales, offsets)?;
        let rows = Scaled::new(&shape, codes.bytes, codes_mean, blocks, formula)?;
        Ok(Decoding::weight(self.parts, codes, &shape, Some(self.dtype), rows))
    }
}

/// Returns `rows × columns` scales in order. They are stored in tiles of 128 rows and 4 columns, padded to whole
/// ones; a tile has 32 lines, each of 4 columns of the rows `l`, `l + 32`, `l + 64`, `l + 96`. `None` if the count
/// is another. Source: torchao 0.18, `prototype/mx_formats/utils.py`, `to_blocked`.
fn unswizzled(stored: &[f32], rows: u64, columns: u64) -> Option<Vec<f32>> {
    const TILE: [u64; 2] = [128, 4];
    let (high, wide) = (rows.div_ceil(TILE[0]), columns.div_ceil(TILE[1]));
    let needed = high.checked_mul(wide)?.checked_mul(TILE[0] * TILE[1])?;
    if needed != stored.len() as u64 {
        return None;
    }
    let place = |row: u64, column: u64| {
        let tile = row / TILE[0] * wide + column / TILE[1];
        tile * TILE[0] * TILE[1] + row % 32 * 16 + row % TILE[0] / 32 * 4 + column % TILE[1]
    };
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| place(row, column)));
    Some(all.map(|at| stored[at as usize]).collect())
}

#[cfg(test)]
mod tests;
