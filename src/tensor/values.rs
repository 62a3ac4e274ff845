//! Values: elements of float and integer dtypes as f32, and f32 rounded to a dtype.
//!
//! Every 8- and 16-bit float is exact in f32. Rounding is to the nearest, ties to even, once; a NaN stays one.
//! bytes are little-endian, as every container stores them.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use multiversion::multiversion;

use super::Dtype;

/// Makes a loop over elements from what is done to the bytes of each, compiled for the vectors of each processor.
macro_rules! each {
    ($value:expr) => {{
        #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
        fn each(bytes: &[u8], out: &mut [f32]) {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = ($value)(*bytes);
            }
        }
        each
    }};
}

/// Returns the value of a float of 8 bits: sign, exponent of `bias`, `MANTISSA` bits. Infinities and NaN are the
/// caller's.
#[inline]
fn narrow<const MANTISSA: u32>(byte: u8, bias: u32) -> f32 {
    let (sign, rest) = (u32::from(byte & 0x80) << 24, u32::from(byte & 0x7f));
    // With the first normal exponent added, a subnormal is above that power of two by its value.
    let first = (128 - bias) << 23;
    let value = if rest >> MANTISSA == 0 {
        f32::from_bits(first | rest << (23 - MANTISSA)) - f32::from_bits(first)
    } else {
        f32::from_bits((rest << (23 - MANTISSA)) + ((127 - bias) << 23))
    };
    f32::from_bits(value.to_bits() | sign)
}

/// Returns the value of an E4M3 (fn) byte: sign, 4 exponent bits of bias 7, 3 mantissa bits; 0x7f is NaN.
#[must_use]
#[inline]
pub fn e4m3(byte: u8) -> f32 {
    let value = narrow::<3>(byte, 7);
    if byte & 0x7f == 0x7f { f32::NAN.copysign(value) } else { value }
}

/// Returns the value of an E5M2 byte: the upper half of an F16.
#[must_use]
#[inline]
pub fn e5m2(byte: u8) -> f32 {
    let (value, mantissa) = (narrow::<2>(byte, 15), u32::from(byte & 3));
    // A NaN is quiet, as the processor's conversion from F16 makes it.
    let special = 0x7f80_0000 | mantissa << 21 | u32::from(mantissa != 0) << 22;
    if byte & 0x7c == 0x7c { f32::from_bits(special).copysign(value) } else { value }
}

/// Returns the value of an E8M0 byte: `2^(byte - 127)`, of which 0 is subnormal in f32; 255 is NaN.
#[must_use]
pub fn e8m0(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

/// Returns the value of an E2M1 code, of which the low four bits count.
#[must_use]
pub fn e2m1(code: u8) -> f32 {
    const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let value = VALUES[usize::from(code & 7)];
    if code & 8 == 0 { value } else { -value }
}

/// Returns the value of an E2M3 code, of which the low six bits count.
#[must_use]
pub fn e2m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 3), f32::from(code & 7));
    let value = if exponent == 0 { mantissa / 8.0 } else { (8.0 + mantissa) * 2f32.powi(exponent - 4) };
    if code & 32 == 0 { value } else { -value }
}

/// Returns the value of an E4M3 byte of AMD's form: half of the other form's; 0x80 is NaN.
#[must_use]
#[inline]
pub fn e4m3fnuz(byte: u8) -> f32 {
    if byte == 0x80 { f32::NAN } else { narrow::<3>(byte, 8) }
}

/// Returns the value of an E5M2 byte of AMD's form: half of the other form's; 0x80 is NaN.
#[must_use]
#[inline]
pub fn e5m2fnuz(byte: u8) -> f32 {
    if byte == 0x80 { f32::NAN } else { narrow::<2>(byte, 16) }
}

/// Returns true if `to_f32` reads this dtype.
#[must_use]
pub fn is_readable(dtype: Dtype) -> bool {
    to_f32(dtype, &[], &mut [])
}

