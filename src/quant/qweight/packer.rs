//! Packer: rows of weights to codes, scales and zero points by output and group, for layouts that have `qweight`.
//!
//! A layer that is packed anew has one grid a group: by its range, or by a search. A layer that is packed
//! as it was has two candidates, between which all of its values decide:
//!
//! | candidate | scales and zero points                  | what it loses                                            |
//! |-----------|-----------------------------------------|----------------------------------------------------------|
//! | stored    | those of the file                       | what lies beyond its ranges, and what rounding takes     |
//! | anew      | by the range of each group as it is now | what rounding takes, also of weights that nobody changed |
//!
//! Which one stays, and what the strands of such a layer hold, says `regroup.rs`. The sums are those of the values as
//! they will be read, products rounded to the dtype of scales: so a layer that nobody changed loses nothing on its own
//! grid, and stays what it is to the byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::quant::affine::Groups;
use crate::quant::decode::DecodeRows;
use crate::quant::encode::{Around, Encode};
use crate::quant::kernel::Kernel;
use crate::quant::regroup;
use crate::quant::search::{self, Grid, Lattice};
use crate::quant::target::Search;
use crate::quant::tiles::kernel::{Encoder, Finder, Rows};
use crate::quant::tiles::own::{OwnGrid, Strewn};
use crate::quant::tiles::{Code, Coder, Tiling};
use crate::tensor::{Dtype, values};

/// How a format chooses the grid of a group and the codes on it.
pub(in crate::quant) trait Coding: Lattice + Send + Sync + 'static {
    /// Returns the grid of a group of which this is the least and the largest value, with 0 between them: the one that
    /// the format's library takes. Its scale is infinite if the format cannot store it.
    fn grid(self, range: [f32; 2]) -> Grid;

    /// Returns the dtype to which `scale * (code - zero)` is rounded when it is read.
    fn dtype(self) -> Dtype;

    /// Returns true if zero points need not be whole.
    fn has_real_zeros(self) -> bool {
        false
    }

    /// Returns the name of the kernel that finds the same grids and codes, and how; `None` if none does.
    fn kernel(self) -> Option<(&'static str, Finder)> {
        None
    }
}

/// How the tensors of a layout hold codes, zero points and scales.
pub(in crate::quant) trait Files: Send + Sync {
    /// Returns how many rows share words.
    fn rows_apart(&self) -> u64 {
        1
    }

    /// Packs the codes `[rows, inputs]` of neighboring rows.
    fn pack(&self, codes: &[u8]) -> Vec<u8>;

    /// Returns how a kernel packs the same; `None` if none does.
    fn rows(&self) -> Option<Rows> {
        None
    }

    /// Makes `qweight` of all packed rows.
    fn codes(&self, packed: &[u8]) -> Vec<u8>;

    /// Makes zero points and scales, as the tensors are stored, of `[outputs, groups]` each.
    fn grids(&self, zeros: &[u8], scales: &[f32]) -> [Vec<u8>; 2];
}

/// The grids that a layer is stored with.
pub(in crate::quant) struct Stored {
    /// Scale and zero point of each output and group.
    pub(in crate::quant) grids: Vec<Grid>,
    /// The tensors of zero points and scales.
    pub(in crate::quant) tensors: [Vec<u8>; 2],
    /// The stored codes, where several are read as the same value: by a scale of 0, or a dtype of few bits. They
    /// stay where they are read as what is to be written.
    pub(in crate::quant) codes: Option<(Vec<u8>, Box<dyn DecodeRows>)>,
}

/// The inputs of each group.
#[derive(Debug, PartialEq)]
pub(in crate::quant) struct Spans {
    /// Where the inputs of each group stand, once they are in order.
    spans: Vec<Range<usize>>,
    /// The input at each place of that order; empty if they are in order.
    order: Vec<u32>,
}

