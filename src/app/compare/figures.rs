//! Figures: how far the two of each pair lie apart, and what that is for a layer, a fold, a group.

use std::ops::Range;

use crate::checkpoint::Checkpoint;
use crate::stats::Matched;
pub use crate::stats::report::difference::Figures;

/// Returns figures as a line, in all their digits.
#[must_use]
pub fn in_words(figures: &Figures) -> String {
    let number = |figure: Option<f64>| figure.map_or_else(|| "none".to_owned(), |figure| figure.to_string());
    let place =
        figures.max_abs.map_or_else(String::new, |(_, [row, column])| format!(" at [{row}, {column}]"));
    format!(
        "relative L2 {}  cosine {}  max abs {}{place}  mean abs {}  changed {} of {}",
        number(figures.relative_l2),
        number(figures.cosine),
        number(figures.max_abs.map(|most| most.0)),
        number(figures.mean_abs),
        figures.changed,
        figures.count
    )
}

/// What is known of a pair: nothing yet, its figures, or why there are none.
pub type Known = Option<Result<Figures, String>>;

/// What is known of a layer of A, its bias included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// B has no such layer.
    OnlyA,
    /// It has not been compared yet.
    Waiting,
    /// It cannot be compared: there are no values, or the shapes differ.
    Unknown,
    /// No value differs.
    Equal,
    /// The relative L2 of what lies farther apart, the weights or the bias; infinite if it is no number.
    Apart(f64),
}

impl Cell {
    /// Returns what figures say of a pair.
    fn of(figures: &Figures) -> Self {
        if figures.changed == 0 {
            return Self::Equal;
        }
        // What is no number on one side only is as far apart as can be, whatever the rest is.
        let is_alike = figures.nan[0] == figures.nan[1] && figures.infinite[0] == figures.infinite[1];
        Self::Apart(figures.relative_l2.filter(|_| is_alike).unwrap_or(f64::INFINITY))
    }

    /// Returns true for what a person looks for: the layer is not the same, or only here, or cannot be compared.
    #[must_use]
    pub fn differs(self) -> bool {
        matches!(self, Self::OnlyA | Self::Unknown | Self::Apart(_))
    }

    /// Returns how much it stands out: what lies farther apart is more, then what has no number, then what is equal.
    #[must_use]
    pub fn weight(self) -> f64 {
        // Relative distances are added to 4, so that what has none stays below all of them.
        match self {
            Self::Waiting => 0.0,
            Self::Equal => 1.0,
            Self::Unknown => 2.0,
            Self::OnlyA => 3.0,
            Self::Apart(far) => 4.0 + far,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Waiting, _) | (_, Self::Waiting) => Self::Waiting,
            (a, b) if b.weight() > a.weight() => b,
            (a, _) => a,
        }
    }
}

/// Of some layers of A together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// How many there are.
    pub layers: u32,
    /// How many were compared.
    pub compared: u32,
    /// Of these, how many are equal.
    pub equal: u32,
    /// Of these, how many have no relative L2: B has only zeros, or one side has what is no number.
    pub infinite: u32,
    /// How many only A has.
    pub only_a: u32,
    /// How many cannot be compared.
    pub unknown: u32,
    /// The sum of what relative L2 there is.
    relative: f64,
}

impl Sum {
    /// Returns the mean of the relative L2 of those that have one; `None` if none has.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.compared - self.infinite;
        // Of equal ones it is exactly nothing, whatever rounding left.
        let sum = if self.equal == count { 0.0 } else { self.relative };
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Returns how many have not been compared yet.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.layers - self.compared - self.only_a - self.unknown
    }

    fn add(&mut self, cell: Cell) {
        self.layers += 1;
        match cell {
            Cell::OnlyA => self.only_a += 1,
            Cell::Waiting => {}
            Cell::Unknown => self.unknown += 1,
            Cell::Equal => (self.compared, self.equal) = (self.compared + 1, self.equal + 1),
            Cell::Apart(far) if far.is_finite() => {
                self.compared += 1;
                self.relative += far;
            }
            Cell::Apart(_) => (self.compared, self.infinite) = (self.compared + 1, self.infinite + 1),
        }
    }

    fn minus(&self, before: &Self) -> Self {
        Self {
            layers: self.layers - before.layers,
            compared: self.compared - before.compared,
            equal: self.equal - before.equal,
            infinite: self.infinite - before.infinite,
            only_a: self.only_a - before.only_a,
            unknown: self.unknown - before.unknown,
            relative: self.relative - before.relative,
        }
    }

    fn join(&mut self, other: &Self) {
        self.layers += other.layers;
        self.compared += other.compared;
        self.equal += other.equal;
        self.infinite += other.infinite;
        self.only_a += other.only_a;
        self.unknown += other.unknown;
        self.relative += other.relative;
    }
}

