//! Compare: how far the values of two sources of one shape lie apart.
//!
//! Both are read beside each other, by pieces of the same values, and held against each other as f64, whatever their
//! dtypes are. A value that is NaN on both sides is equal, and so is the same infinity; whatever else is not finite on
//! either side is changed. Pairs that are not of two finite values are left out of all sums, and counted.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::beside::Beside;
use super::counts::{Counts, Keys};
use super::moments::Sum;
use super::pass::{Pieces, Steps, Watch, run};
use super::scan::Options;
use super::source::{Buffers, Source};
use super::spread::{Norms, SpreadState, has_sides};
use super::summary::Extreme;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::tensor::Dtype;
use crate::units;

/// Values held against each other together: they stay in the first cache.
const BLOCK: usize = 2048;
/// The upper bits of an f32 that is no number: of a difference that there is none of.
const NONE: u16 = 0x7fc0;

/// How far the values A lie from the values B.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The shape of both.
    pub shape: Vec<u64>,
    /// The dtypes of the values of A and B.
    pub dtypes: [Dtype; 2],
    /// How many pairs of values were held against each other: all when it is done.
    pub count: u64,
    /// How many differ. 0 and -0 do not, nor do two NaN.
    pub changed: u64,
    /// The largest `|A - B|` of finite pairs, where it comes first; `None` if none lies apart.
    pub max_abs: Option<Extreme>,
    /// The mean of `|A - B|` over the finite pairs; `None` if there are none.
    pub mean_abs: Option<f64>,
    /// `‖A - B‖ / ‖B‖` over the finite pairs, by Euclidean norms; 0 if none lies apart, `None` if all of B are zeros.
    pub relative_l2: Option<f64>,
    /// The cosine of the angle between A and B over the finite pairs; `None` if one has only zeros.
    pub cosine: Option<f64>,
    /// The Euclidean norms of A and B over the finite pairs.
    pub norms: [f64; 2],
    /// `‖A - B‖`.
    pub distance: f64,
    /// How many are NaN in A and in B.
    pub nan: [u64; 2],
    /// How many are infinite in A and in B.
    pub infinite: [u64; 2],
    /// How many pairs are not of two finite values: they are left out of all sums.
    pub left_out: u64,
    /// How often each value occurs in A.
    pub a: Counts,
    /// How often each value occurs in B.
    pub b: Counts,
    /// How often each difference A - B of finite pairs occurs, in the buckets of f32.
    pub error: Counts,
    /// The norms of rows and columns of the differences and of B over the finite pairs, where values have both and
    /// counts are wanted.
    pub sides: Option<Box<[Norms; 2]>>,
}

impl Compared {
    /// Returns true if no value differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.changed == 0
    }

    /// Returns the share of values that differ, of 1; 0 of nothing.
    #[must_use]
    pub fn changed_share(&self) -> f64 {
        self.changed as f64 / self.count.max(1) as f64
    }

    /// Returns row and column of a place.
    #[must_use]
    pub fn place(&self, at: u64) -> [u64; 2] {
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        [at / row, at % row]
    }
}

/// Holds the values A of a source against the values B of another.
///
/// # Errors
/// Their shapes differ, they cannot be read, or it was cancelled.
pub fn compare(a: &Source<'_>, b: &Source<'_>, options: &Options, watch: &dyn Watch) -> Result<Compared> {
    with(&Two { a, b, has_counts: true }, options, watch)
}

/// Does the same without counting how often values and differences occur, which takes as long as all else.
///
/// # Errors
/// As `compare`.
pub(super) fn figures(
    a: &Source<'_>,
    b: &Source<'_>,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Compared> {
    with(&Two { a, b, has_counts: false }, options, watch)
}

fn with(two: &Two<'_, '_>, options: &Options, watch: &dyn Watch) -> Result<Compared> {
    let Two { a, b, .. } = *two;
    if a.shape != b.shape {
        let (of_a, of_b) = (units::shape(&a.shape), units::shape(&b.shape));
        return Err(Error::input(format!("{}: {of_a} in A, {of_b} in B", escape(&a.name))));
    }
    let is_wide = |source: &Source<'_>| Keys::of(source.dtype) == Keys::F64;
    if is_wide(a) || is_wide(b) {
        compare_as::<f64>(two, options, watch)
    } else {
        compare_as::<f32>(two, options, watch)
    }
}

