//! A compressed-tensors layer: its numbers from the tensors, and what the config says differently.

use super::packing::Packing;
use super::scheme::Scheme;
use super::{METHOD, Stored};
use crate::problem::kind;
use crate::quant::draft::Draft;
use crate::quant::grain::{Grain, Hint};
use crate::quant::scale_values::Looked;
use crate::quant::{FormatId, LayerSpec, Part, Parts, QuantBlock, Recognized, Side};
use crate::tensor::Dtype;
use crate::units;

/// Bytes of a `weight_shape`: two or three numbers of 8 bytes.
const SHAPE_BYTES_MAX: u64 = 24;
/// Bytes of a group index that are read: a million inputs.
const INDEX_BYTES_MAX: u64 = 4 << 20;

/// A layer that is being recognized.
pub(super) struct Layer<'p, 'a> {
    draft: Draft<'p, 'a>,
    stored: Stored,
    block: Option<&'a QuantBlock>,
    scheme: Option<Scheme<'a>>,
}

/// What `weight_shape` says.
pub(super) enum Declared {
    Shape(u64, u64),
    NotRead,
    Unreadable,
}

impl<'p, 'a> Layer<'p, 'a> {
    pub(super) fn new(parts: &'p Parts<'a>, stored: Stored) -> Option<Self> {
        let spec = LayerSpec::new(FormatId::find("compressed-tensors")?);
        let block = parts.config.block(&[METHOD]);
        let scheme = block.and_then(|block| Scheme::of(block, parts.module.name()));
        Some(Self { draft: Draft::new(parts, spec), stored, block, scheme })
    }

    pub(super) fn recognize(mut self) -> Recognized {
        self.draft.method(|method| method == METHOD, "compressed-tensors");
        self.name_variant();
        self.draft.spec.dtype = Some(self.result_dtype());
        match self.stored {
            Stored::Pack => self.packed_words(),
            Stored::Marlin24 => {
                self.set_bits(self.scheme_bits().unwrap_or(4));
                self.draft.shape_unknown();
            }
            Stored::Gone => self.without_codes(),
            _ => self.codes_in_bytes(),
        }
        self.draft.finish()
    }

    fn name_variant(&mut self) {
        let said = self.scheme.and_then(|scheme| scheme.format);
        let name = match said {
            Some("naive-quantized") if self.stored.may_be_called("naive-quantized") => "naive-quantized",
            Some(said) if self.stored == Stored::Gone => said,
            _ => self.stored.variant(),
        };
        self.draft.spec.variant = name.to_owned();
    }

