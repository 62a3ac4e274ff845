//! compressed-tensors as something to write: what llm-compressor stores without calibration.
//!
//! | scheme            | format                 | codes and scales                                                 |
//! |-------------------|------------------------|------------------------------------------------------------------|
//! | `w<bits>a16`      | `pack-quantized`       | integers of 1 to 8 bits, a scale for a group (128) or a row       |
//! | `w<bits>a16-asym` | `pack-quantized`       | with zero points                                                  |
//! | `w8a8`            | `int-quantized`        | bytes, a scale a row; activations are quantized as they come      |
//! | `fp8-channel`     | `float-quantized`      | E4M3, a scale a row; activations likewise                         |
//! | `fp8-tensor`      | `naive-quantized`      | E4M3, one scale                                                   |
//! | `fp8-block`       | `float-quantized`      | E4M3, a scale for 128 × 128; activations in groups of 128         |
//! | `nvfp4a16`        | `nvfp4-pack-quantized` | E2M1, an E4M3 scale for 16 around a global one                    |
//! | `mxfp4`           | `mxfp4-pack-quantized` | E2M1, a power of two for 32                                       |
//! | `mxfp8`           | `mxfp8-quantized`      | E4M3, a power of two for 32                                       |
//!
//! Source: compressed-tensors 0.20, `compressors/`, `quantization/quant_scheme.py`; llm-compressor's configs.

use serde_json::{Value, json};

use super::rules::{Floats, Ints, Nvfp4, Powers, coder};
use super::{METHOD, Stored};
use crate::quant::LayerSpec;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::pack::Packing;
use crate::quant::target::{Candidate, GroupSize, Model, Row, Scope, Search, Target, Wishes};
use crate::quant::tiled::{Finish, Fresh, Layout, Made, Packed};
use crate::quant::tiles::{Code, Rule, Tiling};
use crate::tensor::Dtype;

/// Writes any scheme.
pub static TO_COMPRESSED: Row = Row {
    name: "compressed-tensors",
    about: "what vLLM reads best: --scheme w4a16, w4a16-asym, w8a16, w8a8, fp8-channel, fp8-tensor, fp8-block, \
            nvfp4a16, mxfp4, mxfp8",
    options: &["--scheme", "--bits", "--group-size", "--asym", "--search"],
    make: |wishes| Ok(Box::new(ToCompressed { scheme: Scheme::of(wishes)? })),
};
/// Writes nvfp4 without quantized activations.
pub static TO_NVFP4: Row = Row {
    name: "nvfp4",
    about: "compressed-tensors of scheme nvfp4a16: 4-bit floats, an 8-bit scale for 16 values",
    options: &[],
    make: |_| Ok(Box::new(ToCompressed { scheme: Scheme::Nvfp4 })),
};

/// Values that share a scale if nothing else is asked for.
const GROUP: u32 = 128;
/// Rows and columns that share a scale of `fp8-block`.
const BLOCK: u64 = 128;

/// A scheme, with its options settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// Integers in words; `group`: `None` for a scale a row.
    Pack {
        bits: u32,
        symmetric: bool,
        group: Option<u32>,
        search: Search,
    },
    /// 8-bit integers, quantized activations.
    W8A8 {
        search: Search,
    },
    Fp8Channel,
    Fp8Tensor,
    Fp8Block,
    Nvfp4,
    Mxfp4,
    Mxfp8,
}

impl Scheme {
    fn of(wishes: &Wishes) -> Result<Self, String> {
        let name = wishes.scheme.as_deref();
        let scheme = match name {
            Some("w8a8") => Self::W8A8 { search: wishes.search },
            Some("fp8-channel") => Self::Fp8Channel,
            Some("fp8-tensor") => Self::Fp8Tensor,
            Some("fp8-block") => Self::Fp8Block,
            Some("nvfp4a16") => Self::Nvfp4,
            Some("mxfp4") => Self::Mxfp4,
            Some("mxfp8") => Self::Mxfp8,
            _ => return Self::packed(wishes),
        };
        let searches = matches!(scheme, Self::W8A8 { .. });
        let unused = [
            ("--bits", wishes.bits.is_some()),
            ("--group-size", wishes.group_size.is_some()),
            ("--asym", wishes.asymmetric),
            ("--search", wishes.search != Search::None && !searches),
        ];
        match unused.iter().find(|(_, is_asked)| *is_asked) {
            Some((option, _)) => {
                Err(format!("{option}: scheme {} has no such choice", name.unwrap_or_default()))
            }
            None => Ok(scheme),
        }
    }

