//! Layers that are packed: decoded, merged and encoded by all workers.
//!
//! The tensors of such a layer come of the same values, and some need all rows. A layer is encoded cut by cut, in one
//! of two ways:
//!
//! | first tensor            | how                                                                                |
//! |-------------------------|------------------------------------------------------------------------------------|
//! | needs all rows          | whichever worker needs a tensor takes cuts until none is left, and waits; all tensors are held until they are written |
//! | is its strand as it comes | each of its pieces is encoded when it is written; what the other strands get is kept until all rows are done |
//!
//! In the second way a tensor of the other strands may be asked for before the first is written: its place in the file
//! is before, or the first stands in a file that an earlier run has finished. Then the layer is encoded for the others
//! alone, and what the first strand gets is dropped.

mod computed;
mod gathered;
mod kept;
mod pieces;
mod timed;

use std::ops::Range;

use multiversion::multiversion;

pub(super) use self::kept::Kept;
pub(super) use self::pieces::Packed;
pub(super) use self::timed::Timed;
use super::inputs::Inputs;
use super::{Device, Resident, Scratch};
use crate::error::Result;
use crate::plan::{How, Values};
use crate::quant::decode::Decoding;
use crate::quant::encode::{Around, Encoding};
use crate::tensor::{Dtype, values};

/// What a worker may do.
pub(super) trait Hands {
    /// The right to compute, as long as it is held.
    type Turn;

    /// Waits for the right to compute.
    fn turn(&self) -> Self::Turn;

    /// Waits until something is done by others; false if the run has failed.
    fn until(&self, is_done: &dyn Fn() -> bool) -> bool;

    /// Wakes those that wait.
    fn wake(&self);

    /// Returns what computes.
    fn device(&self) -> &dyn Device;
}

/// The tensors of a layer, in the order of its encoding.
type Tensors = Vec<Vec<u8>>;

/// What the strands of a cut got.
type Strands = Vec<Vec<u8>>;

/// How a layer is decoded and packed.
pub(super) struct ToPack {
    pub(super) values: Values,
    pub(super) decoding: Decoding,
    pub(super) encoding: Encoding,
    /// As what it is packed.
    pub(super) how: How,
    /// All codes of the decoding, where every row needs all of them.
    pub(super) codes: Option<Vec<u8>>,
    /// The dtype of the values that are packed.
    pub(super) dtype: Dtype,
    /// The dtypes to which values are rounded before they are packed, one after the other.
    pub(super) rounded: Vec<Dtype>,
    /// The largest magnitude that its encoder wants to know.
    pub(super) largest: f32,
    /// The rows as they are stored, where blocks that do not change stay so.
    pub(super) kept: Option<Kept>,
    /// Values that are encoded at a time, about.
    pub(super) at_once: u64,
    /// What the device keeps of the layer.
    pub(super) resident: Resident,
}

/// Returns how a layer is decoded and packed, with all that has to be known of its values before, which the device finds.
pub(super) fn to_pack(
    inputs: &Inputs<'_>,
    pack: u32,
    (device, scratch): (&dyn Device, &mut Scratch),
) -> Result<ToPack> {
    let mut work = inputs.to_pack(pack)?;
    if work.encoding.encoder.wants_largest() {
        let mut find =
            |work: &ToPack| work.largest_of(0..work.decoding.row_count(), device, (inputs, &mut *scratch));
        work.largest = inputs.largest(pack, &mut find)?;
    }
    Ok(work)
}

/// Encodes a whole layer here and now, in cuts of about `values` values.
pub(super) fn whole(
    work: &ToPack,
    inputs: &Inputs<'_>,
    (values, scratch): (u64, &mut Scratch),
) -> Result<Tensors> {
    let (mut all, mut codes) = (Vec::new(), Vec::new());
    for rows in cuts(work, 0..work.decoding.row_count(), values) {
        work.read(inputs, rows.clone(), &mut codes)?;
        let strands = work.encode(rows, &codes, scratch);
        all.push(strands.map_err(|why| inputs.refused(work.values, &why))?);
    }
    work.finish(all.into_iter(), false).map_err(|why| inputs.refused(work.values, &why))
}

/// A layer that is encoded once more, of values that are decoded for something else too.
pub(super) struct Again<'w> {
    work: &'w ToPack,
    /// True if the first tensor is its strand as it comes: it is handed out piece by piece, and not held.
    is_passed: bool,
    strands: Vec<Strands>,
    /// Bytes of the first tensor that were handed out.
    pub(super) first_bytes: u64,
}

impl<'w> Again<'w> {
    pub(super) fn new(work: &'w ToPack, is_passed: bool) -> Self {
        Self { work, is_passed, strands: Vec::new(), first_bytes: 0 }
    }

    /// Encodes the rows behind those before, as many as belong together, of values and of the codes that these were decoded
    /// from, if not all are held. Returns the piece of a first tensor that is not
    /// held, and its place.
    pub(super) fn rows(
        &mut self,
        rows: Range<u64>,
        codes: &[u8],
        values: &[f32],
    ) -> std::result::Result<Option<(u64, Vec<u8>)>, String> {
        let mut strands = self.work.encode_values(rows, codes, values)?;
        let first = strands.first_mut().filter(|_| self.is_passed).map(std::mem::take);
        self.strands.push(strands);
        Ok(first.map(|piece| {
            let at = self.first_bytes;
            self.first_bytes += piece.len() as u64;
            (at, piece)
        }))
    }

