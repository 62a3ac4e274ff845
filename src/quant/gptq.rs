//! GPTQ: codes of 2 to 8 bits, packed along the inputs, with zero points stored in two ways.
//!
//! | tensor    | dtype    | shape                   | holds                                           |
//! |-----------|----------|-------------------------|-------------------------------------------------|
//! | `qweight` | I32      | `[in * bits / 32, out]` | codes of a column, downwards                    |
//! | `qzeros`  | I32      | `[G, out * bits / 32]`  | zero points: v1 minus one, v2 as they are       |
//! | `scales`  | F16 BF16 | `[G, out]`              | one a group and output                          |
//! | `g_idx`   | I32      | `[in]`                  | group of each input; absent means `i / group`   |
//! | `bias`    | F16      | `[out]`                 |                                                 |
//! | `B`, `s`  | I32, F16 | `[in / 16, out * 2]`, `[G, out]` | the marlin layout: 4 bits, symmetric   |
//!
//! `weight[o, i] = scales[g_idx[i], o] * (code[i, o] - zero[g_idx[i], o])`. A negative `g_idx` counts from
//! the end. In a symmetric layer every zero point is `2^(bits-1)`, which tells v1 from v2 whatever the
//! config says. Sources: AutoGPTQ 0.7 and GPTQModel 7 (`qlinear`, `utils/model.py`), `AutoRound` exports.

mod decode;
mod encode;
mod evidence;
mod files;
mod grid;
mod side;
mod target;
#[cfg(test)]
mod tests;

pub(super) use self::evidence::marlin as marlin_lines;
use self::side::{Index, Zeros};
pub(super) use self::target::TO_GPTQ;
use super::claims::{self, Claims, Said};
use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::pack::Packing;
use super::qweight::{Grouping, Layout, group_fault, grouping, is_auto_round, is_gptq};
use super::side::{bits_word, matrix};
use super::{Evidence, Fault, FormatId, LayerSpec, Part, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::units;

/// The GPTQ format.
pub struct Gptq;

/// Spellings of the config's keys.
const BITS: &[&str] = &["bits", "w_bit"];
const GROUP: &[&str] = &["group_size", "q_group_size"];
const FORMAT: &[&str] = &["checkpoint_format", "format"];
/// Settings on which two config files should agree.
const SETTINGS: &[&[&str]] = &[BITS, GROUP, FORMAT, &["sym"], &["desc_act"]];

impl QuantFormat for Gptq {
    fn name(&self) -> &'static str {
        "gptq"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["qweight", "qzeros", "g_idx", "B"], parts: &["scales", "s", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        match Layout::of(parts)? {
            Layout::Gptq => Some(packed(parts)),
            Layout::GptqMarlin => Some(marlin(parts)),
            _ => None,
        }
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("GPTQ{}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        evidence::lines(parts, layer)
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

/// How zero points are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Minus one.
    V1,
    /// As they are.
    V2,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    fn storing(self) -> &'static str {
        match self {
            Self::V1 => "stored minus one, so v1",
            Self::V2 => "stored as they are, so v2",
        }
    }
}

/// What the shapes say of a packed layer.
struct Numbers {
    bits: u32,
    inputs: u64,
    outputs: u64,
    /// Rows of the scales, else of the zero points.
    groups: Option<u64>,
    grouping: Grouping,
    packing: Packing,
    /// Bits of the words that codes are packed into.
    word: u64,
}

impl Numbers {
    /// Returns the numbers; `None` if no whole number of bits makes the shapes fit.
    fn of(parts: &Parts<'_>, claims: Option<&Claims<'_>>) -> Option<Self> {
        let qweight = parts.get("qweight")?;
        let [rows, outputs] = matrix(qweight)?;
        let word = qweight.dtype.bits()? as u64;
        let row_bits = rows.checked_mul(word)?;
        let bits = bits_of(parts, row_bits, outputs, claims)?;
        let inputs = row_bits / u64::from(bits);
        let row_count = |suffix: &str| parts.get(suffix).and_then(matrix).map(|[rows, _]| rows);
        let groups = row_count("scales").or_else(|| row_count("qzeros"));
        let said = claims.and_then(|c| c.int(GROUP));
        let fits = |size: u64| groups.is_none_or(|g| inputs.div_ceil(size) == g);
        let grouping = grouping(inputs, said.as_ref(), fits, groups);
        let is_planar = claims.and_then(|c| c.word(FORMAT)).is_some_and(|f| f.value == "gptq_p");
        let planar = matches!(bits, 5..=7) || bits == 3 && is_planar;
        let packing = if planar { Packing::Planar } else { Packing::Dense };
        Some(Self { bits, inputs, outputs, groups, grouping, packing, word })
    }

    /// Returns the words that a row of zero points needs; AutoGPTQ rounds down, others up.
    fn zero_words(&self) -> [u64; 2] {
        let bits = self.outputs.saturating_mul(u64::from(self.bits));
        [bits / self.word.max(1), bits.div_ceil(self.word.max(1))]
    }
}

/// Returns the bits of a code: by `g_idx`, which has an entry an input, else by the zero points, else
/// the config's.
fn bits_of(parts: &Parts<'_>, row_bits: u64, outputs: u64, claims: Option<&Claims<'_>>) -> Option<u32> {
    let whole = |bits: u64, count: u64| {
        (count > 0 && bits.is_multiple_of(count)).then(|| bits / count).filter(|b| (2..=8).contains(b))
    };
    let by_index = parts.get("g_idx").and_then(|g| whole(row_bits, *g.shape.first()?));
    let by_zeros = || {
        let zeros = parts.get("qzeros")?;
        let [_, words] = matrix(zeros)?;
        whole(words.checked_mul(zeros.dtype.bits()? as u64)?, outputs)
    };
    let by_config = || {
        let said = claims?.int(BITS)?.value;
        u64::try_from(said).ok().filter(|b| (2..=8).contains(b) && row_bits.is_multiple_of(*b))
    };
    by_index.or_else(by_zeros).or_else(by_config).map(|bits| bits as u32)
}

fn claims<'c>(parts: &Parts<'c>) -> Option<Claims<'c>> {
    Claims::of(parts, is_gptq)
}

