//! Codes of a few bits in bytes, low bits first, and the value that each means.

use crate::tensor::{Dtype, values};

/// How codes lie in bytes and what they mean.
pub(in crate::quant) struct Codes {
    bits: u32,
    values: Values,
}

enum Values {
    /// Bytes of a dtype that has values of its own.
    Of(Dtype),
    /// The values of the two nibbles of every byte, the low one first.
    Pairs(Box<[[f32; 2]; 256]>),
    /// The value of every code.
    Each(Vec<f32>),
}

impl Codes {
    /// Returns codes of `bits` bits, 1 to 8, of which each means `value(code)`.
    pub(in crate::quant) fn new(bits: u32, value: impl Fn(u8) -> f32) -> Self {
        let bits = bits.clamp(1, 8);
        let values = match bits {
            4 => {
                let pair = |byte: usize| [value(byte as u8 & 15), value(byte as u8 >> 4)];
                Values::Pairs(Box::new(std::array::from_fn(pair)))
            }
            _ => Values::Each((0..1u32 << bits).map(|code| value(code as u8)).collect()),
        };
        Self { bits, values }
    }

    /// Returns codes that are bytes of a dtype: an 8-bit float or integer.
    ///
    /// # Errors
    /// The dtype has no values of one byte.
    pub(in crate::quant) fn of(dtype: Dtype) -> Result<Self, String> {
        if dtype.bytes_of(1) != Some(1) || !values::is_readable(dtype) {
            return Err(format!("{dtype} has no values of one byte"));
        }
        Ok(Self { bits: 8, values: Values::Of(dtype) })
    }

    /// Returns bits of a code.
    pub(in crate::quant) fn bits(&self) -> u32 {
        self.bits
    }

    /// Returns the bytes of `count` codes, or `None` for a part of a byte.
    pub(in crate::quant) fn bytes(&self, count: u64) -> Option<u64> {
        let bits = count.checked_mul(u64::from(self.bits))?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Returns the kernel of `kernels/scaled.cu` that reads them, and the values that it looks up.
    pub(in crate::quant) fn kernel(&self) -> (&'static str, Vec<f32>) {
        match &self.values {
            Values::Of(Dtype::F8E4M3) => ("scaled_e4m3", Vec::new()),
            Values::Of(Dtype::I8) => ("scaled_int8", Vec::new()),
            Values::Pairs(_) => ("scaled_nibbles", self.table()),
            Values::Each(_) if self.bits < 8 => ("scaled_bits", self.table()),
            Values::Of(_) | Values::Each(_) => ("scaled_bytes", self.table()),
        }
    }

    /// Returns the value of every code.
    pub(in crate::quant) fn table(&self) -> Vec<f32> {
        match &self.values {
            Values::Of(_) => {
                let bytes: [u8; 256] = std::array::from_fn(|byte| byte as u8);
                let mut table = vec![0.0; bytes.len()];
                self.unpack(&bytes, &mut table);
                table
            }
            Values::Pairs(pairs) => pairs[..16].iter().map(|pair| pair[0]).collect(),
            Values::Each(values) => values.clone(),
        }
    }

    /// Writes the values of the first codes of `bytes`; what lies behind them is left as it is.
    pub(in crate::quant) fn unpack(&self, bytes: &[u8], out: &mut [f32]) {
        match &self.values {
            Values::Of(dtype) => {
                let count = bytes.len().min(out.len());
                values::to_f32(*dtype, &bytes[..count], &mut out[..count]);
            }
            Values::Pairs(pairs) => {
                let (whole, last) = out.as_chunks_mut::<2>();
                for (pair, byte) in whole.iter_mut().zip(bytes) {
                    *pair = pairs[usize::from(*byte)];
                }
                if let ([out], Some(byte)) = (last, bytes.get(whole.len())) {
                    *out = pairs[usize::from(*byte)][0];
                }
            }
            Values::Each(values) => {
                self.each(bytes, out, |code| values[code]);
            }
        }
    }

    /// Writes the first codes of `bytes` themselves; what lies behind them is left as it is.
    pub(in crate::quant) fn stored(&self, bytes: &[u8], out: &mut [u16]) {
        self.each(bytes, out, |code| code as u16);
    }

    /// Writes the codes themselves of rows of whole bytes.
    pub(in crate::quant) fn stored_rows(&self, bytes: &[u8], row_len: usize, out: &mut [u16]) {
        let row_bytes = self.bytes(row_len as u64).unwrap_or(0).max(1);
        for (out, bytes) in out.chunks_exact_mut(row_len.max(1)).zip(bytes.chunks_exact(row_bytes as usize)) {
            self.stored(bytes, out);
        }
    }

    #[inline]
    fn each<T>(&self, bytes: &[u8], out: &mut [T], value: impl Fn(usize) -> T) {
        // Eight codes take `bits` whole bytes.
        let mask = (1u64 << self.bits) - 1;
        for (out, bytes) in out.chunks_mut(8).zip(bytes.chunks(self.bits as usize)) {
            let word = bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            for (at, out) in out.iter_mut().enumerate() {
                *out = value((word >> (at as u32 * self.bits) & mask) as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests;
