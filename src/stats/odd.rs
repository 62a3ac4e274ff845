//! Odd: what looks wrong in the figures of layers, each test a row of one table.
//!
//! A test says what it saw with its numbers, never that a checkpoint is broken: a dead row may be the padding of a
//! vocabulary, and an outlier may be what training made.

use std::collections::BTreeMap;

use super::summary::Summary;
use crate::units;

/// A test.
#[derive(Debug)]
pub struct Look {
    /// Its name, as JSON has it.
    pub name: &'static str,
    /// What it means.
    pub means: &'static str,
    /// The number that is held against the figures.
    pub threshold: f64,
    /// Says what was seen if it is odd.
    find: fn(&Seen<'_>, f64) -> Option<String>,
}

/// The tests, the gravest first.
pub static LOOKS: [Look; 6] = [
    Look {
        name: "nan",
        means: "values that are no numbers: one is enough to make every output NaN",
        threshold: 0.0,
        find: |seen, most| (seen.figures.nan as f64 > most).then(|| counted(seen.figures.nan, "NaN")),
    },
    Look {
        name: "inf",
        means: "infinite values: mostly an overflow of a cast to F16 or FP8",
        threshold: 0.0,
        find: |seen, most| {
            (seen.figures.infinite as f64 > most).then(|| counted(seen.figures.infinite, "infinite"))
        },
    },
    Look {
        name: "all-zero",
        means: "every value is zero: the layer computes nothing, or was never filled",
        // The share of values that are zero.
        threshold: 1.0,
        find: all_zero,
    },
    Look {
        name: "wild-scale",
        means: "the standard deviation lies far from the median of the layers of the same role and shape",
        // What starts alike stays within the factor 1 / sqrt(2 * layers) by which residual layers are scaled at the
        // start: 16 for the 126 layers of the deepest Llama. Six times that is no training's.
        threshold: 100.0,
        find: wild_scale,
    },
    Look {
        name: "zero-rows",
        means: "rows of zeros alone: outputs that were pruned or never filled, or padding of a vocabulary",
        threshold: 0.0,
        find: zero_rows,
    },
    Look {
        name: "outlier",
        means: "the largest magnitude lies far beyond what so many normal values would reach",
        // In standard deviations, behind the largest of n normal values, sqrt(2 ln n) (5.3 for a million). Weights have
        // longer tails than normal values: up to about 20 are common. A value among n is at most sqrt(n - 1) away from
        // the mean (Samuelson), so that vectors under about 1,150 values never have one.
        threshold: 30.0,
        find: outlier,
    },
];

/// What looks odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The place of its test in `LOOKS`.
    pub look: usize,
    /// What was seen, in words and numbers.
    pub says: String,
}

/// What the tests look at.
struct Seen<'a> {
    figures: &'a Summary,
    /// The median of the standard deviations of layers of the same role and shape, and how many those are.
    alike: Option<(f64, usize)>,
}

/// Layers of one role and shape from which on there is a median that one of them cannot be.
const ALIKE_MIN: usize = 3;

/// Returns what looks odd in each of some layers, given their names and figures.
#[must_use]
pub fn odd(layers: &[(&str, &Summary)]) -> Vec<Vec<Odd>> {
    let mut alike: BTreeMap<(String, &[u64]), Vec<f64>> = BTreeMap::new();
    for (name, figures) in layers {
        alike.entry((role(name), &figures.shape)).or_default().extend(figures.std);
    }
    let medians: BTreeMap<_, _> = alike
        .into_iter()
        .filter(|(_, deviations)| deviations.len() >= ALIKE_MIN)
        .map(|(key, mut deviations)| {
            deviations.sort_by(f64::total_cmp);
            (key, (deviations[deviations.len() / 2], deviations.len()))
        })
        .collect();
    let of = |(name, figures): &(&str, &Summary)| {
        let seen = Seen { figures, alike: medians.get(&(role(name), &figures.shape[..])).copied() };
        let found = |(at, look): (usize, &Look)| {
            (look.find)(&seen, look.threshold).map(|says| Odd { look: at, says })
        };
        // Integers are codes and indices: zero is one of them.
        let looks = if figures.dtype.is_float() { &LOOKS[..] } else { &[] };
        looks.iter().enumerate().filter_map(found).collect()
    };
    layers.iter().map(of).collect()
}

/// Returns what a layer is in its block: its name, with `#` for each component that is a number.
#[must_use]
pub fn role(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').map(|part| if is_number(part) { "#" } else { part }).collect();
    parts.join(".")
}

/// Returns true if a component of a name is a number.
#[must_use]
pub fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}", units::exact(count))
}

fn all_zero(seen: &Seen<'_>, share: f64) -> Option<String> {
    let figures = seen.figures;
    let is_all = figures.count > 0 && figures.zeros as f64 >= figures.count as f64 * share;
    is_all.then(|| format!("all {} values are zero", units::exact(figures.count)))
}

fn zero_rows(seen: &Seen<'_>, most: f64) -> Option<String> {
    let figures = seen.figures;
    let zero = figures.rows_zero.filter(|zero| *zero as f64 > most)?;
    // A vector is one row; what is zero everywhere is said by the test of that.
    let is_it = figures.shape.len() > 1 && figures.zeros < figures.count;
    is_it.then(|| format!("{} of {} rows all zero", units::exact(zero), units::exact(figures.rows)))
}

fn wild_scale(seen: &Seen<'_>, factor: f64) -> Option<String> {
    let (median, count) = seen.alike.filter(|(median, _)| *median > 0.0)?;
    let std = seen.figures.std.filter(|std| *std > 0.0)?;
    let (times, is_above) = if std > median { (std / median, true) } else { (median / std, false) };
    let times_words = units::value(times);
    let times_words = if is_above { times_words } else { format!("1/{times_words}") };
    (times > factor).then(|| format!("std {times_words} of the median of {count} layers like it"))
}

fn outlier(seen: &Seen<'_>, beyond: f64) -> Option<String> {
    let figures = seen.figures;
    let (mean, std) = figures.mean.zip(figures.std.filter(|std| *std > 0.0))?;
    let far = |value: f64| (value - mean).abs() / std;
    let farthest =
        [figures.min?, figures.max?].into_iter().max_by(|a, b| far(a.value).total_cmp(&far(b.value)))?;
    let normal = (2.0 * (figures.finite() as f64).ln()).sqrt();
    let [row, column] = figures.place(farthest.at);
    (far(farthest.value) > normal + beyond).then(|| {
        let [value, times] = [farthest.value, far(farthest.value)].map(units::value);
        format!("{value} at [{row}, {column}] lies {times} std from the mean")
    })
}

#[cfg(test)]
mod tests;
