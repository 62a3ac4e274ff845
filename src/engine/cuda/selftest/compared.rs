//! The same values by kernels and by the processor.

use super::{Check, Unit};
use crate::engine::cpu::Cpu;
use crate::engine::cuda::measure::{Meter, Task, merge_of};
use crate::engine::{Device as _, Resident, Scratch, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::quant::noise;
use crate::tensor::{Dtype, values};

/// Decodes a layer of a kind; `None` if no kernel does.
pub(super) fn layer(
    meter: &Meter,
    name: &str,
    [rows, columns]: [u64; 2],
    dtype: Dtype,
) -> Result<Option<Check>> {
    let broken = |why: String| Error::new(ErrorKind::Device, format!("{name}: {why}"));
    let layer = noise::layer(name, rows, columns).ok_or_else(|| broken("no such kind of layer".into()))?;
    let decoding = layer.decoding().map_err(broken)?;
    let Some(program) = decoding.rows.program() else { return Ok(None) };
    let codes = layer.codes(&decoding);
    let Some(loaded) = meter.load(Task { program, codes, rows, columns, native: dtype, dtype })? else {
        return Ok(None);
    };
    let (is, _) = loaded.result()?;
    let mut should = vec![0; is.len()];
    let range = decoding.rows.codes(0..rows);
    let work = Work {
        decoding: &decoding,
        rows: 0..rows,
        codes: codes.get(range.start as usize..range.end as usize).unwrap_or(&[]),
        is_whole: false,
        codes_start: range.start,
        native: dtype,
        dtype,
        resident: &Resident::default(),
    };
    Cpu.decode(&work, &mut Scratch::default(), &mut should)?;
    Ok(Some(check(format!("{name} to {}", dtype.to_string().to_lowercase()), dtype, &is, &should)))
}

/// Adds a product of a rank to values of bf16: `W + s (L R)`, as `Step::LowRank` says.
pub(super) fn merge(meter: &Meter, [rows, columns]: [u64; 2], rank: usize) -> Result<Check> {
    const SCALE: f32 = 0.75;
    // Small values of either sign.
    let small = |count: usize| -> Vec<u8> {
        let halves = noise::noise(2 * count as u64);
        halves.as_chunks::<2>().0.iter().flat_map(|&[low, high]| [low, high & 0x80 | 0x3b]).collect()
    };
    let floats = |count: usize| {
        let mut out = vec![0.0; count];
        values::to_f32(Dtype::BF16, &small(count), &mut out);
        out
    };
    let (count, wide) = ((rows * columns) as usize, columns as usize);
    let (left, right) = (floats(rows as usize * rank), floats(rank * wide));
    let mut sums = floats(count);
    for (at, sum) in sums.iter_mut().enumerate() {
        let (row, column) = (at / wide, at % wide);
        let factors = (0..rank).map(|k| (left[row * rank + k], right[k * wide + column]));
        *sum += factors.fold(0.0, |sum, (a, b)| f32::mul_add(a, b, sum)) * SCALE;
    }
    let mut should = vec![0; 2 * count];
    values::from_f32(Dtype::BF16, &sums, &mut should);
    let program = merge_of(Dtype::BF16, (left, right), rank, SCALE);
    let (native, dtype, codes) = (Dtype::BF16, Dtype::BF16, small(count));
    let loaded = meter.load(Task { program, codes: &codes, rows, columns, native, dtype })?;
    let loaded = loaded.ok_or_else(|| Error::new(ErrorKind::Device, "no kernel merges"))?;
    Ok(check(format!("merge of rank {rank} in bf16"), dtype, &loaded.result()?.0, &should))
}

/// Compares values of a dtype by their bytes.
fn check(name: String, dtype: Dtype, is: &[u8], should: &[u8]) -> Check {
    let size = dtype.bytes_of(1).unwrap_or(1) as usize;
    let differing = is.chunks(size).zip(should.chunks(size)).filter(|(is, should)| is != should).count();
    Check { name, values: (is.len() / size) as u64, differing: differing as u64, unit: Unit::Values }
}
