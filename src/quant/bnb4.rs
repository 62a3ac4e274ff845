//! bitsandbytes nf4 and fp4: 4-bit codes of a fixed table, one absmax a block of the flattened weight.
//!
//! | tensor                                   | dtype           | shape                | holds              |
//! |------------------------------------------|-----------------|----------------------|--------------------|
//! | `weight`                                 | U8, any storage | `[ceil(n / 2), 1]`   | two codes a byte, high nibble first |
//! | `weight.absmax`                          | F32, nested U8  | `[ceil(n / block)]`  | one a block        |
//! | `weight.quant_map`                       | F32             | `[16]`               | the table, known   |
//! | `weight.nested_absmax`                   | F32             | `[ceil(blocks / 256)]` | nested: absmax of absmax |
//! | `weight.nested_quant_map`                | F32             | `[256]`              | nested: its table  |
//! | `weight.quant_state.bitsandbytes__nf4`   | U8              | `[len]`              | JSON: type, block, dtype, shape |
//!
//! A parameter that is not called `weight` (the experts of a layer, through bitsandbytes' `nn/parametrize.py`) has
//! its own name in the place of it: `gate_up_proj`, `gate_up_proj.absmax`.
//! GPTQModel spells them `weight_absmax` … `weight_quant_state`. The shape stands in the quant state alone.
//! Source: bitsandbytes 0.50 `functional.py` (`QuantState`), GPTQModel `nn_modules/qlinear/bitsandbytes.py`.

mod decode;
mod encode;
mod evidence;
mod left;
mod mean;
mod python;
mod state;
mod target;
#[cfg(test)]
mod tests;

pub(super) use self::left::left_out;
use self::state::{State, StateRead};
pub(super) use self::target::{Block, block};
pub use self::target::{TO_FP4, TO_NF4};
use super::claims::{Claims, Said};
use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::{Evidence, Fault, FormatId, LayerSpec, Part, Parts, QuantFormat, Recognized, Side, Signature};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};

/// bitsandbytes 4-bit, by its table of values.
pub struct Bnb4(Table);

/// The row of nf4.
pub static NF4: Bnb4 = Bnb4(Table::Nf4);
/// The row of fp4.
pub static FP4: Bnb4 = Bnb4(Table::Fp4);

/// A table of 16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Nf4,
    Fp4,
}

/// The values of nf4: quantiles of the normal distribution.
const NF4_VALUES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// The positive values of fp4, over 12; codes from 8 on are their negatives.
const FP4_TWELFTHS: [f32; 8] = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
/// Block sizes that bitsandbytes takes.
const BLOCKS: [u64; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

impl Table {
    fn format(self) -> &'static str {
        match self {
            Self::Nf4 => "bnb-nf4",
            Self::Fp4 => "bnb-fp4",
        }
    }

    /// Returns the word of configs and quant states.
    fn word(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Nf4, Self::Fp4].into_iter().find(|table| word.eq_ignore_ascii_case(table.word()))
    }

    fn values(self) -> [f32; 16] {
        match self {
            Self::Nf4 => NF4_VALUES,
            Self::Fp4 => std::array::from_fn(|code| {
                let value = FP4_TWELFTHS[code % 8] / 12.0;
                if code < 8 { value } else { -value }
            }),
        }
    }

    /// Returns the table of a layer: by the quant state's name, its JSON, the values of `quant_map`, the
    /// config, else nf4.
    fn of(parts: &Parts<'_>) -> Self {
        if parts.has("weight.quant_state.bitsandbytes__nf4") {
            return Self::Nf4;
        }
        if parts.has("weight.quant_state.bitsandbytes__fp4") {
            return Self::Fp4;
        }
        if let StateRead::State(state) = State::read(parts)
            && let Some(table) = state.quant_type.as_deref().and_then(Self::of_word)
        {
            return table;
        }
        let by_map = || {
            let map = table_values(parts)?;
            [Self::Nf4, Self::Fp4].into_iter().find(|table| map == table.values())
        };
        let by_config = || {
            let word = claims(parts)?.word(&["bnb_4bit_quant_type", "format"])?;
            Self::of_word(&word.value)
        };
        by_map().or_else(by_config).unwrap_or(Self::Nf4)
    }
}

/// Returns true for the methods that mean bitsandbytes.
pub(super) fn is_bnb(method: &str) -> bool {
    matches!(method, "bitsandbytes" | "bnb")
}

