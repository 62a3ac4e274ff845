//! What kernels/own.cu is told: the grid that a layer has, beside how new scales are found.
//!
//! The kernel also makes new scales alone of stacks that come turned: it goes to each value by itself.

use std::borrow::Cow;

use super::Coder;
use super::kernel::{Encoder, Finder, Finding, number_of_dtype};
use crate::quant::kernel::Kernel;
use crate::tensor::Dtype;

/// Values of a group whose errors are summed before these sums are added, as the kernel has it.
const PIECE: u64 = 256;

/// How a kernel encodes a weight on the grid that a layer has, and on a new one.
pub(in crate::quant) struct OwnGrid<'a> {
    /// How codes on new scales are made.
    pub(in crate::quant) encoder: Encoder,
    /// How values become codes on the stored scales.
    pub(in crate::quant) coder: Coder,
    /// Scale and zero point of each group of each row of tiles; one pair for a layer that has one; none where all is new.
    pub(in crate::quant) stored: Box<dyn ExactSizeIterator<Item = [f32; 2]> + 'a>,
    /// Of a stack of matrices whose columns come as rows: the rows of one; 0 of what comes as it is.
    pub(in crate::quant) turned: u64,
    /// The groups, where their inputs do not follow each other.
    pub(in crate::quant) strewn: Option<Strewn<'a>>,
    /// The dtype in which values are read.
    pub(in crate::quant) read_as: Dtype,
    /// False if the stored scales stay in any case.
    pub(in crate::quant) may_regroup: bool,
}

/// Groups whose inputs stand anywhere.
pub(in crate::quant) struct Strewn<'a> {
    /// The inputs in the order of their groups.
    pub(in crate::quant) order: Cow<'a, [u32]>,
    /// Where each group begins in that order, and where the last ends.
    pub(in crate::quant) starts: Vec<u32>,
}

impl Strewn<'_> {
    /// Returns the group of each input.
    fn group_of(&self) -> Vec<u32> {
        let mut groups = vec![0; self.order.len()];
        for (group, span) in self.starts.windows(2).enumerate() {
            for &input in self.order.get(span[0] as usize..span[1] as usize).unwrap_or_default() {
                if let Some(of) = groups.get_mut(input as usize) {
                    *of = group as u32;
                }
            }
        }
        groups
    }
}

impl OwnGrid<'_> {
    /// Returns the kernel, if there is one and it can count all in 32 bits. `finder`: how new scales are found, any where
    /// there are none.
    pub(in crate::quant) fn kernel(self, finder: Finder) -> Option<Kernel> {
        let Self { encoder, coder, turned, strewn, read_as, may_regroup, .. } = self;
        let name = match encoder.name {
            "tiles_int" => "own_int",
            "tiles_e4m3" => "own_e4m3",
            "tiles_e2m1" => "own_e2m1",
            "gptq_encode" => "own_gptq",
            "awq_encode" => "own_awq",
            _ => return None,
        };
        if may_regroup && !is_read_back(finder.finding, encoder.scales) {
            return None;
        }
        let (inputs, wide) = (encoder.tiling.inputs as u64, encoder.tiling.wide as u64);
        let longest = strewn.as_ref().map_or(wide.min(inputs), |strewn| {
            strewn.starts.windows(2).map(|pair| u64::from(pair[1] - pair[0])).max().unwrap_or(0)
        });
        let pieces = longest.div_ceil(PIECE).max(1);
        let stored_flags = encoder.flags(coder, Finding::Fixed)?;
        let is_one = self.stored.len() == 1;
        let [mut scales, mut zeros] = [(); 2].map(|()| Vec::with_capacity(self.stored.len()));
        for [scale, zero] in self.stored {
            scales.push(scale);
            zeros.push(zero);
        }
        if zeros.iter().all(|zero| zero.to_bits() == 0) {
            zeros = Vec::new();
        }
        let mut kernel = Kernel { name, ..encoder.described(finder)? };
        // What rules look up comes first.
        kernel.tables.resize(1, Vec::new());
        kernel = kernel.floats(&scales).floats(&zeros);
        if let Some(strewn) = &strewn {
            let groups = strewn.starts.len().saturating_sub(1) as u64;
            kernel = kernel.words(&strewn.order).words(&strewn.group_of()).words(&strewn.starts);
            *kernel.numbers.first_mut()? = encoder.tiling.high | groups << 32;
        }
        if turned > 0 {
            let last = crate::quant::kernel::NUMBERS - 1;
            if kernel.numbers.len() > last {
                return None;
            }
            kernel.numbers.resize(last, 0);
            kernel.numbers.push(inputs);
        }
        let bit = |at: u32, is_set: bool| u64::from(is_set) << at;
        let how = bit(2, may_regroup) | bit(3, is_one) | bit(4, scales.is_empty());
        let more = number_of_dtype(read_as)? | how | pieces << 8;
        let [_, _, to_flags, to_more, ..] = kernel.numbers.as_mut_slice() else { return None };
        *to_flags = stored_flags;
        *to_more |= more << 32;
        u32::try_from(more).is_ok().then_some(kernel)
    }

    /// Returns the bytes of each strand of so many rows.
    pub(in crate::quant) fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        let tiling = self.encoder.tiling;
        let rows = if self.turned > 0 { rows / tiling.inputs as u64 * self.turned } else { rows };
        let runs = tiling.width();
        let width = self.strewn.as_ref().map_or(runs, |strewn| strewn.starts.len().saturating_sub(1));
        let [codes, scales, zeros] = self.encoder.bytes_of(rows, width as u64);
        let lost = rows.saturating_mul(8);
        if self.stored.len() == 0 {
            return vec![codes, scales, zeros];
        }
        if self.may_regroup { vec![codes, lost, codes, scales, zeros, lost] } else { vec![codes, lost] }
    }
}

/// Returns true if new scales are what they were once they are read as they are stored: the kernel finds them first, and
/// makes codes with what it stored.
fn is_read_back(finding: Finding, scales: Dtype) -> bool {
    let is_exponent = matches!(scales, Dtype::U8 | Dtype::F8E8M0);
    match finding {
        Finding::Fixed | Finding::Ints | Finding::Floats | Finding::Gptq | Finding::Awq => true,
        Finding::Powers | Finding::Ocp => is_exponent,
        Finding::Power => is_exponent || matches!(scales, Dtype::F32 | Dtype::BF16),
        Finding::Inverse | Finding::Quotient | Finding::Factor => {
            matches!(scales, Dtype::F32 | Dtype::F16 | Dtype::BF16)
        }
        Finding::Nvfp4 | Finding::Second => scales == Dtype::F8E4M3,
        Finding::Halves => false,
    }
}