fn packed(parts: &Parts<'_>) -> Recognized {
    let claims = claims(parts);
    let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("gptq").unwrap_or(FormatId::LAST)));
    draft.spec.dtype = parts.get("scales").map(|s| s.dtype);
    draft.method(is_gptq, "gptq");
    draft.faults(claims::settings_differ(parts.config, is_gptq, SETTINGS));
    for suffix in ["qweight", "qzeros", "scales"] {
        if !parts.has(suffix) {
            draft.lacks(suffix);
        }
    }
    if let Some(numbers) = Numbers::of(parts, claims.as_ref()) {
        shapes(&mut draft, &numbers, claims.as_ref());
        let index = order(&mut draft, &numbers, claims.as_ref());
        zero_points(&mut draft, &numbers, claims.as_ref());
        flags(&mut draft, &numbers, claims.as_ref(), index);
    } else {
        shapeless(&mut draft, claims.as_ref());
    }
    draft.finite_scales("scales");
    draft.finish()
}

/// A layer whose shapes do not tell how many inputs it has.
fn shapeless(draft: &mut Draft<'_, '_>, claims: Option<&Claims<'_>>) {
    draft.shape_unknown();
    draft.spec.bias = draft.parts.has("bias");
    let said = claims.and_then(|c| c.int(BITS)).and_then(|said| u32::try_from(said.value).ok());
    draft.spec.millibits = said.filter(|bits| (2..=8).contains(bits)).unwrap_or(0) * 1000;
    if let Some(qweight) = draft.parts.get("qweight") {
        let has = units::shape(qweight.shape);
        draft.misfit("qweight", format!("qweight is {has}: no whole bits a code fit the other parts"));
    }
}

