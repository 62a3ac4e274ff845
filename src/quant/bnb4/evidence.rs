//! Why we think that a layer is bitsandbytes nf4 or fp4: config, quant state, shapes, absmax, table.

use super::state::{State, StateRead};
use super::{Table, claims, codes, is_nested, part, table_values};
use crate::name::escape;
use crate::quant::scale_values::evidence;
use crate::quant::{Evidence, LayerSpec, Parts};
use crate::units;

/// Returns the lines.
pub(super) fn lines(parts: &Parts<'_>, layer: &LayerSpec, table: Table) -> Vec<Evidence> {
    let mut lines = vec![config(parts, table), state(parts, layer)];
    if let Some(weight) = codes(parts) {
        let text = if layer.shape_known {
            let values = layer.shape.iter().copied().fold(1, u64::saturating_mul);
            format!("{} bytes × 2 codes hold {values} values", units::exact(weight.bytes))
        } else {
            format!("{} bytes × 2 codes; the shape is not known", units::exact(weight.bytes))
        };
        let text = match layer.broken.as_slice() {
            [] => text,
            broken => format!("{text}; {}", broken.join(", ")),
        };
        lines.push(Evidence::new("shapes", text, Some(layer.broken.is_empty() && layer.shape_known)));
    }
    for name in ["absmax", "nested_absmax"] {
        if let Some(part) = part(parts, name) {
            let shape = units::shape(part.shape);
            let what = if part.dtype.is_float() { shape } else { format!("{shape}, quantized themselves") };
            lines.push(evidence(parts, part, part.dtype, &what));
        }
    }
    if let Some(map) = table_values(parts) {
        let same = map == table.values();
        let word = if same { "the table" } else { "not the table" };
        lines.push(Evidence::new("quant_map", format!("{word} of {}", table.word()), Some(same)));
    }
    lines
}

fn config(parts: &Parts<'_>, table: Table) -> Evidence {
    let Some(claims) = claims(parts) else {
        let text = match parts.config.method() {
            Some(method) => format!("quant_method {}: not that of these tensors", escape(method)),
            None => "nothing says how the tensors are quantized".into(),
        };
        return Evidence::new("config.json", text, parts.config.of_model.then_some(false));
    };
    let (kind, double) = (claims.word(&["bnb_4bit_quant_type"]), claims.flag(&["bnb_4bit_use_double_quant"]));
    let mut words = vec!["quant_method bitsandbytes".to_owned()];
    words.extend(kind.as_ref().map(|said| escape(&said.value).into_owned()));
    words.extend(double.as_ref().map(|said| format!("double quantization {}", said.value)));
    let contradicts = kind.is_some_and(|said| said.value != table.word())
        || double.is_some_and(|said| said.value != is_nested(parts));
    Evidence::new(claims.block.file.clone(), words.join(", "), contradicts.then_some(false))
}

fn state(parts: &Parts<'_>, layer: &LayerSpec) -> Evidence {
    let (text, agrees) = match State::read(parts) {
        StateRead::Pending => ("not read yet".into(), None),
        StateRead::Missing => ("missing: nothing tells the shape".into(), Some(false)),
        StateRead::Unreadable(why) => (format!("not looked at: {why}"), None),
        StateRead::Damaged(why) => (why, Some(false)),
        StateRead::State(state) => {
            let kind = state.quant_type.as_deref().map_or_else(|| "no type".into(), escape).into_owned();
            let block = state.block.map(|block| format!("blocks of {block}"));
            let dtype = state.dtype.map(|dtype| dtype.name().to_owned());
            let shape = state.shape.as_deref().map(units::shape);
            let words = [Some(kind), block, dtype, shape].into_iter().flatten().collect::<Vec<_>>();
            (words.join(", "), Some(layer.shape_known))
        }
    };
    Evidence::new("quant state", text, agrees)
}
