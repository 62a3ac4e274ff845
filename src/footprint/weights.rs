//! Weights: the bytes of a model's weights as they are stored, as plain values, and as bitsandbytes packs them.
//!
//! | format         | bytes of a layer of `n` values                                                             |
//! |----------------|--------------------------------------------------------------------------------------------|
//! | as stored      | those of the headers                                                                       |
//! | 16 bit, F32    | `2 n`, `4 n`                                                                               |
//! | nf4            | `n / 2` codes, `4 n / 64` absmax, 64 for the 16 values of the map                          |
//! | nf4, nested    | `n / 2`, `n / 64` absmax, `4 n / (64 * 256)` of theirs, 64 + 1024 for two maps, 4 for the offset |
//!
//! bitsandbytes packs linear layers only. Embeddings, heads, norms, routers, stacked experts and vision towers stay
//! at 16 bit; kbit preparation makes them F32. Source: bitsandbytes `functional.py`, `quantize_4bit`.

use super::Anatomy;
use super::anatomy::{Linears, Others};

/// Values that share an absmax.
const BLOCK: u64 = 64;
/// Absmax values that share one of their own, where they are quantized again.
const NESTED_BLOCK: u64 = 256;
/// The 16 values of the map, as F32.
const MAP_BYTES: u64 = 64;
/// The 256 values of the second map, as F32, and the offset.
const NESTED_BYTES: u64 = 1024 + 4;

/// Weights of which the linear layers are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// How many linear layers.
    pub layers: u64,
    /// Their values.
    pub values: u64,
    /// Their bytes, quant states included.
    pub bytes: u64,
    /// Bytes of all else.
    pub others: u64,
}

impl Packed {
    /// Returns the bytes of all weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.bytes.saturating_add(self.others)
    }

    /// Returns bits a value of the packed layers.
    #[must_use]
    pub fn bits(&self) -> f64 {
        if self.values == 0 { 0.0 } else { self.bytes as f64 * 8.0 / self.values as f64 }
    }
}

/// Returns the bytes as stored, without what a loader drops.
#[must_use]
pub fn stored(anatomy: &Anatomy) -> u64 {
    anatomy.stored_bytes.saturating_sub(anatomy.tied_bytes)
}

/// Returns the bytes with every floating value in `width` bytes; integers stay.
#[must_use]
pub fn plain(anatomy: &Anatomy, width: u64) -> u64 {
    anatomy.values().saturating_mul(width).saturating_add(fixed(anatomy))
}

/// Returns the bytes of one layer of `values` values as bitsandbytes holds it in 4 bit.
#[must_use]
pub fn nf4_layer(values: u64, is_double: bool) -> u64 {
    let blocks = values.div_ceil(BLOCK);
    let states = if is_double {
        blocks.saturating_add(blocks.div_ceil(NESTED_BLOCK).saturating_mul(4)).saturating_add(NESTED_BYTES)
    } else {
        blocks.saturating_mul(4)
    };
    values.div_ceil(2).saturating_add(states).saturating_add(MAP_BYTES)
}

/// Returns the weights with all linear layers of the decoder in nf4 and all else in `width` bytes a value.
#[must_use]
pub fn nf4(anatomy: &Anatomy, is_double: bool, width: u64) -> Packed {
    let mut packed = Packed::default();
    for group in &anatomy.linears {
        packed.add(group, nf4_layer(group.elements(), is_double).saturating_mul(group.count));
        packed.others = packed.others.saturating_add(group.biases.saturating_mul(width));
    }
    let others = anatomy.others.values().map(|other| other.values.saturating_mul(width));
    packed.others = others.fold(packed.others, u64::saturating_add).saturating_add(fixed(anatomy));
    packed
}

/// Returns the weights of a base that bitsandbytes has packed: as stored, or with all else in F32.
#[must_use]
pub fn packed_already(anatomy: &Anatomy, is_kbit: bool) -> Packed {
    let mut packed = Packed::default();
    for group in &anatomy.linears {
        if group.is_bnb4 {
            packed.add(group, group.bytes);
            // Biases are stored in 16 bit, with the layer.
            packed.others =
                packed.others.saturating_add(if is_kbit { group.biases.saturating_mul(2) } else { 0 });
        } else if is_kbit && !group.is_quantized {
            packed.others = packed.others.saturating_add(group.values().saturating_mul(4));
        } else {
            packed.others = packed.others.saturating_add(group.bytes);
        }
    }
    for other in anatomy.others.values() {
        let bytes = if is_kbit { other.values.saturating_mul(4) } else { other.value_bytes };
        packed.others = packed.others.saturating_add(bytes);
    }
    packed.others = packed.others.saturating_add(fixed(anatomy));
    packed
}

impl Packed {
    fn add(&mut self, group: &Linears, bytes: u64) {
        self.layers = self.layers.saturating_add(group.count);
        self.values = self.values.saturating_add(group.elements().saturating_mul(group.count));
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Bytes of integers and truth values.
fn fixed(anatomy: &Anatomy) -> u64 {
    anatomy.others.values().map(|other: &Others| other.fixed_bytes).fold(0, u64::saturating_add)
}
