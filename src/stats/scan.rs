//! Scan: all values of a source into a summary.

use std::sync::{Mutex, PoisonError};

use super::block::Value;
use super::counts::{Bucket, Counts, Keys};
use super::moments::{Moments, Sum};
pub use super::pass::Watch;
use super::pass::{Steps, run};
use super::quiet::Quiet;
use super::refine::refine;
use super::sides::SidesState;
use super::source::{Buffers, Source};
use super::summary::{Extreme, OUTLIERS, QUANTILES, Sides, Summary};
use crate::error::{Error, Result};

/// Values looked at together: they stay in the first cache.
const BLOCK: usize = 4096;
/// Rows and columns of which norms are kept, at most.
const SIDE_MAX: u64 = 1 << 22;
/// Pieces of the first sample, and values of each.
const SAMPLE: (u64, u64) = (48, 16 << 10);
/// Times that squares about an origin may be those about the mean: two digits of sixteen cancel.
const ORIGIN_FAR: f64 = 100.0;
/// Values from which on a sample is worth showing first.
const SAMPLED_FROM: u64 = 16 << 20;

/// How a source is scanned.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that read and compute.
    pub threads: usize,
    /// True if rows, columns and the map are wanted too.
    pub with_sides: bool,
    /// Bins of the histogram.
    pub bins: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 2, with_sides: false, bins: 64 }
    }
}

/// Returns the figures of all values of a source.
///
/// # Errors
/// They cannot be read, or it was cancelled.
pub fn scan(source: &Source<'_>, options: &Options, watch: &dyn Watch) -> Result<Summary> {
    match Keys::of(source.dtype) {
        Keys::Patterns(_) | Keys::F32 => scan_as::<f32>(source, options, watch),
        Keys::F64 => scan_as::<f64>(source, options, watch),
    }
}

fn scan_as<V: Value>(source: &Source<'_>, options: &Options, watch: &dyn Watch) -> Result<Summary> {
    if watch.wants_looks() && source.count() >= SAMPLED_FROM {
        watch.look(sample::<V>(source, watch)?);
    }
    let begin = || State::<V>::new(source, options.with_sides);
    let steps = Steps {
        begin: &begin,
        take: &State::take,
        end: &|state: &mut State<V>| state.lower_band(),
        look: &|states: &[Mutex<State<V>>]| {
            let mut all = State::<V>::new(source, false);
            for state in states {
                all.add(&state.lock().unwrap_or_else(PoisonError::into_inner));
            }
            watch.look(all.summary(source));
        },
    };
    let states = run(source, options.threads, watch, &steps)?;
    let mut states = states.into_iter();
    let mut all = states.next().unwrap_or_else(begin);
    states.for_each(|state| all.add(&state));
    let mut summary = all.summary(source);
    if let Some((low, high)) = summary.min.zip(summary.max) {
        let ends = (low.value, high.value);
        if let Keys::Patterns(_) = summary.counts.keys() {
            summary.histogram = Some(summary.counts.histogram(ends, options.bins));
        } else {
            refine::<V>(source, options, watch, &mut summary)?;
        }
    }
    summary.sides = all.into_sides();
    Ok(summary)
}

/// Looks at pieces that lie evenly over all values.
fn sample<V: Value>(source: &Source<'_>, watch: &dyn Watch) -> Result<Summary> {
    let (mut state, mut buffers) = (State::<V>::new(source, false), Buffers::default());
    // Whole rows, so that those of zeros are.
    let grain = if source.row_len() <= SAMPLE.1 { source.row_len() } else { 1 }.max(source.grain());
    state.has_rows &= grain.is_multiple_of(source.row_len());
    let each = SAMPLE.1.next_multiple_of(grain);
    for at in 0..SAMPLE.0 {
        watch.check()?;
        let begin = source.count() / SAMPLE.0 * at / grain * grain;
        let end = source.count().min(begin + each);
        state.take(begin, source.read(begin..end, &mut buffers)?)?;
    }
    Ok(state.summary(source))
}

