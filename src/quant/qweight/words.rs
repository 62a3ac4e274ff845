//! Matrices of 32-bit words, turned.

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
