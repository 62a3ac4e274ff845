//! The processor: decodes and rounds piece by piece, so that values stay in its caches.

use super::{Device, Scratch, Tally, Work};
use crate::error::Result;
use crate::tensor::{Dtype, values};

/// The processor.
pub struct Cpu;

/// Values decoded at a time, at least one row: 128 KB of f32 stay in a second-level cache.
pub(super) const VALUES_AT_ONCE: u64 = 32 << 10;

impl Device for Cpu {
    fn name(&self) -> String {
        "cpu".into()
    }

    fn decode(&self, work: &Work<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Result<Tally> {
        if work.native == work.dtype && straight(work, out) {
            return Ok(Tally::default());
        }
        let mut tally = Tally::default();
        let row_len = work.decoding.row_len();
        let rows_at_once = (VALUES_AT_ONCE / row_len.max(1)).max(work.decoding.rows.rows_at_once()).max(1);
        let mut values = std::mem::take(&mut scratch.values);
        let mut rest = out;
        let mut start = work.rows.start;
        while start < work.rows.end {
            let rows = start..work.rows.end.min(start + rows_at_once);
            let range = work.decoding.rows.codes(rows.clone());
            let codes = &work.codes[(range.start - work.codes_start) as usize..]
                [..(range.end - range.start) as usize];
            values.resize(((rows.end - rows.start) * row_len) as usize, 0.0);
            work.decoding.rows.decode(rows.clone(), codes, &mut values);
            let bytes = work.dtype.bytes_of(values.len() as u64).unwrap_or(0) as usize;
            let (piece, after) = rest.split_at_mut(bytes.min(rest.len()));
            rest = after;
            if work.native != work.dtype {
                values::round_all(work.native, &mut values);
            }
            tally += rounded(work.dtype, &values, piece);
            start = rows.end;
        }
        scratch.values = values;
        Ok(tally)
    }
}

/// Rounds elements of a plain dtype to another. No other device does: a cast is as much copying as computing, and there is
/// nothing to win on the other side of a bus.
pub(super) fn cast(from: Dtype, bytes: &[u8], to: Dtype, scratch: &mut Scratch, out: &mut [u8]) -> Tally {
    let mut tally = Tally::default();
    let piece = VALUES_AT_ONCE;
    let (wide, narrow) = (from.bytes_of(piece), to.bytes_of(piece));
    let (Some(wide), Some(narrow)) = (wide, narrow) else { return tally };
    for (bytes, out) in bytes.chunks(wide as usize).zip(out.chunks_mut(narrow as usize)) {
        let count = bytes.len() as u64 * piece / wide;
        scratch.values.resize(count as usize, 0.0);
        if values::to_f32(from, bytes, &mut scratch.values) {
            tally += rounded(to, &scratch.values, out);
        }
    }
    tally
}

/// Decodes without values in between, if the format can and nothing has to be counted.
fn straight(work: &Work<'_>, out: &mut [u8]) -> bool {
    let range = work.decoding.rows.codes(work.rows.clone());
    let start = (range.start - work.codes_start) as usize;
    let codes = &work.codes[start..][..(range.end - range.start) as usize];
    let is_done = work.decoding.rows.decode_to(work.rows.clone(), codes, work.dtype, out);
    // What became infinite is counted, and whether it was finite shows in the values only.
    let is_infinite = |half: &[u8; 2]| u16::from_le_bytes(*half) & 0x7fff == 0x7c00;
    is_done && !(work.dtype == Dtype::F16 && out.as_chunks::<2>().0.iter().any(is_infinite))
}

/// Rounds values and counts those that F16 cannot hold.
fn rounded(dtype: Dtype, values: &[f32], out: &mut [u8]) -> Tally {
    values::from_f32(dtype, values, out);
    Tally { overflows: if dtype == Dtype::F16 { values::f16_overflows(values) } else { 0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_counts_what_does_not_fit() {
        let values = [1.0f32, 70000.0, -65519.0, f32::INFINITY, -1e30];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut out = [0; 10];
        let tally = cast(Dtype::F32, &bytes, Dtype::F16, &mut Scratch::default(), &mut out);
        assert_eq!(tally.overflows, 2);
        assert_eq!(out, [0x00, 0x3c, 0x00, 0x7c, 0xff, 0xfb, 0x00, 0x7c, 0x00, 0xfc]);
    }
}
