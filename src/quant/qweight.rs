//! `qweight`: which of the layouts that share this name a layer has, and how its groups divide the inputs.
//!
//! | layout       | `qweight`             | `scales`           | `qzeros`                             |
//! |--------------|-----------------------|--------------------|--------------------------------------|
//! | GPTQ         | I32 `[in * b / 32, out]` | `[G, out]`      | I32 `[G, out * b / 32]`, `g_idx`     |
//! | AWQ gemm     | I32 `[in, out / 8]`   | `[G, out]`         | I32 `[G, out / 8]`                   |
//! | AWQ gemv     | I32 `[out, in / 8]`   | `[out, zw * 8]`    | I32 `[out, zw]`                      |
//! | AWQ `gemv_fast` | I16 `[out / 4, in]`   | `[zw * 8, out]`    | F16 `[zw * 8, out]`, or `scaled_zeros` |
//! | AWQ marlin   | I32 `[in / 16, out * 2]` | `[G, out]`      | none                                 |
//! | GPTQ marlin  | `B`, as AWQ marlin    | `s`                | none                                 |
//!
//! `G = ceil(in / group)`, `zw` the words that hold a row's zero points, padded. Shapes tell them apart;
//! where parts are missing, what is left of them, then the config. A gemv layer of groups of 64 has the
//! shapes of a GPTQ layer of groups of 8, which nobody writes.
//! Sources: AutoGPTQ and GPTQModel `qlinear`, AutoAWQ `awq/modules/linear`, llm-awq.

pub(super) mod packer;
pub(super) mod words;

use super::side::matrix;
use super::{Parts, claims::Said};
use crate::tensor::Dtype;

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Gptq,
    GptqMarlin,
    Gemm,
    Gemv,
    GemvFast,
    AwqMarlin,
}

/// Returns true for the methods that mean GPTQ's tensors.
pub(super) fn is_gptq(method: &str) -> bool {
    matches!(method, "gptq" | "gptq_marlin" | "marlin" | "gptq_bitblas" | "moe_wna16")
        || is_auto_round(method)
}

/// Returns true for the methods that mean AWQ's tensors.
pub(super) fn is_awq(method: &str) -> bool {
    matches!(method, "awq" | "awq_marlin" | "llm-awq" | "moe_wna16") || is_auto_round(method)
}

/// Returns true for `AutoRound`, which writes either.
pub(super) fn is_auto_round(method: &str) -> bool {
    matches!(method, "auto-round" | "auto_round" | "autoround" | "intel/auto-round" | "inc")
}

impl Layout {
    /// Returns the layout of a layer; `None` if it is another format's.
    pub(super) fn of(parts: &Parts<'_>) -> Option<Self> {
        // EETQ has a `qweight` too.
        if parts.has("weight_scales") {
            return None;
        }
        if parts.get("B").is_some_and(|b| is_words(b.dtype)) && !parts.has("qweight") {
            return Some(Self::GptqMarlin);
        }
        let qweight = parts.get("qweight");
        let is_ours =
            |part: &super::Part<'_>| matches!(part.suffix, "qweight" | "qzeros" | "g_idx" | "scaled_zeros");
        if !parts.list.iter().any(is_ours) {
            return None;
        }
        if qweight.is_some_and(|q| !is_integer(q.dtype) || q.shape.len() != 2) {
            return None;
        }
        let float_zeros = parts.get("qzeros").is_some_and(|z| z.dtype.is_float());
        if float_zeros || parts.has("scaled_zeros") {
            return Some(Self::GemvFast);
        }
        if parts.get("g_idx").is_some_and(|g| g.shape.iter().all(|&n| n > 0)) {
            return Some(Self::Gptq);
        }
        let by_shape = qweight.and_then(|q| Self::of_shapes(parts, matrix(q)?, q.dtype));
        by_shape.or_else(|| Self::of_config(parts))
    }

    fn of_shapes(parts: &Parts<'_>, [rows, columns]: [u64; 2], dtype: Dtype) -> Option<Self> {
        let zeros = parts.get("qzeros").and_then(matrix);
        let scales = parts.get("scales").and_then(matrix);
        let eightfold = |n: u64| n.checked_mul(8);
        match (scales, zeros) {
            (Some([sr, sc]), Some([zr, zc])) if sr == rows && zr == rows && eightfold(zc) == Some(sc) => {
                Some(Self::Gemv)
            }
            (Some([_, sc]), _) if sc == columns => Some(Self::Gptq),
            (Some([_, sc]), _) if eightfold(columns) == Some(sc) => Some(Self::Gemm),
            (Some([_, sc]), None) if sc.checked_mul(2) == Some(columns) => {
                let method = parts.config.method();
                Some(if method.is_some_and(is_gptq) { Self::GptqMarlin } else { Self::AwqMarlin })
            }
            (Some([_, sc]), _) if dtype == Dtype::I16 && rows.checked_mul(4) == Some(sc) => {
                Some(Self::GemvFast)
            }
            (_, Some([zr, zc])) if zc == columns && zr != rows => Some(Self::Gemm),
            (_, Some([zr, _])) if zr == rows => Some(Self::Gemv),
            (_, Some([_, zc])) if zc < columns => Some(Self::Gptq),
            _ => None,
        }
    }

