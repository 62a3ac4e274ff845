//! Counts: how often each value occurs, by the patterns of its bits.
//!
//! Dtypes of 16 bits and fewer have a bucket for each of their patterns, wider ones a bucket for each pattern of the upper
//! 16 bits: of an f32 sign, exponent and seven bits behind the point, so that a bucket is at most 1/128 of its values wide.

use super::histogram::Histogram;
use crate::tensor::{Dtype, values};

/// How values become buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each pattern of a dtype of 8 or 16 bits is one.
    Patterns(Dtype),
    /// The upper 16 bits of an f32.
    F32,
    /// The upper 16 bits of an f64, which also holds integers of 32 and 64 bits.
    F64,
}

impl Keys {
    /// Returns how values of a dtype become buckets.
    #[must_use]
    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F64 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64 => Self::F64,
            _ => Self::Patterns(dtype),
        }
    }

    /// Returns true if a bucket is a single value.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Patterns(_))
    }

    fn len(self) -> usize {
        match self {
            Self::Patterns(dtype) if dtype.bits() == Some(8.0) => 1 << 8,
            _ => 1 << 16,
        }
    }

    /// Returns the lowest and the highest value of each of some buckets.
    fn ends(self, keys: &[u16]) -> Vec<(f64, f64)> {
        let bits = keys.iter().map(|key| u64::from(*key) << 48);
        match self {
            Self::Patterns(dtype) => {
                let bytes: Vec<u8> = if self.len() == 1 << 8 {
                    keys.iter().map(|key| *key as u8).collect()
                } else {
                    keys.iter().flat_map(|key| key.to_le_bytes()).collect()
                };
                let mut ends = vec![0f32; keys.len()];
                values::to_f32(dtype, &bytes, &mut ends);
                ends.iter().map(|&value| (f64::from(value), f64::from(value))).collect()
            }
            Self::F32 => bits.map(|key| ordered(f32_of(key), f32_of(key | 0xffff << 32))).collect(),
            Self::F64 => {
                bits.map(|key| ordered(f64::from_bits(key), f64::from_bits(key | 0xffff_ffff_ffff))).collect()
            }
        }
    }
}

fn f32_of(bits: u64) -> f64 {
    f64::from(f32::from_bits((bits >> 32) as u32))
}

fn ordered(a: f64, b: f64) -> (f64, f64) {
    if b < a { (b, a) } else { (a, b) }
}

/// Values that lie together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lowest that may be in it.
    pub low: f64,
    /// The highest that may be in it.
    pub high: f64,
    /// How many there are.
    pub count: u64,
    /// The pattern of their bits, or of the upper ones.
    pub key: u16,
}

/// Counts by buckets.
#[derive(Clone, Debug)]
pub struct Counts {
    keys: Keys,
    /// What was counted since they were last added to `all`: by turns in one and the other, so that equal neighbors do
    /// not wait for each other.
    tables: [Vec<u32>; 2],
    since: u64,
    all: Vec<u64>,
}

impl Counts {
    /// Returns counts of nothing.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self { keys, tables: [vec![0; keys.len()], vec![0; keys.len()]], since: 0, all: Vec::new() }
    }

    /// Returns counts of nothing that take no memory.
    pub(super) fn nothing(&self) -> Self {
        Self { keys: self.keys, tables: [Vec::new(), Vec::new()], since: 0, all: Vec::new() }
    }

    /// Returns how values become buckets.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Makes room for so many values, fewer than 2^31.
    fn expect(&mut self, count: usize) {
        self.since += count as u64;
        if self.since > u64::from(u32::MAX) {
            self.settle();
            self.since = count as u64;
        }
    }

    fn settle(&mut self) {
        self.all.resize(self.keys.len(), 0);
        for table in &mut self.tables {
            for (all, count) in self.all.iter_mut().zip(table) {
                *all += u64::from(std::mem::take(count));
            }
        }
        self.since = 0;
    }

    /// Counts the elements of the dtype of patterns. Each of 8 or 16 bits.
    pub(super) fn add_patterns(&mut self, bytes: &[u8]) {
        if self.keys.len() == 1 << 8 {
            self.add_by::<_, { 1 << 8 }>(bytes, |byte| usize::from(*byte));
        } else {
            let patterns = bytes.as_chunks().0;
            self.add_by::<_, { 1 << 16 }>(patterns, |bytes| usize::from(u16::from_le_bytes(*bytes)));
        }
    }

    /// Counts values by their upper 16 bits.
    pub(super) fn add_upper<V>(&mut self, values: &[V], upper: impl Fn(&V) -> u16) {
        self.add_by::<_, { 1 << 16 }>(values, |value| usize::from(upper(value)));
    }

    fn add_by<T, const LEN: usize>(&mut self, values: &[T], key: impl Fn(&T) -> usize) {
        self.expect(values.len());
        let [a, b] = &mut self.tables;
        // The tables have the length of the keys: their sizes let the compiler leave out checks.
        let Some((a, b)) = a.as_mut_array::<LEN>().zip(b.as_mut_array::<LEN>()) else { return };
        let (fours, rest) = values.as_chunks::<4>();
        for four in fours {
            a[key(&four[0])] += 1;
            b[key(&four[1])] += 1;
            a[key(&four[2])] += 1;
            b[key(&four[3])] += 1;
        }
        for value in rest {
            a[key(value)] += 1;
        }
    }

    /// Counts zeros, so many.
    pub(super) fn add_zeros(&mut self, count: usize) {
        self.expect(count);
        if let Some(zeros) = self.tables[0].first_mut() {
            *zeros += count as u32;
        }
    }

    /// Adds counts of the same dtype.
    pub(super) fn add(&mut self, other: &Self) {
        self.settle();
        for table in &other.tables {
            self.all.iter_mut().zip(table).for_each(|(all, count)| *all += u64::from(*count));
        }
        self.all.iter_mut().zip(&other.all).for_each(|(all, count)| *all += count);
    }

    /// Returns how often each key was counted.
    fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        let [a, b] = &self.tables;
        let all = self.all.iter().chain(std::iter::repeat(&0));
        a.iter().zip(b).zip(all).map(|((a, b), all)| u64::from(*a) + u64::from(*b) + all)
    }

    /// Returns the finite values in ascending order, without buckets in which there is none.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let filled = self.counts().zip(0u16..=u16::MAX).filter(|(count, _)| *count > 0);
        let (counts, keys): (Vec<u64>, Vec<u16>) = filled.unzip();
        let buckets = self.keys.ends(&keys).into_iter().zip(counts).zip(keys);
        let mut buckets: Vec<Bucket> = buckets
            .map(|(((low, high), count), key)| Bucket { low, high, count, key })
            // The lowest of a bucket is a number where any is: a wider one's highest may be none.
            .filter(|bucket| bucket.low.is_finite() && bucket.high.is_finite())
            .collect();
        buckets.sort_by(|a, b| a.low.total_cmp(&b.low));
        buckets
    }

    /// Returns the finite values by bins from the first end to the second; exact where a bucket is one value, else each
    /// bucket is spread over the bins that it touches.
    #[must_use]
    pub fn histogram(&self, (low, high): (f64, f64), bins: usize) -> Histogram {
        let mut histogram = Histogram::between(low, high, bins);
        for bucket in self.buckets() {
            histogram.spread(&bucket);
        }
        histogram
    }
}
