//! Unknown: packed tensors whose format no other row recognizes. Named with their signature, never
//! guessed, never decoded.

use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::units;

/// The last row of `FORMATS`: takes everything.
pub struct Unknown;

/// How many parts the signature spells out.
const SIGNATURE_PARTS_MAX: usize = 6;

impl QuantFormat for Unknown {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight", "bias", "*"], parts: &[] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let main = parts.list.iter().max_by_key(|part| part.bytes)?;
        let mut spec = LayerSpec::new(FormatId::find("unknown")?).with_shape(main.shape);
        spec.millibits = main.dtype.bits().map_or(0, |bits| (bits * 1000.0) as u32);
        spec.dtype = Some(main.dtype);
        spec.variant = signature(parts);
        let detail = format!("no known format has these parts: {}", spec.variant);
        Some(Recognized { spec, faults: vec![Fault::new(&kind::UNKNOWN_QUANT, detail)] })
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "unknown".into()
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        vec![Evidence::new("signature", signature(parts), None)]
    }
}

fn signature(parts: &Parts<'_>) -> String {
    let mut words: Vec<String> = parts
        .list
        .iter()
        .take(SIGNATURE_PARTS_MAX)
        .map(|part| format!("{} {} {}", part.suffix, part.dtype.name(), units::shape(part.shape)))
        .collect();
    if parts.list.len() > SIGNATURE_PARTS_MAX {
        words.push(format!("and {} more", parts.list.len() - SIGNATURE_PARTS_MAX));
    }
    words.join(", ")
}
