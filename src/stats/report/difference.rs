//! Difference: what two checkpoints differ in, by their headers and value by value, and that as JSON.

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::name::escape;
use crate::stats::Compared;
use crate::stats::matched::{Differs, Matched, Pair, Side};
use crate::units;

/// What was found of two checkpoints.
pub struct Difference {
    /// What could not be matched or read, in words.
    pub notes: Vec<String>,
    /// What only A has, and what only B has.
    pub only: [Vec<Only>; 2],
    /// What both have.
    pub entries: Vec<Entry>,
    /// True if a file of either could not be read: what it holds is not known.
    pub is_partial: bool,
}

/// What only one side stores.
pub struct Only {
    /// Its own name there.
    pub name: String,
    /// Its format in a word.
    pub label: String,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// Two that are matched, and what was found.
pub struct Entry {
    /// The two.
    pub pair: Pair,
    /// Their formats in a word.
    pub labels: [String; 2],
    /// What differs by their headers.
    pub differs: Differs,
    /// What their values gave.
    pub values: Values,
}

/// What the values of a pair gave.
pub enum Values {
    /// Nobody asked for them.
    NotAsked,
    /// How far they lie apart.
    Compared(Figures),
    /// They are not compared, and why.
    Not(String),
}

impl From<std::result::Result<Figures, String>> for Values {
    fn from(found: std::result::Result<Figures, String>) -> Self {
        found.map_or_else(Self::Not, Self::Compared)
    }
}

/// How far the values of a pair lie apart: what is kept of each pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How many values there are.
    pub count: u64,
    /// How many differ.
    pub changed: u64,
    /// `‖A - B‖ / ‖B‖`; `None` if all of B are zeros and not all of A are, or no pair is finite.
    pub relative_l2: Option<f64>,
    /// The cosine of the angle between both; `None` if one has only zeros.
    pub cosine: Option<f64>,
    /// The largest `|A - B|`, with its row and column; `None` if none lies apart.
    pub max_abs: Option<(f64, [u64; 2])>,
    /// True if places are of vectors: they have a column alone.
    pub is_vector: bool,
    /// The mean of `|A - B|`; `None` if no pair is finite.
    pub mean_abs: Option<f64>,
    /// How many are NaN in A and in B.
    pub nan: [u64; 2],
    /// How many are infinite in A and in B.
    pub infinite: [u64; 2],
    /// How many pairs are not of two finite values: they are left out of all sums.
    pub left_out: u64,
}

impl Figures {
    /// Returns the figures of two that were held against each other.
    #[must_use]
    pub fn of(compared: &Compared) -> Self {
        Self {
            count: compared.count,
            changed: compared.changed,
            relative_l2: compared.relative_l2,
            cosine: compared.cosine,
            max_abs: compared.max_abs.map(|far| (far.value, compared.place(far.at))),
            is_vector: compared.shape.len() < 2,
            mean_abs: compared.mean_abs,
            nan: compared.nan,
            infinite: compared.infinite,
            left_out: compared.left_out,
        }
    }

    /// Returns the place of the largest difference: row and column, or the number in a vector.
    #[must_use]
    pub fn place(&self) -> Option<Vec<u64>> {
        let (_, [row, column]) = self.max_abs?;
        Some(if self.is_vector { vec![column] } else { vec![row, column] })
    }
}

impl Difference {
    /// Returns what headers say of two checkpoints that were matched, of the layers that `takes` takes by their names.
    #[must_use]
    pub fn of([a, b]: [&Checkpoint; 2], matched: &Matched, takes: &dyn Fn(&str) -> bool) -> Self {
        let sides = [(Side::A, a, &matched.only_a), (Side::B, b, &matched.only_b)];
        let only = sides.map(|(side, checkpoint, layers)| {
            let own = layers.iter().map(|&layer| {
                let spec = checkpoint.layers.spec(layer);
                let name = checkpoint.layers.name(&checkpoint.files.names, layer);
                Only { name, label: spec.label(), shape: spec.shape.clone() }
            });
            let biases = matched.lone_biases.iter().filter(|(of, _)| *of == side).map(|(_, tensor)| {
                let record = &checkpoint.files.tensors[*tensor as usize];
                let (name, shape) = (checkpoint.files.tensor_name(*tensor), checkpoint.files.shape(record));
                Only { name, label: record.dtype.to_string(), shape: shape.to_vec() }
            });
            own.chain(biases).filter(|only| takes(&only.name)).collect()
        });
        let pairs = matched.pairs.iter().filter(|pair| takes(&pair.name));
        let entry = |pair: &Pair| Entry {
            labels: pair.labels(a, b),
            differs: pair.differs(a, b),
            values: Values::NotAsked,
            pair: pair.clone(),
        };
        let entries = pairs.map(entry).collect();
        let mut notes = matched.notes.clone();
        let mut is_partial = false;
        for (side, checkpoint) in Side::BOTH.into_iter().zip([a, b]) {
            for shard in checkpoint.files.shards.iter().filter(|shard| shard.unreadable) {
                is_partial = true;
                let (name, side) = (escape(&shard.name), side.name());
                notes.push(format!("{name} of {side} could not be read: what it holds is not known"));
            }
        }
        Self { notes, only, entries, is_partial }
    }

