//! The JSON of `ckpt diff`.

use std::io::Write;

use serde::Serialize;

use super::{Entry, Figures, Report};
use crate::cli::json;
use crate::error::Result;

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

impl Report<'_> {
    pub(super) fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        let only = |side: usize| self.only[side].iter().map(|only| only.name.as_str()).collect();
        let is_asked = self.asked.values;
        let differs = || self.entries.iter().map(|entry| (entry.pair.name.as_str(), &entry.differs));
        let document = Document {
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
            values: is_asked.then(|| self.compared().map(|(entry, of)| values_json(entry, of)).collect()),
            not_compared: is_asked.then(|| {
                self.not_compared().map(|(entry, why)| NotJson { name: &entry.pair.name, why }).collect()
            }),
            compared: is_asked.then(|| self.compared().count()),
            equal: is_asked.then(|| self.equal()),
            notes: &self.notes,
        };
        json::write_line(out, &document)
    }
}

fn values_json<'a>(entry: &'a Entry, of: &Figures) -> ValuesJson<'a> {
    ValuesJson {
        name: &entry.pair.name,
        equal: of.changed == 0,
        count: of.count,
        changed: of.changed,
        max_abs: of.mean_abs.map(|_| of.max_abs.map_or(0.0, |most| most.value)),
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