    /// Makes the tensors; a first one that is not held is empty.
    pub(super) fn finish(self) -> std::result::Result<Tensors, String> {
        self.work.finish(self.strands.into_iter(), self.is_passed)
    }
}

/// Cuts rows where the encoder lets them be cut.
fn cuts(work: &ToPack, rows: Range<u64>, values: u64) -> Vec<Range<u64>> {
    let decoding = &work.decoding;
    let apart = work.encoding.encoder.rows_apart().max(1);
    let at_once = (values / decoding.row_len().max(1)).max(decoding.rows.rows_at_once());
    let at_once = at_once.next_multiple_of(apart).max(1);
    rows.clone().step_by(at_once as usize).map(|start| start..rows.end.min(start + at_once)).collect()
}

impl ToPack {
    /// Reads the codes of rows into `bytes`, if they are not held.
    pub(super) fn read(&self, inputs: &Inputs<'_>, rows: Range<u64>, bytes: &mut Vec<u8>) -> Result<()> {
        if self.codes.is_some() {
            return Ok(());
        }
        let range = self.decoding.rows.codes(rows);
        bytes.resize((range.end - range.start) as usize, 0);
        inputs.read_into(inputs.codes(self.values, &self.decoding), range.start, bytes)
    }

    /// Decodes rows, to the values that are packed.
    pub(super) fn decode<'s>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        scratch: &'s mut Scratch,
    ) -> std::result::Result<&'s [f32], String> {
        let values = &mut scratch.values;
        values.resize(((rows.end - rows.start) * self.decoding.row_len()) as usize, 0.0);
        self.decoding.rows.decode(rows, self.codes.as_deref().unwrap_or(codes), values);
        for &dtype in &self.rounded {
            values::round_all(dtype, values);
        }
        if !are_finite(values) {
            let broken = values.iter().filter(|value| !value.is_finite()).count();
            let count = crate::units::plural(broken, "value");
            return Err(match self.values {
                Values::Merged(_) => {
                    format!("{count} of a piece of it would be infinite or NaN: adapter or base is broken")
                }
                Values::Layer(..) | Values::Tensor(..) => {
                    format!(
                        "{count} of a piece of it are infinite or NaN: no code stands for them; {}",
                        self.how.instead()
                    )
                }
            });
        }
        Ok(values)
    }

    fn encode(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        scratch: &mut Scratch,
    ) -> std::result::Result<Strands, String> {
        let values = self.decode(rows.clone(), codes, scratch)?;
        self.encode_values(rows, codes, values)
    }

    /// Encodes values of rows; `codes` are what they were decoded from, if not all are held.
    fn encode_values(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        values: &[f32],
    ) -> std::result::Result<Strands, String> {
        let at = Around { first_row: rows.start, largest: self.largest };
        let strands = match &self.kept {
            Some(kept) => {
                let codes = self.codes.as_deref().unwrap_or(codes);
                kept.encode(rows, (codes, values), (&*self.encoding.encoder, at))
            }
            None => self.encoding.encoder.rows(values, at),
        };
        strands.map_err(|why| format!("{why}; {}", self.how.instead()))
    }

    /// Joins the strands of all cuts and makes the tensors, which are as large as planned. `is_passed`: the first tensor
    /// was passed on as it came, and is empty.
    fn finish(
        &self,
        cuts: impl Iterator<Item = Strands>,
        is_passed: bool,
    ) -> std::result::Result<Tensors, String> {
        let cuts: Vec<Strands> = cuts.collect();
        let count = cuts.first().map_or(0, Vec::len);
        let strand = |at: usize| cuts.iter().map(|cut| cut[at].as_slice()).collect::<Vec<_>>().concat();
        let joined = (0..count).map(strand).collect();
        let encoder = &self.encoding.encoder;
        let tensors = encoder.finish(joined, self.largest);
        let planned = &self.encoding.tensors;
        let is_right = |(at, (bytes, planned)): (usize, (&Vec<u8>, &crate::quant::encode::Encoded))| {
            let bytes = bytes.len() as u64;
            match at {
                0 if is_passed => bytes == 0,
                _ if encoder.is_exact(at) => bytes == planned.bytes,
                _ => bytes <= planned.bytes,
            }
        };
        if tensors.len() == planned.len() && tensors.iter().zip(planned).enumerate().all(is_right) {
            Ok(tensors)
        } else {
            Err(OTHER_SIZES.into())
        }
    }
}

/// Returns true if no value is infinite or NaN.
#[multiversion(targets("x86_64+avx2"))]
fn are_finite(values: &[f32]) -> bool {
    let most = values.iter().fold(0u32, |most, value| most.max(value.to_bits() & 0x7fff_ffff));
    most < f32::INFINITY.to_bits()
}

/// Why an encoder's work is refused.
const OTHER_SIZES: &str = "it was encoded to other sizes than planned";
