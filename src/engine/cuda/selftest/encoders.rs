//! The same values encoded by kernels and by the processor, byte for byte: as every format that is written, and on the grid
//! of what that made.

use std::sync::atomic::Ordering;

use super::{Check, Unit};
use crate::engine::cuda::Why;
use crate::engine::cuda::measure::Meter;
use crate::engine::cuda::module::is_there;
use crate::engine::{Device as _, Resident, ToEncode, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::quant::encode::{Around, Encode};
use crate::quant::kernel::Kernel;
use crate::quant::target::{Candidate, Row, Search, TARGETS, Wishes};
use crate::quant::{dense, noise, trial};
use crate::tensor::{Dtype, values};

/// The dtype of the values.
const DTYPE: Dtype = Dtype::BF16;
/// The name of the layer, one that every format packs.
const LAYER: &str = "model.layers.0.mlp.experts.down_proj";
/// Experts that a stack has, where a format packs those alone.
const EXPERTS: u64 = 2;

/// Encodes values of so many rows and columns as every format that is written; kernels that several of them share are
/// compared once.
pub(super) fn all(meter: &Meter, [rows, columns]: [u64; 2]) -> Result<Vec<Check>> {
    let mut compared = Compared { meter, columns, kernels: Vec::new(), checks: Vec::new() };
    let count = (rows * columns) as usize;
    let (first, mut others) = (random(count), random(count));
    // Each group gets the values of another, so that grids fit some and not others.
    others.reverse();
    let searched = TARGETS.iter().filter(|row| row.options.contains(&"--search"));
    let searched = searched.flat_map(|row: &&'static Row| [(*row, Search::Mse), (*row, Search::Hqq)]);
    for (row, search) in TARGETS.iter().map(|row| (*row, Search::None)).chain(searched) {
        let Ok(target) = (row.make)(&Wishes { search, ..Wishes::default() }) else { continue };
        let shapes = [&[rows, columns][..], &[EXPERTS, rows / EXPERTS, columns]];
        // What has no codes is no encoder's.
        let made = |shape: &&[u64]| target.encoding(&Candidate { shape, dtype: DTYPE }).ok();
        let Some(encoding) = shapes.iter().find_map(made) else { continue };
        // Formats of two containers share a name.
        let name = if target.gguf().is_some() { target.label() } else { row.name.to_owned() };
        let name = match search {
            Search::None => name,
            Search::Mse => format!("{name}, mse"),
            Search::Hqq => format!("{name}, hqq"),
        };
        let (largest, encoder) = (largest_of(&first), &*encoding.encoder);
        let strands = compared.encode(format!("to {name}"), encoder, &first)?;
        let tensors = encoder.finish(strands, largest);
        if let Ok(again) = trial::again(&*target, (LAYER, DTYPE), &encoding, &tensors) {
            compared.encode(format!("{name} to same"), &*again.encoder, &others)?;
        }
    }
    Ok(compared.checks)
}

/// What was compared so far.
struct Compared<'a> {
    meter: &'a Meter,
    columns: u64,
    kernels: Vec<Kernel>,
    checks: Vec<Check>,
}

impl Compared<'_> {
    /// Encodes values on the processor, and compares a kernel with it, if there is one that was not met yet. Returns what
    /// the processor made.
    fn encode(&mut self, name: String, encoder: &dyn Encode, values: &[f32]) -> Result<Vec<Vec<u8>>> {
        let broken = |why: String| Error::new(ErrorKind::Device, format!("{name}: {why}"));
        let largest = if encoder.wants_largest() { largest_of(values) } else { 0.0 };
        let should = encoder.rows(values, Around { first_row: 0, largest }).map_err(broken)?;
        // Values that are given come of no stored codes.
        let is_alone = encoder.held_codes().is_none();
        let kernel = encoder.kernel(largest).filter(|kernel| is_alone && is_there(kernel.name));
        if let Some(kernel) = kernel.filter(|kernel| !self.kernels.contains(kernel)) {
            self.kernels.push(kernel);
            let is = self.on_card(encoder, (values, largest)).map_err(|error| broken(error.message))?;
            self.checks.push(check(name, values.len(), &is, &should));
        }
        Ok(should)
    }

    /// Encodes values on the card; nothing where it says that there is no code for them.
    fn on_card(&self, encoder: &dyn Encode, (values, largest): (&[f32], f32)) -> Result<Vec<Vec<u8>>> {
        let rows = values.len() as u64 / self.columns;
        let mut codes = vec![0; values.len() * 2];
        values::from_f32(DTYPE, values, &mut codes);
        let decoding = dense::plain(0, DTYPE, &[rows, self.columns], codes.len() as u64)
            .map_err(|why| Error::new(ErrorKind::Device, why))?;
        let work = Work {
            decoding: &decoding,
            rows: 0..rows,
            codes: &codes,
            is_whole: false,
            codes_start: 0,
            native: Dtype::F32,
            dtype: Dtype::F32,
            resident: &Resident::default(),
        };
        let cuda = &self.meter.cuda;
        cuda.count_anew();
        let made = cuda.encode(&ToEncode { work, rounded: &[], encoder, largest, stored: None })?;
        let is_refused = cuda.instead[Why::Refused as usize].load(Ordering::Relaxed) > 0;
        match made {
            Some(strands) => Ok(strands),
            None if is_refused => Ok(Vec::new()),
            None => Err(Error::new(ErrorKind::Device, cuda.notes().join("; "))),
        }
    }
}

/// Compares strands; bytes that only one side has differ.
fn check(name: String, values: usize, is: &[Vec<u8>], should: &[Vec<u8>]) -> Check {
    let none = Vec::new();
    let of = |strands: &'_ [Vec<u8>], at: usize| strands.get(at).unwrap_or(&none).clone();
    let differing = (0..is.len().max(should.len())).map(|at| {
        let (is, should) = (of(is, at), of(should, at));
        let both = is.iter().zip(&should).filter(|(is, should)| is != should).count();
        both + is.len().abs_diff(should.len())
    });
    Check { name, values: values as u64, differing: differing.sum::<usize>() as u64, unit: Unit::Bytes }
}

/// Returns values of either sign in BF16, four powers of two wide.
fn random(count: usize) -> Vec<f32> {
    let bytes = noise::noise(2 * count as u64);
    let small = |&[low, high]: &[u8; 2]| [low, high & 0x81 | 0x3a];
    let bytes: Vec<u8> = bytes.as_chunks::<2>().0.iter().flat_map(small).collect();
    let mut out = vec![0.0; count];
    values::to_f32(DTYPE, &bytes, &mut out);
    out
}

fn largest_of(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, value| largest.max(value.abs()))
}

#[cfg(test)]
mod tests;
