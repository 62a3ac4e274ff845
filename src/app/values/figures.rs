//! Figures: what the screen says of a part of the values of a layer or tensor. Made where they are read, so that a frame
//! only has to look things up.

use std::time::Duration;

use crate::stats::summary::Sides;
use crate::stats::{Distribution, Part, Summary};

/// A row or column stands out if its norm is so many times that of the one in the middle.
pub const STANDS_OUT: f64 = 4.0;
/// Rows and columns that are named.
pub const NAMED: usize = 3;

/// What the screen says of values.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whose values.
    pub name: String,
    /// Which of them: what was asked for, or the weights where there is no such part.
    pub part: Part,
    /// All parts that there are.
    pub parts: Vec<Part>,
    /// How many values there are; `summary.count` of them were read.
    pub total: u64,
    /// The figures.
    pub summary: Summary,
    /// How they are spread.
    pub distribution: Distribution,
    /// The energy of the rows, once all is read, of what has any.
    pub rows: Option<Energy>,
    /// That of the columns.
    pub columns: Option<Energy>,
    /// Codes and scales of a layer, beside its weights.
    pub packed: Option<Packed>,
    /// Different codes that there could be, of a part that is codes.
    pub code_count: Option<u64>,
    /// How long reading took; `None` where nobody waited.
    pub elapsed: Option<Duration>,
}

/// How the sum of squares is spread over rows or columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Energy {
    /// How many rows or columns there are.
    pub count: usize,
    /// How many of them are all zero.
    pub zero: usize,
    /// How many have a norm that is `STANDS_OUT` times that of the one in the middle.
    pub standing_out: usize,
    /// Their share of the energy; if there are none, that of the largest `NAMED`.
    pub share: f64,
    /// The largest, by index.
    pub largest: Vec<u64>,
}

/// What a layer is packed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// Different codes that occur, and that there could be; `None` where weights have no codes of their own.
    pub codes: Option<(u64, u64)>,
    /// The scales; `None` where there are none beside the codes.
    pub scales: Option<Scales>,
}

/// What scales are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// How many there are.
    pub count: u64,
    /// The least and the largest finite one.
    pub range: Option<(f64, f64)>,
    /// How many are zero.
    pub zeros: u64,
    /// How many are NaN or infinite.
    pub broken: u64,
}

impl Scales {
    /// Returns what a summary says of scales.
    #[must_use]
    pub fn of(summary: &Summary) -> Self {
        Self {
            count: summary.count,
            range: summary.min.zip(summary.max).map(|(min, max)| (min.value, max.value)),
            zeros: summary.zeros,
            broken: summary.nan + summary.infinite,
        }
    }
}

impl Figures {
    /// Returns what is to be said of a summary.
    #[must_use]
    pub fn of(name: String, (part, parts): (Part, Vec<Part>), total: u64, mut summary: Summary) -> Self {
        let distribution = Distribution::of(&summary.counts);
        let distribution = match summary.min.zip(summary.max) {
            Some((min, max)) => {
                // Those of a first look are the middle of what a bucket may hold.
                summary.quantiles.iter_mut().for_each(|of| *of = of.clamp(min.value, max.value));
                distribution.within(min.value, max.value)
            }
            None => distribution,
        };
        let energy =
            |of: fn(&Sides) -> &Vec<f64>| summary.sides.as_ref().and_then(|sides| Energy::of(of(sides)));
        Self {
            rows: energy(|sides| &sides.rows),
            columns: energy(|sides| &sides.columns),
            distribution,
            name,
            part,
            parts,
            total,
            summary,
            packed: None,
            code_count: None,
            elapsed: None,
        }
    }

    /// Returns how much of the values has been read, from 0 to 1.
    #[must_use]
    pub fn share_read(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.summary.count as f64 / self.total as f64 }
    }

    /// Returns rows and columns of the map, if there is one.
    #[must_use]
    pub fn map_values(&self) -> Option<[u64; 2]> {
        let sides = self.summary.sides.as_ref()?;
        Some([sides.rows.len() as u64, sides.columns.len() as u64])
    }

    /// Returns where 99.8 % of the values lie, or all of them if that is nowhere.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        let ends = self.distribution.quantile(0.001).zip(self.distribution.quantile(0.999));
        let (min, max) = (self.summary.min?.value, self.summary.max?.value);
        Some(
            ends.filter(|(low, high)| low < high)
                .map_or((min, max), |(low, high)| (low.max(min), high.min(max))),
        )
    }

    /// Returns a place as it is written: `[812, 331]`, of values without rows `[812]`.
    #[must_use]
    pub fn place(&self, at: u64) -> String {
        if self.summary.shape.len() < 2 {
            return format!("[{at}]");
        }
        let [row, column] = self.summary.place(at);
        format!("[{row}, {column}]")
    }
}

impl Energy {
    /// Returns how it is spread over rows or columns of these norms; `None` if there is none, or just one.
    #[must_use]
    pub fn of(norms: &[f64]) -> Option<Self> {
        let total: f64 = norms.iter().map(|norm| norm * norm).sum();
        if norms.len() < 2 || total <= 0.0 || !total.is_finite() {
            return None;
        }
        let mut sorted = norms.to_vec();
        let (_, &mut middle, _) = sorted.select_nth_unstable_by(norms.len() / 2, f64::total_cmp);
        let stands_out = |norm: f64| middle > 0.0 && norm > STANDS_OUT * middle;
        let standing_out = norms.iter().filter(|norm| stands_out(**norm)).count();
        let mut largest: Vec<(u64, f64)> = Vec::with_capacity(NAMED + 1);
        for (at, &norm) in (0..).zip(norms) {
            let place = largest.partition_point(|(_, other)| *other >= norm);
            if place < NAMED {
                largest.insert(place, (at, norm));
                largest.truncate(NAMED);
            }
        }
        let energy = if standing_out > 0 {
            norms.iter().filter(|norm| stands_out(**norm)).map(|norm| norm * norm).sum::<f64>()
        } else {
            largest.iter().map(|(_, norm)| norm * norm).sum()
        };
        Some(Self {
            count: norms.len(),
            zero: norms.iter().filter(|norm| **norm == 0.0).count(),
            standing_out,
            share: energy / total,
            largest: largest.into_iter().map(|(at, _)| at).collect(),
        })
    }
}
