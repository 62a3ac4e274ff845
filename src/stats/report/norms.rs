//! Norms of all rows or columns of layers, as JSON and CSV.
//!
//! A norm is the square root of the sum of the squares of the finite values. Squares of floats of 32 bits and fewer are
//! exact in f64, in which they are added up: of n values a norm is off by less than n / 4 + 1 units in its last place. It is
//! infinite where squares are beyond f64, which those of such floats never are; JSON has `null` for that.

use std::io::{Result, Write};

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::csv::{number, write_line};
use super::document::FileJson;
use super::{Entry, Unread};
use crate::name::escape;
use crate::stats::Part;
use crate::stats::summary::{Axis, Summary};
use crate::units;

/// Names of the columns of CSV.
const COLUMNS: [&str; 5] = ["name", "axis", "index", "norm", "error"];

/// Returns the norms of a summary that was made with them.
///
/// # Errors
/// It has none, and why.
pub fn norms(summary: &Summary, axis: Axis) -> std::result::Result<&[f64], Unread> {
    if let Some(sides) = &summary.sides {
        return Ok(sides.norms(axis));
    }
    if summary.shape.len() < 2 {
        return Err(Unread { why: "a vector has no rows and columns".to_owned(), is_without: true });
    }
    let why = format!("{}: rows too many or too long to keep their norms", units::shape(&summary.shape));
    Err(Unread { why, is_without: false })
}

/// Norms of layers as JSON: an array of one object a layer, and one a file that cannot be read.
pub struct NormsDocument<'a> {
    /// The layers, in natural order.
    pub entries: &'a [Entry],
    /// Files that cannot be read: name, and why.
    pub files: &'a [(String, String)],
    /// Of rows or of columns.
    pub axis: Axis,
}

impl Serialize for NormsDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut list = serializer.serialize_seq(Some(self.entries.len() + self.files.len()))?;
        for entry in self.entries {
            list.serialize_element(&EntryJson { entry, axis: self.axis })?;
        }
        for (file, why) in self.files {
            list.serialize_element(&FileJson::of(file, why))?;
        }
        list.end()
    }
}

struct EntryJson<'a> {
    entry: &'a Entry,
    axis: Axis,
}

impl Serialize for EntryJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { entry, axis } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &entry.name)?;
        map.serialize_entry("format", &entry.format)?;
        if entry.part != Part::Weights {
            map.serialize_entry("part", entry.part.name())?;
        }
        let failed = match &entry.found {
            Ok(figures) => match norms(figures, *axis) {
                Ok(norms) => {
                    map.serialize_entry("shape", &figures.shape)?;
                    map.serialize_entry("dtype", &figures.dtype.to_string())?;
                    map.serialize_entry("axis", axis.name())?;
                    map.serialize_entry("norms", norms)?;
                    return map.end();
                }
                Err(unread) => unread.why,
            },
            Err(unread) => unread.why.clone(),
        };
        map.serialize_entry("error", &failed)?;
        map.end()
    }
}

/// Writes CSV: a line that names the columns, then one a row or column of each layer, in natural order.
///
/// # Errors
/// The write fails.
pub fn write_csv(document: &NormsDocument<'_>, out: &mut dyn Write) -> Result<()> {
    write_line(out, &COLUMNS.map(str::to_owned))?;
    let axis = document.axis;
    let failed = |name: &str, why: &str| {
        let blank = String::new;
        [escape(name).into_owned(), blank(), blank(), blank(), escape(why).into_owned()]
    };
    for entry in document.entries {
        let found = entry.found.as_ref().map_err(|unread| unread.why.clone());
        match found.and_then(|figures| norms(figures, axis).map_err(|unread| unread.why)) {
            Ok(norms) => {
                let name = escape(&entry.name).into_owned();
                for (at, norm) in norms.iter().enumerate() {
                    let cells =
                        [name.clone(), axis.name().into(), at.to_string(), number(*norm), String::new()];
                    write_line(out, &cells)?;
                }
            }
            Err(why) => write_line(out, &failed(&entry.name, &why))?,
        }
    }
    document.files.iter().try_for_each(|(file, why)| write_line(out, &failed(file, why)))
}
