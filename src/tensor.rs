//! Tensors without their data: dtypes, shapes, byte sizes. No I/O.
//!
//! `Dtype` covers the element types of safetensors (enum order of the format's crate), of PyTorch
//! pickles, and the block types of ggml. Sizes are given per block, so that a 4-bit float (two a byte)
//! and a ggml super-block (256 elements in 144 bytes) need no special case.
//! Sources: safetensors `Dtype`; ggml `ggml.h`, `ggml-common.h`.

pub mod lookup;
pub mod narrow;
pub mod nearest;
pub mod values;

use std::fmt;
use std::sync::Mutex;

/// The element type of a tensor as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// 4-bit float E2M1; two a byte, low nibble first.
    F4,
    /// 6-bit float E2M3.
    F6E2M3,
    /// 6-bit float E3M2.
    F6E3M2,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 8-bit float E5M2, with infinities.
    F8E5M2,
    /// 8-bit float E4M3 (fn): no infinities, maximum 448.
    F8E4M3,
    /// 8-bit exponent only: `2^(b-127)`, 255 is NaN.
    F8E8M0,
    /// E4M3 of AMD: no negative zero.
    F8E4M3Fnuz,
    /// E5M2 of AMD: no negative zero.
    F8E5M2Fnuz,
    /// Signed 16 bits.
    I16,
    /// Unsigned 16 bits.
    U16,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// Signed 32 bits.
    I32,
    /// Unsigned 32 bits.
    U32,
    /// IEEE single.
    F32,
    /// Complex of two F32.
    C64,
    /// IEEE double.
    F64,
    /// Signed 64 bits.
    I64,
    /// Unsigned 64 bits.
    U64,
    /// Complex of two F64 (pickles only).
    C128,
    /// A ggml block type.
    Ggml(GgmlType),
    /// A dtype we do not know, by its spelling in the file; its size is unknown.
    Other(OtherDtype),
}

/// The plain dtypes with the spelling of safetensors and their bits.
const PLAIN: [(Dtype, &str, u32); 23] = [
    (Dtype::Bool, "BOOL", 8),
    (Dtype::F4, "F4", 4),
    (Dtype::F6E2M3, "F6_E2M3", 6),
    (Dtype::F6E3M2, "F6_E3M2", 6),
    (Dtype::U8, "U8", 8),
    (Dtype::I8, "I8", 8),
    (Dtype::F8E5M2, "F8_E5M2", 8),
    (Dtype::F8E4M3, "F8_E4M3", 8),
    (Dtype::F8E8M0, "F8_E8M0", 8),
    (Dtype::F8E4M3Fnuz, "F8_E4M3FNUZ", 8),
    (Dtype::F8E5M2Fnuz, "F8_E5M2FNUZ", 8),
    (Dtype::I16, "I16", 16),
    (Dtype::U16, "U16", 16),
    (Dtype::F16, "F16", 16),
    (Dtype::BF16, "BF16", 16),
    (Dtype::I32, "I32", 32),
    (Dtype::U32, "U32", 32),
    (Dtype::F32, "F32", 32),
    (Dtype::C64, "C64", 64),
    (Dtype::F64, "F64", 64),
    (Dtype::I64, "I64", 64),
    (Dtype::U64, "U64", 64),
    (Dtype::C128, "C128", 128),
];

