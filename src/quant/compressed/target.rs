//! compressed-tensors as something to write: what llm-compressor stores without calibration.
//!
//! What is written for a scheme is in `preset.rs`, how its scales are found in `rules.rs`.
//!
//! Source: compressed-tensors 0.20, `compressors/`, `quantization/quant_scheme.py`; llm-compressor's configs.

use serde_json::{Value, json};

use super::METHOD;
use super::preset::{BLOCK, Preset};
use super::rules::{Floats, Ints, Nvfp4, Powers, coder};
use crate::quant::LayerSpec;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::pack::Packing;
use crate::quant::target::{Candidate, Model, Row, Scope, Search, Target, group_word};
use crate::quant::tiled::{Finish, Fresh, Layout, Made, Packed};
use crate::quant::tiles::{Code, Rule, Tiling};
use crate::tensor::Dtype;

/// Writes any scheme.
pub static TO_COMPRESSED: Row = Row {
    name: "compressed-tensors",
    about: "what vLLM reads best: --scheme w4a16, w4a16-asym, w8a16, w8a8, fp8-channel, fp8-tensor, fp8-block, \
            nvfp4a16, mxfp4, mxfp8",
    options: &["--scheme", "--bits", "--group-size", "--asym", "--search"],
    make: |wishes| Ok(Box::new(ToCompressed { preset: Preset::of(wishes)? })),
};
/// Writes nvfp4 without quantized activations.
pub static TO_NVFP4: Row = Row {
    name: "nvfp4",
    about: "compressed-tensors of scheme nvfp4a16: 4-bit floats, an 8-bit scale for 16 values",
    options: &[],
    make: |_| Ok(Box::new(ToCompressed { preset: Preset::Nvfp4 })),
};

/// How layers are written.
#[derive(Debug)]
struct ToCompressed {
    preset: Preset,
}

impl Target for ToCompressed {
    fn format(&self) -> &'static str {
        METHOD
    }

    fn label(&self) -> String {
        match self.preset {
            Preset::Pack { bits, symmetric, group, .. } => {
                let asym = if symmetric { "" } else { " asym" };
                format!("CT{bits}{asym} {}", group_word(group))
            }
            Preset::W8A8 { .. } => "CT8 w8a8".into(),
            Preset::Fp8Channel => "FP8 row".into(),
            Preset::Fp8Tensor => "FP8 tensor".into(),
            Preset::Fp8Block => format!("FP8 b{BLOCK}"),
            Preset::Nvfp4 => "NVFP4".into(),
            Preset::Mxfp4 => "MXFP4".into(),
            Preset::Mxfp8 => "MXFP8".into(),
        }
    }

    fn method(&self) -> String {
        self.search().method().into()
    }

    fn scope(&self) -> Scope {
        Scope::Linears
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        let is_format = layer.format.get().name() == METHOD && layer.variant == self.preset.format();
        // What is not here is not told by what is known of a layer: how many rows share a scale of fp8, gaps
        // between codes that do not divide a word.
        let is_told = match self.preset {
            Preset::Pack { bits, .. } => 32u32.is_multiple_of(bits),
            Preset::W8A8 { .. } | Preset::Nvfp4 | Preset::Mxfp4 | Preset::Mxfp8 => true,
            Preset::Fp8Channel | Preset::Fp8Tensor | Preset::Fp8Block => false,
        };
        let symmetric = !matches!(self.preset, Preset::Pack { symmetric: false, .. });
        is_format
            && is_told
            && layer.millibits == self.preset.bits() * 1000
            && layer.group_size == self.preset.group()
            && layer.symmetric.unwrap_or(true) == symmetric
            && layer.act_order != Some(true)
            && layer.broken.is_empty()
    }

    fn shares_largest(&self) -> bool {
        self.preset == Preset::Nvfp4
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [rows, columns] = layer.matrix()?;
        if !matches!(layer.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) {
            return Err(format!("it is {}, compressed-tensors packs F16, BF16 and F32", layer.dtype));
        }
        if let Some(group) = self.preset.group().filter(|group| !columns.is_multiple_of(*group)) {
            return Err(format!("its rows of {columns} are not whole groups of {group}"));
        }
        let high = match self.preset {
            Preset::Fp8Block => [BLOCK, BLOCK],
            scheme => [1, scheme.group().unwrap_or(columns)],
        };
        let tiling = Tiling::new(layer.shape, high)?;
        let making = Making { shape: [rows, columns], dtype: layer.dtype, tiling };
        match self.preset {
            Preset::Pack { bits, symmetric, search, .. } => making.packed(bits, symmetric, search),
            Preset::W8A8 { search } => {
                let rule = Ints { bits: 8, symmetric: true, dtype: layer.dtype, search };
                making.bytes(Code::Int(8), rule, layer.dtype)
            }
            Preset::Fp8Channel | Preset::Fp8Block => {
                making.bytes(Code::E4M3, Floats { dtype: layer.dtype, is_whole: false }, layer.dtype)
            }
            Preset::Fp8Tensor => making.whole(),
            Preset::Nvfp4 => making.nvfp4(),
            Preset::Mxfp4 => making.nibbles(),
            Preset::Mxfp8 => {
                making.bytes(Code::E4M3, Powers { code: Code::E4M3, dtype: layer.dtype }, Dtype::U8)
            }
        }
    }

    fn without_search(&self) -> Option<Box<dyn Target>> {
        let scheme = match self.preset {
            Preset::Pack { bits, symmetric, group, .. } => {
                Preset::Pack { bits, symmetric, group, search: Search::None }
            }
            Preset::W8A8 { .. } => Preset::W8A8 { search: Search::None },
            _ => return None,
        };
        (self.search() != Search::None).then(|| Box::new(Self { preset: scheme }) as Box<dyn Target>)
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let format = self.preset.format();
        json!({
            "config_groups": {"group_0": {
                "format": format,
                "input_activations": self.preset.activations(),
                "output_activations": null,
                "targets": ["Linear"],
                "weights": self.preset.weights(),
            }},
            "format": format,
            "global_compression_ratio": null,
            "ignore": model.plain_with_head(),
            "kv_cache_scheme": null,
            "moe_sparsity_config": null,
            "quant_method": METHOD,
            "quantization_status": "compressed",
            "sparsity_config": {},
            "transform_config": {},
            "version": "0.20.0",
        })
    }
}