    /// Returns `w<bits>a16`, by its name or by `--bits`.
    fn packed(wishes: &Wishes) -> Result<Self, String> {
        let name = wishes.scheme.as_deref();
        let (stem, is_asym) = match name.map(|name| (name, name.strip_suffix("-asym"))) {
            Some((_, Some(stem))) => (Some(stem), true),
            Some((stem, None)) => (Some(stem), false),
            None => (None, false),
        };
        let named = stem.map(|stem| {
            let bits = stem.strip_prefix('w').and_then(|rest| rest.strip_suffix("a16"));
            let known = bits.and_then(|bits| bits.parse::<u32>().ok()).filter(|bits| (1..=8).contains(bits));
            known.filter(|bits| stem.len() == "w4a16".len() && *bits > 0).ok_or_else(|| {
                format!(
                    "--scheme {}: there are w1a16 to w8a16, each with -asym, w8a8, fp8-channel, fp8-tensor, \
                     fp8-block, nvfp4a16, mxfp4, mxfp8",
                    crate::name::escape(name.unwrap_or_default())
                )
            })
        });
        let named = named.transpose()?;
        let bits = match (named, wishes.bits) {
            (Some(named), Some(asked)) if named != asked => {
                return Err(format!("--bits {asked}: the scheme has {named}"));
            }
            (named, asked) => named.or(asked).unwrap_or(4),
        };
        if !(1..=8).contains(&bits) {
            return Err(format!("--bits {bits}: compressed-tensors packs 1 to 8"));
        }
        let group = match wishes.group_size {
            None => Some(GROUP),
            Some(GroupSize::Of(0)) => return Err("--group-size 0: groups have columns".into()),
            Some(GroupSize::Of(size)) => Some(size),
            Some(GroupSize::Row) => None,
        };
        Ok(Self::Pack { bits, symmetric: !(is_asym || wishes.asymmetric), group, search: wishes.search })
    }

    /// Returns the name of its format.
    fn format(self) -> &'static str {
        match self {
            Self::Pack { .. } => Stored::Pack.variant(),
            Self::W8A8 { .. } => Stored::Int.variant(),
            Self::Fp8Channel | Self::Fp8Block => Stored::Float.variant(),
            Self::Fp8Tensor => "naive-quantized",
            Self::Nvfp4 => Stored::Nvfp4.variant(),
            Self::Mxfp4 => Stored::Mxfp4.variant(),
            Self::Mxfp8 => Stored::Mxfp8.variant(),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::Pack { bits, .. } => bits,
            Self::Nvfp4 | Self::Mxfp4 => 4,
            _ => 8,
        }
    }

    /// Returns the columns that share a scale; `None` where a row or more does.
    fn group(self) -> Option<u32> {
        match self {
            Self::Pack { group, .. } => group,
            Self::Nvfp4 => Some(16),
            Self::Mxfp4 | Self::Mxfp8 => Some(32),
            _ => None,
        }
    }

    /// Returns what the config says of the weights.
    fn weights(self) -> Value {
        let strategy = match self {
            Self::Nvfp4 => "tensor_group",
            Self::Fp8Block => "block",
            Self::Fp8Tensor => "tensor",
            _ if self.group().is_some() => "group",
            _ => "channel",
        };
        let is_int = matches!(self, Self::Pack { .. } | Self::W8A8 { .. });
        let mut weights = json!({
            "dynamic": false,
            "group_size": self.group(),
            "num_bits": self.bits(),
            "observer": "memoryless_minmax",
            "strategy": strategy,
            "symmetric": !matches!(self, Self::Pack { symmetric: false, .. }),
            "type": if is_int { "int" } else { "float" },
        });
        match self {
            Self::Fp8Block => weights["block_structure"] = json!([BLOCK, BLOCK]),
            Self::Nvfp4 => weights["scale_dtype"] = json!("torch.float8_e4m3fn"),
            Self::Mxfp4 | Self::Mxfp8 => weights["scale_dtype"] = json!("torch.uint8"),
            _ => {}
        }
        // In the order of the library's own files.
        weights.sort_all_objects();
        weights
    }

    /// Returns what the config says of the activations.
    fn activations(self) -> Value {
        let (group, strategy, kind) = match self {
            Self::W8A8 { .. } => (None, "token", "int"),
            Self::Fp8Channel => (None, "token", "float"),
            Self::Fp8Block => (Some(BLOCK), "group", "float"),
            _ => return Value::Null,
        };
        json!({
            "dynamic": true,
            "group_size": group,
            "num_bits": 8,
            "strategy": strategy,
            "symmetric": true,
            "type": kind,
        })
    }
}

