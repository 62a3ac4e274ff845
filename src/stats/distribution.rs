//! Distribution: how many values lie below any number, from counts alone, so that bins of any range cost nothing but a
//! search for each edge.

use super::counts::{Bucket, Counts};
use super::histogram::Histogram;

/// Finite values in ascending order, by buckets.
#[derive(Clone, Debug)]
pub struct Distribution {
    buckets: Vec<Bucket>,
    /// How many values lie in the buckets before each.
    before: Vec<u64>,
    total: u64,
    is_exact: bool,
}

impl Distribution {
    /// Returns the distribution of what was counted.
    #[must_use]
    pub fn of(counts: &Counts) -> Self {
        let buckets = counts.buckets();
        let mut total = 0;
        let mut before = Vec::with_capacity(buckets.len());
        for bucket in &buckets {
            before.push(total);
            total += bucket.count;
        }
        Self { buckets, before, total, is_exact: counts.keys().is_exact() }
    }

    /// Returns the same where no value lies beyond these, the least and the largest: the outermost buckets end there.
    #[must_use]
    pub fn within(mut self, least: f64, largest: f64) -> Self {
        for bucket in &mut self.buckets {
            (bucket.low, bucket.high) = (bucket.low.max(least), bucket.high.min(largest));
        }
        self
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns true if each bucket is a single value: then all counts are exact. Else values are taken to lie evenly in
    /// theirs, which is at most 1/128 of them wide (1/16 for doubles).
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Returns the values that occur and how often, ascending, where each bucket is a single value and there are at most
    /// so many of them.
    #[must_use]
    pub fn single(&self, most: usize) -> Option<&[Bucket]> {
        let is_single = |bucket: &Bucket| bucket.low == bucket.high;
        (self.buckets.len() <= most && self.buckets.iter().all(is_single)).then_some(&self.buckets)
    }

    /// Returns how many values lie below a number.
    #[must_use]
    pub fn below(&self, number: f64) -> u64 {
        self.until(self.buckets.partition_point(|bucket| bucket.high < number), number)
    }

    /// Returns how many values are at most a number.
    #[must_use]
    pub fn at_most(&self, number: f64) -> u64 {
        self.until(self.buckets.partition_point(|bucket| bucket.high <= number), number)
    }

    /// Returns how many values lie in the buckets before `at`, and in the part of that one which is below the number.
    fn until(&self, at: usize, number: f64) -> u64 {
        let Some((bucket, before)) = self.buckets.get(at).zip(self.before.get(at)) else {
            return self.total;
        };
        let width = bucket.high - bucket.low;
        if number <= bucket.low || width <= 0.0 {
            return *before;
        }
        before + (bucket.count as f64 * ((number - bucket.low) / width).min(1.0)) as u64
    }

    /// Returns the value of the nearest rank to a share of the way from the least to the largest; `None` of nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share.clamp(0.0, 1.0) * self.total.checked_sub(1)? as f64).round() as u64;
        let at = self.before.partition_point(|before| *before <= rank).checked_sub(1)?;
        let bucket = self.buckets.get(at)?;
        Some(bucket.low / 2.0 + bucket.high / 2.0)
    }

    /// Returns how many values lie in each of some bins of one width between two numbers.
    #[must_use]
    pub fn bins(&self, low: f64, high: f64, bins: usize) -> Histogram {
        let mut histogram = Histogram::between(low, high, bins);
        let last = histogram.edges.len() - 1;
        let mut before = histogram.edges.first().map_or(0, |edge| self.below(*edge));
        for (at, count) in histogram.counts.iter_mut().enumerate() {
            let edge = histogram.edges[at + 1];
            let until = if at + 1 == last { self.at_most(edge) } else { self.below(edge) };
            *count = until.saturating_sub(before);
            before = until.max(before);
        }
        histogram
    }
}

#[cfg(test)]
mod tests;
