//! Presets: the schemes that are written, by their names, and what configs say of them.
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
//! Source: compressed-tensors 0.20, `quantization/quant_scheme.py`; llm-compressor's configs.

use serde_json::{Value, json};

use super::Stored;
use crate::quant::target::{GroupSize, Search, Wishes};

/// Values that share a scale if nothing else is asked for.
const GROUP: u32 = 128;
/// Rows and columns that share a scale of `fp8-block`.
pub(super) const BLOCK: u64 = 128;

/// A scheme, with its options settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// Integers in words; `group`: `None` for a scale a row.
    Pack {
        bits: u32,
        symmetric: bool,
        group: Option<u64>,
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

impl Preset {
    pub(super) fn of(wishes: &Wishes) -> Result<Self, String> {
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
        let group = wishes.group_size.unwrap_or(GroupSize::Of(GROUP)).columns()?;
        Ok(Self::Pack { bits, symmetric: !(is_asym || wishes.asymmetric), group, search: wishes.search })
    }

    /// Returns the name of its format.
    pub(super) fn format(self) -> &'static str {
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

    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Pack { bits, .. } => bits,
            Self::Nvfp4 | Self::Mxfp4 => 4,
            _ => 8,
        }
    }

    /// Returns the columns that share a scale; `None` where a row or more does.
    pub(super) fn group(self) -> Option<u64> {
        match self {
            Self::Pack { group, .. } => group,
            Self::Nvfp4 => Some(16),
            Self::Mxfp4 | Self::Mxfp8 => Some(32),
            _ => None,
        }
    }

    /// Returns what the config says of the weights.
    pub(super) fn weights(self) -> Value {
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
    pub(super) fn activations(self) -> Value {
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
