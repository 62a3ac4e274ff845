//! Decoding MXFP4 of gpt-oss: `value * 2^(scale - 127)`, and every expert transposed to `[in, out]`.
//!
//! Source: transformers, `integrations/mxfp4.py`, `convert_moe_packed_tensors`.

use std::ops::Range;

use super::{BLOCK, BLOCK_BYTES, find, is_exponent};
use crate::quant::Parts;
use crate::quant::decode::{Beside, DecodeRows, Decoding, floats_as};
use crate::quant::kernel::{Kernel, Program};
use crate::tensor::values::e2m1;
use crate::tensor::{Dtype, elements};
use crate::units;

/// Rows of a stack of experts: row `i` of an expert is its input `i`, for all outputs.
struct Rows {
    /// Values of the low and the high nibble of every byte.
    values: Box<[[f32; 2]; 256]>,
    /// `[experts, out, in / 32]`.
    scales: Vec<f32>,
    outputs: usize,
    /// Blocks along the inputs.
    blocks: usize,
}

pub(super) fn decode(parts: &Parts<'_>) -> Result<Decoding, String> {
    let blocks = find(parts, ["*_blocks", "blocks"]).ok_or("missing blocks")?;
    let scales = find(parts, ["*_scales", "scales"]).ok_or("missing scales")?;
    let [experts, outputs, count, BLOCK_BYTES] = *blocks.shape else {
        return Err(format!("blocks are {}, not [experts, out, in / 32, 16]", units::shape(blocks.shape)));
    };
    if blocks.dtype != Dtype::U8 || elements(blocks.shape) != Some(blocks.bytes) {
        return Err(format!(
            "blocks have {} bytes, not those of {}",
            blocks.bytes,
            units::shape(blocks.shape)
        ));
    }
    if !is_exponent(scales.dtype) || scales.shape != [experts, outputs, count] {
        let (has, needs) = (units::shape(scales.shape), units::shape(&blocks.shape[..3]));
        return Err(format!("scales are {} {has}, the blocks need U8 {needs}", scales.dtype));
    }
    let sizes = outputs.checked_mul(count).and_then(|blocks| blocks.checked_mul(BLOCK));
    let inputs = count.checked_mul(BLOCK).filter(|_| sizes.is_some());
    let inputs = inputs.ok_or_else(|| format!("blocks are {}, too many", units::shape(blocks.shape)))?;
    let rows = Rows {
        values: Box::new(std::array::from_fn(|byte| [e2m1(byte as u8), e2m1(byte as u8 >> 4)])),
        scales: floats_as(parts, scales, Dtype::F8E8M0)?,
        outputs: (outputs as usize).max(1),
        blocks: (count as usize).max(1),
    };
    let shape = [experts, inputs, outputs];
    let kept = parts.get("*_bias").map(|bias| bias.tensor).into_iter().collect();
    let is_openai = blocks.suffix == "blocks";
    let caution =
        "turned to [experts, in, out] as Hugging Face has it; OpenAI's own code has [experts, out, in]";
    Ok(Decoding {
        codes: blocks.tensor,
        suffix: "*",
        shape: shape.to_vec(),
        dtype: None,
        kept,
        rows: Box::new(rows),
        caution: is_openai.then_some(caution),
    })
}

impl Rows {
    /// Rows of an expert.
    fn inputs(&self) -> u64 {
        self.blocks as u64 * BLOCK
    }

    /// Bytes of an expert.
    fn bytes(&self) -> u64 {
        (self.outputs * self.blocks) as u64 * BLOCK_BYTES
    }

    /// Turns each byte that holds codes of some inputs of one block of inputs, for all outputs of an expert, with the
    /// number of the nibble and the scale, into what is wanted of it.
    fn block<T>(
        &self,
        expert: u64,
        inputs: Range<usize>,
        codes: &[u8],
        out: &mut [T],
        value: impl Fn(u8, usize, f32) -> T,
    ) {
        let block = inputs.start / 32;
        let first = expert as usize * self.outputs * self.blocks + block;
        let scales = self.scales.get(first..).unwrap_or_default().iter().step_by(self.blocks);
        let codes = codes.as_chunks::<16>().0.get(block..).unwrap_or_default().iter().step_by(self.blocks);
        let inputs = inputs.start % 32..inputs.start % 32 + inputs.len();
        for (output, (codes, &scale)) in codes.zip(scales).take(self.outputs).enumerate() {
            let rows = out.iter_mut().skip(output).step_by(self.outputs);
            for (out, input) in rows.zip(inputs.clone()) {
                *out = value(codes[input / 2], input % 2, scale);
            }
        }
    }

    /// Turns the codes of rows into what is wanted of them, as `block` does.
    fn unpack<T>(&self, rows: Range<u64>, codes: &[u8], out: &mut [T], value: impl Fn(u8, usize, f32) -> T) {
        let (inputs, first) = (self.inputs(), rows.start / self.inputs());
        let mut row = rows.start;
        while row < rows.end {
            let (expert, input) = (row / inputs, row % inputs);
            // Up to the end of the block of inputs, in which all have one scale an output.
            let count = (BLOCK - input % BLOCK).min(rows.end - row);
            let start = ((expert - first) * self.bytes()) as usize;
            let codes = codes.get(start..).unwrap_or_default();
            let at = (row - rows.start) as usize * self.outputs;
            let out = out.get_mut(at..at + count as usize * self.outputs).unwrap_or_default();
            self.block(expert, input as usize..(input + count) as usize, codes, out, &value);
            row += count;
        }
    }
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let experts = rows.start / self.inputs()..rows.end.div_ceil(self.inputs());
        experts.start * self.bytes()..experts.end * self.bytes()
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(rows, codes, out, |byte, nibble, scale| self.values[usize::from(byte)][nibble] * scale);
    }

    fn program(&self) -> Option<Program> {
        let sizes = [self.outputs as u64, self.blocks as u64];
        Some(Kernel::new("mxfp4").floats(&self.scales).numbers(sizes).into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.unpack(rows, codes, out, |byte, nibble, _| u16::from(byte >> (4 * nibble) & 15));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        (which == Beside::Scales).then(|| self.scales.clone())
    }
}
