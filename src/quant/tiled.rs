//! Encoders of weights whose tiles have scales: on new scales, or on those that a layer has.
//!
//! | strand | holds, of the rows given                                                                |
//! |--------|-----------------------------------------------------------------------------------------|
//! | codes  | packed, row by row                                                                      |
//! | scales | as stored, a row of tiles after another; of a layer with one scale that one each time    |
//! | zeros  | one signed byte a scale, where codes have zero points                                   |
//!
//! On its own grid a layer has codes on its stored scales and on new ones, with what both lose (`regroup.rs`). What
//! becomes of codes, scales and zero points at last is the format's own.

use std::borrow::Cow;

use super::encode::{Around, Encode};
use super::kernel::Kernel;
use super::pack::Packing;
use super::regroup;
use super::tiles::kernel::{Encoder, Finder, Finding};
use super::tiles::own::{OwnGrid, Strewn};
use super::tiles::{Coder, Rule, Step, Tiling, store, widen};
use crate::tensor::{Dtype, values};

/// How codes lie in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packed {
    /// One a byte.
    Bytes,
    /// Two a byte, the first in the low nibble; rows have an even number.
    Nibbles,
    /// In words of 32 bits, of so many bits each, counted from the least code on.
    Words(Packing, u32),
}

/// How a weight's codes and scales lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) tiling: Tiling,
    pub(super) packed: Packed,
    /// The dtype of the stored scales.
    pub(super) scales: Dtype,
    /// True if scales have zero points of their own.
    pub(super) has_zeros: bool,
    /// True if scales come of the largest magnitude of the layer.
    pub(super) wants_largest: bool,
}

/// What all rows were encoded to.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<u8>,
    pub(super) zeros: Vec<u8>,
}

/// Makes the tensors of what rows were encoded to and of the largest magnitude.
pub(super) type Finish = Box<dyn Fn(Made, f32) -> Vec<Vec<u8>> + Send + Sync>;

/// Encodes rows on new scales.
pub(super) struct Fresh<R> {
    pub(super) layout: Layout,
    pub(super) coder: Coder,
    pub(super) rule: R,
    pub(super) finish: Finish,
}

/// Codes, scales and zero points of some rows, and the sums of their squared errors. These are kept row by row: their
/// sum must not hang on how rows were cut.
#[derive(Default)]
struct Strands {
    made: Made,
    errors: Vec<u8>,
}

/// Room for a row, used again and again.
#[derive(Default)]
struct Scratch {
    quotients: Vec<f32>,
    codes: Vec<u8>,
    worths: Vec<f32>,
}

impl Layout {
    /// Writes a row with its scales; measures its errors after rounding to `measured`.
    fn row(
        &self,
        coder: &Coder,
        (row, steps): (&[f32], &[Step]),
        order: Option<&[u32]>,
        measured: Option<Dtype>,
        (scratch, out): (&mut Scratch, &mut Strands),
    ) {
        let wide = self.tiling.wide;
        scratch.codes.resize(row.len(), 0);
        coder.row(row, wide, steps, &mut scratch.quotients, &mut scratch.codes);
        if let Some(dtype) = measured {
            scratch.worths.resize(row.len(), 0.0);
            coder.worths(&scratch.codes, wide, steps, &mut scratch.worths);
            values::round_all(dtype, &mut scratch.worths);
            let tiles = row.chunks(wide).zip(scratch.worths.chunks(wide));
            let lost = tiles.fold(0.0, |lost, (values, read)| lost + regroup::lost(values, read));
            out.errors.extend_from_slice(&lost.to_le_bytes());
        }
        if let Some(order) = order {
            let ordered = scratch.codes.clone();
            for (&at, code) in order.iter().zip(ordered) {
                if let Some(to) = scratch.codes.get_mut(at as usize) {
                    *to = code;
                }
            }
        }
        self.pack(&mut scratch.codes, &mut out.made.codes);
    }

    fn pack(&self, codes: &mut [u8], out: &mut Vec<u8>) {
        match self.packed {
            Packed::Bytes => out.extend_from_slice(codes),
            Packed::Nibbles => {
                out.extend(codes.as_chunks::<2>().0.iter().map(|[low, high]| low & 15 | high << 4));
            }
            Packed::Words(packing, bits) => {
                let middle = 1u8 << (bits.clamp(1, 8) - 1);
                for code in codes.iter_mut() {
                    *code = code.wrapping_add(middle);
                }
                packing.pack(codes, bits, out);
            }
        }
    }
}

