//! What a self-test finds of one card: whether kernels and processor agree to the bit, and how fast the card is.

mod compared;
mod encoders;

use std::time::{Duration, Instant};

use super::measure::{Host, Meter, Speed, Task, Times, Way, merge_of};
use super::probe::Card;
use crate::error::Result;
use crate::quant::noise::{layer, names};
use crate::tensor::Dtype;

/// What a card did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tested {
    /// What was computed on the card and on the processor.
    pub checks: Vec<Check>,
    /// What was measured.
    pub rates: Vec<Rate>,
}

/// The same values computed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was computed: `bnb-nf4 to bf16`, `to bnb-nf4`.
    pub name: String,
    /// How many values were compared.
    pub values: u64,
    /// How many of them differ in any bit; of what they are encoded to, how many bytes.
    pub differing: u64,
    /// What differs: values or bytes.
    pub unit: Unit,
}

/// What is held against what the processor makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Values.
    Values,
    /// Bytes of codes and scales, in which values share bytes.
    Bytes,
}

/// A speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// What was measured: `host to device, pinned`.
    pub name: String,
    /// Bytes a second.
    pub bytes_per_second: f64,
}

impl Tested {
    /// Returns true if anything was compared and nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.values > 0 && check.differing == 0)
    }
}

/// Rows and columns of a layer that is compared.
const COMPARED: [u64; 2] = [128, 512];
/// Columns of one that is measured, and how many of its rows each multiprocessor gets.
const MEASURED: [u64; 2] = [4096, 64];
/// Bytes that go over the bus at a time.
const CHUNK: u64 = 16 << 20;
/// The kinds of layers that are measured.
const TIMED: [&str; 5] = ["bnb-nf4", "gptq", "awq", "fp8", "Q4_K"];
/// How often a rate is measured.
const TIMES: Times = Times { runs: 5, each: 4 };

/// Tests a card: every kernel decodes a layer of random bits, or encodes random values, and is compared with the processor;
/// then speeds are measured as long as `limit` has not passed. What has no kernel is no part of it.
///
/// # Errors
/// The device does not start or fails, or its memory is short; in words.
pub fn run(card: &Card, limit: Duration) -> Result<Tested> {
    let start = Instant::now();
    let meter = Meter::open(card)?;
    meter.compile_all()?;
    let mut tested = Tested::default();
    for name in names() {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            tested.checks.extend(compared::layer(&meter, name, COMPARED, dtype)?);
        }
    }
    tested.checks.push(compared::merge(&meter, COMPARED, 24)?);
    tested.checks.extend(encoders::all(&meter, COMPARED)?);
    let chunk = CHUNK.min(u64::from(card.multiprocessors) << 20);
    let mut rate = |name: &str, speed: &mut dyn FnMut() -> Result<Option<Speed>>| -> Result<()> {
        if start.elapsed() < limit
            && let Some(speed) = speed()?
        {
            tested.rates.push(Rate { name: name.to_owned(), bytes_per_second: speed.rate() });
        }
        Ok(())
    };
    let transfer = |way| meter.transfer(way, Host::Pinned, chunk, TIMES).map(Some);
    rate("host to device, pinned", &mut || transfer(Way::In))?;
    rate("device to host, pinned", &mut || transfer(Way::Out))?;
    rate("copy on the device", &mut || meter.copy(16 * chunk, TIMES).map(Some))?;
    let rows = MEASURED[1] * u64::from(card.multiprocessors.max(1));
    for name in TIMED {
        rate(&format!("{name} to bf16"), &mut || decoded(&meter, name, [rows, MEASURED[0]]))?;
    }
    rate("merge of rank 64 in bf16", &mut || merged(&meter, [rows, MEASURED[0]], 64))?;
    Ok(tested)
}

/// Measures a decoder; `None` if there is no kernel.
fn decoded(meter: &Meter, name: &str, [rows, columns]: [u64; 2]) -> Result<Option<Speed>> {
    let Some(layer) = layer(name, rows, columns) else { return Ok(None) };
    let Ok(decoding) = layer.decoding() else { return Ok(None) };
    let Some(program) = decoding.rows.program() else { return Ok(None) };
    let (native, dtype) = (Dtype::BF16, Dtype::BF16);
    let task = Task { program, codes: layer.codes(&decoding), rows, columns, native, dtype };
    let Some(loaded) = meter.load(task)? else { return Ok(None) };
    loaded.speed(TIMES).map(Some)
}

/// Measures a merge.
fn merged(meter: &Meter, [rows, columns]: [u64; 2], rank: usize) -> Result<Option<Speed>> {
    let factors = (vec![0.01; rows as usize * rank], vec![0.01; rank * columns as usize]);
    let codes = vec![0; (rows * columns * 2) as usize];
    let program = merge_of(Dtype::BF16, factors, rank, 0.5);
    let (native, dtype) = (Dtype::BF16, Dtype::BF16);
    let loaded = meter.load(Task { program, codes: &codes, rows, columns, native, dtype })?;
    loaded.map(|loaded| loaded.speed(TIMES)).transpose()
}