/// What was seen of a stripe so far.
struct State<V> {
    keys: Keys,
    dtype: crate::tensor::Dtype,
    row_len: u64,
    /// True if pieces are whole rows.
    has_rows: bool,
    block: Vec<V>,
    /// What changes neither extremes nor outliers.
    quiet: Quiet,
    count: u64,
    nan: u64,
    infinite: u64,
    zeros: u64,
    min: Option<(V, u64)>,
    max: Option<(V, u64)>,
    outliers: Vec<(V, u64)>,
    moments: Moments,
    /// The mean of the block before: from there the next one's moments are taken.
    origin: f64,
    rows: u64,
    rows_zero: u64,
    /// True if the row that is being read has shown nothing but zeros.
    is_zero_so_far: bool,
    counts: Counts,
    sides: Option<SidesState>,
}

impl<V: Value> State<V> {
    fn new(source: &Source<'_>, with_sides: bool) -> Self {
        let (rows, columns) = (source.row_count(), source.row_len());
        let has_rows = source.piece().is_multiple_of(columns);
        let is_matrix = source.shape.len() > 1 && rows <= SIDE_MAX && columns <= SIDE_MAX;
        Self {
            keys: Keys::of(source.dtype),
            dtype: source.dtype,
            row_len: columns,
            has_rows,
            block: Vec::with_capacity(BLOCK),
            quiet: Quiet::NOTHING,
            count: 0,
            nan: 0,
            infinite: 0,
            zeros: 0,
            min: None,
            max: None,
            outliers: Vec::with_capacity(OUTLIERS + 1),
            moments: Moments::default(),
            origin: 0.0,
            rows: 0,
            rows_zero: 0,
            is_zero_so_far: true,
            counts: Counts::new(Keys::of(source.dtype)),
            sides: (with_sides && has_rows && is_matrix).then(|| SidesState::new(rows, columns)),
        }
    }

    /// Takes the values from number `start` on.
    fn take(&mut self, start: u64, bytes: &[u8]) -> Result<()> {
        let bits = self.dtype.bits().unwrap_or(8.0) as usize;
        let count = bytes.len() * 8 / bits;
        let mut at = 0;
        while at < count {
            let begin = start + at as u64;
            let length = self.block_length(begin % self.row_len).min(count - at);
            self.take_block(begin, &bytes[at * bits / 8..(at + length) * bits / 8], length)?;
            at += length;
        }
        self.count += count as u64;
        Ok(())
    }