impl Spans {
    /// Returns the inputs of `count` groups.
    pub(in crate::quant) fn new(groups: &Groups, inputs: usize, count: usize) -> Self {
        match groups {
            Groups::Runs(size) => {
                let end = |group: usize| group.saturating_mul(*size).min(inputs);
                Self {
                    spans: (0..count).map(|group| end(group)..end(group + 1)).collect(),
                    order: Vec::new(),
                }
            }
            Groups::Strewn(list) => {
                let mut order: Vec<u32> = (0..list.len() as u32).collect();
                order.sort_by_key(|&input| list[input as usize]);
                let mut ends = vec![0usize; count + 1];
                for &group in list {
                    ends[group as usize + 1] += 1;
                }
                for group in 0..count {
                    ends[group + 1] += ends[group];
                }
                Self { spans: ends.windows(2).map(|pair| pair[0]..pair[1]).collect(), order }
            }
        }
    }

    /// Returns the inputs of every group, if groups follow each other and only the last may have fewer.
    fn runs(&self, inputs: usize) -> Option<usize> {
        let first = self.spans.first().filter(|first| self.order.is_empty() && !first.is_empty())?;
        let is_run = |(at, span): (usize, &Range<usize>)| {
            *span == (at * first.len()..inputs.min((at + 1) * first.len()))
        };
        let is_whole = self.spans.iter().enumerate().all(is_run);
        (is_whole && self.spans.last()?.end == inputs && self.spans.len() == inputs.div_ceil(first.len()))
            .then_some(first.len())
    }

    /// Returns the groups as lists of inputs; `None` if 32 bits do not count them.
    fn strewn(&self, inputs: usize) -> Option<Strewn<'_>> {
        u32::try_from(inputs).ok()?;
        let ends = self.spans.iter().map(|span| span.end as u32);
        let order = if self.order.is_empty() {
            Cow::Owned((0..inputs as u32).collect())
        } else {
            Cow::Borrowed(self.order.as_slice())
        };
        Some(Strewn { order, starts: std::iter::once(0).chain(ends).collect() })
    }
}

/// Packs rows; strands: packed codes, scales in f32, zero points in bytes; of a layer that is packed as it was, those of
/// `regroup.rs`.
pub(in crate::quant) struct Packer<C, F> {
    pub(in crate::quant) coding: C,
    pub(in crate::quant) files: F,
    pub(in crate::quant) search: Search,
    pub(in crate::quant) inputs: usize,
    pub(in crate::quant) spans: Spans,
    pub(in crate::quant) stored: Option<Stored>,
    /// Tensors behind codes, zero points and scales that hold the same whatever the values.
    pub(in crate::quant) constant: Vec<Vec<u8>>,
}

/// What a row is encoded with, and to.
struct Row<'a> {
    number: usize,
    /// The values, in the order of the groups.
    values: &'a [f32],
}

impl<C: Coding, F: Files> Packer<C, F> {
    /// Encodes a row anew. Writes its codes, in the order of the groups.
    fn anew(
        &self,
        row: &Row<'_>,
        codes: &mut [u8],
        [scales, zeros]: [&mut Vec<u8>; 2],
    ) -> Result<f64, String> {
        let mut lost = 0.0;
        for (group, span) in self.spans.spans.iter().enumerate() {
            let values = &row.values[span.clone()];
            let stored = self.stored_grid(row.number, group);
            // A group without inputs stays what it is.
            let grid = match stored {
                Some(stored) if values.is_empty() => stored,
                _ => self.coding.grid(search::range(values)),
            };
            if !grid.scale.is_finite() && !values.is_empty() {
                let [least, largest] = search::range(values);
                return Err(format!(
                    "a group reaches from {least} to {largest}: its scale is beyond the dtype of scales"
                ));
            }
            let codes = &mut codes[span.clone()];
            let (grid, of_group) = self.group(values, grid, codes);
            lost += of_group;
            scales.extend_from_slice(&grid.scale.to_le_bytes());
            zeros.push(grid.zero as u8);
        }
        Ok(lost)
    }

    /// Encodes a group on the grid that its range gives, or on the one that is found if that loses less of it once it is
    /// read. Returns the grid with what it loses, 0 where nobody asks.
    fn group(&self, values: &[f32], start: Grid, codes: &mut [u8]) -> (Grid, f64) {
        search::codes(self.coding, values, start, codes);
        let found = search::search(self.search, self.coding, values, start);
        if found == start && self.stored.is_none() {
            return (start, 0.0);
        }
        let lost = |grid, codes: &[u8]| lost_of(self.coding.dtype(), values, grid, codes);
        let nearest = lost(start, codes);
        if found == start {
            return (start, nearest);
        }
        search::codes(self.coding, values, found, codes);
        let less = lost(found, codes);
        if less < nearest {
            return (found, less);
        }
        search::codes(self.coding, values, start, codes);
        (start, nearest)
    }

