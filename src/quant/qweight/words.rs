//! Words of 32 bits: codes into them, and matrices of them turned.

use crate::quant::pack::Packing;

/// Outputs or inputs of a tile that is turned at once: a cache line of words.
const TILE: usize = 16;

/// Returns `[columns, rows]` of words `[rows, columns]`.
pub(in crate::quant) fn turned(words: &[u8], columns: usize) -> Vec<u8> {
    let (words, _) = words.as_chunks::<4>();
    let rows = words.len().checked_div(columns).unwrap_or(0);
    let mut out = vec![[0; 4]; rows * columns];
    for (tile, lines) in words.chunks(TILE * columns.max(1)).enumerate() {
        let first = tile * TILE;
        for from in (0..columns).step_by(TILE) {
            for column in from..columns.min(from + TILE) {
                let out = &mut out[column * rows + first..];
                for (out, line) in out.iter_mut().zip(lines.chunks_exact(columns)) {
                    *out = line[column];
                }
            }
        }
    }
    out.into_flattened()
}

/// Appends the words of fields of `bits`, the last one filled up with zeros.
pub(in crate::quant) fn pack(packing: Packing, fields: &[u8], bits: u32, out: &mut Vec<u8>) {
    match (packing, bits) {
        (Packing::Dense | Packing::Planar, 2) => whole::<2, 16>(fields, out),
        (Packing::Dense | Packing::Planar, 4) => whole::<4, 8>(fields, out),
        (Packing::Dense | Packing::Planar, 8) => whole::<8, 4>(fields, out),
        _ => {
            let words = packing.words(fields.len() as u64, bits).unwrap_or(0) as usize;
            let from = out.len();
            out.resize(from + 4 * words, 0);
            for (index, &field) in fields.iter().enumerate() {
                packing.put(&mut out[from..], index, bits, field);
            }
        }
    }
}

/// Appends words of `EACH` whole fields of `BITS`.
fn whole<const BITS: u32, const EACH: usize>(fields: &[u8], out: &mut Vec<u8>) {
    let word = |fields: &[u8]| {
        fields.iter().rev().fold(0u32, |word, &field| word << BITS | u32::from(field)).to_le_bytes()
    };
    let (sets, rest) = fields.as_chunks::<EACH>();
    out.extend(sets.iter().flat_map(|fields| word(fields)));
    if !rest.is_empty() {
        out.extend(word(rest));
    }
}