impl Dtype {
    /// Returns the dtype of a safetensors spelling, or `Other` when the format does not define it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        PLAIN
            .iter()
            .find(|(d, name, _)| *name == text && *d != Self::C128)
            .map_or_else(|| Self::Other(OtherDtype::intern(text)), |&(dtype, ..)| dtype)
    }

    /// Returns the spelling that is shown: that of safetensors, of ggml, or of the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ggml(t) => t.name(),
            Self::Other(o) => o.name(),
            plain => PLAIN.iter().find(|(d, ..)| *d == plain).map_or("?", |&(_, name, _)| name),
        }
    }

    /// Returns bits per element, exact for plain types and the mean for block types; `None` if unknown.
    #[must_use]
    pub fn bits(self) -> Option<f64> {
        match self {
            Self::Ggml(t) => Some(f64::from(t.block_bytes()) * 8.0 / f64::from(t.block_elements())),
            Self::Other(_) => None,
            plain => PLAIN.iter().find(|(d, ..)| *d == plain).map(|&(_, _, bits)| f64::from(bits)),
        }
    }

    /// Returns the bytes that `elements` take, or `None` when they are not whole bytes or blocks, the
    /// product overflows, or the size is unknown.
    #[must_use]
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        let (block_elements, block_bytes) = match self {
            Self::Ggml(t) => (u64::from(t.block_elements()), u64::from(t.block_bytes())),
            Self::Other(_) => return None,
            plain => {
                let bits = PLAIN.iter().find(|(d, ..)| *d == plain).map(|&(_, _, bits)| u64::from(bits))?;
                let total = elements.checked_mul(bits)?;
                return total.is_multiple_of(8).then_some(total / 8);
            }
        };
        elements
            .is_multiple_of(block_elements)
            .then(|| (elements / block_elements).checked_mul(block_bytes))?
    }

    /// Returns true for floating types, the 4- to 8-bit ones and complex included.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::F4
                | Self::F6E2M3
                | Self::F6E3M2
                | Self::F8E5M2
                | Self::F8E4M3
                | Self::F8E8M0
                | Self::F8E4M3Fnuz
                | Self::F8E5M2Fnuz
                | Self::F16
                | Self::BF16
                | Self::F32
                | Self::F64
                | Self::C64
                | Self::C128
        )
    }

    /// Returns true for F8, F6 and F4 types, which are weights only together with scales.
    #[must_use]
    pub fn is_narrow_float(self) -> bool {
        self.is_float() && self.bits().is_some_and(|bits| bits <= 8.0)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A ggml type by its id in GGUF files; only ids of `GGML_TYPES` exist as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GgmlType(u8);

/// The types of ggml that are not plain dtypes: id, name, elements a block, bytes a block.
/// F32, F16, BF16, F64 and the integers are `Dtype`'s own. Source: ggml.h, ggml-common.h (2026-08).
const GGML_TYPES: [(u8, &str, u32, u32); 29] = [
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (29, "IQ1_M", 256, 56),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
    // Microsoft's BitNet fork: four 2-bit codes a byte, one f32 scale a tensor (not counted here).
    (36, "I2_S", 4, 1),
    // A placeholder so that the table ends on a type no file can name.
    (255, "GGML", 1, 1),
];

impl GgmlType {
    /// Returns the block type with this id in GGUF files, or `None` for plain, removed and unknown ids.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        let id = u8::try_from(id).ok().filter(|&id| id != 255)?;
        GGML_TYPES.iter().any(|row| row.0 == id).then_some(Self(id))
    }

    fn row(self) -> &'static (u8, &'static str, u32, u32) {
        GGML_TYPES.iter().find(|row| row.0 == self.0).unwrap_or(&GGML_TYPES[GGML_TYPES.len() - 1])
    }

    /// Returns the id in GGUF files.
    #[must_use]
    pub fn id(self) -> u32 {
        u32::from(self.0)
    }

    /// Returns the name as llama.cpp writes it: `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns how many elements a block holds.
    #[must_use]
    pub fn block_elements(self) -> u32 {
        self.row().2
    }

    /// Returns how many bytes a block takes.
    #[must_use]
    pub fn block_bytes(self) -> u32 {
        self.row().3
    }
}

/// How many spellings of unknown dtypes are kept; the next ones read `other`.
const OTHER_DTYPES_MAX: usize = u16::MAX as usize;
/// How much of an unknown spelling is kept, in bytes.
const OTHER_DTYPE_BYTES_MAX: usize = 32;

/// The spelling of an unknown dtype, interned for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherDtype(u16);

static OTHER_DTYPES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl OtherDtype {
    fn intern(text: &str) -> Self {
        let mut end = text.len().min(OTHER_DTYPE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let mut seen = OTHER_DTYPES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = seen.iter().position(|known| *known == text) {
            return Self(known as u16);
        }
        if seen.len() >= OTHER_DTYPES_MAX {
            return Self(u16::MAX);
        }
        seen.push(Box::leak(text.to_owned().into_boxed_str()));
        Self((seen.len() - 1) as u16)
    }

    fn name(self) -> &'static str {
        let seen = OTHER_DTYPES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.get(usize::from(self.0)).copied().unwrap_or("other")
    }
}

/// Returns the number of elements of a shape, or `None` on overflow. A scalar has one.
#[must_use]
pub fn elements(shape: &[u64]) -> Option<u64> {
    // A zero anywhere makes the product zero, whatever the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_bytes_or_none() {
        assert_eq!(Dtype::F4.bytes_of(2), Some(1));
        assert_eq!(Dtype::F4.bytes_of(3), None);
        assert_eq!(Dtype::F6E2M3.bytes_of(4), Some(3));
        assert_eq!(Dtype::I64.bytes_of(u64::MAX), None);
        assert_eq!(Dtype::parse("Q4_X").bytes_of(1), None);
    }

    #[test]
    fn spellings_round_trip() {
        for (dtype, name, _) in PLAIN {
            assert_eq!(dtype.name(), name);
            if dtype != Dtype::C128 {
                assert_eq!(Dtype::parse(name), dtype);
            }
        }
        assert_eq!(Dtype::parse("Q4_X").name(), "Q4_X");
    }

    #[test]
    fn element_counts_do_not_overflow() {
        assert_eq!(elements(&[]), Some(1));
        assert_eq!(elements(&[0, u64::MAX, u64::MAX]), Some(0));
        assert_eq!(elements(&[u64::MAX, 2]), None);
    }
}