    /// Takes the values of a block, whose first is that of number `start`.
    fn take_block(&mut self, start: u64, bytes: &[u8], length: usize) -> Result<()> {
        if let Keys::Patterns(_) = self.keys {
            self.counts.add_patterns(bytes);
            if self.sides.is_none() && self.quiet.holds(bytes) {
                let is_zero = |pattern: &[u8; 2]| u16::from_le_bytes(*pattern) << 1 == 0;
                self.look_for_zero_rows(start, bytes.as_chunks().0, is_zero);
                return Ok(());
            }
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(length, V::default());
        if !V::read(self.dtype, bytes, &mut block) {
            return Err(Error::input(format!("{} has no plain values", self.dtype)));
        }
        self.look(start, &mut block);
        self.block = block;
        self.quieten();
        Ok(())
    }

    /// Finds what changes nothing from now on.
    fn quieten(&mut self) {
        if let (Some((min, _)), Some((max, _)), Some((kept, _))) =
            (self.min, self.max, self.outliers.get(OUTLIERS - 1))
        {
            let [min, max, kept] = [min, max, kept.magnitude()].map(|value| value.wide() as f32);
            self.quiet = Quiet::new(self.dtype, (min, max), kept);
        }
    }

    /// Returns how many values make a block from a column on: whole short rows, or a part of a long one.
    fn block_length(&self, column: u64) -> usize {
        if self.row_len <= BLOCK as u64 && column == 0 {
            (BLOCK as u64 / self.row_len * self.row_len) as usize
        } else {
            (self.row_len - column).min(BLOCK as u64) as usize
        }
    }

    /// Looks at a block, whose first value is that of number `start`.
    fn look(&mut self, start: u64, block: &mut [V]) {
        let is_wide = !self.keys.is_exact();
        if is_wide {
            self.counts.add_upper(block, |value| (value.bits() >> 48) as u16);
        }
        let look = V::look(block);
        // Before what is not finite is made zero.
        self.look_for_zero_rows(start, block, |value| *value == V::default());
        let (mut finite, mut most) = (block.len() as u64, look.most);
        if look.is_finite {
            self.extremes(start, block, look.min, look.max);
        } else {
            finite -= self.take_out(start, block);
            most = V::look(block).most;
        }
        self.keep_outliers(start, block, most);
        if is_wide {
            self.zeros += V::zeros(block) - (block.len() as u64 - finite);
            self.add_moments(block, finite);
        }
        if self.sides.is_some() {
            self.look_at_sides(start, block);
        }
    }

    /// Counts what is not finite and makes it zero; returns how many those are.
    fn take_out(&mut self, start: u64, block: &mut [V]) -> u64 {
        let mut taken = 0;
        for (at, value) in (start..).zip(block) {
            let wide = value.wide();
            if wide.is_finite() {
                self.extremes(at, &[*value], *value, *value);
                continue;
            }
            taken += 1;
            self.nan += u64::from(wide.is_nan());
            self.infinite += u64::from(wide.is_infinite());
            if let Some(sides) = &mut self.sides {
                sides.mark(at);
            }
            *value = V::default();
        }
        taken
    }

    fn extremes(&mut self, start: u64, block: &[V], min: V, max: V) {
        let place = |wanted: V| {
            let at = block.iter().position(|value| *value == wanted);
            at.map(|at| (block[at], start + at as u64))
        };
        if self.min.is_none_or(|(least, _)| min < least) {
            self.min = place(min);
        }
        if self.max.is_none_or(|(most, _)| max > most) {
            self.max = place(max);
        }
    }

    fn keep_outliers(&mut self, start: u64, block: &[V], most: V) {
        let least =
            |outliers: &[(V, u64)]| outliers.get(OUTLIERS - 1).map_or(V::default(), |o| o.0.magnitude());
        if most <= least(&self.outliers) {
            return;
        }
        for (at, value) in (start..).zip(block) {
            let magnitude = value.magnitude();
            if magnitude > least(&self.outliers) {
                let place = self.outliers.partition_point(|other| other.0.magnitude() >= magnitude);
                self.outliers.insert(place, (*value, at));
                self.outliers.truncate(OUTLIERS);
            }
        }
    }

    /// Adds the moments of a block of which so many are finite; the others are zero.
    fn add_moments(&mut self, block: &[V], finite: u64) {
        if finite == 0 {
            return;
        }
        // Those that were made zero lie the origin away.
        let (count, others) = (finite as f64, (block.len() as u64 - finite) as f64);
        let about = |origin: f64| {
            let [far, squares] = V::moments(block, origin);
            (far + others * origin, squares - others * origin * origin)
        };
        let mut origin = self.origin;
        let (mut far, mut squares) = about(origin);
        // The mean of the block before is mostly near enough; if not, too much of the squares would cancel.
        if squares - far * far / count < squares / ORIGIN_FAR {
            origin += far / count;
            (far, squares) = about(origin);
        }
        self.origin = origin + far / count;
        self.moments.add(Moments::block(finite, origin * count + far, squares - far * far / count));
    }

    /// Calls `take` with the parts of a block that lie in one row each: where each begins, and if it ends the row.
    fn by_rows<T>(&mut self, start: u64, block: &[T], take: impl Fn(&mut Self, u64, &[T], bool)) {
        let (mut at, mut rest) = (start, block);
        while self.has_rows && !rest.is_empty() {
            let column = at % self.row_len;
            let (part, after) = rest.split_at(rest.len().min((self.row_len - column) as usize));
            take(self, at, part, column + part.len() as u64 == self.row_len);
            (at, rest) = (at + part.len() as u64, after);
        }
    }

    fn look_for_zero_rows<T>(&mut self, start: u64, block: &[T], is_zero: impl Fn(&T) -> bool) {
        self.by_rows(start, block, |state, _, part, is_end| {
            state.is_zero_so_far = state.is_zero_so_far && part.iter().all(&is_zero);
            if is_end {
                state.rows += 1;
                state.rows_zero += u64::from(state.is_zero_so_far);
                state.is_zero_so_far = true;
            }
        });
    }

    /// Adds a block, in which what is not finite has been made zero, to rows, columns and the map.
    fn look_at_sides(&mut self, start: u64, block: &[V]) {
        self.by_rows(start, block, |state, at, part, is_end| {
            let Some(sides) = &mut state.sides else { return };
            sides.take(at, part);
            if is_end {
                sides.end_row();
            }
        });
    }

    fn lower_band(&mut self) {
        if let Some(sides) = &mut self.sides {
            sides.lower_band();
        }
    }

    /// Adds what was seen of the values behind.
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.zeros += other.zeros;
        if let Some((value, at)) = other.min {
            self.extremes(at, &[value], value, self.max.map_or(value, |max| max.0));
        }
        if let Some((value, at)) = other.max {
            self.extremes(at, &[value], self.min.map_or(value, |min| min.0), value);
        }
        for (value, at) in &other.outliers {
            self.keep_outliers(*at, &[*value], value.magnitude());
        }
        self.moments.add(other.moments);
        self.rows += other.rows;
        self.rows_zero += other.rows_zero;
        self.counts.add(&other.counts);
        if let (Some(sides), Some(other)) = (&mut self.sides, &other.sides) {
            sides.add(other);
        }
    }

