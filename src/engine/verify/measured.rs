//! Measures: values that were meant against those that are, summed in f64.

use multiversion::multiversion;

/// Sums over the values of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Squares of what is lost.
    pub lost: f64,
    /// Squares of the values that were meant.
    pub all: f64,
    /// Products of the change that was meant and the one that is.
    pub kept: f64,
    /// Squares of the change that was meant.
    pub change: f64,
}

impl Sums {
    /// Returns the sums over some values: those that were meant, those that are, and those before a change.
    pub(in crate::engine) fn of(meant: &[f32], is: &[f32], before: Option<&[f32]>) -> Self {
        let [lost, all] = compare(meant, is);
        let [kept, change] = before.map_or([0.0; 2], |before| project(meant, is, before));
        Self { lost, all, kept, change }
    }

    /// Returns the relative Frobenius error: what is lost of the values, over the values.
    #[must_use]
    pub fn relative_error(self) -> f64 {
        match (self.lost, self.all) {
            (0.0, _) => 0.0,
            (lost, all) => (lost / all).sqrt(),
        }
    }

    /// Returns the share of the change that there is: the projection of the one that is on the one that was meant.
    #[must_use]
    pub fn delta_kept(self) -> Option<f64> {
        (self.change > 0.0).then(|| self.kept / self.change)
    }
}

impl std::ops::Sub for Sums {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            lost: self.lost - other.lost,
            all: self.all - other.all,
            kept: self.kept - other.kept,
            change: self.change - other.change,
        }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.all += other.all;
        self.kept += other.kept;
        self.change += other.change;
    }
}

/// Sums that run beside each other: their order is fixed, and so is the last bit of what comes of it.
const LANES: usize = 16;

/// Two sums, lane by lane. What is left of the values behind the last whole lanes, and the sum over the lanes, are for the
/// caller: beside them the loops are not compiled for vectors.
type Lanes = [[f64; LANES]; 2];

/// Returns the sums of the squares of differences, and of the values that were meant.
fn compare(meant: &[f32], is: &[f32]) -> [f64; 2] {
    let ((meant, meant_rest), (is, is_rest)) = (meant.as_chunks(), is.as_chunks());
    let [mut lost, mut all] = compare_lanes(meant, is);
    for (&meant, &is) in meant_rest.iter().zip(is_rest) {
        let (meant, is) = (f64::from(meant), f64::from(is));
        lost[0] += (is - meant) * (is - meant);
        all[0] += meant * meant;
    }
    [lost.iter().sum(), all.iter().sum()]
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn compare_lanes(meant: &[[f32; LANES]], is: &[[f32; LANES]]) -> Lanes {
    let (mut lost, mut all) = ([0f64; LANES], [0f64; LANES]);
    for (meant, is) in meant.iter().zip(is) {
        for lane in 0..LANES {
            let (meant, is) = (f64::from(meant[lane]), f64::from(is[lane]));
            lost[lane] += (is - meant) * (is - meant);
            all[lane] += meant * meant;
        }
    }
    [lost, all]
}

/// Returns the sums of the products of both changes, and of the squares of the one that was meant.
fn project(meant: &[f32], is: &[f32], before: &[f32]) -> [f64; 2] {
    let (meant, meant_rest) = meant.as_chunks();
    let ((is, is_rest), (before, rest)) = (is.as_chunks(), before.as_chunks());
    let [mut kept, mut change] = project_lanes(meant, is, before);
    for ((&meant, &is), &before) in meant_rest.iter().zip(is_rest).zip(rest) {
        let before = f64::from(before);
        let (should, is) = (f64::from(meant) - before, f64::from(is) - before);
        kept[0] += should * is;
        change[0] += should * should;
    }
    [kept.iter().sum(), change.iter().sum()]
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn project_lanes(meant: &[[f32; LANES]], is: &[[f32; LANES]], before: &[[f32; LANES]]) -> Lanes {
    let (mut kept, mut change) = ([0f64; LANES], [0f64; LANES]);
    for ((meant, is), before) in meant.iter().zip(is).zip(before) {
        for lane in 0..LANES {
            let before = f64::from(before[lane]);
            let (should, is) = (f64::from(meant[lane]) - before, f64::from(is[lane]) - before);
            kept[lane] += should * is;
            change[lane] += should * should;
        }
    }
    [kept, change]
}

#[cfg(test)]
mod tests;
