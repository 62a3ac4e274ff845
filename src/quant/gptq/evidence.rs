//! Why we think that a layer is GPTQ: config, shapes, zero points, group index, scales.

use super::side::{Index, Read, Zeros};
use super::{BITS, FORMAT, GROUP, Numbers, claimed_version, claims, is_empty};
use crate::name::escape;
use crate::quant::claims::{Claims, at};
use crate::quant::scale_values::evidence;
use crate::quant::side::matrix;
use crate::quant::{Evidence, LayerSpec, Parts};
use crate::units;

/// Returns the lines.
pub(super) fn lines(parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
    let claims = claims(parts);
    let mut lines = vec![config(parts, claims.as_ref(), layer)];
    if layer.variant == "marlin" {
        lines.extend(marlin(parts, layer));
        return lines;
    }
    let Some(numbers) = Numbers::of(parts, claims.as_ref()) else {
        lines.push(Evidence::new("shapes", "no whole bits a code fit the parts", Some(false)));
        return lines;
    };
    lines.push(shapes(parts, &numbers, layer));
    lines.push(zeros(parts, &numbers, claims.as_ref(), layer));
    lines.push(order(parts, &numbers, claims.as_ref()));
    if let Some(scales) = parts.get("scales") {
        let grain = match numbers.grouping.size {
            Some(size) => format!("one a group of {size} and output"),
            None => "one an output".into(),
        };
        lines.push(evidence(parts, scales, scales.dtype, &grain));
    }
    lines
}

/// Returns the config's line: `quant_method gptq, bits 4, group 128`.
pub(super) fn config(parts: &Parts<'_>, claims: Option<&Claims<'_>>, layer: &LayerSpec) -> Evidence {
    let Some(claims) = claims else {
        let text = match parts.config.method() {
            Some(method) => format!("quant_method {}: not that of these tensors", escape(method)),
            None => "nothing says how the tensors are quantized".into(),
        };
        let file = parts.config.blocks.first().map_or("config.json", |block| block.file.as_str());
        return Evidence::new(file, text, Some(false));
    };
    let mut words = vec![format!("quant_method {}", escape(claims.block.method.as_deref().unwrap_or("?")))];
    let (bits, group) = (claims.int(BITS), claims.int(GROUP));
    words.extend(bits.as_ref().map(|said| format!("bits {}", said.value)));
    words.extend(group.as_ref().map(|said| format!("group {}", said.value)));
    words.extend(claims.word(FORMAT).map(|said| format!("format {}", escape(&said.value))));
    let same_bits = bits.is_none_or(|said| said.value * 1000 == i64::from(layer.millibits));
    let same_group = group.is_none_or(|said| said.value.max(0) as u64 == layer.group_size.unwrap_or(0));
    let contradicts = !same_bits || !same_group;
    let source = if claims.block.key.is_empty() { at(claims.block) } else { claims.block.file.clone() };
    Evidence::new(source, words.join(", "), contradicts.then_some(false))
}

fn shapes(parts: &Parts<'_>, numbers: &Numbers, layer: &LayerSpec) -> Evidence {
    let rows = parts.get("qweight").and_then(matrix).map_or(0, |[rows, _]| rows);
    let (word, bits, inputs) = (numbers.word, u64::from(numbers.bits), numbers.inputs);
    let text = if word.is_multiple_of(bits) {
        format!("{rows} words × {} codes = {inputs} inputs", word / bits)
    } else {
        format!("{rows} words × {word} bits / {bits} = {inputs} inputs")
    };
    let text = match layer.broken.as_slice() {
        [] => text,
        broken => format!("{text}; {}", broken.join(", ")),
    };
    Evidence::new("shapes", text, Some(layer.broken.is_empty()))
}

fn zeros(parts: &Parts<'_>, numbers: &Numbers, claims: Option<&Claims<'_>>, layer: &LayerSpec) -> Evidence {
    let claimed = claims.and_then(claimed_version).map(|said| said.value.name());
    match Zeros::read(parts, numbers) {
        Read::Pending => Evidence::new("qzeros", "not read yet", None),
        Read::Nothing(why) => Evidence::new("qzeros", format!("not looked at: {why}"), None),
        Read::Found(zeros) if layer.symmetric == Some(true) => {
            let storing = zeros.fingerprint().map_or("", super::Version::storing);
            let agrees = claimed.is_none_or(|name| name == layer.variant);
            Evidence::new("qzeros", format!("{}: {storing}", zeros.describe()), Some(agrees))
        }
        Read::Found(zeros) => {
            let by = if claimed.is_some() { "as the config says" } else { "as nothing says otherwise" };
            let text = format!("{}: not symmetric; {} {by}", zeros.describe(), layer.variant);
            let flag = claims.and_then(|c| c.flag(&["sym"])).map(|said| !said.value);
            Evidence::new("qzeros", text, flag)
        }
    }
}

fn order(parts: &Parts<'_>, numbers: &Numbers, claims: Option<&Claims<'_>>) -> Evidence {
    if parts.get("g_idx").is_none_or(is_empty) {
        return Evidence::new("g_idx", "not there: no act-order", None);
    }
    match Index::read(parts, numbers) {
        Read::Pending => Evidence::new("g_idx", "not read yet", None),
        Read::Nothing(why) => Evidence::new("g_idx", format!("not looked at: {why}"), None),
        Read::Found(index) if index.outside > 0 => {
            let text = format!("{}: {} entries outside the groups", index.describe(), index.outside);
            Evidence::new("g_idx", text, Some(false))
        }
        Read::Found(index) => {
            let word = if index.permuted { "act-order" } else { "no act-order" };
            // An order that is told and not there costs nothing; one that is there and not told does.
            let untold = claims.and_then(|c| c.flag(&["desc_act"])).is_some_and(|said| !said.value);
            let agrees = !(index.permuted && untold);
            Evidence::new("g_idx", format!("{}: {word}", index.describe()), Some(agrees))
        }
    }
}

/// Returns the lines of the marlin layout.
pub(in crate::quant) fn marlin(parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
    let (codes, scales) = if parts.has("B") { ("B", "s") } else { ("qweight", "scales") };
    let mut lines = Vec::new();
    if let Some(part) = parts.get(codes) {
        let inputs = layer.shape.last().copied().unwrap_or(0);
        let text = format!("{} in tiles of 16 inputs = {inputs} inputs", units::shape(part.shape));
        lines.push(Evidence::new("shapes", text, Some(layer.broken.is_empty())));
    }
    if let Some(part) = parts.get(scales) {
        lines.push(evidence(parts, part, part.dtype, &units::shape(part.shape)));
    }
    lines
}
