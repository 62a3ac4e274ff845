//! What kernels/tiles.cu is told: how tiles lie, how scales come of their ranges, and how codes become words.

use super::{Code, Coder, Step, Tiling};
use crate::quant::kernel::{Kernel, dtype_number};
use crate::quant::pack::Packing;
use crate::quant::search;
use crate::quant::target::Search;
use crate::quant::tiled::Packed;
use crate::tensor::Dtype;

/// Tiles that a block of threads holds at a time, as the kernel has it.
const TILES: u64 = 256;
/// Values that a block makes at a time, about.
const VALUES: u64 = 2048;
/// Codes of a set whose words end together, whatever their bits.
const SET: u64 = 32;

/// How scales come of ranges, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quant) enum Finding {
    /// One scale, whatever the range: what values are divided by, zero point, what is stored, what a code of 1 is worth.
    Fixed = 0,
    /// Integers of compressed-tensors: bits, dtype, 1 if symmetric.
    Ints = 1,
    /// E4M3 of compressed-tensors: nothing, dtype.
    Floats = 2,
    /// Powers of two of compressed-tensors: what is taken from the exponent, dtype.
    Powers = 3,
    /// Around a global scale, by which local ones are divided: that, dtype.
    Nvfp4 = 4,
    /// Of `fp8/rules.rs`: the largest code, dtype.
    Inverse = 5,
    /// Likewise; table 0: of each exponent the largest mantissa that is not rounded up.
    Power = 6,
    /// Likewise, as `Inverse`.
    Quotient = 7,
    /// Likewise.
    Factor = 8,
    /// Of OCP Microscaling.
    Ocp = 9,
    /// Around a second scale that multiplies: that.
    Second = 10,
    /// GPTQ's grids: bits, dtype, 1 if symmetric, the least zero point.
    Gptq = 11,
    /// AWQ's grids: nothing, dtype.
    Awq = 12,
    /// int8 of bitsandbytes.
    Halves = 13,
}

impl Finding {
    /// Returns true if the kernels of these codes find scales so; those of GPTQ, AWQ and int8 know their own way alone.
    fn is_of(self, code: Code) -> bool {
        match self {
            Self::Fixed | Self::Gptq | Self::Awq | Self::Halves => true,
            Self::Ints => matches!(code, Code::Int(_)),
            Self::Floats | Self::Inverse | Self::Quotient | Self::Factor => matches!(code, Code::E4M3),
            Self::Powers | Self::Power => matches!(code, Code::E4M3 | Code::E2M1),
            Self::Nvfp4 | Self::Ocp | Self::Second => matches!(code, Code::E2M1),
        }
    }
}

/// How a kernel finds the scale of a tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::quant) struct Finder {
    pub(in crate::quant) finding: Finding,
    /// Its numbers, at most five; an f32 by its bits.
    pub(in crate::quant) numbers: Vec<u64>,
    pub(in crate::quant) table: Vec<u32>,
}

impl Finder {
    pub(in crate::quant) fn new(finding: Finding, numbers: impl IntoIterator<Item = u64>) -> Self {
        Self { finding, numbers: numbers.into_iter().collect(), table: Vec::new() }
    }

    /// Returns how the one scale of a layer is found.
    pub(in crate::quant) fn fixed(step: Step) -> Self {
        Self::new(Finding::Fixed, [step.by, step.zero, step.stored, step.worth].map(number_of))
    }
}

/// Returns an f32 as a number of a kernel.
pub(in crate::quant) fn number_of(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// Returns a dtype as a number of a kernel, if kernels know it.
pub(in crate::quant) fn number_of_dtype(dtype: Dtype) -> Option<u64> {
    dtype_number(dtype).map(u64::from)
}

/// How codes lie, as the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quant) enum Lying {
    /// In units of 32 bits; a row may end within one.
    Bytes = 0,
    /// In words.
    Words = 1,
    /// 32 codes in as many words as a code has bits.
    Sets = 2,
    /// Eight rows in a word, of all columns one.
    Columns = 3,
    /// Four rows in halves of words.
    Woven = 4,
    /// Sets of 32 codes in planes of their bits.
    Planes = 5,
}

/// How codes lie in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quant) struct Rows {
    lying: Lying,
    bits: u32,
    /// Codes of a word.
    each: u32,
}