/// Shapes of all parts against each other and the config.
fn shapes(draft: &mut Draft<'_, '_>, numbers: &Numbers, claims: Option<&Claims<'_>>) {
    let Numbers { bits, inputs, outputs, .. } = *numbers;
    draft.shape(&[outputs, inputs]);
    draft.spec.millibits = bits * 1000;
    draft.spec.group_size = numbers.grouping.size;
    draft.bias("bias", &[outputs]);
    if let Some(index) = draft.parts.get("g_idx").filter(|g| !is_empty(g))
        && index.shape != [inputs]
    {
        let has = units::shape(index.shape);
        draft.misfit("g_idx", format!("g_idx is {has}, qweight has {inputs} inputs"));
    }
    if let Some(scales) = draft.parts.get("scales") {
        let fits = matrix(scales).is_some_and(|[rows, columns]| rows > 0 && columns == outputs);
        if !fits || !scales.dtype.is_float() {
            let has = units::shape(scales.shape);
            let detail = format!("scales is {} {has}, qweight has {outputs} outputs", scales.dtype);
            draft.misfit("scales", detail);
        }
    }
    if let Some(zeros) = draft.parts.get("qzeros") {
        let needed = numbers.zero_words();
        let groups = numbers.groups.unwrap_or(0);
        if !matrix(zeros).is_some_and(|[rows, words]| rows == groups && needed.contains(&words)) {
            let (has, needs) = (units::shape(zeros.shape), units::shape(&[groups, needed[1]]));
            let of = format!("{groups} groups of {outputs} outputs in {bits} bits");
            draft.misfit("qzeros", format!("qzeros is {has}, {of} need {needs}"));
        }
    }
    let Some(claims) = claims else { return };
    draft.faults(claims.dense_fault());
    let said = claims.int(BITS);
    draft.faults(claims::differs(&kind::QUANT_BITS_DISAGREE, said.as_ref(), &i64::from(bits)));
    draft.faults(group_fault(claims.int(GROUP).as_ref(), &numbers.grouping));
}

fn is_empty(part: &Part<'_>) -> bool {
    part.shape.contains(&0)
}

/// Looks at `g_idx`: act-order, and entries outside the groups.
fn order(draft: &mut Draft<'_, '_>, numbers: &Numbers, claims: Option<&Claims<'_>>) -> Option<Index> {
    let said = claims.and_then(|c| c.flag(&["desc_act"])).map(|said| said.value);
    let groups = numbers.groups.unwrap_or(0);
    // Without `g_idx`, and with one group, every input is where it was.
    if draft.parts.get("g_idx").is_none_or(is_empty) || groups <= 1 {
        draft.spec.act_order = Some(false);
    } else {
        draft.spec.act_order = said;
    }
    let index = match Index::read(draft.parts, numbers) {
        side::Read::Pending => {
            draft.spec.pending = true;
            return None;
        }
        side::Read::Nothing(_) => return None,
        side::Read::Found(index) => index,
    };
    draft.spec.act_order = Some(index.permuted);
    if let Some((at, value)) = index.first_outside {
        let detail = format!(
            "g_idx: {} of {} entries lie outside the {groups} groups ({value} at input {at})",
            index.outside, index.looked
        );
        draft.broken("g_idx out of range", Fault::new(&kind::GROUP_INDEX, detail).part("g_idx"));
    }
    if let Some((at, value)) = index.first_negative {
        let detail = format!(
            "g_idx: {} of {} entries are negative ({value} at input {at}), which counts from the end",
            index.negative, index.looked
        );
        draft.faults([Fault::new(&kind::GROUP_INDEX_NEGATIVE, detail).part("g_idx")]);
    }
    Some(index)
}

/// Tells v1 from v2 and symmetric from not: by the zero points, else by the config.
fn zero_points(draft: &mut Draft<'_, '_>, numbers: &Numbers, claims: Option<&Claims<'_>>) {
    let said_symmetric = claims.and_then(|c| c.flag(&["sym"]));
    let claimed = claims.and_then(claimed_version);
    let fallback = claimed.as_ref().map_or(Version::V1, |said| said.value);
    fallback.name().clone_into(&mut draft.spec.variant);
    draft.spec.symmetric = said_symmetric.as_ref().map(|said| said.value);
    let zeros = match Zeros::read(draft.parts, numbers) {
        side::Read::Pending => {
            draft.spec.pending = true;
            return;
        }
        side::Read::Nothing(_) => return,
        side::Read::Found(zeros) => zeros,
    };
    let version = judged(&zeros, said_symmetric.as_ref(), fallback);
    version.name().clone_into(&mut draft.spec.variant);
    let symmetric = zeros.fingerprint() == Some(version);
    draft.spec.symmetric = Some(symmetric);
    if let Some(said) = claimed.filter(|said| said.value != version) {
        let detail = format!("{}, the zero points are all {}: {}", said.place, zeros.min, version.storing());
        draft.faults([Fault::new(&kind::GPTQ_VERSION, detail).part("qzeros")]);
    }
    if let Some(said) = said_symmetric.filter(|said| said.value && !symmetric) {
        let has = zeros.describe();
        let detail = format!("{} is true, the zero points are {has}", said.place);
        draft.faults([said.fault(&kind::QUANT_FLAG_DISAGREES, detail)]);
    }
    if version == Version::V1 && !symmetric && zeros.at_top > 0 {
        let detail = format!(
            "qzeros: {} of {} zero points are {}, 0 stored minus one: readers disagree on them",
            zeros.at_top,
            zeros.looked,
            zeros.top()
        );
        draft.faults([Fault::new(&kind::ZERO_POINT_WRAP, detail).part("qzeros")]);
    }
}