    /// Encodes a row on the stored grid. Writes its codes, in the order of the groups; `held`: the stored ones.
    fn as_stored(&self, row: &Row<'_>, codes: &mut [u8], held: &[f32]) -> f64 {
        let mut lost = 0.0;
        for (group, span) in self.spans.spans.iter().enumerate() {
            let (values, codes) = (&row.values[span.clone()], &mut codes[span.clone()]);
            let Some(grid) = self.stored_grid(row.number, group) else { continue };
            let held = held.get(span.clone()).unwrap_or_default();
            if grid.scale == 0.0 {
                codes.iter_mut().zip(held).for_each(|(code, &held)| *code = held as u8);
            } else {
                search::codes(self.coding, values, grid, codes);
                for ((code, &value), &held) in codes.iter_mut().zip(values).zip(held) {
                    let read = values::round(self.coding.dtype(), grid.scale * (held - grid.zero));
                    *code = if read == value { held as u8 } else { *code };
                }
            }
            lost += lost_of(self.coding.dtype(), values, grid, codes);
        }
        lost
    }

    fn stored_grid(&self, row: usize, group: usize) -> Option<Grid> {
        self.stored.as_ref()?.grids.get(row * self.spans.spans.len() + group).copied()
    }

    /// Returns the stored codes of rows as numbers, where they are needed.
    fn held_codes(&self, rows: Range<u64>, count: usize) -> Vec<f32> {
        let Some((bytes, decoder)) = self.stored.as_ref().and_then(|stored| stored.codes.as_ref()) else {
            return Vec::new();
        };
        let range = decoder.codes(rows.clone());
        let mut held = vec![0.0; count];
        decoder.decode(rows, &bytes[range.start as usize..range.end as usize], &mut held);
        held
    }

    /// Puts what stands in the order of the inputs into that of the groups.
    fn ordered<'v>(&self, row: &'v [f32], buffer: &'v mut Vec<f32>) -> &'v [f32] {
        if self.spans.order.is_empty() || row.is_empty() {
            return row;
        }
        buffer.clear();
        buffer.extend(self.spans.order.iter().map(|&input| row[input as usize]));
        buffer
    }

    /// Puts what stands in the order of the groups into that of the inputs.
    fn back(&self, codes: &mut [u8], buffer: &mut Vec<u8>) {
        if self.spans.order.is_empty() {
            return;
        }
        buffer.clear();
        buffer.extend_from_slice(codes);
        for (code, &input) in buffer.iter().zip(&self.spans.order) {
            codes[input as usize] = *code;
        }
    }
}

