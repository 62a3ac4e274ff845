//! Refining: quantiles and bins of values wider than 16 bits, in further passes over the source.
//!
//! A quantile lies between two ranks. The first pass has told in which bucket a rank lies; each further one counts, among
//! the values of just those buckets, the next 16 bits, until all are known.

use std::collections::BTreeMap;

use super::block::Value;
use super::counts::{Bucket, Keys};
use super::histogram::Histogram;
use super::pass::{Steps, Watch, run};
use super::scan::Options;
use super::source::Source;
use super::summary::{QUANTILES, Summary};
use crate::error::{Error, Result};
use crate::tensor::Dtype;

/// Values read together.
const BLOCK: usize = 4096;

/// Returns where a quantile lies among so many values in order: the rank below, and the share of the way to the next.
fn place(quantile: f64, count: u64) -> (u64, f64) {
    let at = quantile * (count - 1) as f64;
    (at.floor() as u64, at - at.floor())
}

/// Returns what lies a share of the way between two values, as numpy computes it.
fn between(a: f64, b: f64, share: f64) -> f64 {
    let far = b - a;
    if share >= 0.5 { b - far * (1.0 - share) } else { a + far * share }
}

/// Returns quantiles of buckets; exact if each is one value. Empty if there is no value.
pub(super) fn rough(buckets: &[Bucket], quantiles: &[f64]) -> Vec<f64> {
    let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    if count == 0 {
        return Vec::new();
    }
    let value =
        |rank: u64| find(buckets, rank).map_or(f64::NAN, |(bucket, _)| bucket.low / 2.0 + bucket.high / 2.0);
    let one = |quantile: &f64| {
        let (rank, share) = place(*quantile, count);
        between(value(rank), value((rank + 1).min(count - 1)), share)
    };
    quantiles.iter().map(one).collect()
}

/// Returns the bucket of a rank, and its rank in it.
fn find(buckets: &[Bucket], rank: u64) -> Option<(Bucket, u64)> {
    let mut before = 0;
    for bucket in buckets {
        if rank < before + bucket.count {
            return Some((*bucket, rank - before));
        }
        before += bucket.count;
    }
    None
}

/// What is known of the value of a rank: its upper bits, and its rank among the values that share them.
#[derive(Clone, Copy)]
struct Known {
    bits: u64,
    rank: u64,
}

/// What a pass counts.
struct State<V> {
    block: Vec<V>,
    /// By the upper bits: how often each pattern of the next 16 occurs.
    tables: BTreeMap<u64, Vec<u64>>,
    histogram: Histogram,
}

/// Makes quantiles exact and counts the bins.
pub(super) fn refine<V: Value>(
    source: &Source<'_>,
    options: &Options,
    watch: &dyn Watch,
    summary: &mut Summary,
) -> Result<()> {
    let (Some(min), Some(max)) = (summary.min, summary.max) else { return Ok(()) };
    let buckets = summary.counts.buckets();
    let count = summary.finite();
    let mut ranks: BTreeMap<u64, Known> = BTreeMap::new();
    for quantile in QUANTILES {
        let (rank, _) = place(quantile, count);
        for rank in [rank, (rank + 1).min(count - 1)] {
            let changed = || Error::input("its values changed while they were read");
            let (bucket, within) = find(&buckets, rank).ok_or_else(changed)?;
            ranks.insert(rank, Known { bits: u64::from(bucket.key) << 48, rank: within });
        }
    }
    let width = if summary.counts.keys() == Keys::F32 { 32 } else { 64 };
    let mut bins = Histogram::between(min.value, max.value, options.bins);
    for known in (16..width).step_by(16) {
        let has_bins = known == 16;
        let mut wanted = Wanted::new(&ranks, known);
        if has_bins {
            wanted.split(&buckets, &mut bins);
        }
        let states = pass::<V>((source, options, watch), &ranks, &wanted, &bins)?;
        let mut all: Option<State<V>> = None;
        for state in states {
            match &mut all {
                None => all = Some(state),
                Some(all) => all.add(&state),
            }
        }
        let Some(all) = all else { return Ok(()) };
        for of in ranks.values_mut() {
            let table = all.tables.get(&of.bits);
            let found = table.and_then(|table| next_bits(table, of.bits >> 63 == 1, of.rank));
            let (next, rank) =
                found.ok_or_else(|| Error::input("its values changed while they were read"))?;
            *of = Known { bits: of.bits | u64::from(next) << (48 - known), rank };
        }
        if has_bins {
            bins.counts.iter_mut().zip(&all.histogram.counts).for_each(|(count, more)| *count += more);
        }
    }
    summary.histogram = Some(bins);
    let value = |rank: u64| {
        ranks.get(&rank).map_or(f64::NAN, |known| match width {
            32 => f64::from(f32::from_bits((known.bits >> 32) as u32)),
            _ => f64::from_bits(known.bits),
        })
    };
    let one = |quantile: &f64| {
        let (rank, share) = place(*quantile, count);
        between(value(rank), value((rank + 1).min(count - 1)), share)
    };
    summary.quantiles = QUANTILES.iter().map(one).collect();
    summary.is_exact = true;
    Ok(())
}