/// Reads elements of a plain dtype as f32, of 32-bit integers and doubles the nearest. Returns false, and
/// leaves `out` as it is, if the dtype has no values of its own (packed, complex, ggml) or the sizes differ.
pub fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> bool {
    if dtype.bytes_of(out.len() as u64) != Some(bytes.len() as u64) {
        return false;
    }
    let read = match dtype {
        Dtype::F32 => each!(f32::from_le_bytes),
        Dtype::F16 => halves,
        Dtype::BF16 => each!(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        Dtype::F64 => each!(|b| f64::from_le_bytes(b) as f32),
        Dtype::F8E4M3 => each!(|[b]: [u8; 1]| e4m3(b)),
        Dtype::F8E5M2 => each!(|[b]: [u8; 1]| e5m2(b)),
        Dtype::F8E8M0 => each!(|[b]: [u8; 1]| e8m0(b)),
        Dtype::F8E4M3Fnuz => each!(|[b]: [u8; 1]| e4m3fnuz(b)),
        Dtype::F8E5M2Fnuz => each!(|[b]: [u8; 1]| e5m2fnuz(b)),
        Dtype::U8 | Dtype::Bool => each!(|[b]: [u8; 1]| f32::from(b)),
        Dtype::I8 => each!(|b| f32::from(i8::from_le_bytes(b))),
        Dtype::I16 => each!(|b| f32::from(i16::from_le_bytes(b))),
        Dtype::U16 => each!(|b| f32::from(u16::from_le_bytes(b))),
        Dtype::I32 => each!(|b| i32::from_le_bytes(b) as f32),
        Dtype::U32 => each!(|b| u32::from_le_bytes(b) as f32),
        Dtype::I64 => each!(|b| i64::from_le_bytes(b) as f32),
        Dtype::U64 => each!(|b| u64::from_le_bytes(b) as f32),
        _ => return false,
    };
    read(bytes, out);
    true
}

/// Reads F16 elements, by pieces: the conversion has the processor's own instruction, for slices.
fn halves(bytes: &[u8], out: &mut [f32]) {
    let mut piece = [f16::ZERO; 512];
    for (bytes, out) in bytes.chunks(1024).zip(out.chunks_mut(512)) {
        let piece = &mut piece[..out.len()];
        for (half, bytes) in piece.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        piece.convert_to_f32_slice(out);
    }
}

/// Rounds one value to BF16.
#[must_use]
#[inline]
pub fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    // The lower half rounds up above the middle, and at it if the result is then even.
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) as u16 | 0x40 } else { rounded }
}

/// Rounds a value to F16, BF16 or F32 and returns it as f32. Other dtypes leave it as it is.
#[must_use]
pub fn round(dtype: Dtype, value: f32) -> f32 {
    match dtype {
        Dtype::F16 => f16::from_f32(value).to_f32(),
        Dtype::BF16 => bf16::from_bits(bf16_bits(value)).to_f32(),
        _ => value,
    }
}

/// Rounds values to F16, BF16 or F32, in place. Other dtypes leave them as they are.
pub fn round_all(dtype: Dtype, values: &mut [f32]) {
    /// Values at a time.
    const PIECE: usize = 512;
    if !matches!(dtype, Dtype::F16 | Dtype::BF16) {
        return;
    }
    let mut bytes = [0; 2 * PIECE];
    for values in values.chunks_mut(PIECE) {
        let bytes = &mut bytes[..2 * values.len()];
        from_f32(dtype, values, bytes);
        to_f32(dtype, bytes, values);
    }
}

/// Rounds values to BF16, many at a time where the processor can.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn to_bf16(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *out = bf16_bits(*value).to_le_bytes();
    }
}

/// Returns how many of the values are finite and become infinite in F16: those of 65520 and more.
#[must_use]
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub fn f16_overflows(values: &[f32]) -> u64 {
    let (first, infinity) = (65520f32.to_bits(), f32::INFINITY.to_bits());
    // By pieces, so that counts are as wide as values.
    let count = |piece: &[f32]| -> u32 {
        let size = |value: &f32| value.to_bits() & 0x7fff_ffff;
        piece.iter().map(|value| u32::from(size(value) >= first && size(value) < infinity)).sum()
    };
    values.chunks(4096).map(|piece| u64::from(count(piece))).sum()
}

/// Returns how many elements of F16, BF16 or F32 are infinite or NaN; 0 for other dtypes.
#[must_use]
pub fn not_finite(dtype: Dtype, bytes: &[u8]) -> u64 {
    fn halves(bytes: &[u8], mask: u16) -> u64 {
        let is = |half: &&[u8; 2]| u16::from_le_bytes(**half) & mask == mask;
        bytes.as_chunks::<2>().0.iter().filter(is).count() as u64
    }
    match dtype {
        Dtype::F16 => halves(bytes, 0x7c00),
        Dtype::BF16 => halves(bytes, 0x7f80),
        Dtype::F32 => {
            let is = |word: &&[u8; 4]| u32::from_le_bytes(**word) & 0x7f80_0000 == 0x7f80_0000;
            bytes.as_chunks::<4>().0.iter().filter(is).count() as u64
        }
        _ => 0,
    }
}

/// Rounds values to F16, BF16 or F32 and writes their bytes. Returns false, and leaves `out` as it is, for
/// another dtype or if the sizes differ.
pub fn from_f32(dtype: Dtype, values: &[f32], out: &mut [u8]) -> bool {
    fn each<const N: usize>(values: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
        for (value, out) in values.iter().zip(out.as_chunks_mut::<N>().0) {
            *out = bytes(*value);
        }
    }
    if dtype.bytes_of(values.len() as u64) != Some(out.len() as u64) {
        return false;
    }
    match dtype {
        Dtype::F32 => each(values, out, f32::to_le_bytes),
        Dtype::BF16 => to_bf16(values, out),
        Dtype::F16 => {
            // By pieces: the conversion has the processor's own instruction, for slices.
            let mut piece = [f16::ZERO; 512];
            for (values, out) in values.chunks(512).zip(out.chunks_mut(1024)) {
                let piece = &mut piece[..values.len()];
                piece.convert_from_f32_slice(values);
                for (half, out) in piece.iter().zip(out.as_chunks_mut::<2>().0) {
                    *out = half.to_le_bytes();
                }
            }
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests;