    /// Says of pairs of two shapes that their values are not compared; returns the places of the others.
    pub fn comparable(&mut self) -> Vec<usize> {
        let mut list = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            match &entry.differs.shape {
                Some((a, b)) => {
                    let (a, b) = (units::shape(a), units::shape(b));
                    entry.values = Values::Not(format!("its shape is {a} in A, {b} in B"));
                }
                None => list.push(at),
            }
        }
        list
    }

    /// Returns the pairs whose values were compared.
    pub fn compared(&self) -> impl Iterator<Item = (&Entry, &Figures)> {
        self.entries.iter().filter_map(|entry| match &entry.values {
            Values::Compared(figures) => Some((entry, figures)),
            _ => None,
        })
    }

    /// Returns the pairs whose values could not be compared, and why.
    pub fn not_compared(&self) -> impl Iterator<Item = (&Entry, &str)> {
        self.entries.iter().filter_map(|entry| match &entry.values {
            Values::Not(why) => Some((entry, why.as_str())),
            _ => None,
        })
    }

    /// Returns how many of those that were compared have the same values.
    #[must_use]
    pub fn equal(&self) -> usize {
        self.compared().filter(|(_, figures)| figures.changed == 0).count()
    }

    /// Returns what is written as JSON; with the values, if they were asked for.
    #[must_use]
    pub fn document(&self, has_values: bool) -> impl Serialize + '_ {
        let only = |side: usize| self.only[side].iter().map(|only| only.name.as_str()).collect();
        let differs = || self.entries.iter().map(|entry| (entry.pair.name.as_str(), &entry.differs));
        Document {
            only_a: only(0),
            only_b: only(1),
            shape: differs()
                .filter_map(|(name, of)| of.shape.as_ref().map(|(a, b)| Two { name, a: &a[..], b: &b[..] }))
                .collect(),
            dtype: differs()
                .filter_map(|(name, of)| of.dtype.map(|(a, b)| (name, a.to_string(), b.to_string())))
                .map(|(name, a, b)| Two { name, a, b })
                .collect(),
            format: differs()
                .filter_map(|(name, of)| of.format.as_ref().map(|(a, b)| Two { name, a: &a[..], b: &b[..] }))
                .collect(),
            values: has_values.then(|| self.compared().map(|(entry, of)| values_json(entry, of)).collect()),
            not_compared: has_values.then(|| {
                self.not_compared().map(|(entry, why)| NotJson { name: &entry.pair.name, why }).collect()
            }),
            compared: has_values.then(|| self.compared().count()),
            equal: has_values.then(|| self.equal()),
            notes: &self.notes,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    only_a: Vec<&'a str>,
    only_b: Vec<&'a str>,
    shape: Vec<Two<'a, &'a [u64]>>,
    dtype: Vec<Two<'a, String>>,
    format: Vec<Two<'a, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<ValuesJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_compared: Option<Vec<NotJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    equal: Option<usize>,
    notes: &'a [String],
}

/// What differs.
#[derive(Serialize)]
struct Two<'a, T> {
    name: &'a str,
    a: T,
    b: T,
}

#[derive(Serialize)]
struct ValuesJson<'a> {
    name: &'a str,
    equal: bool,
    count: u64,
    changed: u64,
    /// `None` if no pair is of two finite values.
    max_abs: Option<f64>,
    /// Row and column of it.
    at: Option<Vec<u64>>,
    mean_abs: Option<f64>,
    relative_l2: Option<f64>,
    cosine: Option<f64>,
    nan: [u64; 2],
    inf: [u64; 2],
    left_out: u64,
    /// The side that does not store the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    tied: Option<&'static str>,
}

#[derive(Serialize)]
struct NotJson<'a> {
    name: &'a str,
    why: &'a str,
}

fn values_json<'a>(entry: &'a Entry, of: &Figures) -> ValuesJson<'a> {
    ValuesJson {
        name: &entry.pair.name,
        equal: of.changed == 0,
        count: of.count,
        changed: of.changed,
        max_abs: of.mean_abs.map(|_| of.max_abs.map_or(0.0, |(most, _)| most)),
        at: of.place(),
        mean_abs: of.mean_abs,
        relative_l2: of.relative_l2,
        cosine: of.cosine,
        nan: of.nan,
        inf: of.infinite,
        left_out: of.left_out,
        tied: entry.pair.tied.map(|side| if side.name() == "A" { "a" } else { "b" }),
    }
}
