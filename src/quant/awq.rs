//! AWQ: 4-bit codes with zero points, in the four layouts that its kernels want.
//!
//! | variant     | `qweight`                | `qzeros`                         | `scales` F16     |
//! |-------------|--------------------------|----------------------------------|------------------|
//! | `gemm`      | I32 `[in, out / 8]`      | I32 `[G, out / 8]`               | `[G, out]`       |
//! | `gemv`      | I32 `[out, in / 8]`      | I32 `[out, zw]`                  | `[out, zw * 8]`  |
//! | `gemv_fast` | I16 `[out / 4, in]`      | F16 `[zw * 8, out]`, or llm-awq's `scaled_zeros`, both `-zero * scale` | `[zw * 8, out]` |
//! | `marlin`    | I32 `[in / 16, out * 2]` | none: zero point 8               | `[G, out]`       |
//!
//! `G = in / group`; `zw` is the words of eight zero points that a row's groups need, padded for groups
//! under 128. `weight = (code - zero) * scale`. In `gemm` the eight codes of a word are outputs in the
//! order 0 2 4 6 1 3 5 7. Source: AutoAWQ `awq/modules/linear`, llm-awq `qmodule.py`.

mod decode;
mod encode;
mod files;
mod grid;
mod target;

pub(super) use self::target::TO_AWQ;

use super::claims::{self, Claims, Said};
use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::qweight::{Layout, group_fault, grouping, is_awq};
use super::scale_values::evidence;
use super::side::matrix;
use super::{Evidence, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::name::escape;
use crate::problem::kind;
use crate::units;

/// The AWQ format.
pub struct Awq;

/// Spellings of the config's keys.
const BITS: &[&str] = &["bits", "w_bit"];
const GROUP: &[&str] = &["group_size", "q_group_size"];
const VERSION: &[&str] = &["version"];
/// Settings on which two config files should agree.
const SETTINGS: &[&[&str]] = &[BITS, GROUP, VERSION, &["zero_point"]];

impl QuantFormat for Awq {
    fn name(&self) -> &'static str {
        "awq"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["qweight", "qzeros", "scaled_zeros"], parts: &["scales", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let kind = Kind::of(parts)?;
        let claims = claims(parts);
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("awq")?));
        kind.name().clone_into(&mut draft.spec.variant);
        draft.spec.millibits = 4000;
        draft.spec.dtype = parts.get("scales").map(|s| s.dtype);
        let no_zeros = claims.as_ref().and_then(|c| c.flag(&["zero_point"])).is_some_and(|said| !said.value);
        draft.spec.symmetric = Some(kind == Kind::Marlin || no_zeros);
        draft.method(is_awq, "awq");
        draft.faults(claims::settings_differ(parts.config, is_awq, SETTINGS));
        let said = claims.as_ref().and_then(|c| c.int(GROUP));
        if kind == Kind::Marlin {
            draft.marlin("qweight", "scales", said.as_ref());
        } else {
            packed(&mut draft, kind, said.as_ref());
        }
        if let Some(claims) = &claims {
            config(&mut draft, kind, claims);
        }
        Some(draft.finish())
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "AWQ4".into()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        lines(parts, layer)
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        encode::encode(parts, layer)
    }
}

fn claims<'c>(parts: &Parts<'c>) -> Option<Claims<'c>> {
    Claims::of(parts, is_awq)
}

/// The layouts of AWQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gemm,
    Gemv,
    GemvFast,
    Marlin,
}

/// Shapes that the parts of a layer need.
struct Needs {
    inputs: u64,
    outputs: u64,
    groups: u64,
    zeros: [u64; 2],
    scales: [u64; 2],
}

impl Kind {
    fn of(parts: &Parts<'_>) -> Option<Self> {
        match Layout::of(parts)? {
            Layout::Gemm => Some(Self::Gemm),
            Layout::Gemv => Some(Self::Gemv),
            Layout::GemvFast => Some(Self::GemvFast),
            Layout::AwqMarlin => Some(Self::Marlin),
            Layout::Gptq | Layout::GptqMarlin => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Gemv => "gemv",
            Self::GemvFast => "gemv_fast",
            Self::Marlin => "marlin",
        }
    }