/// How layers are written.
#[derive(Debug)]
struct ToCompressed {
    scheme: Scheme,
}

impl Target for ToCompressed {
    fn format(&self) -> &'static str {
        METHOD
    }

    fn label(&self) -> String {
        match self.scheme {
            Scheme::Pack { bits, symmetric, group, .. } => {
                let asym = if symmetric { "" } else { " asym" };
                let group = group.map_or_else(|| "row".to_owned(), |group| format!("g{group}"));
                format!("CT{bits}{asym} {group}")
            }
            Scheme::W8A8 { .. } => "CT8 w8a8".into(),
            Scheme::Fp8Channel => "FP8 row".into(),
            Scheme::Fp8Tensor => "FP8 tensor".into(),
            Scheme::Fp8Block => format!("FP8 b{BLOCK}"),
            Scheme::Nvfp4 => "NVFP4".into(),
            Scheme::Mxfp4 => "MXFP4".into(),
            Scheme::Mxfp8 => "MXFP8".into(),
        }
    }

    fn method(&self) -> String {
        self.search().method().into()
    }

    fn scope(&self) -> Scope {
        Scope::Linears
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        let is_format = layer.format.get().name() == METHOD && layer.variant == self.scheme.format();
        // What is not here is not told by what is known of a layer: how many rows share a scale of fp8, gaps
        // between codes that do not divide a word.
        let is_told = match self.scheme {
            Scheme::Pack { bits, .. } => 32u32.is_multiple_of(bits),
            Scheme::W8A8 { .. } | Scheme::Nvfp4 | Scheme::Mxfp4 | Scheme::Mxfp8 => true,
            Scheme::Fp8Channel | Scheme::Fp8Tensor | Scheme::Fp8Block => false,
        };
        let symmetric = !matches!(self.scheme, Scheme::Pack { symmetric: false, .. });
        is_format
            && is_told
            && layer.millibits == self.scheme.bits() * 1000
            && layer.group_size == self.scheme.group().map(u64::from)
            && layer.symmetric.unwrap_or(true) == symmetric
            && layer.act_order != Some(true)
            && layer.broken.is_empty()
    }

    fn shares_largest(&self) -> bool {
        self.scheme == Scheme::Nvfp4
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [rows, columns] = layer.matrix()?;
        if !matches!(layer.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) {
            return Err(format!("it is {}, compressed-tensors packs F16, BF16 and F32", layer.dtype));
        }
        if let Some(group) =
            self.scheme.group().map(u64::from).filter(|group| !columns.is_multiple_of(*group))
        {
            return Err(format!("its rows of {columns} are not whole groups of {group}"));
        }
        let high = match self.scheme {
            Scheme::Fp8Block => [BLOCK, BLOCK],
            scheme => [1, scheme.group().map_or(columns, u64::from)],
        };
        let tiling = Tiling::new(layer.shape, high)?;
        let making = Making { shape: [rows, columns], dtype: layer.dtype, tiling };
        match self.scheme {
            Scheme::Pack { bits, symmetric, search, .. } => making.packed(bits, symmetric, search),
            Scheme::W8A8 { search } => {
                let rule = Ints { bits: 8, symmetric: true, dtype: layer.dtype, search };
                making.bytes(Code::Int(8), rule, layer.dtype)
            }
            Scheme::Fp8Channel | Scheme::Fp8Block => {
                making.bytes(Code::E4M3, Floats { dtype: layer.dtype, is_whole: false }, layer.dtype)
            }
            Scheme::Fp8Tensor => making.whole(),
            Scheme::Nvfp4 => making.nvfp4(),
            Scheme::Mxfp4 => making.nibbles(),
            Scheme::Mxfp8 => {
                making.bytes(Code::E4M3, Powers { code: Code::E4M3, dtype: layer.dtype }, Dtype::U8)
            }
        }
    }

    fn without_search(&self) -> Option<Box<dyn Target>> {
        let scheme = match self.scheme {
            Scheme::Pack { bits, symmetric, group, .. } => {
                Scheme::Pack { bits, symmetric, group, search: Search::None }
            }
            Scheme::W8A8 { .. } => Scheme::W8A8 { search: Search::None },
            _ => return None,
        };
        (self.search() != Search::None).then(|| Box::new(Self { scheme }) as Box<dyn Target>)
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let format = self.scheme.format();
        json!({
            "config_groups": {"group_0": {
                "format": format,
                "input_activations": self.scheme.activations(),
                "output_activations": null,
                "targets": ["Linear"],
                "weights": self.scheme.weights(),
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
        match self.scheme {
            Scheme::Pack { search, .. } | Scheme::W8A8 { search } => search,
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
