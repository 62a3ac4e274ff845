//! The largest magnitude of a layer, found as a layer is encoded: of each row one, by whatever computes.

use super::encode::{Around, Encode};
use super::kernel::Kernel;

/// Encodes each row as its largest magnitude, an f32 of the one strand.
#[derive(Clone, Copy, Debug)]
pub struct Largest {
    /// Values of a row.
    pub row_len: u64,
}

impl Largest {
    /// Returns the largest of what rows have.
    #[must_use]
    pub fn of(strands: &[Vec<u8>]) -> f32 {
        let rows = strands.first().map(Vec::as_slice).unwrap_or_default().as_chunks::<4>().0;
        rows.iter().fold(0f32, |largest, &row| largest.max(f32::from_le_bytes(row)))
    }
}

impl Encode for Largest {
    fn rows_apart(&self) -> u64 {
        1
    }

    fn rows(&self, values: &[f32], _at: Around) -> Result<Vec<Vec<u8>>, String> {
        let rows = values.chunks((self.row_len as usize).max(1));
        let largest = |row: &[f32]| row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        Ok(vec![rows.flat_map(|row| largest(row).to_le_bytes()).collect()])
    }

    /// There are no tensors.
    fn finish(&self, _strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        Some(Kernel::new("largest"))
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        vec![rows.saturating_mul(4)]
    }
}