impl Rows {
    /// Returns rows of packed codes, if a kernel packs so.
    pub(in crate::quant) fn of(packed: Packed) -> Option<Self> {
        match packed {
            Packed::Bytes => Some(Self { lying: Lying::Bytes, bits: 8, each: 4 }),
            Packed::Nibbles => Some(Self { lying: Lying::Bytes, bits: 4, each: 8 }),
            Packed::Words(packing, bits) => Self::words(packing, bits),
        }
    }

    /// Returns rows of words.
    pub(in crate::quant) fn words(packing: Packing, bits: u32) -> Option<Self> {
        match packing {
            _ if !(1..=8).contains(&bits) => None,
            Packing::Dense if !32u32.is_multiple_of(bits) => {
                Some(Self { lying: Lying::Sets, bits, each: SET as u32 })
            }
            Packing::Dense | Packing::Padded => Some(Self { lying: Lying::Words, bits, each: 32 / bits }),
            Packing::Planar => Some(Self { lying: Lying::Planes, bits, each: SET as u32 }),
        }
    }

    /// Returns words that eight rows of 4 bits share.
    pub(in crate::quant) fn columns() -> Self {
        Self { lying: Lying::Columns, bits: 4, each: 1 }
    }

    /// Returns halves of words that four rows of 4 bits are woven into.
    pub(in crate::quant) fn woven() -> Self {
        Self { lying: Lying::Woven, bits: 4, each: 1 }
    }

    /// Returns how many rows share words; 1 if none do.
    fn together(self) -> u64 {
        match self.lying {
            Lying::Columns => 8,
            Lying::Woven => 4,
            Lying::Bytes | Lying::Words | Lying::Sets | Lying::Planes => 1,
        }
    }

    /// Returns the bytes of so many codes of as many rows as share words.
    fn bytes(self, inputs: u64) -> Option<u64> {
        let bits = u64::from(self.bits);
        match self.lying {
            Lying::Bytes => inputs.checked_mul(bits).map(|bits| bits.div_ceil(8)),
            Lying::Words => inputs.div_ceil(u64::from(self.each)).checked_mul(4),
            Lying::Sets => inputs.checked_mul(bits)?.div_ceil(32).checked_mul(4),
            Lying::Columns => inputs.checked_mul(4),
            Lying::Woven => inputs.checked_mul(2),
            Lying::Planes => inputs.div_ceil(SET).checked_mul(bits * 4),
        }
    }
}

/// How a kernel encodes a weight in tiles.
pub(in crate::quant) struct Encoder {
    /// Name of the kernel.
    pub(in crate::quant) name: &'static str,
    pub(in crate::quant) tiling: Tiling,
    pub(in crate::quant) rows: Rows,
    /// The dtype of the stored scales.
    pub(in crate::quant) scales: Dtype,
    pub(in crate::quant) has_zeros: bool,
    /// How values become codes; the kernels of GPTQ, AWQ and int8 look at what it rounds to alone.
    pub(in crate::quant) coder: Coder,
    /// How the kernel searches for scales.
    pub(in crate::quant) search: Search,
}

impl Encoder {
    /// Returns an encoder of tiles with the kernel of its codes.
    pub(in crate::quant) fn of_codes(
        tiling: Tiling,
        packed: Packed,
        (scales, has_zeros): (Dtype, bool),
        coder: Coder,
    ) -> Option<Self> {
        let name = match coder.code {
            Code::Int(_) => "tiles_int",
            Code::E4M3 => "tiles_e4m3",
            Code::E2M1 => "tiles_e2m1",
        };
        let bits = if let Code::Int(bits) = coder.code { bits } else { 8 };
        let rows = Rows::of(packed)?;
        // The bits of integers are those of their places.
        let fits = !matches!(coder.code, Code::Int(_)) || bits == rows.bits;
        fits.then_some(Self { name, tiling, rows, scales, has_zeros, coder, search: Search::None })
    }

    /// Returns an encoder that searches for scales further; `None` if no kernel does.
    pub(in crate::quant) fn searching(self, search: Search) -> Option<Self> {
        let name = match (search, self.name) {
            (Search::None, name) => name,
            // A search looks at groups of one row.
            (_, "tiles_int") if self.tiling.high > 1 => return None,
            (Search::Mse, "tiles_int") => "int_search",
            (Search::Mse, "gptq_encode") => "gptq_search",
            (Search::Mse, "awq_encode") => "awq_search",
            (Search::Hqq, "tiles_int") => "int_hqq",
            (Search::Hqq, "gptq_encode") => "gptq_hqq",
            (Search::Hqq, "awq_encode") => "awq_hqq",
            (Search::Mse | Search::Hqq, _) => return None,
        };
        Some(Self { name, search, ..self })
    }