fn compare_as<V: Beside>(two: &Two<'_, '_>, options: &Options, watch: &dyn Watch) -> Result<Compared> {
    let begin = || State::<V>::new(two);
    let steps = Steps {
        begin: &begin,
        take: &State::take,
        end: &|_| {},
        look: &|states: &[Mutex<State<V>>]| {
            let mut all = begin();
            for state in states {
                all.add(&state.lock().unwrap_or_else(PoisonError::into_inner));
            }
            watch.look_compared(all.compared(two));
        },
    };
    let mut states = run(two, options.threads, watch, &steps)?.into_iter();
    let mut all = states.next().unwrap_or_else(begin);
    states.for_each(|state| all.add(&state));
    Ok(all.compared(two))
}

/// Two sources of one shape.
struct Two<'a, 's> {
    a: &'a Source<'s>,
    b: &'a Source<'s>,
    /// True if it is counted how often values and differences occur.
    has_counts: bool,
}

impl Pieces for Two<'_, '_> {
    type Buffers = [Buffers; 2];
    type Piece<'b> = [&'b [u8]; 2];

    fn count(&self) -> u64 {
        self.a.count()
    }

    /// Whole rows if either is decoded, as many as both are decoded well by.
    fn piece(&self) -> u64 {
        let grain = self.a.grain().min(self.b.grain()).max(1);
        self.a.piece().max(self.b.piece()).next_multiple_of(grain)
    }

    fn read<'b>(&self, range: Range<u64>, buffers: &'b mut [Buffers; 2]) -> Result<[&'b [u8]; 2]> {
        let [a, b] = buffers;
        Ok([self.a.read(range.clone(), a)?, self.b.read(range, b)?])
    }
}

/// What was seen of a stripe so far.
struct State<V> {
    dtypes: [Dtype; 2],
    blocks: [Vec<V>; 2],
    errors: Vec<u16>,
    count: u64,
    changed: u64,
    left_out: u64,
    nan: [u64; 2],
    infinite: [u64; 2],
    max_abs: Option<(f64, u64)>,
    /// As those of `Against`.
    sums: [Sum; 5],
    /// Differences of a block.
    apart: Vec<V>,
    /// Rows and columns of the differences and of B.
    sides: Option<[SpreadState; 2]>,
    has_counts: bool,
    counts: [Counts; 2],
    error: Counts,
}

impl<V: Beside> State<V> {
    fn new(two: &Two<'_, '_>) -> Self {
        let dtypes = [two.a.dtype, two.b.dtype];
        let (rows, columns) = (two.a.row_count(), two.a.row_len());
        let has_sides = two.has_counts && has_sides(rows, columns);
        Self {
            dtypes,
            blocks: [Vec::new(), Vec::new()],
            errors: Vec::new(),
            count: 0,
            changed: 0,
            left_out: 0,
            nan: [0; 2],
            infinite: [0; 2],
            max_abs: None,
            sums: [Sum::default(); 5],
            apart: Vec::new(),
            sides: has_sides.then(|| [SpreadState::new(columns), SpreadState::new(columns)]),
            has_counts: two.has_counts,
            counts: dtypes.map(|dtype| Counts::new(Keys::of(dtype))),
            error: Counts::new(Keys::F32),
        }
    }

