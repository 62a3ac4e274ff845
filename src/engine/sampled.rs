//! A sample: what packing would take of some rows of some layers, before anything is written.
//!
//! Rows of layers that stand evenly over the plan are decoded (and merged), packed as layers of their own, decoded
//! again as a loader would, and compared in f64. Formats whose scales hang on a whole layer see these rows alone.

use serde::Serialize;

use super::encoded::ToPack;
use super::inputs::Inputs;
use super::verify::measured::Sums;
use super::{Run, Scratch};
use crate::error::{Error, Result};
use crate::plan::{How, Pack, Values};
use crate::quant::encode::Around;
use crate::quant::target::{Candidate, Target};
use crate::quant::{ggml, trial};
use crate::tensor::{Dtype, values};

/// Layers that are looked at.
const LAYERS: usize = 8;
/// Values of a layer that are looked at, about.
const VALUES: u64 = 128 << 10;
/// Rows come in multiples of this many: whole blocks of every format.
const ROWS: u64 = 128;

/// What packing would take, by a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sampled {
    /// Layers that were looked at.
    pub layers: usize,
    /// Layers that would be packed.
    pub of: usize,
    /// Relative Frobenius error over the rows of all of them.
    pub relative_error: f64,
    /// The share of what adapters change that would be left, if there are adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta_kept: Option<f64>,
    /// What is lost of the values, over that change: above 1 rounding moves weights further than the adapters do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
}

impl Sampled {
    /// Returns true if nearly all of what adapters change is left, and rounding moves weights less than they do.
    #[must_use]
    pub fn keeps(&self) -> bool {
        const NEARLY: f64 = 0.1;
        self.delta_kept.is_some_and(|kept| (kept - 1.0).abs() <= NEARLY)
            && self.noise.is_some_and(|noise| noise <= 1.0)
    }

    /// Returns what is said of it: `relative error about 9.12 %, by some rows of 8 of 196 layers`.
    #[must_use]
    pub fn words(&self) -> String {
        let error = format!("relative error about {:.2} %", 100.0 * self.relative_error);
        let kept =
            self.delta_kept.map(|kept| format!(", about {:.0} % of the adapters' change left", 100.0 * kept));
        let Self { layers, of, .. } = self;
        format!("{error}{}, by some rows of {layers} of {of} layers", kept.unwrap_or_default())
    }
}

/// Looks at some rows of the layers that a plan packs anew.
///
/// # Errors
/// Nothing is packed anew, or a layer cannot be read, decoded or packed.
pub fn sample(run: &Run<'_>) -> Result<Sampled> {
    let packs = &run.plan.packs;
    let Some(target) = run.plan.target.as_ref().filter(|_| !packs.is_empty()) else {
        return Err(Error::input("nothing is packed anew"));
    };
    let inputs = Inputs::open(run)?;
    let mut scratch = Scratch::default();
    let mut sums = Sums::default();
    let count = packs.len().min(LAYERS);
    for at in 0..count {
        run.progress.check()?;
        let number = at * packs.len() / count;
        let sampler = Sampler { run, inputs: &inputs, target: &**target, number: number as u32 };
        sums += sampler.look(&packs[number], &mut scratch)?;
    }
    let is_merged = packs.iter().any(|pack| matches!(pack.values, Values::Merged(_)));
    Ok(Sampled {
        layers: count,
        of: packs.len(),
        relative_error: sums.relative_error(),
        delta_kept: sums.delta_kept().filter(|_| is_merged),
        noise: (is_merged && sums.change > 0.0).then(|| (sums.lost / sums.change).sqrt()),
    })
}

/// What looks at one layer.
struct Sampler<'a> {
    run: &'a Run<'a>,
    inputs: &'a Inputs<'a>,
    target: &'a dyn Target,
    number: u32,
}

impl Sampler<'_> {
    fn look(&self, pack: &Pack, scratch: &mut Scratch) -> Result<Sums> {
        let work = self.inputs.to_pack(self.number)?;
        let refused = |why: String| self.inputs.refused(pack.values, &why);
        let (shape, rows) = part_of(&work.decoding.shape);
        let meant = self.values(&work, rows, scratch)?;
        let candidate = Candidate { shape: &shape, dtype: pack.dtype };
        let encoding = match pack.how {
            How::Blocks(kind) => ggml::encode::encoding(kind, &shape),
            // Beside a target only types of ggml stay what they are.
            How::AsStored => match work.encoding.tensors.first().map(|tensor| tensor.dtype) {
                Some(Dtype::Ggml(kind)) => ggml::encode::encoding(kind, &shape),
                _ => self.target.encoding(&candidate),
            },
            How::Target => self.target.encoding(&candidate),
        };
        let encoding = encoding.map_err(refused)?;
        let largest = if encoding.encoder.wants_largest() {
            meant.iter().fold(0f32, |largest, value| largest.max(value.abs()))
        } else {
            0.0
        };
        let strands = encoding.encoder.rows(&meant, Around { first_row: 0, largest }).map_err(refused)?;
        let tensors = encoding.encoder.finish(strands, largest);
        let result = trial::decoding(self.target, (&pack.name, pack.dtype), &encoding, &tensors);
        let result = result.map_err(refused)?;
        let mut is = vec![0f32; meant.len()];
        let range = result.rows.codes(0..rows);
        let codes = tensors.get(result.codes as usize);
        let codes = codes.and_then(|codes| codes.get(range.start as usize..range.end as usize));
        let codes = codes.ok_or_else(|| refused("its codes are no part of it".into()))?;
        result.rows.decode(0..rows, codes, &mut is);
        values::round_all(result.dtype.unwrap_or(pack.dtype), &mut is);
        let before = match pack.values {
            Values::Merged(merge) => {
                let base = self.inputs.before(self.number, merge)?;
                Some(self.values(&base, rows, scratch)?)
            }
            Values::Layer(..) | Values::Tensor(..) => None,
        };
        self.run.progress.check()?;
        Ok(Sums::of(&meant, &is, before.as_deref()))
    }

    /// Returns the values of the first rows.
    fn values(&self, work: &ToPack, rows: u64, scratch: &mut Scratch) -> Result<Vec<f32>> {
        let mut codes = Vec::new();
        work.read(self.inputs, 0..rows, &mut codes)?;
        let values = work.decode(0..rows, &codes, scratch);
        values.map(<[f32]>::to_vec).map_err(|why| self.inputs.refused(work.values, &why))
    }
}

/// Returns the shape of the rows that are looked at, and how many rows of values they are: one expert of a stack.
fn part_of(shape: &[u64]) -> (Vec<u64>, u64) {
    match *shape {
        [rows, columns] => {
            let wanted = (VALUES / columns.max(1)).next_multiple_of(ROWS).max(ROWS);
            let rows = rows.min(wanted);
            (vec![rows, columns], rows)
        }
        [_, rows, columns] => (vec![1, rows, columns], rows),
        _ => (shape.to_vec(), 1),
    }
}