    /// Returns the dtype of the decoded weights: the scales' if that is a plain one.
    fn result_dtype(&self) -> Dtype {
        let scale = self.draft.parts.get("weight_scale").map(|scale| scale.dtype);
        let plain = scale.filter(|dtype| matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32 | Dtype::F64));
        plain.filter(|_| self.stored.block().is_none()).unwrap_or(Dtype::BF16)
    }

    fn scheme_bits(&self) -> Option<u64> {
        self.scheme.and_then(|scheme| scheme.bits()).filter(|bits| (1..=32).contains(bits))
    }

    fn set_bits(&mut self, bits: u64) {
        self.draft.spec.millibits = bits as u32 * 1000;
    }

    /// `weight` in bytes, or `weight_packed` with a fixed number of codes a byte.
    fn codes_in_bytes(&mut self) {
        let Some(codes) = self.draft.parts.get(self.stored.codes()).copied() else { return };
        let bits = self.stored.bits().unwrap_or(8);
        self.set_bits(bits);
        let Some((&width, rows)) = codes.shape.split_last().filter(|(_, rows)| !rows.is_empty()) else {
            let text = format!("{} is {}, not a matrix", codes.suffix, units::shape(codes.shape));
            self.draft.shape_unknown();
            return self.draft.misfit(codes.suffix, text);
        };
        let inputs = if codes.suffix == "weight" { width } else { width.saturating_mul(8) / bits };
        let shape: Vec<u64> = rows.iter().copied().chain([inputs]).collect();
        self.draft.shape(&shape);
        self.draft.bias("bias", rows);
        self.grain(&shape);
        if self.stored == Stored::Nvfp4 {
            self.global_scale();
        }
        self.symmetry(None, &shape);
        self.compare_kind(bits);
    }

    fn global_scale(&mut self) {
        if !self.draft.parts.has("weight_global_scale") {
            return self.draft.lacks("weight_global_scale");
        }
        if let Looked::Values(seen) = self.draft.finite("weight_global_scale", Dtype::F32)
            && seen.zeros > 0
        {
            self.draft
                .fault(&kind::BAD_SCALES, "weight_global_scale is 0, and scales are divided by it".into());
        }
    }

    /// Codes packed in 32-bit words along the inputs.
    fn packed_words(&mut self) {
        let parts = self.draft.parts;
        let Some(packed) = parts.get("weight_packed").copied() else { return };
        let &[rows, words] = packed.shape else {
            let text = format!("weight_packed is {}, not a matrix", units::shape(packed.shape));
            self.draft.shape_unknown();
            return self.draft.misfit("weight_packed", text);
        };
        let wanted = self.scheme_bits();
        match declared_shape(parts) {
            None => self.draft.lacks("weight_shape"),
            Some(Declared::NotRead) => self.draft.spec.pending = true,
            Some(Declared::Unreadable) => {}
            Some(Declared::Shape(outputs, inputs)) => {
                let shape = [outputs, inputs];
                self.draft.shape(&shape);
                let Some(packing) = Packing::of(words, inputs, wanted).filter(|_| outputs == rows) else {
                    self.set_bits(wanted.unwrap_or(4));
                    let (has, says) = (units::shape(packed.shape), units::shape(&shape));
                    let text = format!("weight_packed is {has}, weight_shape says {says}");
                    return self.draft.misfit("weight_packed", text);
                };
                return self.packed_as(packing, &shape);
            }
        }
        // Without the shape's bytes: what the words hold at most, exact unless a row ends in a gap.
        let bits = wanted.unwrap_or(4);
        self.set_bits(bits);
        let shape = [rows, Packing::codes_max(words, bits)];
        if self.draft.spec.pending {
            // Nothing is checked against a provisional shape.
            self.draft.shape(&shape);
            self.draft.bias("bias", &[rows]);
            self.draft.spec.group_size = self.scheme.and_then(|scheme| scheme.group_size());
            self.draft.spec.symmetric = Some(!parts.has("weight_zero_point"));
            self.draft.spec.act_order = Some(false);
            return;
        }
        self.packed_as(Packing { bits, padded: false }, &shape);
    }

    fn packed_as(&mut self, packing: Packing, shape: &[u64; 2]) {
        self.set_bits(packing.bits);
        self.draft.shape(shape);
        self.draft.bias("bias", &shape[..1]);
        let grain = self.grain(shape);
        self.symmetry(Some(packing), shape);
        self.act_order(shape[1], grain);
        self.compare_kind(packing.bits);
    }

    /// Scales, zero points or a shape, and no codes.
    fn without_codes(&mut self) {
        let parts = self.draft.parts;
        let is_packed = parts.has("weight_shape")
            || parts.has("weight_global_scale")
            || self.draft.spec.variant.contains("pack");
        self.draft.lacks(if is_packed { "weight_packed" } else { "weight" });
        self.set_bits(self.scheme_bits().unwrap_or(if is_packed { 4 } else { 8 }));
        match declared_shape(parts) {
            Some(Declared::Shape(outputs, inputs)) => self.draft.shape(&[outputs, inputs]),
            Some(Declared::NotRead) => {
                self.draft.spec.pending = true;
                self.draft.shape_unknown();
            }
            _ => self.draft.shape_unknown(),
        }
    }

    /// Sets the group size from the scales' shape, and compares it with the config's.
    fn grain(&mut self, shape: &[u64]) -> Option<Grain> {
        let Some(scale) = self.draft.parts.get("weight_scale").copied() else {
            self.draft.lacks("weight_scale");
            return None;
        };
        self.draft.finite("weight_scale", self.stored.scales_read_as(scale.dtype));
        let grain = self.grain_of(scale.shape, shape);
        let said = self.said_grain();
        let Some(grain) = grain else {
            let (has, weight) = (units::shape(scale.shape), units::shape(shape));
            let said = self.stored.block().map(Grain::Group).or(said);
            let wants = said.map_or_else(String::new, |grain| format!(" with {}", grain.describe()));
            self.draft
                .misfit("weight_scale", format!("weight_scale is {has}, the weight is {weight}{wants}"));
            return None;
        };
        self.draft.spec.group_size = grain.along_inputs();
        // The one scale of a weight of one row is both.
        let is_one = shape.iter().rev().skip(1).all(|&rows| rows == 1);
        let is_said =
            |said: Grain| said == grain || is_one && (said, grain) == (Grain::Channel, Grain::Tensor);
        if let Some(said) = said.filter(|said| !is_said(*said)) {
            let path = self.path("weights");
            let (said, seen) = (said.describe(), grain.describe());
            let text = format!("{path} means scales of {said}, the tensors have {seen}");
            self.draft.fault(&kind::QUANT_GROUP_DISAGREES, text);
        }
        Some(grain)
    }

    /// Returns the grain of scales for a weight, both by their shape.
    pub(super) fn grain_of(&self, scales: &[u64], weight: &[u64]) -> Option<Grain> {
        Grain::of(scales, weight, self.hint())
            .filter(|grain| self.stored.block().is_none_or(|size| *grain == Grain::Group(size)))
    }

    fn hint(&self) -> Hint {
        let said = |f: fn(&Scheme<'a>) -> Option<u64>| self.scheme.as_ref().and_then(f);
        Hint {
            group: self.stored.block().or(said(Scheme::group_size)),
            block: self.scheme.and_then(|scheme| scheme.block()),
        }
    }

    /// Returns the grain that the config means, if it says.
    fn said_grain(&self) -> Option<Grain> {
        let scheme = self.scheme?;
        match scheme.strategy() {
            Some("tensor") => Some(Grain::Tensor),
            Some("channel") => Some(Grain::Channel),
            Some("block") => scheme.block().map(|[high, wide]| Grain::Block(high, wide)),
            Some("group" | "tensor_group") | None => scheme.group_size().map(Grain::Group),
            Some(_) => None,
        }
    }

    /// Sets whether the codes are symmetric, and checks the zero points.
    fn symmetry(&mut self, packing: Option<Packing>, shape: &[u64]) {
        let said = self.scheme.and_then(|scheme| scheme.symmetric());
        let zeros = self.draft.parts.get("weight_zero_point").copied();
        let is_int = !self.stored.is_float();
        let symmetric = match zeros {
            None if is_int && said == Some(false) => {
                self.draft.lacks("weight_zero_point");
                false
            }
            None => said.unwrap_or(true),
            Some(_) if !is_int => said.unwrap_or(true),
            Some(zeros) => {
                self.zero_points_fit(&zeros, packing, shape);
                // Old writers stored zero points of symmetric weights too, all zero.
                zeros.dtype == Dtype::I8 && said != Some(false) && self.is_all_zero(&zeros)
            }
        };
        self.draft.spec.symmetric = Some(symmetric);
        if said == Some(true) && !symmetric {
            let text = format!("{} is true, weight_zero_point says not", self.path("weights.symmetric"));
            self.draft.fault(&kind::QUANT_FLAG_DISAGREES, text);
        }
    }

    fn zero_points_fit(&mut self, zeros: &Part<'_>, packing: Option<Packing>, shape: &[u64]) {
        let Some(scale) = self.draft.parts.get("weight_scale") else { return };
        let rows = match packing {
            Some(packing) if zeros.dtype != Dtype::I8 => packing.words(shape[0]),
            _ => scale.shape.first().copied(),
        };
        let mut expected = scale.shape.to_vec();
        if let (Some(first), Some(rows)) = (expected.first_mut(), rows) {
            *first = rows;
        }
        if zeros.shape != expected {
            let (has, needs) = (units::shape(zeros.shape), units::shape(&expected));
            let text = format!("weight_zero_point is {} {has}, the scales need {needs}", zeros.dtype.name());
            self.draft.misfit("weight_zero_point", text);
        }
    }

    fn is_all_zero(&mut self, part: &Part<'_>) -> bool {
        match self.draft.parts.read(part, INDEX_BYTES_MAX) {
            Side::Pending => {
                self.draft.spec.pending = true;
                true
            }
            Side::Bytes(bytes) => bytes.iter().all(|&byte| byte == 0),
            Side::Unreadable(_) => false,
        }
    }

    /// Sets act-order from the group index: true if it is not `i / group_size`.
    fn act_order(&mut self, inputs: u64, grain: Option<Grain>) {
        self.draft.spec.act_order = Some(false);
        let Some(part) = self.draft.parts.get("weight_g_idx").copied() else { return };
        if part.shape != [inputs] || part.dtype != Dtype::I32 {
            let (dtype, has) = (part.dtype.name(), units::shape(part.shape));
            let text = format!("weight_g_idx is {dtype} {has}, the weight needs I32 [{inputs}]");
            return self.draft.misfit("weight_g_idx", text);
        }
        let bytes = match self.draft.parts.read(&part, INDEX_BYTES_MAX) {
            Side::Pending => return self.draft.spec.pending = true,
            Side::Unreadable(_) => return,
            Side::Bytes(bytes) => bytes,
        };
        let size = grain.and_then(Grain::along_inputs).unwrap_or(inputs).max(1);
        let groups = inputs.div_ceil(size) as i64;
        let index = || bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b)));
        // All -1: a buffer that was never filled.
        if index().all(|group| group == -1) {
            return;
        }
        let outside = index().filter(|group| !(0..groups).contains(group)).count();
        if outside > 0 {
            let text = format!("weight_g_idx: {outside} of {inputs} point outside the {groups} groups");
            self.draft.fault(&kind::GROUP_INDEX, text);
        }
        self.draft.spec.act_order = Some(index().zip(0u64..).any(|(group, i)| group != (i / size) as i64));
    }

    /// Compares bits, number type and format with the config's.
    fn compare_kind(&mut self, bits: u64) {
        let Some(scheme) = self.scheme else { return };
        if let Some(said) = scheme.bits().filter(|said| *said != bits) {
            let text = format!("{} is {said}, the tensors have {bits}", self.path("weights.num_bits"));
            return self.draft.fault(&kind::QUANT_BITS_DISAGREE, text);
        }
        let is = self.stored.variant();
        if let Some(said) = scheme.format.filter(|said| !self.stored.may_be_called(said)) {
            let (path, said) = (self.path("format"), crate::name::escape(said));
            self.draft.fault(&kind::QUANT_FLAG_DISAGREES, format!("{path} is {said}, the tensors are {is}"));
        } else if scheme.is_float().is_some_and(|float| float != self.stored.is_float()) {
            let said = if self.stored.is_float() { "int" } else { "float" };
            let text = format!("{} is {said}, the tensors are {is}", self.path("weights.type"));
            self.draft.fault(&kind::QUANT_FLAG_DISAGREES, text);
        }
    }

    fn path(&self, key: &str) -> String {
        let path = self.scheme.zip(self.block).map(|(scheme, block)| scheme.path(block, key));
        path.unwrap_or_else(|| key.to_owned())
    }
}

/// Returns what `weight_shape` says, or `None` if there is no such tensor of a known form.
pub(super) fn declared_shape(parts: &Parts<'_>) -> Option<Declared> {
    let part = parts.get("weight_shape")?;
    let bytes = match parts.read(part, SHAPE_BYTES_MAX) {
        Side::Pending => return Some(Declared::NotRead),
        Side::Unreadable(_) => return Some(Declared::Unreadable),
        Side::Bytes(bytes) => bytes,
    };
    let numbers: Vec<i64> = match part.dtype {
        Dtype::I64 => bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        Dtype::I32 => bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
        _ => return None,
    };
    let &[outputs, inputs] = numbers.as_slice() else { return None };
    Some(Declared::Shape(u64::try_from(outputs).ok()?, u64::try_from(inputs).ok()?))
}