    /// Takes the values of both from number `start` on.
    fn take(&mut self, start: u64, pieces: [&[u8]; 2]) -> Result<()> {
        for (counts, bytes) in self.counts.iter_mut().zip(pieces) {
            if self.has_counts && counts.keys().is_exact() {
                counts.add_patterns(bytes);
            }
        }
        let bytes_each = self.dtypes.map(|dtype| dtype.bits().unwrap_or(8.0) as usize / 8);
        let count = pieces[0].len() / bytes_each[0].max(1);
        for at in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - at);
            for side in 0..2 {
                let bytes = &pieces[side][at * bytes_each[side]..(at + length) * bytes_each[side]];
                self.blocks[side].resize(length, V::default());
                if !V::read(self.dtypes[side], bytes, &mut self.blocks[side]) {
                    return Err(Error::input(format!("{} has no plain values", self.dtypes[side])));
                }
                if self.has_counts && !self.counts[side].keys().is_exact() {
                    self.add_upper(side);
                }
            }
            self.look(start + at as u64);
        }
        self.count += count as u64;
        Ok(())
    }

    /// Counts the values of a block by their upper bits, in the dtype of their side.
    fn add_upper(&mut self, side: usize) {
        let block = &self.blocks[side];
        if self.counts[side].keys() == Keys::F32 {
            // In f64 where the other side is.
            let upper = |value: &V| ((value.wide() as f32).to_bits() >> 16) as u16;
            self.counts[side].add_upper(block, upper);
        } else {
            self.counts[side].add_upper(block, |value| (value.bits() >> 48) as u16);
        }
    }

    /// Holds the blocks against each other, whose first values are those of number `start`.
    fn look(&mut self, start: u64) {
        self.errors.resize(self.blocks[0].len(), 0);
        let [a, b] = &self.blocks;
        let mut against = V::against(a, b, &mut self.errors);
        if !against.is_finite {
            let left_out = self.take_out();
            let [a, b] = &self.blocks;
            against = V::against(a, b, &mut self.errors);
            for at in left_out {
                self.errors[at] = NONE;
            }
        } else if against.changed == 0 && self.has_counts {
            self.error.add_zeros(self.errors.len());
            self.errors.clear();
        }
        if self.has_counts {
            self.error.add_upper(&self.errors, |upper| *upper);
        }
        if let Some([apart, of_b]) = &mut self.sides {
            let [a, b] = &self.blocks;
            self.apart.resize(a.len(), V::default());
            V::apart(a, b, &mut self.apart);
            apart.take(start, &self.apart);
            of_b.take(start, b);
        }
        self.changed += against.changed;
        for (sum, of) in self.sums.iter_mut().zip(against.sums) {
            sum.add(of);
        }
        if against.most > self.max_abs.map_or(0.0, |most| most.0) {
            let [a, b] = &self.blocks;
            let mut far = a.iter().zip(b).map(|(a, b)| (a.wide() - b.wide()).abs());
            let at = far.position(|far| far == against.most);
            self.max_abs = at.map(|at| (against.most, start + at as u64));
        }
    }

    /// Counts the pairs that are not of two finite values and makes them zero; returns where they stand.
    fn take_out(&mut self) -> Vec<usize> {
        let mut left_out = Vec::new();
        let [a, b] = &mut self.blocks;
        for (at, (a, b)) in a.iter_mut().zip(b).enumerate() {
            let pair = [a.wide(), b.wide()];
            if pair.iter().all(|value| value.is_finite()) {
                continue;
            }
            let are_nan = pair.map(f64::is_nan);
            let is_equal = pair[0] == pair[1] || are_nan == [true; 2];
            self.changed += u64::from(!is_equal);
            for side in 0..2 {
                self.nan[side] += u64::from(are_nan[side]);
                self.infinite[side] += u64::from(pair[side].is_infinite());
            }
            left_out.push(at);
            (*a, *b) = (V::default(), V::default());
        }
        self.left_out += left_out.len() as u64;
        left_out
    }

    /// Adds what was seen of the values behind.
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.changed += other.changed;
        self.left_out += other.left_out;
        for side in 0..2 {
            self.nan[side] += other.nan[side];
            self.infinite[side] += other.infinite[side];
            self.counts[side].add(&other.counts[side]);
        }
        if other.max_abs.map_or(0.0, |most| most.0) > self.max_abs.map_or(0.0, |most| most.0) {
            self.max_abs = other.max_abs;
        }
        for (sum, of) in self.sums.iter_mut().zip(other.sums) {
            sum.join(of);
        }
        self.error.add(&other.error);
        if let Some((sides, others)) = self.sides.as_mut().zip(other.sides.as_ref()) {
            sides.iter_mut().zip(others).for_each(|(side, other)| side.add(other));
        }
    }

    fn compared(&self, two: &Two<'_, '_>) -> Compared {
        let [aa, bb, ab, apart, squares] = self.sums.map(Sum::value);
        let (norms, distance) = ([aa.sqrt(), bb.sqrt()], squares.sqrt());
        let finite = self.count - self.left_out;
        let is_same = squares == 0.0 && apart == 0.0;
        let [a, b] = self.counts.clone();
        Compared {
            shape: two.a.shape.clone(),
            dtypes: self.dtypes,
            count: self.count,
            changed: self.changed,
            max_abs: self.max_abs.map(|(value, at)| Extreme { value, at }),
            mean_abs: (finite > 0).then(|| apart / finite as f64),
            relative_l2: if is_same { Some(0.0) } else { Some(distance / norms[1]) }
                .filter(|ratio| finite > 0 && ratio.is_finite()),
            cosine: if is_same { Some(1.0) } else { Some((ab / norms[0] / norms[1]).clamp(-1.0, 1.0)) }
                .filter(|cosine| cosine.is_finite() && norms.iter().all(|norm| *norm > 0.0)),
            norms,
            distance,
            nan: self.nan,
            infinite: self.infinite,
            left_out: self.left_out,
            a,
            b,
            error: self.error.clone(),
            sides: self.sides.as_ref().map(|sides| Box::new(sides.each_ref().map(SpreadState::norms))),
        }
    }
}

#[cfg(test)]
mod tests;