impl QuantFormat for Bnb4 {
    fn name(&self) -> &'static str {
        self.0.format()
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &[
                "weight.quant_state.bitsandbytes__nf4",
                "weight.quant_state.bitsandbytes__fp4",
                "weight.absmax",
                "weight.nested_absmax",
                "quant_state.bitsandbytes__nf4",
                "quant_state.bitsandbytes__fp4",
                "weight_quant_state",
                "weight_absmax",
                "weight_nested_absmax",
            ],
            parts: &[
                "weight",
                "*",
                "absmax",
                "quant_map",
                "nested_absmax",
                "nested_quant_map",
                "weight.quant_map",
                "weight.nested_quant_map",
                "weight_quant_map",
                "weight_nested_quant_map",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let is_anchor = |part: &Part<'_>| self.signature().anchors.contains(&part.suffix);
        if !parts.list.iter().any(is_anchor) || Table::of(parts) != self.0 {
            return None;
        }
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find(self.name())?));
        draft.spec.millibits = 4000;
        draft.spec.variant = if is_nested(parts) { "nested" } else { "plain" }.into();
        method(&mut draft, self.0.word());
        layer(&mut draft, self.0);
        if let Some(claims) = claims(parts) {
            config(&mut draft, self.0, &claims);
        }
        Some(draft.finish())
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        self.0.word().to_ascii_uppercase()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        evidence::lines(parts, layer, self.0)
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(self, parts, layer)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        encode::encode(self.0, parts, layer)
    }
}

fn claims<'c>(parts: &Parts<'c>) -> Option<Claims<'c>> {
    Claims::of(parts, is_bnb)
}

/// Checks the config's method. A bare file without any config is complete: the quant state says it all.
pub(super) fn method(draft: &mut Draft<'_, '_>, word: &str) {
    let config = draft.parts.config;
    if config.of_model || !config.blocks.is_empty() {
        draft.method(is_bnb, &format!("bitsandbytes {word}"));
    }
}

/// Returns a side tensor under either spelling.
fn part<'p, 'a>(parts: &'p Parts<'a>, name: &str) -> Option<&'p Part<'a>> {
    parts.list.iter().find(|part| {
        let of_weight = part.suffix.strip_prefix("weight").and_then(|rest| rest.strip_prefix(['.', '_']));
        of_weight.unwrap_or(part.suffix) == name
    })
}

/// Returns the packed codes: `weight`, or the parameter of another name.
fn codes<'p, 'a>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("weight").or_else(|| parts.get("*"))
}

fn state_part<'p, 'a>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.list.iter().find(|part| part.suffix.contains("quant_state"))
}

fn is_nested(parts: &Parts<'_>) -> bool {
    part(parts, "nested_absmax").is_some()
        || part(parts, "absmax").is_some_and(|absmax| absmax.dtype == Dtype::U8)
}

/// Returns the 16 values of `quant_map`, if they can be read.
fn table_values(parts: &Parts<'_>) -> Option<[f32; 16]> {
    let map = part(parts, "quant_map").filter(|map| map.dtype == Dtype::F32 && map.bytes == 64)?;
    let Side::Bytes(bytes) = parts.read(map, 64) else { return None };
    let mut values = [0.0; 16];
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    (bytes.len() == 64).then_some(values)
}

/// Fills the layer from its quant state, and checks the parts against it.
fn layer(draft: &mut Draft<'_, '_>, table: Table) {
    let parts = draft.parts;
    let nested = is_nested(parts);
    if codes(parts).is_none() {
        draft.lacks("weight");
    }
    for name in ["absmax", "quant_map"] {
        if part(parts, name).is_none() {
            draft.lacks(name);
        }
    }
    for name in ["nested_absmax", "nested_quant_map"] {
        if nested && part(parts, name).is_none() {
            draft.lacks(name);
        }
    }
    let state = match State::read(parts) {
        StateRead::Pending => {
            draft.spec.pending = true;
            None
        }
        StateRead::Missing => {
            draft.lacks("quant state");
            None
        }
        // What cannot be read now is no fault: the shape is not known, that is all.
        StateRead::Unreadable(_) => None,
        StateRead::Damaged(why) => {
            damaged(draft, &why);
            None
        }
        StateRead::State(state) => Some(state),
    };
    let shape = state.as_ref().and_then(|state| apply(draft, state, table));
    if let Some(shape) = shape {
        draft.shape(&shape);
    } else {
        draft.shape_unknown();
        let packed = codes(parts).map_or(0, |weight| weight.bytes);
        draft.spec.parameters = packed.saturating_mul(2);
    }
    let outputs = draft.spec.shape.first().copied();
    draft.bias("bias", outputs.as_slice());
    values(draft, table);
}

fn damaged(draft: &mut Draft<'_, '_>, why: &str) {
    let fault = Fault::new(&kind::QUANT_STATE, format!("quant state: {why}"));
    let fault = state_part(draft.parts).map(|part| fault.clone().part(part.suffix)).unwrap_or(fault);
    draft.broken("quant state damaged", fault);
}

