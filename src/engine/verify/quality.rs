//! Quality: what packing took of the values of a layer, and of what adapters changed.
//!
//! Everything is measured on what was written, over all values of the layer, in f64: the result is decoded as a loader
//! does it and held against the values that were meant. Values are converted to f64 before anything is computed of them,
//! where the difference of two is exact unless they lie more than nine decimal orders apart; sums run in an order that is
//! fixed for a layer, whatever the threads.

use std::ops::Range;

use super::again::Remade;
use super::measured::Sums;
use super::window::{Window, Written};
use super::{Prover, failed};
use crate::engine::Scratch;
use crate::engine::cpu::Cpu;
use crate::engine::encoded::{self, ToPack};
use crate::error::Result;
use crate::plan::{How, Values};
use crate::quant::decode::Decoding;
use crate::quant::target::Candidate;
use crate::quant::trial;
use crate::tensor::Dtype;

/// Values that are compared at a time: with what is decoded of them they stay in a second-level cache. Another cut than
/// when they were packed.
pub(super) const VALUES_AT_ONCE: u64 = 48 << 10;
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
    /// Measures a layer that was packed; `result`: how it is decoded from what was written; `again`: made once more and
    /// compared, of the same values.
    pub(super) fn quality(
        &self,
        (number, work): (u32, &ToPack),
        result: &Decoding,
        mut again: Option<Remade<'_>>,
        scratch: &mut Scratch,
    ) -> Result<Quality> {
        let pack = &self.run.plan.packs[number as usize];
        let base = match pack.values {
            Values::Merged(merge) => Some(self.inputs.before(number, merge)?),
            Values::Layer(..) | Values::Tensor(..) => None,
        };
        let held = self.held_codes(result)?;
        let read = |range: Range<u64>, bytes: &mut Vec<u8>| {
            bytes.resize((range.end - range.start) as usize, 0);
            self.data.fill(result.codes, range.start, bytes).map_err(|why| failed(&why))?;
            // What was just written is on the disk alone: it gives the next codes while these are compared.
            self.data.expect(result.codes, range.end..range.end.saturating_add(range.end - range.start));
            Ok(())
        };
        let written = Written { decoding: result, held: held.as_deref(), read: &read };
        let sums = self.sums(work, written, (base.as_ref(), again.as_mut()), scratch)?;
        again.map_or(Ok(()), Remade::finish)?;
        if !sums.relative_error().is_finite() {
            return Err(self
                .inputs
                .refused(pack.values, &beyond(sums, result_dtype(result, work), pack.how)));
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

    /// Sums over all values of a layer; `base`: what stood there before, of a merged one; `again`: gets all values too.
    fn sums(
        &self,
        work: &ToPack,
        written: Written<'_>,
        (base, mut again): (Option<&ToPack>, Option<&mut Remade<'_>>),
        scratch: &mut Scratch,
    ) -> Result<Sums> {
        let (count, row_len) = (work.decoding.row_count(), work.decoding.row_len());
        let at_once = (VALUES_AT_ONCE / row_len.max(1)).max(work.decoding.rows.rows_at_once()).max(1);
        // What is encoded comes in as many rows as belong together.
        let apart = at_once.next_multiple_of(work.encoding.encoder.rows_apart().max(1));
        let mut window = Window::new(written, result_dtype(written.decoding, work), at_once);
        let (mut codes, mut base_codes, mut of_base) = (Vec::new(), Vec::new(), Scratch::default());
        let mut all = Sums::default();
        for rows in pieces(0..count, apart) {
            let whole = if again.is_some() { apart } else { at_once };
            for rows in pieces(rows, whole) {
                work.read(&self.inputs, rows.clone(), &mut codes)?;
                let meant = work.decode(rows.clone(), &codes, scratch);
                let meant = meant.map_err(|why| self.inputs.refused(work.values, &why))?;
                if let Some(again) = &mut again {
                    again.rows(rows.clone(), &codes, meant)?;
                }
                for (rows, meant) in pieces(rows, at_once).zip(meant.chunks((at_once * row_len) as usize)) {
                    let before = base.map(|base| {
                        base.read(&self.inputs, rows.clone(), &mut base_codes)?;
                        let values = base.decode(rows.clone(), &base_codes, &mut of_base);
                        values.map_err(|why| self.inputs.refused(base.values, &why))
                    });
                    all += Sums::of(meant, window.values(rows)?, before.transpose()?);
                }
            }
        }
        Ok(all)
    }

    /// Returns what the layer would lose without the search for better scales.
    fn nearest(&self, (number, work): (u32, &ToPack), scratch: &mut Scratch) -> Result<Option<Sums>> {
        let pack = &self.run.plan.packs[number as usize];
        let plain = self.run.plan.target.as_ref().and_then(|target| target.without_search());
        let (Some(target), How::Target) = (plain, pack.how) else { return Ok(None) };
        let refused = |why: String| self.inputs.refused(pack.values, &why);
        let mut other = encoded::to_pack(&self.inputs, number, (&Cpu, scratch))?;
        let candidate = Candidate { shape: &other.decoding.shape, dtype: pack.dtype };
        other.encoding = target.encoding(&candidate).map_err(refused)?;
        let tensors = encoded::whole(&other, &self.inputs, (VALUES_AT_ONCE, scratch))?;
        let result = trial::decoding(&*target, (&pack.name, pack.dtype), &other.encoding, &tensors);
        let result = result.map_err(refused)?;
        let codes = &tensors[result.codes as usize];
        let is_strewn = result.rows.codes(0..1) == (0..codes.len() as u64);
        let read = |range: Range<u64>, bytes: &mut Vec<u8>| {
            bytes.clear();
            bytes.extend_from_slice(&codes[range.start as usize..range.end as usize]);
            Ok(())
        };
        let held = is_strewn.then_some(codes.as_slice());
        let written = Written { decoding: &result, held, read: &read };
        let sums = self.sums(work, written, (None, None), scratch)?;
        Ok(Some(sums))
    }
}

/// Returns the dtype to which values of a result are rounded.
fn result_dtype(result: &Decoding, work: &ToPack) -> Dtype {
    result.dtype.unwrap_or(work.dtype)
}

/// Cuts rows into pieces of so many.
fn pieces(rows: Range<u64>, at_once: u64) -> impl Iterator<Item = Range<u64>> {
    rows.clone().step_by(at_once as usize).map(move |start| start..rows.end.min(start + at_once))
}

/// Says why no number stands for what is lost.
fn beyond(sums: Sums, dtype: Dtype, how: How) -> String {
    let hint = format!("; {}", how.instead());
    if sums.lost.is_finite() {
        return format!("its values are all zero, and what was written of them is not{hint}");
    }
    format!("values lie so near the largest of {dtype} that loaders would make them infinite{hint}")
}