impl<R: Rule> Fresh<R> {
    fn encode(
        &self,
        values: &[f32],
        at: Around,
        order: Option<&[u32]>,
        measured: Option<Dtype>,
    ) -> Result<Strands, String> {
        let (layout, tiling) = (&self.layout, &self.layout.tiling);
        let (mut scratch, mut out) = (Scratch::default(), Strands::default());
        let (mut ranges, mut steps) = (Vec::new(), Vec::new());
        for (_, band) in tiling.bands(values, at.first_row) {
            ranges.clear();
            ranges.resize(tiling.width(), [0f32; 2]);
            for row in band.chunks_exact(tiling.inputs) {
                widen(&mut ranges, row, tiling.wide);
            }
            steps.clear();
            let is_one_row = band.len() == tiling.inputs;
            let tiles = band.chunks(tiling.wide).map(|tile| if is_one_row { tile } else { &[] });
            for (range, tile) in ranges.iter().zip(tiles) {
                steps.push(self.rule.step(*range, tile, at.largest)?);
            }
            for step in &steps {
                store(layout.scales, step.stored, &mut out.made.scales);
                if layout.has_zeros {
                    out.made.zeros.push(step.zero as i8 as u8);
                }
            }
            for row in band.chunks_exact(tiling.inputs) {
                layout.row(&self.coder, (row, &steps), order, measured, (&mut scratch, &mut out));
            }
        }
        Ok(out)
    }
}

impl<R: Rule> Fresh<R> {
    fn encoder(&self) -> Option<Encoder> {
        let Layout { tiling, packed, scales, has_zeros, .. } = self.layout;
        Encoder::of_codes(tiling, packed, (scales, has_zeros), self.coder)?.searching(self.rule.search())
    }
}

/// An encoder of the matrices of a stack, which may come turned.
pub(super) trait Turns: Encode {
    /// Returns how a kernel encodes a stack that comes turned, of matrices of so many rows, and how it finds scales.
    fn turned(&self, outputs: u64, largest: f32) -> Option<(OwnGrid<'_>, Finder)>;
}

impl<R: Rule> Turns for Fresh<R> {
    fn turned(&self, outputs: u64, largest: f32) -> Option<(OwnGrid<'_>, Finder)> {
        let own = OwnGrid {
            encoder: self.encoder()?,
            coder: self.coder,
            stored: Box::new(std::iter::empty()),
            turned: outputs,
            strewn: None,
            read_as: Dtype::F32,
            may_regroup: true,
        };
        Some((own, self.rule.finder(largest)?))
    }
}

impl<R: Rule> Turns for Own<R> {
    fn turned(&self, outputs: u64, largest: f32) -> Option<(OwnGrid<'_>, Finder)> {
        Some((OwnGrid { turned: outputs, ..self.own_grid()? }, self.finder(largest)?))
    }
}

impl<R: Rule> Encode for Fresh<R> {
    fn rows_apart(&self) -> u64 {
        self.layout.tiling.rows_apart()
    }

    fn wants_largest(&self) -> bool {
        self.layout.wants_largest
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        let Made { codes, scales, zeros } = self.encode(values, at, None, None)?.made;
        Ok(vec![codes, scales, zeros])
    }

    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>> {
        let mut strands = strands.into_iter();
        let mut next = || strands.next().unwrap_or_default();
        let made = Made { codes: next(), scales: next(), zeros: next() };
        (self.finish)(made, largest)
    }

