//! Quality: what packing took of the values of a layer, and of what adapters changed.
//!
//! Everything is measured on what was written, over all values of the layer, in f64: the result is decoded as a loader
//! does it and held against the values that were meant.

use multiversion::multiversion;

use super::{Prover, failed};
use crate::engine::Scratch;
use crate::engine::encoded::{self, ToPack};
use crate::error::Result;
use crate::plan::{How, Values};
use crate::quant::decode::Decoding;
use crate::quant::target::Candidate;
use crate::quant::trial;
use crate::tensor::values;

/// Values that are compared at a time.
const VALUES_AT_ONCE: u64 = 32 << 10;
/// Values whose codes are read at a time.
const VALUES_READ: u64 = 2 << 20;

/// Reads bytes of the codes of a layer.
type ReadCodes<'a> = dyn Fn(std::ops::Range<u64>, &mut Vec<u8>) -> Result<()> + 'a;

/// What packing took of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Relative Frobenius error: what is lost of the values, over the values.
    pub relative_error: f64,
    /// The error that round-to-nearest would have, where better scales were searched for.
    pub nearest_error: Option<f64>,
    /// The share of what adapters change that the result has: the projection of the change on it.
    pub delta_kept: Option<f64>,
    /// The share of the codes that are not those of the base.
    pub codes_changed: Option<f64>,
    /// True if scales and zero points are those of the base; `None` if it is not packed as it was.
    pub keeps_grid: Option<bool>,
}

/// Sums over the values of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    /// Squares of what is lost.
    lost: f64,
    /// Squares of the values that were meant.
    all: f64,
    /// Products of the change that was meant and the one that is.
    kept: f64,
    /// Squares of the change that was meant.
    change: f64,
}

impl Sums {
    fn relative_error(self) -> f64 {
        match (self.lost, self.all) {
            (0.0, _) => 0.0,
            (lost, all) => (lost / all).sqrt(),
        }
    }

    fn delta_kept(self) -> Option<f64> {
        (self.change > 0.0).then(|| self.kept / self.change)
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
            Values::Merged(merge) => Some(self.base(number, merge)?),
            Values::Layer(..) | Values::Tensor(..) => None,
        };
        let held = self.held_codes(result)?;
        let read = |range: std::ops::Range<u64>, bytes: &mut Vec<u8>| {
            bytes.resize((range.end - range.start) as usize, 0);
            self.data.fill(result.codes, range.start, bytes).map_err(|why| failed(&why))
        };
        let sums = self.sums(work, (result, held.as_deref(), &read), base.as_ref(), scratch)?;
        let mut quality = Quality {
            relative_error: sums.relative_error(),
            delta_kept: base.as_ref().and_then(|_| sums.delta_kept()),
            ..Quality::default()
        };
        quality.nearest_error = self.nearest_error((number, work), scratch)?;
        if base.is_some() {
            (quality.codes_changed, quality.keeps_grid) = self.changed((number, pack.how), scratch)?;
        }
        Ok(quality)
    }

    /// Returns the base of a merge, before anything is added to it.
    fn base(&self, number: u32, merge: u32) -> Result<ToPack> {
        let pack = &self.run.plan.packs[number as usize];
        let merge = &self.run.plan.merges[merge as usize];
        let (decoding, _) = self.inputs.to_merge(merge)?;
        let values = Values::of(merge.base);
        let mut base = self.inputs.to_pack(number)?;
        base.codes = self.inputs.strewn_codes(values, &decoding)?;
        base.values = values;
        base.decoding = pack.change.over(decoding).map_err(|why| self.inputs.refused(values, &why))?;
        base.rounded = vec![merge.native, pack.dtype];
        Ok(base)
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
            let [lost, squares] = compare(meant, &is);
            (all.lost, all.all) = (all.lost + lost, all.all + squares);
            if base.is_some() {
                let [kept, change] = project(meant, &is, &before);
                (all.kept, all.change) = (all.kept + kept, all.change + change);
            }
        }
        Ok(all)
    }

    /// Returns the error that the layer would have without the search for better scales.
    fn nearest_error(&self, (number, work): (u32, &ToPack), scratch: &mut Scratch) -> Result<Option<f64>> {
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
        Ok(Some(sums.relative_error()))
    }

    /// Returns the share of codes that are not the base's, and whether all other tensors are: of a layer that is packed
    /// as it was, against what is stored; of another, against the base packed alone.
    fn changed(
        &self,
        (number, how): (u32, How),
        scratch: &mut Scratch,
    ) -> Result<(Option<f64>, Option<bool>)> {
        let parts = self.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        let pack = &self.run.plan.packs[number as usize];
        let Values::Merged(merge) = pack.values else { return Ok((None, None)) };
        let before: Vec<Vec<u8>> = match how {
            How::Target => {
                let base = self.base(number, merge)?;
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
        let (layers, files) = (&self.opened.layers, &self.opened.files);
        let first = parts.first().and_then(|(_, tensor)| self.index.find(files, &tensor.name));
        let layer = first.and_then(|tensor| layers.of_tensor(files, tensor));
        let bits = layer.map_or(0, |layer| layers.spec(layer).millibits / 1000);
        let codes = match (shares.first(), before.first()) {
            (Some((_, is)), Some(before)) => changed_codes(is, before, bits),
            _ => None,
        };
        let grid = (how == How::AsStored).then(|| shares.iter().skip(1).all(|(is_same, _)| *is_same));
        Ok((codes, grid))
    }
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

/// Returns the sums of the squares of differences, and of the values that were meant.
#[multiversion(targets("x86_64+avx2+fma"))]
fn compare(meant: &[f32], is: &[f32]) -> [f64; 2] {
    const LANES: usize = 8;
    let (mut lost, mut all) = ([0f64; LANES], [0f64; LANES]);
    let (meant, meant_rest) = meant.as_chunks::<LANES>();
    let (is, is_rest) = is.as_chunks::<LANES>();
    for (meant, is) in meant.iter().zip(is) {
        for lane in 0..LANES {
            let (should, is) = (f64::from(meant[lane]), f64::from(is[lane]));
            lost[lane] += (is - should) * (is - should);
            all[lane] += should * should;
        }
    }
    for (&should, &is) in meant_rest.iter().zip(is_rest) {
        let (should, is) = (f64::from(should), f64::from(is));
        lost[0] += (is - should) * (is - should);
        all[0] += should * should;
    }
    [lost.iter().sum(), all.iter().sum()]
}

/// Returns the sums of the products of both changes, and of the squares of the one that was meant.
#[multiversion(targets("x86_64+avx2+fma"))]
fn project(meant: &[f32], is: &[f32], before: &[f32]) -> [f64; 2] {
    const LANES: usize = 8;
    let (mut kept, mut change) = ([0f64; LANES], [0f64; LANES]);
    let chunks = meant.chunks(LANES).zip(is.chunks(LANES)).zip(before.chunks(LANES));
    for ((meant, is), before) in chunks {
        for (lane, ((&meant, &is), &before)) in meant.iter().zip(is).zip(before).enumerate() {
            let before = f64::from(before);
            let (should, is) = (f64::from(meant) - before, f64::from(is) - before);
            kept[lane] += should * is;
            change[lane] += should * should;
        }
    }
    [kept.iter().sum(), change.iter().sum()]
}
