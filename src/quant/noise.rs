//! Layers of random bits, made as files have them: what is measured and tested is what a checkpoint would give.

use half::f16;

use super::decode::Decoding;
use super::in_memory::InMemory;
use crate::tensor::{Dtype, GgmlType};

/// Types of ggml, and the bytes of a block at which halves lie that scale it.
pub const BLOCKS: [(&str, &[usize]); 27] = [
    ("Q4_K", &[0, 2]),
    ("Q4_0", &[0]),
    ("Q4_1", &[0, 2]),
    ("Q5_0", &[0]),
    ("Q5_1", &[0, 2]),
    ("Q8_0", &[0]),
    ("Q8_1", &[0]),
    // The upper half of an F32.
    ("Q8_K", &[2]),
    ("Q1_0", &[0]),
    ("Q2_0", &[0]),
    ("Q2_K", &[80, 82]),
    ("Q3_K", &[108]),
    ("Q5_K", &[0, 2]),
    ("Q6_K", &[208]),
    ("IQ1_S", &[0]),
    // The highest of four nibbles that are the scale.
    ("IQ1_M", &[54]),
    ("IQ2_XXS", &[0]),
    ("IQ2_XS", &[0]),
    ("IQ2_S", &[0]),
    ("IQ3_XXS", &[0]),
    ("IQ3_S", &[0]),
    ("IQ4_NL", &[0]),
    ("IQ4_XS", &[0]),
    ("TQ1_0", &[52]),
    ("TQ2_0", &[64]),
    ("MXFP4", &[]),
    ("NVFP4", &[]),
];

/// Weights that share a scale.
const GROUP: u64 = 128;

/// A layer of random bits.
pub struct Layer {
    /// What it is called in reports.
    pub name: String,
    format: &'static str,
    tensors: InMemory<'static>,
}

impl Layer {
    /// Returns how it is decoded.
    ///
    /// # Errors
    /// It is not recognized: its sizes fit no groups.
    pub fn decoding(&self) -> Result<Decoding, String> {
        self.tensors.decoding("layer", self.format)
    }

    /// Returns the bytes of the codes.
    #[must_use]
    pub fn codes(&self, decoding: &Decoding) -> &[u8] {
        self.tensors.bytes(decoding.codes)
    }
}

/// Returns bytes without a pattern.
#[must_use]
pub fn noise(count: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(count as usize).collect()
}

fn scale(at: u64) -> f32 {
    0.01 + (at % 97) as f32 * 1e-4
}

fn f32_scales(count: u64) -> Vec<u8> {
    (0..count).flat_map(|at| scale(at).to_le_bytes()).collect()
}

fn f16_scales(count: u64) -> Vec<u8> {
    (0..count).flat_map(|at| f16::from_f32(scale(at)).to_le_bytes()).collect()
}

fn nf4(outputs: u64, inputs: u64) -> InMemory<'static> {
    let count = outputs * inputs;
    let state = format!(
        r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [{outputs}, {inputs}]}}"#
    );
    InMemory::default()
        .part("weight", Dtype::U8, &[count / 2, 1], noise(count / 2))
        .part("weight.absmax", Dtype::F32, &[count / 64], f32_scales(count / 64))
        .part("weight.quant_map", Dtype::F32, &[16], vec![0; 64])
        .part("weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[state.len() as u64], state.into_bytes())
}

fn gptq(outputs: u64, inputs: u64) -> InMemory<'static> {
    let groups = inputs / GROUP;
    let index: Vec<u8> = (0..inputs as u32).flat_map(|at| (at / GROUP as u32).to_le_bytes()).collect();
    InMemory::default()
        .part("qweight", Dtype::I32, &[inputs / 8, outputs], noise(inputs * outputs / 2))
        .part("qzeros", Dtype::I32, &[groups, outputs / 8], vec![0x77; (groups * outputs / 2) as usize])
        .part("scales", Dtype::F16, &[groups, outputs], f16_scales(groups * outputs))
        .part("g_idx", Dtype::I32, &[inputs], index)
}

fn awq(outputs: u64, inputs: u64) -> InMemory<'static> {
    let groups = inputs / GROUP;
    InMemory::default()
        .part("qweight", Dtype::I32, &[inputs, outputs / 8], noise(inputs * outputs / 2))
        .part("qzeros", Dtype::I32, &[groups, outputs / 8], noise(groups * outputs / 2))
        .part("scales", Dtype::F16, &[groups, outputs], f16_scales(groups * outputs))
}

fn fp8(outputs: u64, inputs: u64) -> InMemory<'static> {
    // No code of NaN.
    let codes = noise(outputs * inputs).into_iter();
    let codes: Vec<u8> = codes.map(|code| if code & 0x7f == 0x7f { code ^ 1 } else { code }).collect();
    let tiles = [outputs.div_ceil(GROUP), inputs.div_ceil(GROUP)];
    InMemory::default().part("weight", Dtype::F8E4M3, &[outputs, inputs], codes).part(
        "weight_scale_inv",
        Dtype::F32,
        &tiles,
        f32_scales(tiles[0] * tiles[1]),
    )
}

/// Returns blocks of random bits whose scales are finite; `None` if ggml has no such type.
fn ggml((name, halves): (&str, &[usize]), outputs: u64, inputs: u64) -> Option<InMemory<'static>> {
    let kind = (0..=255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name)?;
    let mut bytes = noise(Dtype::Ggml(kind).bytes_of(outputs * inputs)?);
    for block in bytes.chunks_mut(kind.block_bytes() as usize) {
        for at in halves {
            if let Some(high) = block.get_mut(at + 1) {
                *high &= !0x40;
            }
        }
    }
    Some(InMemory::default().part("weight", Dtype::Ggml(kind), &[outputs, inputs], bytes))
}

/// Returns the name of each kind of layer.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["bnb-nf4", "gptq", "awq", "fp8"].into_iter().chain(BLOCKS.iter().map(|(name, _)| *name))
}

/// Returns a layer of a kind; multiples of 256 fit all of them. `None` if there is no such kind.
#[must_use]
pub fn layer(name: &str, outputs: u64, inputs: u64) -> Option<Layer> {
    let (format, tensors) = match name {
        "bnb-nf4" => ("bnb-nf4", nf4(outputs, inputs)),
        "gptq" => ("gptq", gptq(outputs, inputs)),
        "awq" => ("awq", awq(outputs, inputs)),
        "fp8" => ("fp8", fp8(outputs, inputs)),
        _ => ("ggml", ggml(*BLOCKS.iter().find(|(known, _)| *known == name)?, outputs, inputs)?),
    };
    Some(Layer { name: name.to_owned(), format, tensors })
}