    fn kernel(&self, largest: f32) -> Option<Kernel> {
        self.encoder()?.kernel(self.rule.finder(largest)?)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.encoder().map_or_else(Vec::new, |encoder| encoder.strand_bytes(rows))
    }
}

/// Encodes rows on the scales that a layer has, and on new ones.
pub(super) struct Own<R> {
    pub(super) fresh: Fresh<R>,
    /// The stored scales, a row of tiles after another; one for a layer that has one.
    pub(super) stored: Vec<Step>,
    /// Its other tensors as they are stored, behind the codes.
    pub(super) kept: Vec<Vec<u8>>,
    /// Which column each is in the order of groups, where groups do not follow each other.
    pub(super) order: Option<Vec<u32>>,
    /// The dtype in which decoded values are.
    pub(super) decoded: Dtype,
    /// False if there is no way to find new scales: the stored ones stay.
    pub(super) may_regroup: bool,
}

impl<R: Rule> Own<R> {
    fn on_stored(&self, values: &[f32], at: Around) -> Strands {
        let (layout, tiling) = (&self.fresh.layout, &self.fresh.layout.tiling);
        let (mut scratch, mut out) = (Scratch::default(), Strands::default());
        let coder = Coder::nearest(self.fresh.coder.code);
        let width = tiling.width();
        for (number, band) in tiling.bands(values, at.first_row) {
            let one = self.stored.len() == 1;
            let from = if one { 0 } else { number * width };
            let steps = self.stored.get(from..from + width).unwrap_or_default();
            for row in band.chunks_exact(tiling.inputs) {
                let order = self.order.as_deref();
                layout.row(&coder, (row, steps), order, Some(self.decoded), (&mut scratch, &mut out));
            }
        }
        out
    }

    /// Returns how a kernel finds new scales.
    fn finder(&self, largest: f32) -> Option<Finder> {
        // Where there are none any would do.
        if self.may_regroup { self.fresh.rule.finder(largest) } else { Some(Finder::new(Finding::Fixed, [])) }
    }

    /// Returns how a kernel encodes.
    pub(super) fn own_grid(&self) -> Option<OwnGrid<'_>> {
        let mut encoder = self.fresh.encoder()?;
        if !self.may_regroup {
            (encoder.scales, encoder.has_zeros) = (Dtype::F32, false);
        }
        let wide = self.fresh.layout.tiling.wide;
        let strewn = self.order.as_deref().map(|order| {
            let starts = (0..order.len()).step_by(wide).chain([order.len()]).map(|start| start as u32);
            Strewn { order: Cow::Borrowed(order), starts: starts.collect() }
        });
        Some(OwnGrid {
            encoder,
            coder: Coder::nearest(self.fresh.coder.code),
            stored: Box::new(self.stored.iter().map(|step| [step.worth, step.zero])),
            turned: 0,
            strewn,
            read_as: self.decoded,
            may_regroup: self.may_regroup,
        })
    }

    /// Returns the columns of rows in the order of groups.
    fn ordered(&self, values: &[f32]) -> Option<Vec<f32>> {
        let order = self.order.as_deref()?;
        let rows = values.chunks_exact(self.fresh.layout.tiling.inputs);
        Some(rows.flat_map(|row| order.iter().filter_map(|&at| row.get(at as usize).copied())).collect())
    }
}

impl<R: Rule> Encode for Own<R> {
    fn rows_apart(&self) -> u64 {
        self.fresh.rows_apart()
    }

    fn wants_largest(&self) -> bool {
        self.may_regroup && self.fresh.wants_largest()
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        let ordered = self.ordered(values);
        let values = ordered.as_deref().unwrap_or(values);
        let stored = self.on_stored(values, at);
        let mut strands = vec![stored.made.codes, stored.errors];
        if self.may_regroup {
            let new = self.fresh.encode(values, at, self.order.as_deref(), Some(self.decoded));
            // What new scales cannot hold, stored ones have to.
            let worst = f64::INFINITY.to_le_bytes().to_vec();
            let new = new.unwrap_or_else(|_| Strands { errors: worst, ..Strands::default() });
            let Made { codes, scales, zeros } = new.made;
            strands.extend([codes, scales, zeros, new.errors]);
        }
        Ok(strands)
    }

    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>> {
        let mut strands = strands.into_iter();
        let mut next = || strands.next().unwrap_or_default();
        let (codes, lost) = (next(), next());
        let made = Made { codes: next(), scales: next(), zeros: next() };
        if !self.may_regroup || !regroup::is_regrouped(&lost, &next()) {
            return std::iter::once(codes).chain(self.kept.iter().cloned()).collect();
        }
        (self.fresh.finish)(made, largest)
    }

    fn kernel(&self, largest: f32) -> Option<Kernel> {
        // Without new scales any would do.
        self.own_grid()?.kernel(self.finder(largest)?)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.own_grid().map_or_else(Vec::new, |own| own.strand_bytes(rows))
    }
}

#[cfg(test)]
mod tests;