/// Returns the version: the fingerprint of symmetric zero points wins over the config, unless the config
/// says that the layer is not symmetric.
fn judged(zeros: &Zeros, said_symmetric: Option<&Said<bool>>, fallback: Version) -> Version {
    let may_be_symmetric = said_symmetric.is_none_or(|said| said.value);
    zeros.fingerprint().filter(|_| may_be_symmetric).unwrap_or(fallback)
}

/// Returns the version that the config says, with the words for a contradiction.
fn claimed_version(claims: &Claims<'_>) -> Option<Said<Version>> {
    if claims.block.method.as_deref().is_some_and(is_auto_round) {
        // Only the spelled-out packings are clear; the plain `auto_round` was written both ways.
        let packing = claims.word(&["packing_format"])?;
        let value = if packing.value.contains("gptqmodel") {
            Version::V2
        } else if packing.value.ends_with("auto_gptq") {
            Version::V1
        } else {
            return None;
        };
        let place = format!("{} is {}", packing.place, crate::name::escape(&packing.value));
        return Some(Said { value, place, file: packing.file });
    }
    let Some(format) = claims.word(FORMAT) else {
        let place = format!("{} has no checkpoint_format, which means gptq", claims::at(claims.block));
        return Some(Said { value: Version::V1, place, file: claims.block.file.clone() });
    };
    let value = if matches!(format.value.as_str(), "gptq_v2" | "gptq_p") { Version::V2 } else { Version::V1 };
    let place = format!("{} is {}", format.place, crate::name::escape(&format.value));
    Some(Said { value, place, file: format.file })
}

/// `desc_act` of the config against `g_idx`, where a loader that trusts it would go wrong.
fn flags(draft: &mut Draft<'_, '_>, numbers: &Numbers, claims: Option<&Claims<'_>>, index: Option<Index>) {
    let Some(said) = claims.and_then(|c| c.flag(&["desc_act"])) else { return };
    let no_index = draft.parts.get("g_idx").is_none_or(is_empty);
    let detail = if said.value {
        let matters = no_index && numbers.groups.is_some_and(|g| g > 1);
        matters.then(|| format!("{} is true, there is no g_idx", said.place))
    } else {
        let is_odd = |i: &Index| i.outside > 0 || i.negative > 0;
        let permuted = index.is_some_and(|i| i.permuted && !is_odd(&i));
        permuted.then(|| format!("{} is false, g_idx is not in order", said.place))
    };
    if let Some(detail) = detail {
        draft.faults([said.fault(&kind::QUANT_FLAG_DISAGREES, detail)]);
    }
}

/// The marlin layout: 4-bit codes in tiles of 16 inputs, zero point 8.
fn marlin(parts: &Parts<'_>) -> Recognized {
    let claims = claims(parts);
    let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("gptq").unwrap_or(FormatId::LAST)));
    draft.spec.variant = "marlin".into();
    draft.spec.symmetric = Some(true);
    draft.spec.act_order = Some(false);
    draft.spec.millibits = 4000;
    draft.method(is_gptq, "gptq");
    let (codes, scales) = if parts.has("B") { ("B", "s") } else { ("qweight", "scales") };
    draft.spec.dtype = parts.get(scales).map(|s| s.dtype);
    draft.marlin(codes, scales, claims.and_then(|c| c.int(GROUP)).as_ref());
    draft.finish()
}
