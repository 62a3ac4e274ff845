//! Settled: a plan whose tensors have the bytes that they came to have.
//!
//! Of some tensors only the most bytes that they may have are known before they are made: a quant state holds a
//! number as text. They stand last in their files, so that nothing behind them moves.

use super::{OutShard, OutTensor, Pack, Plan, Source, folder};
use crate::error::Result;

/// Puts the tensors last in their files that may become smaller than planned. They are rows of bytes, which any
/// place is aligned for.
pub(super) fn at_most_last(shards: &mut [OutShard], packs: &[Pack]) {
    if packs.iter().any(|pack| !pack.making.at_most.is_empty()) {
        for shard in shards {
            shard.tensors.sort_by_key(|tensor| is_at_most(packs, tensor.source));
        }
    }
}

fn is_at_most(packs: &[Pack], source: Source) -> bool {
    let Source::Encoded { pack, part } = source else { return false };
    packs.get(pack as usize).is_some_and(|pack| pack.making.at_most.contains(&part))
}

impl Plan {
    /// Returns true if the planned bytes of a tensor are the most that it may have.
    #[must_use]
    pub fn is_at_most(&self, tensor: &OutTensor) -> bool {
        is_at_most(&self.packs, tensor.source)
    }

    /// Returns a file with the bytes that its tensors came to have; `None` if all are as planned anyway.
    /// `bytes_of` is asked for those of which only the most was known.
    ///
    /// # Errors
    /// Those of `bytes_of`.
    pub fn settled_shard(
        &self,
        shard: &OutShard,
        bytes_of: &mut dyn FnMut(&OutTensor) -> Result<u64>,
    ) -> Result<Option<OutShard>> {
        if !shard.tensors.iter().any(|tensor| self.is_at_most(tensor)) {
            return Ok(None);
        }
        let mut settled = shard.clone();
        for tensor in settled.tensors.iter_mut().filter(|tensor| self.is_at_most(tensor)) {
            tensor.bytes = bytes_of(tensor)?;
            tensor.shape = vec![tensor.bytes];
        }
        Ok(Some(settled))
    }

    /// Returns the plan with the bytes that tensors came to have, its index of several files with their sum.
    ///
    /// # Errors
    /// Those of `bytes_of`.
    pub fn settled(
        &self,
        bytes_of: &mut dyn FnMut(&OutShard, &OutTensor) -> Result<u64>,
    ) -> Result<Option<Self>> {
        let mut settled: Option<Self> = None;
        for (number, shard) in self.shards.iter().enumerate() {
            if let Some(shard) = self.settled_shard(shard, &mut |tensor| bytes_of(shard, tensor))? {
                settled.get_or_insert_with(|| self.clone()).shards[number] = shard;
            }
        }
        let Some(mut settled) = settled else { return Ok(None) };
        if let Some(index) = folder::index(&settled.shards)
            && let Some(text) = settled.texts.iter_mut().find(|text| text.file == index.file)
        {
            *text = index;
        }
        Ok(Some(settled))
    }
}