impl<C: Coding, F: Files> Encode for Packer<C, F> {
    fn rows_apart(&self) -> u64 {
        self.files.rows_apart()
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        let inputs = self.inputs.max(1);
        let count = values.len() / inputs;
        let held = self.held_codes(at.first_row..at.first_row + count as u64, values.len());
        let (mut buffer, mut held_buffer, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut codes = vec![0; values.len()];
        let mut before = vec![0; if self.stored.is_some() { values.len() } else { 0 }];
        let (mut scales, mut zeros) = (Vec::new(), Vec::new());
        let (mut lost, mut lost_before) = (Vec::new(), Vec::new());
        for (number, (row, codes)) in
            values.chunks_exact(inputs).zip(codes.chunks_exact_mut(inputs)).enumerate()
        {
            let row = Row { number: at.first_row as usize + number, values: self.ordered(row, &mut buffer) };
            let anew = self.anew(&row, codes, [&mut scales, &mut zeros])?;
            self.back(codes, &mut back);
            let from = number * inputs;
            let Some(before) = before.get_mut(from..from + inputs) else { continue };
            let held = held.get(from..from + inputs).unwrap_or_default();
            let stored = self.as_stored(&row, before, self.ordered(held, &mut held_buffer));
            self.back(before, &mut back);
            lost.extend(anew.to_le_bytes());
            lost_before.extend(stored.to_le_bytes());
        }
        let codes = self.files.pack(&codes);
        if self.stored.is_none() {
            return Ok(vec![codes, scales, zeros]);
        }
        Ok(vec![self.files.pack(&before), lost_before, codes, scales, zeros, lost])
    }

    fn finish(&self, strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        let mut strands = strands.into_iter();
        let mut next = || strands.next().unwrap_or_default();
        let before = self.stored.as_ref().map(|stored| (stored, next(), next()));
        let [codes, scales, zeros] = std::array::from_fn(|_| next());
        if let Some((stored, before, lost)) = before
            && !regroup::is_regrouped(&lost, &next())
        {
            let [zeros, scales] = stored.tensors.clone();
            return vec![self.files.codes(&before), zeros, scales];
        }
        let scales: Vec<f32> =
            scales.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let [zeros, scales] = self.files.grids(&zeros, &scales);
        [self.files.codes(&codes), zeros, scales].into_iter().chain(self.constant.iter().cloned()).collect()
    }

    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        let (_, finder) = self.coding.kernel()?;
        match &self.stored {
            Some(stored) => self.own_grid(stored)?.kernel(finder),
            None => self.encoder()?.kernel(finder),
        }
    }

    fn held_codes(&self) -> Option<&dyn DecodeRows> {
        let (_, decoder) = self.stored.as_ref()?.codes.as_ref()?;
        Some(&**decoder)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        match &self.stored {
            Some(stored) => self.own_grid(stored).map(|own| own.strand_bytes(rows)),
            None => self.encoder().map(|encoder| encoder.strand_bytes(rows)),
        }
        .unwrap_or_default()
    }
}

impl<C: Coding, F: Files> Packer<C, F> {
    /// Returns how a kernel encodes anew; `None` where groups are strewn, or no kernel searches so.
    fn encoder(&self) -> Option<Encoder> {
        self.encoder_of(self.spans.runs(self.inputs)?)?.searching(self.search)
    }

    /// Returns how a kernel encodes in groups of so many inputs.
    fn encoder_of(&self, wide: usize) -> Option<Encoder> {
        let (name, _) = self.coding.kernel()?;
        let rows = self.files.rows()?;
        let outputs = self.files.rows_apart();
        let tiling = Tiling::new(&[outputs, self.inputs as u64], [1, wide as u64]).ok()?;
        let adds_zero = self.coding.has_real_zeros();
        let coder = Coder { rounded: self.coding.dtype(), adds_zero, ..Coder::nearest(Code::Int(8)) };
        Some(Encoder { name, tiling, rows, scales: Dtype::F32, has_zeros: true, coder, search: Search::None })
    }

    /// Returns how a kernel encodes on both grids.
    fn own_grid<'s>(&'s self, stored: &'s Stored) -> Option<OwnGrid<'s>> {
        let runs = self.spans.runs(self.inputs);
        let strewn = if runs.is_none() { Some(self.spans.strewn(self.inputs)?) } else { None };
        let encoder = self.encoder_of(runs.unwrap_or(self.inputs))?;
        let coder = encoder.coder;
        Some(OwnGrid {
            encoder,
            coder,
            stored: Box::new(stored.grids.iter().map(|grid| [grid.scale, grid.zero])),
            turned: 0,
            strewn,
            read_as: self.coding.dtype(),
            may_regroup: true,
        })
    }
}

/// Returns the sum of the squares of what codes lose of values, once they are read again.
fn lost_of(dtype: Dtype, values: &[f32], grid: Grid, codes: &[u8]) -> f64 {
    const PIECE: usize = 256;
    let mut decoded = [0f32; PIECE];
    let mut lost = 0.0;
    for (values, codes) in values.chunks(PIECE).zip(codes.chunks(PIECE)) {
        let decoded = &mut decoded[..values.len()];
        for (decoded, &code) in decoded.iter_mut().zip(codes) {
            *decoded = grid.scale * (f32::from(code) - grid.zero);
        }
        values::round_all(dtype, decoded);
        lost += regroup::lost(values, decoded);
    }
    lost
}

#[cfg(test)]
mod tests;
