//! Close: one pair looked at closely: its figures and how its values are distributed.

use super::causes::causes;
use super::figures::Figures;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::stats::counts::{Bucket, Counts};
use crate::stats::histogram::Histogram;
use crate::stats::{Compared, Pair};

/// Bins of a histogram: the cells of wide panes, and a multiple of those of narrow ones.
pub const BINS: usize = 60;
/// The share of values that a histogram leaves out at either end, so that few far ones don't flatten the rest.
const TAIL: f64 = 0.001;

/// A pair, looked at closely.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// Its figures.
    pub figures: Figures,
    /// The shape of both.
    pub shape: Vec<u64>,
    /// The values of A and of B, over the same bins.
    pub values: [Histogram; 2],
    /// The differences A - B; `None` if none differs.
    pub error: Option<Histogram>,
    /// Where the error lies, in sentences.
    pub causes: Vec<String>,
}

impl Close {
    /// Returns what there is to see of two that were held against each other.
    #[must_use]
    pub fn of(compared: &Compared) -> Self {
        let sides = [&compared.a, &compared.b].map(|counts| (counts.buckets(), counts));
        let ends = sides.iter().filter_map(|(buckets, _)| inner(buckets));
        let ends = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((-1.0, 1.0));
        let values = sides.map(|(_, counts)| counts.histogram(ends, BINS));
        let error = (compared.changed > 0).then(|| error(&compared.error)).flatten();
        let (figures, causes) = (Figures::of(compared), causes(compared));
        Self { figures, shape: compared.shape.clone(), values, error, causes }
    }

    /// Returns the values of a pair, looked at.
    ///
    /// # Errors
    /// They cannot be decoded or read, or it was cancelled.
    pub fn look(
        pair: &Pair,
        of: [&Checkpoint; 2],
        hold: impl FnOnce(&[crate::stats::Source<'_>; 2]) -> Result<Compared>,
    ) -> Result<Self> {
        Ok(Self::of(&hold(&pair.open(of[0], of[1])?)?))
    }
}

/// Returns the differences around zero, as far to one side as to the other.
fn error(counts: &Counts) -> Option<Histogram> {
    let (low, high) = inner(&counts.buckets())?;
    let far = low.abs().max(high.abs());
    (far > 0.0).then(|| counts.histogram((-far, far), BINS))
}

/// Returns the ends of what lies between the tails.
fn inner(buckets: &[Bucket]) -> Option<(f64, f64)> {
    let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let tail = (all as f64 * TAIL) as u64;
    let mut passed = 0;
    let low = buckets.iter().find(|bucket| {
        passed += bucket.count;
        passed > tail
    })?;
    let mut passed = 0;
    let high = buckets.iter().rev().find(|bucket| {
        passed += bucket.count;
        passed > tail
    })?;
    Some((low.low, high.high))
}
