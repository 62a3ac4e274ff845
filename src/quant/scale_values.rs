//! Scale values: how many of a tensor's scales were looked at, how many are not finite, their range.
//!
//! Only the first `SCALE_BYTES_MAX` bytes are read, and nothing while only headers are known; what could
//! not be read is no fault. Values are little-endian, as safetensors stores them.

use half::{bf16, f16};

use super::{Evidence, Part, Parts, Side};
use crate::tensor::Dtype;
use crate::tensor::values::{e4m3, e5m2, e8m0};
use crate::units;

/// Bytes of one tensor's scales that are looked at: a thousand such layers fit what an examination reads.
const SCALE_BYTES_MAX: u64 = 256 << 10;

/// What looking at a part gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Looked {
    /// The dtype has no value that is not finite, or there is no such part.
    Nothing,
    /// Only headers have been read so far.
    Pending,
    /// What was seen.
    Values(Seen),
    /// The bytes cannot be had, and why.
    Unreadable(String),
}

/// Values that were seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) looked: u64,
    pub(super) total: u64,
    pub(super) nan: u64,
    pub(super) infinite: u64,
    pub(super) zeros: u64,
    /// Smallest and largest magnitude of the finite values.
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Seen {
    /// Returns what is wrong: `3 of 4096 are NaN, 1 infinite`.
    pub(super) fn not_finite(&self) -> Option<String> {
        let looked = self.looked;
        let more = if looked < self.total { format!(" (of {} in all)", self.total) } else { String::new() };
        match (self.nan, self.infinite) {
            (0, 0) => None,
            (nan, 0) => Some(format!("{nan} of {looked}{more} are NaN")),
            (0, infinite) => Some(format!("{infinite} of {looked}{more} are infinite")),
            (nan, infinite) => Some(format!("{nan} of {looked}{more} are NaN, {infinite} infinite")),
        }
    }

    /// Returns the evidence line: `256 values, 0.0012 … 0.0034, all finite`.
    pub(super) fn describe(&self) -> String {
        let count = if self.looked < self.total {
            format!("{} of {} values", units::exact(self.looked), units::exact(self.total))
        } else {
            units::plural(self.total as usize, "value")
        };
        let finite = self.not_finite().unwrap_or_else(|| "all finite".into());
        if self.max < self.min {
            return format!("{count}, {finite}");
        }
        format!("{count}, {} … {}, {finite}", number(self.min), number(self.max))
    }
}

/// Returns a value in a few characters: `0.0012`, `1.5e-7`, `2688`.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&value) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.2e}")
    }
}

/// Looks at a part's values, `read_as` being the dtype that its bytes mean.
pub(super) fn look(parts: &Parts<'_>, part: &Part<'_>, read_as: Dtype) -> Looked {
    let Some((width, decode)) = decoder(read_as) else { return Looked::Nothing };
    let bytes = match parts.read(part, SCALE_BYTES_MAX) {
        Side::Pending => return Looked::Pending,
        Side::Unreadable(why) => return Looked::Unreadable(why),
        Side::Bytes(bytes) => bytes,
    };
    let mut seen = Seen {
        looked: 0,
        total: part.bytes / width as u64,
        nan: 0,
        infinite: 0,
        zeros: 0,
        min: f64::INFINITY,
        max: 0.0,
    };
    // Bytes have few values: each is decoded once.
    let of_byte: [f64; 256] =
        std::array::from_fn(|byte| if width == 1 { decode(&[byte as u8]).abs() } else { 0.0 });
    for chunk in bytes.chunks_exact(width) {
        let value = if width == 1 { of_byte[usize::from(chunk[0])] } else { decode(chunk).abs() };
        seen.looked += 1;
        if value.is_nan() {
            seen.nan += 1;
        } else if value.is_infinite() {
            seen.infinite += 1;
        } else {
            seen.zeros += u64::from(value == 0.0);
            seen.min = seen.min.min(value);
            seen.max = seen.max.max(value);
        }
    }
    Looked::Values(seen)
}

/// Returns the line of evidence about a part's values, after words on what they are.
pub(super) fn evidence(parts: &Parts<'_>, part: &Part<'_>, read_as: Dtype, what: &str) -> Evidence {
    let (text, agrees) = match look(parts, part, read_as) {
        Looked::Values(seen) => (format!("{what}: {}", seen.describe()), Some(seen.not_finite().is_none())),
        Looked::Unreadable(why) => (format!("{what}, values not looked at: {why}"), None),
        Looked::Pending => (format!("{what}, values not read yet"), None),
        Looked::Nothing => (what.to_owned(), None),
    };
    Evidence::new(super::draft::plain(part.suffix), text, agrees)
}

type Decode = fn(&[u8]) -> f64;

/// Returns bytes a value and how to read it, for dtypes that can hold NaN or infinity.
fn decoder(dtype: Dtype) -> Option<(usize, Decode)> {
    let found: (usize, Decode) = match dtype {
        Dtype::F64 => (8, |b| f64::from_le_bytes(array(b))),
        Dtype::F32 => (4, |b| f64::from(f32::from_le_bytes(array(b)))),
        Dtype::F16 => (2, |b| f16::from_le_bytes(array(b)).to_f64()),
        Dtype::BF16 => (2, |b| bf16::from_le_bytes(array(b)).to_f64()),
        Dtype::F8E5M2 => (1, |b| f64::from(e5m2(b[0]))),
        Dtype::F8E4M3 => (1, |b| f64::from(e4m3(b[0]))),
        Dtype::F8E8M0 => (1, |b| f64::from(e8m0(b[0]))),
        _ => return None,
    };
    Some(found)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests;
