//! Laws of the codes that a decoder gives, whatever its format: held of every layer that a test decodes.

use super::Literal;
use crate::quant::decode::{Beside, Decoding};
use crate::quant::{QuantFormat, Side};

/// Bits that are flipped, each for itself, of a layer.
const FLIPS: usize = 40;

/// The codes of a layer and what stands beside them.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) codes: Vec<u16>,
    pub(crate) scales: Option<Vec<f32>>,
    pub(crate) zeros: Option<Vec<f32>>,
    pub(crate) terms: Option<Vec<f32>>,
}

impl Literal {
    /// Returns the codes and what stands beside them, as a format's decoder gives them.
    pub(crate) fn stored(&self, format: &dyn QuantFormat) -> Stored {
        self.with(|parts| {
            let spec = format.recognize(parts).expect("it was recognized before").spec;
            let decoding = format.decode(parts, &spec).expect("it was decoded before");
            let Side::Bytes(bytes) = parts.data.read(decoding.codes, 0, u64::MAX) else { panic!("not read") };
            let [scales, zeros, terms] =
                [Beside::Scales, Beside::ZeroPoints, Beside::Terms].map(|which| decoding.rows.beside(which));
            Stored { codes: codes(&decoding, &bytes, u64::MAX), scales, zeros, terms }
        })
    }
}

/// Checks the codes of a layer whose stored ones are `bytes`:
///
/// - each has no more bits than the decoder says, and rows cut anywhere have the same;
/// - of zeros all are 0, of ones all have every bit that codes of their width have;
/// - a flipped bit is one bit of one code, and changes the value of that weight alone; or it is none of any code.
///
/// Codes that are digits to base 3 have no bits of their own: several change, and no other values than theirs.
pub(super) fn check(decoding: &Decoding, bytes: &[u8], is_ternary: bool) {
    let Some(bits) = decoding.rows.code_bits() else { return };
    let whole = codes(decoding, bytes, u64::MAX);
    assert!(whole.iter().all(|&code| code >> bits == 0), "codes of {bits} bits: {whole:?}");
    for rows in [1, 3] {
        assert_eq!(codes(decoding, bytes, rows), whole, "{rows} rows at a time");
    }
    assert!(codes(decoding, &vec![0; bytes.len()], u64::MAX).iter().all(|&code| code == 0));
    if !is_ternary {
        let ones = codes(decoding, &vec![0xff; bytes.len()], u64::MAX);
        assert!(ones.iter().all(|&code| code > 0 && (code + 1).is_power_of_two()), "{ones:?}");
        assert_eq!(ones.iter().max(), Some(&((1 << bits) - 1)));
    }
    let values = values(decoding, bytes);
    let flips = (FLIPS << 14) / whole.len().max(1 << 14);
    let mut of_codes = 0;
    for flip in 0..flips.max(4) {
        let at = flip * 0x9e3_779b1 % (bytes.len() * 8);
        let mut flipped = bytes.to_vec();
        flipped[at / 8] ^= 1 << (at % 8);
        let new = codes(decoding, &flipped, u64::MAX);
        let changed: Vec<usize> = (0..new.len()).filter(|&at| new[at] != whole[at]).collect();
        match changed[..] {
            [] => continue,
            [at] => assert!(is_ternary || (new[at] ^ whole[at]).is_power_of_two()),
            _ => assert!(is_ternary, "bit {at} changes the codes of {changed:?}"),
        }
        of_codes += 1;
        for (place, (new, old)) in self::values(decoding, &flipped).iter().zip(&values).enumerate() {
            assert!(new == old || changed.contains(&place), "bit {at}: value {place}, code {changed:?}");
        }
    }
    assert!(of_codes > 0, "no bit of {} bytes is one of a code", bytes.len());
}

/// The codes of all rows, so many at a time.
fn codes(decoding: &Decoding, bytes: &[u8], rows_at_once: u64) -> Vec<u16> {
    let (row_len, rows) = (decoding.row_len(), decoding.row_count());
    let mut codes = Vec::new();
    let mut start = 0;
    while start < rows {
        let end = rows.min(start.saturating_add(rows_at_once));
        let range = decoding.rows.codes(start..end);
        let mut out = vec![u16::MAX; ((end - start) * row_len) as usize];
        let stored = &bytes[range.start as usize..range.end as usize];
        decoding.rows.stored_codes(start..end, stored, &mut out);
        codes.extend(out);
        start = end;
    }
    codes
}

/// The bits of all values.
fn values(decoding: &Decoding, bytes: &[u8]) -> Vec<u32> {
    let rows = 0..decoding.row_count();
    let range = decoding.rows.codes(rows.clone());
    let mut out = vec![f32::NAN; (decoding.row_count() * decoding.row_len()) as usize];
    decoding.rows.decode(rows, &bytes[range.start as usize..range.end as usize], &mut out);
    out.into_iter().map(f32::to_bits).collect()
}