/// Returns the pattern of a rank, and the rank in it. Negative values ascend as their patterns descend.
fn next_bits(table: &[u64], is_negative: bool, rank: u64) -> Option<(u16, u64)> {
    let mut before = 0;
    let last = table.len().checked_sub(1)?;
    for step in 0..=last {
        let key = if is_negative { last - step } else { step };
        if rank < before + table[key] {
            return Some((key as u16, rank - before));
        }
        before += table[key];
    }
    None
}

/// Which values a pass looks at, by their upper 16 bits: most it does not.
struct Wanted {
    /// Bits that are known: 16, 32 or 48.
    known: u32,
    /// By the upper 16 bits: `RANK`, `EDGE`, both or none.
    of: Vec<u8>,
}

/// A value that may be of a rank that is looked for.
const RANK: u8 = 1;
/// A value of a bucket with an edge of a bin in it.
const EDGE: u8 = 2;

impl Wanted {
    fn new(ranks: &BTreeMap<u64, Known>, known: u32) -> Self {
        let mut of = vec![0; 1 << 16];
        for known in ranks.values() {
            of[(known.bits >> 48) as usize] |= RANK;
        }
        Self { known, of }
    }

    /// Puts the buckets that lie in one bin each into theirs; of the others all values are looked at.
    fn split(&mut self, buckets: &[Bucket], bins: &mut Histogram) {
        for bucket in buckets {
            // Ends that no value has may lie outside.
            let bin = bins.bin(bucket.low).filter(|bin| bins.bin(bucket.high) == Some(*bin));
            match bin {
                Some(bin) => bins.counts[bin] += bucket.count,
                None => self.of[usize::from(bucket.key)] |= EDGE,
            }
        }
    }
}

/// Counts the next 16 bits of the values that share the known upper bits with one of `ranks`, and puts values at edges
/// into their bins.
fn pass<V: Value>(
    (source, options, watch): (&Source<'_>, &Options, &dyn Watch),
    ranks: &BTreeMap<u64, Known>,
    wanted: &Wanted,
    bins: &Histogram,
) -> Result<Vec<State<V>>> {
    let dtype = source.dtype;
    let steps = Steps {
        begin: &|| State {
            block: Vec::with_capacity(BLOCK),
            tables: ranks.values().map(|known| (known.bits, vec![0; 1 << 16])).collect(),
            histogram: Histogram { edges: bins.edges.clone(), counts: vec![0; bins.counts.len()] },
        },
        take: &|state: &mut State<V>, _, bytes: &[u8]| state.take(dtype, bytes, wanted),
        end: &|_: &mut State<V>| {},
        look: &|_| {},
    };
    run(source, options.threads, watch, &steps)
}

impl<V: Value> State<V> {
    fn take(&mut self, dtype: Dtype, bytes: &[u8], wanted: &Wanted) -> Result<()> {
        let size = (dtype.bits().unwrap_or(8.0) as usize / 8).max(1);
        let (mask, shift) = (u64::MAX << (64 - wanted.known), 48 - wanted.known);
        let Some(of) = wanted.of.as_array::<{ 1 << 16 }>() else { return Ok(()) };
        for bytes in bytes.chunks(BLOCK * size) {
            self.block.resize(bytes.len() / size, V::default());
            if !V::read(dtype, bytes, &mut self.block) {
                return Err(Error::input(format!("{dtype} has no plain values")));
            }
            for value in &self.block {
                let bits = value.bits();
                let what = of[(bits >> 48) as usize];
                if what == 0 {
                    continue;
                }
                if what & RANK != 0
                    && let Some(table) = self.tables.get_mut(&(bits & mask))
                {
                    table[usize::from((bits >> shift) as u16)] += 1;
                }
                if what & EDGE != 0 {
                    self.histogram.add(value.wide(), 1);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        for (table, other) in self.tables.values_mut().zip(other.tables.values()) {
            table.iter_mut().zip(other).for_each(|(count, other)| *count += other);
        }
        let counts = self.histogram.counts.iter_mut().zip(&other.histogram.counts);
        counts.for_each(|(count, other)| *count += other);
    }
}
