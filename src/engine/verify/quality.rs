//! Quality: what packing took of the values of a layer, and of what adapters changed.
//!
//! Everything is measured on what was written, over all values of the layer, in f64: the result is decoded as a loader
//! does it and held against the values that were meant.

use super::measured::Sums;
use super::{Prover, failed};
use crate::engine::Scratch;
use crate::engine::encoded::{self, ToPack};
use crate::error::Result;
use crate::plan::{How, Values};
use crate::quant::decode::Decoding;
use crate::quant::target::Candidate;
use crate::quant::trial;
use crate::tensor::{Dtype, values};

/// Values that are compared at a time.
const VALUES_AT_ONCE: u64 = 32 << 10;
/// Values whose codes are read at a time.
const VALUES_READ: u64 = 2 << 20;

/// Reads bytes of the codes of a layer.
type ReadCodes<'a> = dyn Fn(std::ops::Range<u64>, &mut Vec<u8>) -> Result<()> + 'a;

/// What packing took of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// What is lost, and what adapters change.
    pub sums: Sums,
    /// The same with round-to-nearest, where better scales were searched for.
    pub nearest: Option<Sums>,
    /// True if adapters are merged into it.
    pub is_merged: bool,
    /// The share of the codes that are not those of the base.
    pub codes_changed: Option<f64>,
    /// Of a type of ggml: the blocks that are not those of the base, and all of them.
    pub blocks: Option<[u64; 2]>,
    /// True if scales and zero points are those of the base; `None` if it is not packed as it was.
    pub keeps_grid: Option<bool>,
}

impl Quality {
    /// Returns the share of what adapters change that the result has, if they change anything.
    #[must_use]
    pub fn delta_kept(&self) -> Option<f64> {
        self.sums.delta_kept().filter(|_| self.is_merged)
    }
}