    /// Returns the layout that the config says, for a layer too broken to tell.
    fn of_config(parts: &Parts<'_>) -> Option<Self> {
        let block = parts.config.blocks.iter().find(|b| b.method.is_some())?;
        let method = block.method.as_deref()?;
        if is_gptq(method) {
            return Some(Self::Gptq);
        }
        let version = block.text(&["version", "format"]).unwrap_or("gemm").to_ascii_lowercase();
        is_awq(method).then_some(match version.as_str() {
            "gemv" => Self::Gemv,
            "gemv_fast" | "llm-awq" => Self::GemvFast,
            "marlin" => Self::AwqMarlin,
            _ => Self::Gemm,
        })
    }
}

/// Returns true for the words that codes are packed into.
pub(super) fn is_words(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::I32 | Dtype::U32)
}

/// Returns true for every integer that GPTQModel's `pack_dtype` allows.
fn is_integer(dtype: Dtype) -> bool {
    is_words(dtype)
        || matches!(dtype, Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I64 | Dtype::U64)
}

/// Group sizes that writers use, the commonest first.
const USUAL: [u64; 7] = [128, 64, 32, 256, 512, 1024, 16];

/// How groups divide the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Group size; `None` for one group of all inputs that no config gives a size.
    pub(super) size: Option<u64>,
    /// False if the config says a group size that the tensors cannot have.
    pub(super) agrees: bool,
}

/// Returns the grouping of `inputs` for which `fits` holds of the size (`None`: all inputs). The config's
/// size counts if it fits, also one that is no less than `inputs`.
pub(super) fn grouping(
    inputs: u64,
    said: Option<&Said<i64>>,
    fits: impl Fn(u64) -> bool,
    groups: Option<u64>,
) -> Grouping {
    let whole = inputs.max(1);
    let said = said.map(|said| u64::try_from(said.value).ok().filter(|&size| size > 0));
    match said {
        Some(Some(size)) if fits(size) => return Grouping { size: Some(size), agrees: true },
        Some(None) if fits(whole) => return Grouping { size: None, agrees: true },
        _ => {}
    }
    let agrees = said.is_none();
    if groups.is_none_or(|g| g <= 1) && fits(whole) {
        return Grouping { size: None, agrees };
    }
    let exact = groups.filter(|&g| g > 0 && inputs.is_multiple_of(g)).map(|g| inputs / g);
    let usual = USUAL.into_iter().find(|&size| size < whole && fits(size));
    let size = usual.or(exact.filter(|&size| size > 0 && fits(size)));
    Grouping {
        size: size.or_else(|| groups.filter(|&g| g > 0 && inputs > 0).map(|g| inputs.div_ceil(g))),
        agrees,
    }
}

/// Returns `config.json … is 128, the tensors have 32` for a group size that does not fit.
pub(super) fn group_fault(said: Option<&Said<i64>>, grouping: &Grouping) -> Option<super::Fault> {
    let said = said.filter(|_| !grouping.agrees)?;
    let has = grouping.size.map_or_else(|| "one group".to_owned(), |size| size.to_string());
    let detail = format!("{} is {}, the tensors have {has}", said.place, said.value);
    Some(said.fault(&crate::problem::kind::QUANT_GROUP_DISAGREES, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::testing::Literal;

    fn layout(qweight: [u64; 2], scales: Option<[u64; 2]>, zeros: Option<[u64; 2]>) -> Option<Layout> {
        let mut layer = Literal::new("m").shape("qweight", Dtype::I32, &qweight);
        if let Some(scales) = scales {
            layer = layer.shape("scales", Dtype::F16, &scales);
        }
        if let Some(zeros) = zeros {
            layer = layer.shape("qzeros", Dtype::I32, &zeros);
        }
        layer.with(Layout::of)
    }

    #[test]
    fn shapes_tell_the_layouts_apart() {
        assert_eq!(layout([16, 128], Some([4, 128]), Some([4, 16])), Some(Layout::Gptq));
        assert_eq!(layout([128, 16], Some([4, 128]), Some([4, 16])), Some(Layout::Gemm));
        assert_eq!(layout([128, 16], Some([128, 16]), Some([128, 2])), Some(Layout::Gemv));
        assert_eq!(layout([8, 256], Some([4, 128]), None), Some(Layout::AwqMarlin));
        assert_eq!(layout([16, 128], None, Some([4, 16])), Some(Layout::Gptq));
        assert_eq!(layout([128, 16], None, Some([4, 16])), Some(Layout::Gemm));
        assert_eq!(layout([128, 16], None, None), None);
    }

    #[test]
    fn the_group_size_is_the_configs_where_it_fits() {
        let said = |value| Said { value, place: String::new(), file: String::new() };
        let of = |inputs: u64, groups: u64, value: Option<i64>| {
            let said = value.map(said);
            let found = grouping(inputs, said.as_ref(), |size| inputs.div_ceil(size) == groups, Some(groups));
            (found.size, found.agrees)
        };
        assert_eq!(of(128, 4, Some(32)), (Some(32), true));
        assert_eq!(of(128, 4, Some(128)), (Some(32), false));
        assert_eq!(of(128, 1, Some(128)), (Some(128), true));
        assert_eq!(of(96, 1, Some(128)), (Some(128), true));
        assert_eq!(of(128, 1, Some(-1)), (None, true));
        assert_eq!(of(128, 4, Some(-1)), (Some(32), false));
        assert_eq!(of(176, 6, None), (Some(32), true));
        assert_eq!(of(128, 1, None), (None, true));
        assert_eq!(of(60, 4, None), (Some(16), true));
        assert_eq!(of(60, 5, None), (Some(12), true));
        assert_eq!(of(0, 0, Some(32)), (Some(32), true));
    }
}
