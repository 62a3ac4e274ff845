//! Codes of a merged layer that are not those of its base.

use super::quality::{Quality, VALUES_AT_ONCE};
use super::{Prover, failed};
use crate::engine::Scratch;
use crate::engine::encoded;
use crate::error::Result;
use crate::plan::{How, Values};
use crate::tensor::Dtype;

impl Prover<'_> {
    /// Measures which codes or blocks are not the base's, and whether all other tensors are: of a layer that is packed
    /// as it was, against what is stored; of another, against the base packed alone.
    pub(super) fn changed(
        &self,
        (number, how): (u32, How),
        quality: &mut Quality,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let parts = self.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        let pack = &self.run.plan.packs[number as usize];
        let Values::Merged(merge) = pack.values else { return Ok(()) };
        let before: Vec<Vec<u8>> = match how {
            How::Target | How::Blocks(_) => {
                let base = self.inputs.before(number, merge)?;
                encoded::whole(&base, &self.inputs, (VALUES_AT_ONCE, scratch))?
            }
            How::AsStored => self.inputs.stored(number)?,
        };
        let mut shares = Vec::new();
        for ((_, tensor), before) in parts.iter().zip(&before) {
            let written = self.index.find(&self.opened.files, &tensor.name);
            let written = written.ok_or_else(|| failed(&format!("{} is not there", tensor.name)))?;
            let mut is = vec![0; tensor.bytes as usize];
            self.data.fill(written, 0, &mut is).map_err(|why| failed(&why))?;
            shares.push((is == *before, is));
        }
        if let (Some((_, tensor)), Some((_, is)), Some(before)) =
            (parts.first(), shares.first(), before.first())
            && let Dtype::Ggml(kind) = tensor.dtype
        {
            quality.blocks = Some(changed_blocks(is, before, kind.block_bytes() as usize));
            return Ok(());
        }
        let (layers, files) = (&self.opened.layers, &self.opened.files);
        let first = parts.first().and_then(|(_, tensor)| self.index.find(files, &tensor.name));
        let layer = first.and_then(|tensor| layers.of_tensor(files, tensor));
        let bits = layer.map_or(0, |layer| layers.spec(layer).millibits / 1000);
        // Planes of bits are no fields.
        let blocks = &files.configs.quant.blocks;
        let is_planar =
            blocks.iter().any(|block| block.text(&["checkpoint_format", "format"]) == Some("gptq_p"));
        let is_gptq = layer.is_some_and(|layer| layers.spec(layer).format.get().name() == "gptq");
        let columns = parts.first().and_then(|(_, tensor)| tensor.shape.last()).copied().unwrap_or(0);
        quality.codes_changed = match (shares.first(), before.first()) {
            (Some((_, is)), Some(before)) if bits == 3 && is_gptq && !is_planar => {
                changed_in_columns(is, before, columns as usize)
            }
            (Some((_, is)), Some(before)) => changed_codes(is, before, bits),
            _ => None,
        };
        quality.keeps_grid =
            (how == How::AsStored).then(|| shares.iter().skip(1).all(|(is_same, _)| *is_same));
        Ok(())
    }
}

/// Returns how many blocks of so many bytes differ, and how many there are.
fn changed_blocks(is: &[u8], before: &[u8], bytes: usize) -> [u64; 2] {
    let blocks = is.chunks(bytes.max(1)).zip(before.chunks(bytes.max(1)));
    let changed = blocks.clone().filter(|(is, before)| is != before).count();
    [changed as u64, blocks.count() as u64]
}

/// Returns the share of codes that differ; `None` for codes that straddle bytes.
fn changed_codes(is: &[u8], before: &[u8], bits: u32) -> Option<f64> {
    if !matches!(bits, 1 | 2 | 4 | 8) || is.len() != before.len() || is.is_empty() {
        return None;
    }
    let mask = (1u16 << bits) - 1;
    let per_byte = 8 / bits;
    let count = |(a, b): (&u8, &u8)| {
        let differ = u16::from(a ^ b);
        (0..per_byte).filter(|at| differ >> (at * bits) & mask != 0).count() as u64
    };
    let changed: u64 = is.iter().zip(before).map(count).sum();
    Some(changed as f64 / (is.len() as f64 * f64::from(per_byte)))
}

/// Returns the share of codes of 3 bits that differ, 32 of them in three words down a column; `columns`: how many of those
/// lie side by side. `None` if the words are no such columns.
fn changed_in_columns(is: &[u8], before: &[u8], columns: usize) -> Option<f64> {
    let set = columns.checked_mul(12).filter(|&set| set > 0 && is.len().is_multiple_of(set))?;
    if is.len() != before.len() || is.is_empty() {
        return None;
    }
    let mut changed = 0u64;
    for (is, before) in is.chunks_exact(set).zip(before.chunks_exact(set)) {
        let (is, before) = (is.as_chunks::<4>().0, before.as_chunks::<4>().0);
        for column in 0..columns {
            let stream = (0..3).rev().fold(0u128, |stream, row| {
                let at = row * columns + column;
                let differ = u32::from_le_bytes(is[at]) ^ u32::from_le_bytes(before[at]);
                stream << 32 | u128::from(differ)
            });
            changed += (0..32).filter(|at| stream >> (3 * at) & 7 != 0).count() as u64;
        }
    }
    Some(changed as f64 / (is.len() as f64 * 8.0 / 3.0))
}
