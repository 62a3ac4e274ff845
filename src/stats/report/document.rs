//! The figures as JSON: an array of one object a layer, in natural order, and one a file that cannot be read.

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use super::Entry;
use crate::stats::odd::{LOOKS, Odd};
use crate::stats::summary::QUANTILES;
use crate::stats::{Extreme, Part, Summary};

/// What was found of layers, and files that cannot be read.
pub struct Document<'a> {
    /// The layers, in natural order.
    pub entries: &'a [Entry],
    /// Files that cannot be read: name, and why.
    pub files: &'a [(String, String)],
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.entries.len() + self.files.len()))?;
        for entry in self.entries {
            list.serialize_element(&EntryJson(entry))?;
        }
        for (file, why) in self.files {
            list.serialize_element(&FileJson::of(file, why))?;
        }
        list.end()
    }
}

/// A file that cannot be read.
#[derive(Serialize)]
pub(super) struct FileJson<'a> {
    name: &'a str,
    format: &'static str,
    error: &'a str,
}

impl<'a> FileJson<'a> {
    /// Returns a file, and why it cannot be read.
    pub(super) fn of(name: &'a str, why: &'a str) -> Self {
        Self { name, format: "file", error: why }
    }
}

struct EntryJson<'a>(&'a Entry);

impl Serialize for EntryJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self(entry) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &entry.name)?;
        map.serialize_entry("format", &entry.format)?;
        if entry.part != Part::Weights {
            map.serialize_entry("part", entry.part.name())?;
        }
        let figures = match &entry.found {
            Ok(figures) => figures,
            Err(unread) => {
                map.serialize_entry("error", &unread.why)?;
                return map.end();
            }
        };
        map.serialize_entry("shape", &figures.shape)?;
        map.serialize_entry("dtype", &figures.dtype.to_string())?;
        map.serialize_entry("count", &figures.count)?;
        let (min, max) = (figures.min, figures.max);
        map.serialize_entry("min", &min.map(|min| min.value))?;
        map.serialize_entry("min_at", &min.map(|min| figures.place(min.at)))?;
        map.serialize_entry("max", &max.map(|max| max.value))?;
        map.serialize_entry("max_at", &max.map(|max| figures.place(max.at)))?;
        map.serialize_entry("mean", &figures.mean)?;
        map.serialize_entry("std", &figures.std)?;
        map.serialize_entry("zeros", &figures.zeros)?;
        map.serialize_entry("nan", &figures.nan)?;
        map.serialize_entry("inf", &figures.infinite)?;
        map.serialize_entry("rows", &figures.rows_zero.map(|_| figures.rows))?;
        map.serialize_entry("rows_zero", &figures.rows_zero)?;
        map.serialize_entry("quantiles", &Quantiles(figures))?;
        map.serialize_entry("histogram", &figures.histogram.as_ref().map(Bins::of))?;
        let outliers: Vec<OutlierJson> =
            figures.outliers.iter().map(|of| OutlierJson::of(figures, of)).collect();
        map.serialize_entry("outliers", &outliers)?;
        let odd: Vec<OddJson<'_>> = entry.odd.iter().map(OddJson::of).collect();
        map.serialize_entry("odd", &odd)?;
        map.end()
    }
}

struct Quantiles<'a>(&'a Summary);

impl Serialize for Quantiles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(QUANTILES.iter().map(f64::to_string).zip(&self.0.quantiles))
    }
}

#[derive(Serialize)]
struct Bins<'a> {
    edges: &'a [f64],
    counts: &'a [u64],
}

impl<'a> Bins<'a> {
    fn of(histogram: &'a crate::stats::histogram::Histogram) -> Self {
        Self { edges: &histogram.edges, counts: &histogram.counts }
    }
}

#[derive(Serialize)]
struct OutlierJson {
    value: f64,
    at: [u64; 2],
}

impl OutlierJson {
    fn of(figures: &Summary, of: &Extreme) -> Self {
        Self { value: of.value, at: figures.place(of.at) }
    }
}

#[derive(Serialize)]
struct OddJson<'a> {
    name: &'static str,
    says: &'a str,
}

impl<'a> OddJson<'a> {
    fn of(odd: &'a Odd) -> Self {
        Self { name: LOOKS[odd.look].name, says: &odd.says }
    }
}