    /// Returns inputs and outputs of a `qweight` of this shape.
    fn size(self, [rows, columns]: [u64; 2]) -> [u64; 2] {
        match self {
            Self::Gemm => [rows, columns.saturating_mul(8)],
            Self::Gemv => [columns.saturating_mul(8), rows],
            Self::GemvFast => [columns, rows.saturating_mul(4)],
            Self::Marlin => [rows.saturating_mul(16), columns / 2],
        }
    }

    /// Returns how many rows (`gemm`) or zero point words (`gemv`) groups of this size need.
    fn groups(self, inputs: u64, size: u64) -> u64 {
        let groups = inputs.div_ceil(size.max(1));
        match self {
            Self::Gemm | Self::Marlin => groups,
            Self::Gemv | Self::GemvFast => {
                // AutoAWQ pads so that a row's zero points stay aligned for small groups.
                let multiple = match size {
                    64..128 => 2,
                    ..64 => 4,
                    _ => 1,
                };
                groups.div_ceil(8).div_ceil(multiple).saturating_mul(multiple)
            }
        }
    }

    /// Returns the shapes that `groups` (as counted above) give the parts.
    fn needs(self, [inputs, outputs]: [u64; 2], groups: u64) -> Needs {
        let wide = groups.saturating_mul(8);
        let (zeros, scales) = match self {
            Self::Gemm | Self::Marlin => ([groups, outputs / 8], [groups, outputs]),
            Self::Gemv => ([outputs, groups], [outputs, wide]),
            Self::GemvFast => ([wide, outputs], [wide, outputs]),
        };
        Needs { inputs, outputs, groups, zeros, scales }
    }

    /// Returns how many groups (as counted above) a part of this shape has.
    fn groups_of(self, suffix: &str, [rows, columns]: [u64; 2]) -> u64 {
        match (self, suffix) {
            (Self::Gemm | Self::Marlin, _) => rows,
            (Self::Gemv, "scales") => columns / 8,
            (Self::Gemv, _) => columns,
            (Self::GemvFast, _) => rows / 8,
        }
    }

    /// Returns true if a config may call the layout so. Kernels that repack on loading read `gemm`.
    fn may_be_called(self, version: &str, is_llm_awq: bool) -> bool {
        match self {
            Self::Gemm => matches!(version, "gemm" | "exllama" | "exllamav2" | "ipex"),
            Self::Gemv => version == "gemv",
            Self::GemvFast => {
                matches!(version, "gemv_fast" | "llm-awq") || is_llm_awq && matches!(version, "gemv" | "gemm")
            }
            Self::Marlin => version == "marlin",
        }
    }
}