    fn summary(&self, source: &Source<'_>) -> Summary {
        let extreme = |of: Option<(V, u64)>| of.map(|(value, at)| Extreme { value: value.wide(), at });
        let buckets = self.counts.buckets();
        let is_exact = self.keys.is_exact();
        let moments = if is_exact { moments_of(&buckets) } else { self.moments };
        let (mean, std) = moments.mean_and_std().unzip();
        let zeros = buckets.iter().filter(|bucket| bucket.low == 0.0).map(|bucket| bucket.count).sum();
        Summary {
            shape: source.shape.clone(),
            dtype: source.dtype,
            count: self.count,
            nan: self.nan,
            infinite: self.infinite,
            zeros: if is_exact { zeros } else { self.zeros },
            min: extreme(self.min),
            max: extreme(self.max),
            mean,
            std,
            quantiles: super::refine::rough(&buckets, &QUANTILES),
            is_exact,
            outliers: self.outliers.iter().filter_map(|of| extreme(Some(*of))).collect(),
            rows_zero: self.has_rows.then_some(self.rows_zero),
            rows: self.rows,
            counts: self.counts.clone(),
            histogram: None,
            sides: None,
        }
    }

    fn into_sides(self) -> Option<Sides> {
        self.sides.map(SidesState::into_sides)
    }
}

/// Returns the moments of values whose buckets are one value each.
fn moments_of(buckets: &[Bucket]) -> Moments {
    let mut sum = Sum::default();
    let mut count = 0;
    for bucket in buckets {
        sum.add(bucket.low * bucket.count as f64);
        count += bucket.count;
    }
    let mean = sum.value() / count.max(1) as f64;
    let mut squares = Sum::default();
    for bucket in buckets {
        squares.add((bucket.low - mean) * (bucket.low - mean) * bucket.count as f64);
    }
    Moments::block(count, sum.value(), squares.value())
}