impl Prover<'_> {
    /// Measures a layer that was packed; `result`: how it is decoded from what was written.
    pub(super) fn quality(
        &self,
        (number, work): (u32, &ToPack),
        result: &Decoding,
        scratch: &mut Scratch,
    ) -> Result<Quality> {
        let pack = &self.run.plan.packs[number as usize];
        let base = match pack.values {
            Values::Merged(merge) => Some(self.inputs.before(number, merge)?),
            Values::Layer(..) | Values::Tensor(..) => None,
        };
        let held = self.held_codes(result)?;
        let read = |range: std::ops::Range<u64>, bytes: &mut Vec<u8>| {
            bytes.resize((range.end - range.start) as usize, 0);
            self.data.fill(result.codes, range.start, bytes).map_err(|why| failed(&why))
        };
        let sums = self.sums(work, (result, held.as_deref(), &read), base.as_ref(), scratch)?;
        if !sums.relative_error().is_finite() {
            return Err(self
                .inputs
                .refused(pack.values, &beyond(sums, result.dtype.unwrap_or(work.dtype), pack.how)));
        }
        let mut quality = Quality { sums, is_merged: base.is_some(), ..Quality::default() };
        quality.nearest = self.nearest((number, work), scratch)?;
        if base.is_some() {
            self.changed((number, pack.how), &mut quality, scratch)?;
        }
        Ok(quality)
    }

    /// Returns all codes of a layer of the result, where every row needs all of them.
    fn held_codes(&self, result: &Decoding) -> Result<Option<Vec<u8>>> {
        let all = self.opened.files.tensors[result.codes as usize].bytes;
        if result.row_count() < 2 || result.rows.codes(0..1) != (0..all) {
            return Ok(None);
        }
        let mut bytes = vec![0; all as usize];
        self.data.fill(result.codes, 0, &mut bytes).map_err(|why| failed(&why))?;
        Ok(Some(bytes))
    }

    /// Sums over all values of a layer.
    fn sums(
        &self,
        work: &ToPack,
        (result, held, read): (&Decoding, Option<&[u8]>, &ReadCodes<'_>),
        base: Option<&ToPack>,
        scratch: &mut Scratch,
    ) -> Result<Sums> {
        let (count, row_len) = (result.row_count(), result.row_len());
        let at_once = (VALUES_AT_ONCE / row_len.max(1)).max(work.decoding.rows.rows_at_once()).max(1);
        let (mut bytes, mut codes, mut rounded) = (Vec::new(), Vec::new(), Vec::new());
        let (mut is, mut before) = (Vec::new(), Vec::new());
        let dtype = result.dtype.unwrap_or(work.dtype);
        let mut all = Sums::default();
        // What was just written is on the disk alone: it is read in larger pieces than it is compared.
        let read_at_once = at_once * (VALUES_READ / (at_once * row_len).max(1)).max(1);
        let mut window = 0..0;
        for start in (0..count).step_by(at_once as usize) {
            let rows = start..count.min(start + at_once);
            is.resize(((rows.end - rows.start) * row_len) as usize, 0f32);
            let range = result.rows.codes(rows.clone());
            if held.is_none() && !(window.start <= range.start && range.end <= window.end) {
                let ahead = result.rows.codes(rows.start..count.min(start + read_at_once));
                window = range.start..range.end.max(ahead.end);
                read(window.clone(), &mut bytes)?;
            }
            let from = (range.start - window.start) as usize;
            let here = bytes.get(from..).and_then(|bytes| bytes.get(..(range.end - range.start) as usize));
            let Some(stored) = held.or(here) else { return Err(failed("codes of a row are missing")) };
            rounded.resize(dtype.bytes_of(is.len() as u64).unwrap_or(0) as usize, 0);
            // The quick way gives the values as they are rounded.
            if !(result.rows.decode_to(rows.clone(), stored, dtype, &mut rounded)
                && values::to_f32(dtype, &rounded, &mut is))
            {
                result.rows.decode(rows.clone(), stored, &mut is);
                values::round_all(dtype, &mut is);
            }
            if let Some(base) = base {
                base.read(&self.inputs, rows.clone(), &mut codes)?;
                let values = base.decode(rows.clone(), &codes, scratch);
                let values = values.map_err(|why| self.inputs.refused(base.values, &why))?;
                before.clear();
                before.extend_from_slice(values);
            }
            work.read(&self.inputs, rows.clone(), &mut codes)?;
            let meant = work.decode(rows, &codes, scratch);
            let meant = meant.map_err(|why| self.inputs.refused(work.values, &why))?;
            all += Sums::of(meant, &is, base.map(|_| before.as_slice()));
        }
        Ok(all)
    }

    /// Returns what the layer would lose without the search for better scales.
    fn nearest(&self, (number, work): (u32, &ToPack), scratch: &mut Scratch) -> Result<Option<Sums>> {
        let pack = &self.run.plan.packs[number as usize];
        let plain = self.run.plan.target.as_ref().and_then(|target| target.without_search());
        let (Some(target), How::Target) = (plain, pack.how) else { return Ok(None) };
        let refused = |why: String| self.inputs.refused(pack.values, &why);
        let mut other = encoded::to_pack(&self.inputs, number, scratch)?;
        let candidate = Candidate { shape: &other.decoding.shape, dtype: pack.dtype };
        other.encoding = target.encoding(&candidate).map_err(refused)?;
        let tensors = encoded::whole(&other, &self.inputs, (VALUES_AT_ONCE, scratch))?;
        let result = trial::decoding(&*target, (&pack.name, pack.dtype), &other.encoding, &tensors);
        let result = result.map_err(refused)?;
        let codes = &tensors[result.codes as usize];
        let is_strewn = result.rows.codes(0..1) == (0..codes.len() as u64);
        let read = |range: std::ops::Range<u64>, bytes: &mut Vec<u8>| {
            bytes.clear();
            bytes.extend_from_slice(&codes[range.start as usize..range.end as usize]);
            Ok(())
        };
        let held = is_strewn.then_some(codes.as_slice());
        let sums = self.sums(work, (&result, held, &read), None, scratch)?;
        Ok(Some(sums))
    }

    /// Measures which codes or blocks are not the base's, and whether all other tensors are: of a layer that is packed
    /// as it was, against what is stored; of another, against the base packed alone.
    fn changed(&self, (number, how): (u32, How), quality: &mut Quality, scratch: &mut Scratch) -> Result<()> {
        let parts = self.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        let pack = &self.run.plan.packs[number as usize];
        let Values::Merged(merge) = pack.values else { return Ok(()) };
        let before: Vec<Vec<u8>> = match how {
            How::Target | How::Blocks(_) => {
                let base = self.inputs.before(number, merge)?;
                encoded::whole(&base, &self.inputs, (super::packed::VALUES_AT_ONCE, scratch))?
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

/// Says why no number stands for what is lost.
fn beyond(sums: Sums, dtype: Dtype, how: How) -> String {
    let hint = format!("; {}", how.instead());
    if sums.lost.is_finite() {
        return format!("its values are all zero, and what was written of them is not{hint}");
    }
    format!("values lie so near the largest of {dtype} that loaders would make them infinite{hint}")
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
