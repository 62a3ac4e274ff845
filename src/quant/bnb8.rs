//! bitsandbytes int8 (`LLM.int8()`): one byte a weight, one scale an output.
//!
//! | tensor          | dtype | shape       | holds                                                     |
//! |-----------------|-------|-------------|-----------------------------------------------------------|
//! | `weight`        | I8    | `[out, in]` | codes                                                     |
//! | `SCB`           | F32   | `[out]`     | largest magnitude of each row; GPTQModel: `weight_scb`    |
//! | `weight_format` | U8    | `[]`        | 0 rows, 1 `col32`, 2 `col_turing`, 3 `col_ampere`; absent: rows |
//!
//! `weight = code * SCB / 127`. The column layouts are those of bitsandbytes before 0.45, which current
//! ones refuse. Source: bitsandbytes 0.50 `nn/modules.py` (`Linear8bitLt`), `functional.py`.

mod decode;
mod encode;
mod target;

pub use self::target::TO_INT8;
use super::bnb4::{is_bnb, method};
use super::claims::Claims;
use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::scale_values::evidence;
use super::side::{NumberRead, integers, matrix};
use super::{Evidence, Fault, FormatId, LayerSpec, Part, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units;

/// The int8 format of bitsandbytes.
pub struct Int8;

/// Names of `weight_format`.
const LAYOUTS: [&str; 4] = ["row", "col32", "col_turing", "col_ampere"];

impl QuantFormat for Int8 {
    fn name(&self) -> &'static str {
        "bnb-int8"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["SCB", "weight_scb", "weight_format"], parts: &["weight", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        if !is_int8(parts) {
            return None;
        }
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("bnb-int8")?));
        draft.spec.millibits = 8000;
        method(&mut draft, "int8");
        weight(&mut draft);
        layout(&mut draft);
        if let Some(claims) = Claims::of(parts, is_bnb) {
            let flag = |key: &str| claims.flag(&[key]).filter(|said| said.value);
            // `bnb_4bit_quant_type` is written for int8 too and means nothing.
            if let Some(said) = flag("load_in_4bit").filter(|_| flag("load_in_8bit").is_none()) {
                let detail = format!("{} is true, the tensors are int8", said.place);
                draft.faults([said.fault(&kind::QUANT_BITS_DISAGREE, detail)]);
            }
        }
        Some(draft.finish())
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "INT8".into()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        match Claims::of(parts, is_bnb) {
            Some(claims) => {
                let said = claims.flag(&["load_in_8bit"]).map(|said| said.value);
                let text = match said {
                    Some(said) => format!("quant_method bitsandbytes, load_in_8bit {said}"),
                    None => "quant_method bitsandbytes".into(),
                };
                lines.push(Evidence::new(claims.block.file.clone(), text, said.filter(|said| !said)));
            }
            None => lines.push(Evidence::new("config.json", "nothing says bitsandbytes", None)),
        }
        if let Some(weight) = parts.get("weight") {
            let text = format!("{} {}, one code a byte", weight.dtype, units::shape(weight.shape));
            lines.push(Evidence::new("shapes", text, Some(layer.broken.is_empty())));
        }
        if let Some(scales) = scales(parts) {
            lines.push(evidence(parts, scales, scales.dtype, "one an output"));
        }
        if parts.has("weight_format") {
            let agrees = (!layer.pending).then(|| layer.variant == "row");
            lines.push(Evidence::new("weight_format", layer.variant.clone(), agrees));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Result<Encoding, String> {
        encode::encode(parts)
    }
}

fn scales<'p, 'a>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("SCB").or_else(|| parts.get("weight_scb"))
}

/// Returns true if the parts are int8's: its side tensors, or bytes alone where the config says int8.
fn is_int8(parts: &Parts<'_>) -> bool {
    if scales(parts).is_some() || parts.has("weight_format") {
        return true;
    }
    let alone = parts.list.iter().all(|part| matches!(part.suffix, "weight" | "bias"));
    let is_bytes = parts.get("weight").is_some_and(|w| w.dtype == Dtype::I8 && w.shape.len() == 2);
    let says_so = || {
        let claims = Claims::of(parts, is_bnb);
        claims.and_then(|c| c.flag(&["load_in_8bit"])).is_some_and(|said| said.value)
    };
    alone && is_bytes && says_so()
}

/// Fills the shape, and checks the scales against it.
fn weight(draft: &mut Draft<'_, '_>) {
    let parts = draft.parts;
    let shape = parts.get("weight").and_then(matrix);
    if let Some(shape) = shape {
        draft.shape(&shape);
        draft.bias("bias", &shape[..1]);
    } else {
        draft.shape_unknown();
        draft.spec.bias = parts.has("bias");
    }
    match parts.get("weight") {
        None => draft.lacks("weight"),
        Some(weight) if weight.dtype != Dtype::I8 || shape.is_none() => {
            let has = units::shape(weight.shape);
            draft.misfit("weight", format!("weight is {} {has}, int8 codes are I8 [out, in]", weight.dtype));
        }
        Some(_) => {}
    }
    let Some(scales) = scales(parts) else {
        draft.lacks("SCB");
        return;
    };
    if let Some([outputs, _]) = shape.filter(|&[outputs, _]| elements(scales.shape) != Some(outputs)) {
        let has = units::shape(scales.shape);
        draft.misfit(scales.suffix, format!("{} is {has}, weight has {outputs} outputs", scales.suffix));
    }
    draft.finite(scales.suffix, scales.dtype);
}

/// Reads how the codes are laid out.
fn layout(draft: &mut Draft<'_, '_>) {
    LAYOUTS[0].clone_into(&mut draft.spec.variant);
    match integers(draft.parts, "weight_format", 1) {
        NumberRead::Pending => draft.spec.pending = true,
        NumberRead::Absent => {}
        NumberRead::Numbers(list) => {
            let Some(&code) = list.first().filter(|&&code| code != 0) else { return };
            let name = usize::try_from(code).ok().and_then(|code| LAYOUTS.get(code));
            name.map_or("unknown", |name| *name).clone_into(&mut draft.spec.variant);
            let detail = format!(
                "weight_format is {code} ({}): bitsandbytes since 0.45 reads rows (0) alone; save it again",
                draft.spec.variant
            );
            draft.broken(
                "weight_format not in rows",
                Fault::new(&kind::QUANT_STATE, detail).part("weight_format"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