/// Takes what the quant state says. Returns the shape if it can be true.
fn apply(draft: &mut Draft<'_, '_>, state: &State, table: Table) -> Option<Vec<u64>> {
    draft.spec.dtype = state.dtype;
    draft.spec.group_size = state.block.filter(|block| BLOCKS.contains(block));
    if let Some(word) = state.quant_type.as_deref().filter(|word| Table::of_word(word) != Some(table)) {
        let word = crate::name::escape(word);
        damaged(draft, &format!("quant_type is {word}, its name says {}", table.word()));
    }
    if draft.spec.group_size.is_none() {
        let has = state.block.map_or_else(|| "not given".into(), |block| block.to_string());
        damaged(draft, &format!("blocksize is {has}, bitsandbytes takes 32, 64, 128 … 4096"));
    }
    let Some(shape) = state.shape.as_deref() else {
        damaged(draft, "it gives no shape");
        return None;
    };
    let Some(count) = elements(shape) else {
        damaged(draft, &format!("shape {} is beyond counting", crate::units::shape(shape)));
        return None;
    };
    let fits = packed_fits(draft, shape, count);
    if let Some(block) = draft.spec.group_size.filter(|_| fits) {
        absmax(draft, count.div_ceil(block), state);
    }
    if is_nested(draft.parts) && state.nested_offset.is_none_or(|offset| !offset.is_finite()) {
        damaged(draft, "the absmax are nested, it gives no nested_offset");
    }
    fits.then(|| shape.to_vec())
}

/// Checks that the packed weight has the bytes of this many values, whatever its storage dtype.
fn packed_fits(draft: &mut Draft<'_, '_>, shape: &[u64], count: u64) -> bool {
    let Some(weight) = codes(draft.parts) else { return true };
    let needs = count.div_ceil(2);
    if weight.bytes == needs {
        return true;
    }
    let (shape, has) = (crate::units::shape(shape), weight.bytes);
    damaged(draft, &format!("shape {shape} needs {needs} packed bytes, weight has {has}"));
    false
}

/// Checks how many absmax there are, and how many of their own.
fn absmax(draft: &mut Draft<'_, '_>, blocks: u64, state: &State) {
    let nested_block = state.nested_block.filter(|&block| block > 0).unwrap_or(256);
    for (name, needs) in [("absmax", blocks), ("nested_absmax", blocks.div_ceil(nested_block))] {
        let Some(part) = part(draft.parts, name) else { continue };
        let has = elements(part.shape).unwrap_or(u64::MAX);
        if has != needs {
            let detail = format!("{name} has {has} values, {needs} are needed: one a block");
            draft.misfit(part.suffix, detail);
        }
    }
}

/// Looks at the values: absmax must be finite, the table the one that the kernels use.
fn values(draft: &mut Draft<'_, '_>, table: Table) {
    for name in ["absmax", "nested_absmax", "nested_quant_map"] {
        if let Some(part) = part(draft.parts, name).filter(|part| part.dtype.is_float()) {
            draft.finite(part.suffix, part.dtype);
        }
    }
    let differing = table_values(draft.parts)
        .map(|map| map.iter().zip(table.values()).filter(|(in_file, known)| **in_file != *known).count());
    if let Some(count) = differing.filter(|&count| count > 0) {
        let detail = format!(
            "quant_map: {count} of 16 values are not those of {}; kernels use their own",
            table.word()
        );
        draft.fault(&kind::QUANT_MAP, detail);
    }
}

/// The config's other words against the tensors.
fn config(draft: &mut Draft<'_, '_>, table: Table, claims: &Claims<'_>) {
    let flag = |key: &str| claims.flag(&[key]).filter(|said| said.value);
    if let Some(said) = flag("load_in_8bit").filter(|_| flag("load_in_4bit").is_none()) {
        let detail = format!("{} is true, the tensors are {}", said.place, table.word());
        draft.faults([said.fault(&kind::QUANT_BITS_DISAGREE, detail)]);
        return;
    }
    let said: Option<Said<String>> = claims.word(&["bnb_4bit_quant_type"]);
    if let Some(said) = said.filter(|said| said.value != table.word()) {
        let (says, is) = (crate::name::escape(&said.value), table.word());
        let detail = format!("{} is {says}, the tensors are {is}", said.place);
        draft.faults([said.fault(&kind::QUANT_FLAG_DISAGREES, detail)]);
    }
    let nested = is_nested(draft.parts);
    if let Some(said) = claims.flag(&["bnb_4bit_use_double_quant"]).filter(|said| said.value != nested) {
        let is = if nested { "nested" } else { "not nested" };
        let detail = format!("{} is {}, the absmax are {is}", said.place, said.value);
        draft.faults([said.fault(&kind::QUANT_FLAG_DISAGREES, detail)]);
    }
}
