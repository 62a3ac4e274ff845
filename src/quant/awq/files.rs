//! AWQ's tensors: where codes, zero points and scales stand in each layout.

use super::Kind;
use crate::quant::pack::Packing;
use crate::quant::qweight::packer::Files;
use crate::quant::qweight::words::turned;
use crate::quant::tiles::kernel::Rows;
use crate::tensor::{Dtype, values};

/// Which nibble of a `gemm` word the code of an output is.
pub(super) const NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
/// Inputs over which `gemv_fast` interleaves four rows.
pub(super) const WOVEN: usize = 64;

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Groups that `gemv` and `gemv_fast` have room for, padding included.
    pub(super) wide: usize,
    /// The dtype of scales.
    pub(super) dtype: Dtype,
}

impl Files for Layout {
    fn rows_apart(&self) -> u64 {
        match self.kind {
            Kind::Gemm => 8,
            Kind::Gemv | Kind::Marlin => 1,
            Kind::GemvFast => 4,
        }
    }

    fn pack(&self, codes: &[u8]) -> Vec<u8> {
        let inputs = self.inputs.max(1);
        let mut packed = Vec::with_capacity(codes.len() / 2);
        match self.kind {
            Kind::Gemm => {
                let mut words = vec![0u32; inputs];
                for rows in codes.chunks_exact(8 * inputs) {
                    words.fill(0);
                    for (row, nibble) in rows.chunks_exact(inputs).zip(NIBBLE) {
                        for (word, &code) in words.iter_mut().zip(row) {
                            *word |= u32::from(code) << (4 * nibble);
                        }
                    }
                    packed.extend(words.iter().flat_map(|word| word.to_le_bytes()));
                }
            }
            Kind::Gemv | Kind::Marlin => {
                for row in codes.chunks_exact(inputs) {
                    Packing::Dense.pack(row, 4, &mut packed);
                }
            }
            Kind::GemvFast => {
                let mut halves = vec![0u16; inputs];
                for rows in codes.chunks_exact(4 * inputs) {
                    halves.fill(0);
                    for (number, row) in rows.chunks_exact(inputs).enumerate() {
                        weave(number, row, &mut halves);
                    }
                    packed.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
                }
            }
        }
        packed
    }

    fn rows(&self) -> Option<Rows> {
        match self.kind {
            Kind::Gemm => Some(Rows::columns()),
            Kind::Gemv => Rows::words(Packing::Dense, 4),
            Kind::GemvFast => Some(Rows::woven()),
            // It is not written.
            Kind::Marlin => None,
        }
    }

    fn codes(&self, packed: &[u8]) -> Vec<u8> {
        if self.kind == Kind::Gemm { turned(packed, self.inputs) } else { packed.to_vec() }
    }

    fn grids(&self, zeros: &[u8], scales: &[f32]) -> [Vec<u8>; 2] {
        let groups = scales.len().checked_div(self.outputs).unwrap_or(0);
        let floats = |values: &[f32]| {
            let mut bytes = vec![0; self.dtype.bytes_of(values.len() as u64).unwrap_or(0) as usize];
            values::from_f32(self.dtype, values, &mut bytes);
            bytes
        };
        // By groups and outputs, groups of padding at the end.
        let tall = |value: &dyn Fn(usize) -> f32, rows: usize| {
            let mut matrix = vec![0.0; rows * self.outputs];
            for (group, line) in matrix.chunks_exact_mut(self.outputs.max(1)).enumerate().take(groups) {
                line.iter_mut().enumerate().for_each(|(output, out)| *out = value(output * groups + group));
            }
            floats(&matrix)
        };
        match self.kind {
            Kind::Gemm => {
                let mut words = Vec::with_capacity(zeros.len() / 2);
                for group in 0..groups {
                    for first in (0..self.outputs).step_by(8) {
                        let zero = |(output, nibble): (usize, u32)| {
                            u32::from(zeros[(first + output) * groups + group]) << (4 * nibble)
                        };
                        let word: u32 = NIBBLE.into_iter().enumerate().map(zero).sum();
                        words.extend(word.to_le_bytes());
                    }
                }
                [words, tall(&|at| scales[at], groups)]
            }
            Kind::Gemv | Kind::Marlin => {
                let (mut words, mut wide) = (Vec::new(), Vec::new());
                let mut line = vec![0; self.wide];
                for (zeros, scales) in
                    zeros.chunks_exact(groups.max(1)).zip(scales.chunks_exact(groups.max(1)))
                {
                    line[..groups].copy_from_slice(zeros);
                    Packing::Dense.pack(&line, 4, &mut words);
                    wide.extend_from_slice(scales);
                    wide.resize(wide.len() + self.wide - groups, 0.0);
                }
                [words, floats(&wide)]
            }
            Kind::GemvFast => {
                let scaled = |at: usize| -(f32::from(zeros[at]) * scales[at]);
                [tall(&scaled, self.wide), tall(&|at| scales[at], self.wide)]
            }
        }
    }
}

/// Puts a row of codes into the halves that four rows share.
fn weave(number: usize, row: &[u8], halves: &mut [u16]) {
    let own = WOVEN / 4 * number;
    for (codes, halves) in row.chunks_exact(WOVEN).zip(halves.chunks_exact_mut(WOVEN)) {
        let runs = halves[own..own + WOVEN / 4].as_chunks_mut::<8>().0;
        for (codes, run) in codes.chunks_exact(32).zip(runs) {
            for (codes, shift) in codes.chunks_exact(8).zip([0, 4, 8, 12]) {
                run.iter_mut().zip(codes).for_each(|(half, &code)| *half |= u16::from(code) << shift);
            }
        }
    }
}