/// The figures of all pairs, by pair and by layer of A.
#[derive(Default)]
pub struct Table {
    /// By pair.
    pub known: Vec<Known>,
    /// By layer of A, its pairs: that of the weights, then that of the bias.
    pairs: Vec<[Option<u32>; 2]>,
    /// By layer of A.
    cells: Vec<Cell>,
    /// Sums over the layers before each; one more than there are layers.
    before: Vec<Sum>,
}

impl Table {
    /// Returns the table of what was matched, with no figures.
    #[must_use]
    pub fn new(a: &Checkpoint, matched: &Matched) -> Self {
        let mut pairs = vec![[None; 2]; a.layers.len()];
        for (number, pair) in (0..).zip(&matched.pairs) {
            // A head that A does not store is no layer of A: its pair names the embeddings.
            if pair.tied == Some(crate::stats::matched::Side::A) {
                continue;
            }
            if let Some(of) = pairs.get_mut(pair.a as usize) {
                of[usize::from(pair.bias.is_some())].get_or_insert(number);
            }
        }
        let mut table =
            Self { known: vec![None; matched.pairs.len()], pairs, cells: Vec::new(), before: Vec::new() };
        table.settle();
        table
    }

    /// Takes figures of pairs.
    pub fn take(&mut self, found: Vec<(u32, Result<Figures, String>)>) {
        for (pair, figures) in found {
            if let Some(known) = self.known.get_mut(pair as usize) {
                *known = Some(figures);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        let of_pair = |pair: u32| match &self.known[pair as usize] {
            None => Cell::Waiting,
            Some(Err(_)) => Cell::Unknown,
            Some(Ok(figures)) => Cell::of(figures),
        };
        let cell = |pairs: &[Option<u32>; 2]| {
            pairs.iter().flatten().map(|pair| of_pair(*pair)).reduce(Cell::and).unwrap_or(Cell::OnlyA)
        };
        self.cells = self.pairs.iter().map(cell).collect();
        let mut sum = Sum::default();
        self.before = vec![sum];
        for cell in &self.cells {
            sum.add(*cell);
            self.before.push(sum);
        }
    }

    /// Returns what is known of a layer of A.
    #[must_use]
    pub fn cell(&self, layer: u32) -> Cell {
        self.cells.get(layer as usize).copied().unwrap_or(Cell::OnlyA)
    }

    /// Returns the pairs of a layer of A: that of its weights and that of its bias.
    #[must_use]
    pub fn pairs(&self, layer: u32) -> [Option<u32>; 2] {
        self.pairs.get(layer as usize).copied().unwrap_or_default()
    }

    /// Returns the pair of a layer that lies farther apart; that of the weights if nothing is known.
    #[must_use]
    pub fn worst_pair(&self, layer: u32) -> Option<u32> {
        let [weights, bias] = self.pairs(layer);
        let weight = |pair: u32| match self.known.get(pair as usize) {
            Some(Some(Ok(figures))) => Cell::of(figures).weight(),
            _ => 0.0,
        };
        match (weights, bias) {
            (Some(weights), Some(bias)) if weight(bias) > weight(weights) => Some(bias),
            (weights, bias) => weights.or(bias),
        }
    }

    /// Returns the sum over some layers of A.
    #[must_use]
    pub fn sum(&self, layers: impl IntoIterator<Item = Range<u32>>) -> Sum {
        let mut all = Sum::default();
        for range in layers {
            let ends = (self.before.get(range.start as usize), self.before.get(range.end as usize));
            if let (Some(start), Some(end)) = ends {
                all.join(&end.minus(start));
            }
        }
        all
    }

    /// Returns the sum over all layers of A.
    #[must_use]
    pub fn whole(&self) -> Sum {
        self.before.last().copied().unwrap_or_default()
    }

    /// Returns how much each layer of A stands out, for sorting.
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        self.cells.iter().map(|cell| cell.weight()).collect()
    }

    /// Returns how many pairs were looked at.
    #[must_use]
    pub fn done(&self) -> usize {
        self.known.iter().flatten().count()
    }
}
