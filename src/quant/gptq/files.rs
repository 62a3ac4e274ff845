//! GPTQ's tensors: codes downwards in words, zero points along the outputs, minus one in v1.

use super::Version;
use crate::quant::pack::Packing;
use crate::quant::qweight::packer::Files;
use crate::quant::qweight::words::turned;
use crate::quant::tiles::kernel::Rows;
use crate::tensor::{Dtype, values};

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) bits: u32,
    pub(super) packing: Packing,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Words of a row of zero points, no fewer than they need.
    pub(super) zero_words: usize,
    pub(super) one: One,
    /// The dtype of scales.
    pub(super) dtype: Dtype,
}

/// How the one of v1 is subtracted from zero points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum One {
    /// It is not: v2.
    No,
    /// From every field, within its bits.
    Fields,
    /// From whole words, with borrows: what GPTQModel does for 2, 4 and 8 bits, and undoes.
    Words,
}

impl One {
    /// Returns how files of a version are written that GPTQModel reads, or all others.
    pub(super) fn of(version: Version, bits: u32, is_of_gptqmodel: bool) -> Self {
        match version {
            Version::V2 => Self::No,
            Version::V1 if is_of_gptqmodel && matches!(bits, 2 | 4 | 8) => Self::Words,
            Version::V1 => Self::Fields,
        }
    }
}

impl Files for Layout {
    fn pack(&self, codes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(codes.len() * self.bits as usize / 8 + 4);
        for row in codes.chunks_exact(self.inputs.max(1)) {
            self.packing.pack(row, self.bits, &mut packed);
        }
        packed
    }

    fn rows(&self) -> Option<Rows> {
        Rows::words(self.packing, self.bits)
    }

    fn codes(&self, packed: &[u8]) -> Vec<u8> {
        turned(packed, self.packing.words(self.inputs as u64, self.bits).unwrap_or(0) as usize)
    }

    fn grids(&self, zeros: &[u8], scales: &[f32]) -> [Vec<u8>; 2] {
        let groups = scales.len().checked_div(self.outputs).unwrap_or(0);
        let top = ((1u32 << self.bits) - 1) as u8;
        let ones = if self.one == One::Words { u32::MAX / u32::from(top) } else { 0 };
        let (mut words, mut line) = (Vec::with_capacity(groups * self.zero_words * 4), Vec::new());
        let mut floats = Vec::with_capacity(scales.len());
        for group in 0..groups {
            let of_group = |at: usize| at * groups + group;
            let stored = |output: usize| match self.one {
                One::Fields => zeros[of_group(output)].wrapping_sub(1) & top,
                One::No | One::Words => zeros[of_group(output)],
            };
            line.clear();
            line.extend((0..self.outputs).map(stored));
            let from = words.len();
            self.packing.pack(&line, self.bits, &mut words);
            words.resize(from + 4 * self.zero_words, 0);
            for word in words[from..].as_chunks_mut::<4>().0 {
                *word = u32::from_le_bytes(*word).wrapping_sub(ones).to_le_bytes();
            }
            floats.extend((0..self.outputs).map(|output| scales[of_group(output)]));
        }
        let mut bytes = vec![0; self.dtype.bytes_of(floats.len() as u64).unwrap_or(0) as usize];
        values::from_f32(self.dtype, &floats, &mut bytes);
        [words, bytes]
    }
}
