//! Encoding MXFP4 of gpt-oss: an expert at a time, turned to `[out, in]`.
//!
//! | what  | how                                                                                  |
//! |-------|--------------------------------------------------------------------------------------|
//! | scale | of 32 inputs: a quarter of the largest power of two that none of them is below in size |
//! | code  | the E2M1 nearest to `w / scale`, ties to even; what is above 6 is 6                    |
//!
//! This is the rule of OCP Microscaling 1.0, section 6.3. Which rule the kernels follow that transformers takes from the
//! Hub (`triton_kernels`, `downcast_to_mxfp`) is not known here: theirs may round scales up.

use super::{BLOCK, find, is_exponent};
use crate::quant::affine::transposed;
use crate::quant::decode::floats_as;
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::quant::tiled::{Fresh, Layout, Made, Own, Packed, Turns};
use crate::quant::tiles::kernel::{Finder, Finding};
use crate::quant::tiles::{Code, Coder, Rule, Step, Tiling, magnitude, power_of_two};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;

/// The rule of OCP Microscaling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ocp;

impl Rule for Ocp {
    fn step(&self, range: [f32; 2], _values: &[f32], _whole: f32) -> Result<Step, String> {
        let exponent = (magnitude(range).to_bits() >> 23).cast_signed();
        Ok(Step::of(power_of_two(exponent - 2), 0.0))
    }

    fn finder(&self, _whole: f32) -> Option<Finder> {
        Some(Finder::new(Finding::Ocp, []))
    }
}

/// Returns an encoder of experts `[out, in]` on new scales.
pub(super) fn fresh([outputs, inputs]: [u64; 2]) -> Result<Fresh<Ocp>, String> {
    if !inputs.is_multiple_of(BLOCK) {
        return Err(format!("its {inputs} inputs are not whole blocks of {BLOCK}"));
    }
    let layout = Layout {
        tiling: Tiling::new(&[outputs, inputs], [1, BLOCK])?,
        packed: Packed::Nibbles,
        scales: Dtype::U8,
        has_zeros: false,
        wants_largest: false,
    };
    let finish = Box::new(|made: Made, _| vec![made.codes, made.scales]);
    Ok(Fresh { layout, coder: Coder::nearest(Code::E2M1), rule: Ocp, finish })
}

/// Returns how a stack is encoded as it is stored.
pub(super) fn encode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    let blocks = find(parts, ["*_blocks", "blocks"]).ok_or("missing blocks")?;
    let scales = find(parts, ["*_scales", "scales"]).ok_or("missing scales")?;
    let [experts, inputs, outputs] = *layer.shape else { return Err("its shape is not known".into()) };
    if !layer.broken.is_empty() || !is_exponent(scales.dtype) || blocks.dtype != Dtype::U8 {
        return Err("its blocks and scales do not fit each other".into());
    }
    let powers = floats_as(parts, scales, Dtype::F8E8M0)?;
    if powers.iter().any(|power| power.is_nan()) {
        return Err("some of its scales are NaN".into());
    }
    let fresh = fresh([outputs, inputs])?;
    // All experts as one matrix: the number of a row tells its scales.
    let layout =
        Layout { tiling: Tiling { outputs: outputs * experts, ..fresh.layout.tiling }, ..fresh.layout };
    let own = Own {
        fresh: Fresh { layout, ..fresh },
        stored: powers.iter().map(|&power| Step::held(power, 0.0)).collect(),
        kept: vec![crate::quant::decode::bytes_of(parts, scales)?],
        order: None,
        decoded: Dtype::BF16,
        may_regroup: true,
    };
    let tensors = vec![Encoded::like(blocks), Encoded::like(scales)];
    Ok(Encoding { tensors, encoder: Box::new(Turned { inner: own, inputs, outputs }) })
}

/// Experts whose inputs come as rows.
pub(super) struct Turned<E> {
    pub(super) inner: E,
    pub(super) inputs: u64,
    pub(super) outputs: u64,
}

impl<E: Turns> Encode for Turned<E> {
    fn rows_apart(&self) -> u64 {
        self.inputs
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        let (inputs, outputs) = (self.inputs as usize, self.outputs as usize);
        let first_row = at.first_row / self.inputs * self.outputs;
        let experts = values.chunks_exact(inputs * outputs);
        let turned: Vec<f32> = experts.flat_map(|expert| transposed(expert, inputs, outputs)).collect();
        self.inner.rows(&turned, Around { first_row, ..at })
    }

    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>> {
        self.inner.finish(strands, largest)
    }

    fn kernel(&self, largest: f32) -> Option<Kernel> {
        let (own, finder) = self.inner.turned(self.outputs, largest)?;
        own.kernel(finder)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.inner.turned(self.outputs, 0.0).map_or_else(Vec::new, |(own, _)| own.strand_bytes(rows))
    }
}
