//! Histograms: values by bins of one width, as numpy's `histogram` puts them.

use super::counts::Bucket;

/// Values by bins.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The ends of the bins, ascending, one more than there are bins. A value at an end belongs to the bin above it, but
    /// for the last.
    pub edges: Vec<f64>,
    /// How many values lie in each bin.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Returns bins between two values, with nothing in them; around one value half to either side.
    #[must_use]
    pub fn between(low: f64, high: f64, bins: usize) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        // Halves first: the range of doubles may be more than the largest of them.
        let step = high / bins as f64 - low / bins as f64;
        let mut edges: Vec<f64> = (0..bins).map(|at| at as f64 * step + low).collect();
        edges.push(high);
        Self { edges, counts: vec![0; bins] }
    }

    /// Returns the bin of a value; `None` outside.
    #[must_use]
    pub fn bin(&self, value: f64) -> Option<usize> {
        let (bins, first, last) = (self.counts.len(), *self.edges.first()?, *self.edges.last()?);
        if !(first..=last).contains(&value) {
            return None;
        }
        let share = if (last - first).is_finite() {
            (value - first) / (last - first)
        } else {
            (value / 2.0 - first / 2.0) / (last / 2.0 - first / 2.0)
        };
        let mut bin = ((share * bins as f64) as usize).min(bins - 1);
        // The division may be off by a bit: the edges decide.
        while bin > 0 && value < self.edges[bin] {
            bin -= 1;
        }
        while bin + 1 < bins && value >= self.edges[bin + 1] {
            bin += 1;
        }
        Some(bin)
    }

    /// Adds so many values that are all this one; returns false if it lies outside.
    pub fn add(&mut self, value: f64, count: u64) -> bool {
        let bin = self.bin(value);
        if let Some(bin) = bin {
            self.counts[bin] += count;
        }
        bin.is_some()
    }

    /// Adds the values of a bucket, evenly over its width.
    pub(super) fn spread(&mut self, bucket: &Bucket) {
        if bucket.low == bucket.high || bucket.count == 0 {
            self.add(bucket.low, bucket.count);
            return;
        }
        let width = bucket.high - bucket.low;
        let (mut at, mut before) = (bucket.low, 0);
        while at < bucket.high {
            let bin = self.bin(at);
            let end = match bin {
                Some(bin) => self.edges[bin + 1].min(bucket.high),
                None if at < self.edges[0] => self.edges[0].min(bucket.high),
                None => return,
            };
            // The last gets what rounding left.
            let until = if end >= bucket.high {
                bucket.count
            } else {
                (bucket.count as f64 * ((end - bucket.low) / width)) as u64
            };
            if let Some(bin) = bin {
                self.counts[bin] += until.saturating_sub(before);
            }
            before = until.max(before);
            if end <= at {
                return;
            }
            at = end;
        }
    }
}