impl ToCompressed {
    fn search(&self) -> Search {
        match self.preset {
            Preset::Pack { search, .. } | Preset::W8A8 { search } => search,
            _ => Search::None,
        }
    }
}

/// A layer that is to be encoded.
struct Making {
    shape: [u64; 2],
    dtype: Dtype,
    tiling: Tiling,
}

impl Making {
    /// Returns the shape of the scales.
    fn scales(&self) -> [u64; 2] {
        [self.shape[0].div_ceil(self.tiling.high), self.tiling.width() as u64]
    }

    fn layout(&self, packed: Packed, scales: Dtype) -> Layout {
        Layout { tiling: self.tiling, packed, scales, has_zeros: false, wants_largest: false }
    }

    fn encoding<R: Rule + 'static>(
        &self,
        tensors: Vec<Encoded>,
        (code, layout, rule): (Code, Layout, R),
        finish: Finish,
    ) -> Encoding {
        let encoder = Fresh { layout, coder: coder(code, self.dtype), rule, finish };
        Encoding { tensors, encoder: Box::new(encoder) }
    }

    /// Integers in words.
    fn packed(&self, bits: u32, symmetric: bool, search: Search) -> Result<Encoding, String> {
        let [rows, columns] = self.shape;
        let words = |codes| Packing::Dense.words(codes, bits).ok_or("its shape overflows");
        let width = self.tiling.width();
        let mut tensors = vec![
            Encoded::new("weight_packed", Dtype::I32, &[rows, words(columns)?])?,
            Encoded::new("weight_scale", self.dtype, &self.scales())?,
        ];
        if !symmetric {
            tensors.push(Encoded::new("weight_zero_point", Dtype::I32, &[words(rows)?, width as u64])?);
        }
        tensors.push(Encoded::new("weight_shape", Dtype::I64, &[2])?);
        let layout = self.layout(Packed::Words(Packing::Dense, bits), self.dtype);
        let layout = Layout { has_zeros: !symmetric, ..layout };
        let rule = Ints { bits, symmetric, dtype: self.dtype, search };
        let shape: Vec<u8> = self.shape.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let finish = move |made: Made, _| {
            let mut tensors = vec![made.codes, made.scales];
            if !symmetric {
                tensors.push(packed_zeros(&made.zeros, width, (Packing::Dense, bits)));
            }
            tensors.push(shape.clone());
            tensors
        };
        Ok(self.encoding(tensors, (Code::Int(bits), layout, rule), Box::new(finish)))
    }

    /// A code a byte.
    fn bytes<R: Rule + 'static>(&self, code: Code, rule: R, scales: Dtype) -> Result<Encoding, String> {
        let dtype = if code == Code::E4M3 { Dtype::F8E4M3 } else { Dtype::I8 };
        let tensors = vec![
            Encoded::new("weight", dtype, &self.shape)?,
            Encoded::new("weight_scale", scales, &self.scales())?,
        ];
        let layout = self.layout(Packed::Bytes, scales);
        Ok(self.encoding(tensors, (code, layout, rule), Box::new(|made, _| vec![made.codes, made.scales])))
    }

    /// A code a byte, one scale.
    fn whole(&self) -> Result<Encoding, String> {
        let tensors = vec![
            Encoded::new("weight", Dtype::F8E4M3, &self.shape)?,
            Encoded::new("weight_scale", self.dtype, &[1])?,
        ];
        let layout = Layout { wants_largest: true, ..self.layout(Packed::Bytes, self.dtype) };
        let rule = Floats { dtype: self.dtype, is_whole: true };
        let size = self.dtype.bytes_of(1).unwrap_or(0) as usize;
        let finish = move |mut made: Made, _| {
            made.scales.truncate(size);
            vec![made.codes, made.scales]
        };
        Ok(self.encoding(tensors, (Code::E4M3, layout, rule), Box::new(finish)))
    }

    /// Two codes a byte, powers of two.
    fn nibbles(&self) -> Result<Encoding, String> {
        let [rows, columns] = self.shape;
        let tensors = vec![
            Encoded::new("weight_packed", Dtype::U8, &[rows, columns / 2])?,
            Encoded::new("weight_scale", Dtype::U8, &self.scales())?,
        ];
        let layout = self.layout(Packed::Nibbles, Dtype::U8);
        let rule = Powers { code: Code::E2M1, dtype: self.dtype };
        let finish = |made: Made, _| vec![made.codes, made.scales];
        Ok(self.encoding(tensors, (Code::E2M1, layout, rule), Box::new(finish)))
    }

    /// Two codes a byte, scales around a global one.
    fn nvfp4(&self) -> Result<Encoding, String> {
        let [rows, columns] = self.shape;
        let tensors = vec![
            Encoded::new("weight_packed", Dtype::U8, &[rows, columns / 2])?,
            Encoded::new("weight_scale", Dtype::F8E4M3, &self.scales())?,
            Encoded::new("weight_global_scale", Dtype::F32, &[1])?,
        ];
        let layout = Layout { wants_largest: true, ..self.layout(Packed::Nibbles, Dtype::F8E4M3) };
        let rule = Nvfp4 { dtype: self.dtype, stored: None };
        let finish = move |made: Made, largest| {
            vec![made.codes, made.scales, rule.global(largest).to_le_bytes().to_vec()]
        };
        let encoder = Fresh {
            layout,
            coder: crate::quant::tiles::Coder { rounded: Dtype::F32, ..coder(Code::E2M1, self.dtype) },
            rule,
            finish: Box::new(finish),
        };
        Ok(Encoding { tensors, encoder: Box::new(encoder) })
    }
}

/// Packs zero points along the outputs, `[words, scales of a row]`, of signed bytes a scale, `[outputs, scales of a row]`.
pub(super) fn packed_zeros(zeros: &[u8], width: usize, (packing, bits): (Packing, u32)) -> Vec<u8> {
    let middle = 1u8 << (bits.clamp(1, 8) - 1);
    let columns: Vec<Vec<u8>> = (0..width)
        .map(|group| {
            let column = zeros.iter().skip(group).step_by(width.max(1));
            let codes: Vec<u8> = column.map(|zero| zero.wrapping_add(middle)).collect();
            let mut words = Vec::new();
            packing.pack(&codes, bits, &mut words);
            words
        })
        .collect();
    let words = columns.first().map_or(0, |column| column.len() / 4);
    let word = |at: usize| columns.iter().flat_map(move |column| column[4 * at..4 * at + 4].iter().copied());
    (0..words).flat_map(word).collect()
}