    /// Returns the kernel, if there is one that packs so and it can count all in 32 bits.
    pub(in crate::quant) fn kernel(&self, finder: Finder) -> Option<Kernel> {
        if matches!(self.rows.lying, Lying::Woven | Lying::Planes) { None } else { self.described(finder) }
    }

    /// Returns a kernel with what all encoders in tiles are told.
    pub(super) fn described(&self, finder: Finder) -> Option<Kernel> {
        let Tiling { inputs, high, .. } = self.tiling;
        let (inputs, wide) = (inputs as u64, self.tiling.wide as u64);
        let together = self.rows.together().max(high);
        let apart = self.tiling.rows_apart().max(together);
        let row_bytes = self.rows.bytes(inputs)?;
        let strip = self.strip(wide, together)?;
        let is_counted =
            [inputs, high, wide, apart, row_bytes, strip].iter().all(|&number| u32::try_from(number).is_ok());
        let numbers = [
            high | wide << 32,
            apart | together << 32,
            strip,
            row_bytes,
            self.flags(self.coder, finder.finding)?,
        ];
        let kernel = Kernel::new(self.name).numbers(numbers).numbers(finder.numbers);
        let kernel = if finder.table.is_empty() { kernel } else { kernel.words(&finder.table) };
        let kernel = if self.search == Search::Hqq { kernel.floats(&search::shrinkages()) } else { kernel };
        (is_counted && kernel.numbers.len() <= crate::quant::kernel::NUMBERS).then_some(kernel)
    }

    /// Returns the columns that a block makes at a time: whole tiles and whole words.
    fn strip(&self, wide: u64, together: u64) -> Option<u64> {
        let each = u64::from(self.rows.each);
        let unit = wide.checked_mul(each)? / greatest_common_divisor(wide, each);
        let tiles = unit / wide * (together / self.tiling.high.max(1)).max(1);
        let units = (VALUES / (unit.saturating_mul(together)).max(1)).max(1);
        Some(unit * units.min(TILES / tiles))
    }

    /// Returns how codes of this kind are made of values, and how scales are, if a kernel makes them so.
    pub(super) fn flags(&self, coder: Coder, finding: Finding) -> Option<u64> {
        if !finding.is_of(coder.code) {
            return None;
        }
        let Rows { lying, bits, each } = self.rows;
        let stored = match self.scales {
            Dtype::F32 => 0,
            Dtype::F16 => 1,
            Dtype::BF16 => 2,
            Dtype::F8E4M3 => 3,
            Dtype::U8 | Dtype::F8E8M0 => 4,
            _ => return None,
        };
        // Codes in words are counted from the least one on.
        let from_least = matches!(lying, Lying::Words | Lying::Sets | Lying::Planes);
        let bit = |at: u32, is_set: bool| u64::from(is_set) << at;
        Some(
            lying as u64
                | u64::from(bits) << 8
                | u64::from(each) << 16
                | stored << 24
                | bit(28, self.has_zeros)
                | bit(29, coder.multiplies)
                | bit(30, coder.adds_zero)
                | bit(31, coder.keeps_sign)
                | number_of_dtype(coder.rounded)? << 32
                | bit(34, from_least)
                | (finding as u64) << 40,
        )
    }

    /// Returns the bytes of codes, scales and zero points of so many rows.
    pub(in crate::quant) fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.bytes_of(rows, self.tiling.width() as u64).to_vec()
    }

    /// Returns the same for rows that have so many scales each.
    pub(super) fn bytes_of(&self, rows: u64, width: u64) -> [u64; 3] {
        let (tiling, inputs) = (self.tiling, self.tiling.inputs as u64);
        let apart = tiling.rows_apart().max(1);
        let bands = rows / apart * apart.div_ceil(tiling.high) + (rows % apart).div_ceil(tiling.high);
        let tiles = bands.saturating_mul(width);
        let codes = self.rows.bytes(inputs).unwrap_or(u64::MAX);
        let codes = codes.saturating_mul(rows.div_ceil(self.rows.together()));
        let scales = tiles.saturating_mul(self.scales.bytes_of(1).unwrap_or(4));
        [codes, scales, if self.has_zeros { tiles } else { 0 }]
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