fn zeros_suffix(parts: &Parts<'_>) -> &'static str {
    if parts.has("scaled_zeros") { "scaled_zeros" } else { "qzeros" }
}

/// Fills a layer of one of the layouts with zero points.
fn packed(draft: &mut Draft<'_, '_>, kind: Kind, said: Option<&Said<i64>>) {
    let zeros = zeros_suffix(draft.parts);
    for suffix in ["qweight", zeros, "scales"] {
        if !draft.parts.has(suffix) {
            draft.lacks(suffix);
        }
    }
    let Some(size) = draft.parts.get("qweight").and_then(matrix).map(|dims| kind.size(dims)) else {
        draft.shape_unknown();
        draft.spec.bias = draft.parts.has("bias");
        return;
    };
    let [inputs, outputs] = size;
    draft.shape(&[outputs, inputs]);
    draft.bias("bias", &[outputs]);
    let count = |suffix| Some(kind.groups_of(suffix, draft.parts.get(suffix).and_then(matrix)?));
    let Some(groups) = count("scales").or_else(|| count(zeros)) else { return };
    let rows = matches!(kind, Kind::Gemm).then_some(groups);
    let grouping = grouping(inputs, said, |size| kind.groups(inputs, size) == groups, rows);
    draft.spec.group_size = grouping.size;
    draft.faults(group_fault(said, &grouping));
    fit(draft, zeros, &kind.needs(size, groups));
    draft.finite_scales("scales");
    if kind == Kind::GemvFast {
        draft.finite_scales(zeros);
    }
}

/// Checks zero points and scales against the shapes that they need.
fn fit(draft: &mut Draft<'_, '_>, zeros: &str, needs: &Needs) {
    for (suffix, needed) in [(zeros, needs.zeros), ("scales", needs.scales)] {
        let Some(part) = draft.parts.get(suffix).filter(|p| p.shape != needed || needs.groups == 0) else {
            continue;
        };
        let (has, needed) = (units::shape(part.shape), units::shape(&needed));
        let of = format!("{} outputs and {} inputs", needs.outputs, needs.inputs);
        draft.misfit(suffix, format!("{suffix} is {has}, {of} need {needed}"));
    }
}

/// The config's other words against the tensors.
fn config(draft: &mut Draft<'_, '_>, layout: Kind, claims: &Claims<'_>) {
    draft.faults(claims.dense_fault());
    draft.faults(claims::differs(&kind::QUANT_BITS_DISAGREE, claims.int(BITS).as_ref(), &4));
    let Some(version) = claims.word(VERSION) else { return };
    let is_llm_awq = claims.word(&["backend"]).is_some_and(|said| said.value == "llm-awq");
    if !layout.may_be_called(&version.value, is_llm_awq) {
        let (says, is) = (escape(&version.value), layout.name());
        let detail = format!("{} is {says}, the tensors are {is}", version.place);
        draft.faults([version.fault(&kind::QUANT_FLAG_DISAGREES, detail)]);
    }
}

fn lines(parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
    let claims = claims(parts);
    let mut lines = vec![said(parts, claims.as_ref(), layer)];
    let Some(kind) = Kind::of(parts) else { return lines };
    if kind == Kind::Marlin {
        lines.extend(super::gptq::marlin_lines(parts, layer));
        return lines;
    }
    if let Some([rows, columns]) = parts.get("qweight").and_then(matrix) {
        let [inputs, outputs] = kind.size([rows, columns]);
        let text = match kind {
            Kind::Gemm => format!("{rows} rows = inputs, {columns} words × 8 codes = {outputs} outputs"),
            Kind::Gemv => format!("{rows} rows = outputs, {columns} words × 8 codes = {inputs} inputs"),
            _ => format!("{rows} rows × 4 = {outputs} outputs, {columns} columns = inputs"),
        };
        let text = match layer.broken.as_slice() {
            [] => text,
            broken => format!("{text}; {}", broken.join(", ")),
        };
        lines.push(Evidence::new("shapes", text, Some(layer.broken.is_empty())));
    }
    if let Some(zeros) = parts.get(zeros_suffix(parts)) {
        let what = match kind {
            Kind::GemvFast => "minus zero point times scale",
            _ => "eight zero points a word, as they are",
        };
        let text = format!("{} {}: {what}", zeros.dtype, units::shape(zeros.shape));
        lines.push(Evidence::new(zeros.suffix, text, None));
    }
    if let Some(scales) = parts.get("scales") {
        let group = layer.group_size.map_or_else(|| "one group".into(), |size| format!("groups of {size}"));
        lines.push(evidence(parts, scales, scales.dtype, &group));
    }
    lines
}

/// Returns the config's line: `quant_method awq, bits 4, group 128, version gemm`.
fn said(parts: &Parts<'_>, claims: Option<&Claims<'_>>, layer: &LayerSpec) -> Evidence {
    let Some(claims) = claims else {
        let method = parts.config.method().map(escape);
        let text = method.map_or_else(
            || "nothing says how the tensors are quantized".to_owned(),
            |method| format!("quant_method {method}: not that of these tensors"),
        );
        let file = parts.config.blocks.first().map_or("config.json", |block| block.file.as_str());
        return Evidence::new(file, text, Some(false));
    };
    let (bits, group, version) = (claims.int(BITS), claims.int(GROUP), claims.word(VERSION));
    let mut words = vec![format!("quant_method {}", escape(claims.block.method.as_deref().unwrap_or("?")))];
    words.extend(bits.as_ref().map(|said| format!("bits {}", said.value)));
    words.extend(group.as_ref().map(|said| format!("group {}", said.value)));
    words.extend(version.as_ref().map(|said| format!("version {}", escape(&said.value))));
    let same_group = group.is_none_or(|said| said.value.max(0) as u64 == layer.group_size.unwrap_or(0));
    let contradicts = bits.is_some_and(|said| said.value != 4) || !same_group;
    Evidence::new(claims.block.file.clone(), words.join(", "), contradicts.then_some(false))
}

#[cfg(test)]
mod tests;
