//! Numbers of a config, read strictly, and products of them that cannot overflow.
//!
//! A key that is absent or null is not given; a key that holds anything but a count is a fault in words: taking it for
//! absent would put a default in its place, and so a wrong number on the screen.

use serde_json::Value;

use crate::name::{cut_middle, escape};

/// A count beyond this is no count of a model: the largest are vocabularies and contexts.
const COUNT_MAX: u64 = 1 << 40;
/// Cells of a value that a fault shows.
const SHOWN_CELLS: usize = 24;

/// The part of a config that describes the decoder.
pub(super) struct Keys<'a> {
    /// Where it stands: `config.json`, `config.json, text_config`.
    pub(super) place: String,
    /// The object.
    pub(super) object: &'a Value,
}

impl<'a> Keys<'a> {
    /// Returns the value under the first of these keys that is there and not null. A dot goes one level down.
    pub(super) fn any(&self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|name| {
            let found = name.split('.').try_fold(self.object, |object, key| object.get(key))?;
            (!found.is_null()).then_some((*name, found))
        })
    }

    /// Returns the count under the first of these keys that is there.
    ///
    /// # Errors
    /// It is no count, in words.
    pub(super) fn count(&self, names: &[&'static str]) -> Result<Option<u64>, String> {
        let Some((name, value)) = self.any(names) else { return Ok(None) };
        count_of(value).map(Some).ok_or_else(|| self.fault(name, value, "no count"))
    }

    /// Returns the count under the first of these keys, which must be there and not 0.
    ///
    /// # Errors
    /// None of them is there, or it is no count above 0.
    pub(super) fn need(&self, names: &[&'static str]) -> Result<u64, String> {
        let given = self.count(names)?;
        let given = given.ok_or_else(|| format!("{} does not say {}", self.place, names[0]))?;
        if given == 0 { Err(format!("{}: {} is 0", self.place, names[0])) } else { Ok(given) }
    }

    /// Returns the flag under a key.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, String> {
        let Some((name, value)) = self.any(&[name]) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.fault(name, value, "neither true nor false"))
    }

    /// Returns the list under a key.
    ///
    /// # Errors
    /// It is no list.
    pub(super) fn list(&self, name: &'static str) -> Result<Option<&'a [Value]>, String> {
        let Some((name, value)) = self.any(&[name]) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.fault(name, value, "no list"))?;
        Ok(Some(list.as_slice()))
    }

    /// Returns the numbers of the list under a key.
    ///
    /// # Errors
    /// It is no list of counts.
    pub(super) fn counts(&self, name: &'static str) -> Result<Option<Vec<u64>>, String> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let counts =
            list.iter().map(|value| count_of(value).ok_or_else(|| self.fault(name, value, "no count")));
        counts.collect::<Result<_, _>>().map(Some)
    }

    /// Returns the text under a key.
    pub(super) fn text(&self, name: &'static str) -> Option<&'a str> {
        self.any(&[name])?.1.as_str()
    }

    /// Returns what is wrong with a value, in words: `config.json: head_dim is "64", no count`.
    pub(super) fn fault(&self, name: &str, value: &Value, what: &str) -> String {
        let shown = match value {
            Value::Array(list) => format!("a list of {}", list.len()),
            Value::Object(_) => "an object".into(),
            Value::String(text) => format!("{:?}", cut_middle(&escape(text), SHOWN_CELLS)),
            other => cut_middle(&other.to_string(), SHOWN_CELLS).into_owned(),
        };
        format!("{}: {name} is {shown}, {what}", self.place)
    }
}

/// Returns a whole number that is not negative and not beyond `COUNT_MAX`.
pub(super) fn count_of(value: &Value) -> Option<u64> {
    let whole = |f: f64| (f.fract() == 0.0 && (0.0..=COUNT_MAX as f64).contains(&f)).then_some(f as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).filter(|&count| count <= COUNT_MAX)
}

/// Returns a product, or `None` if it is over 64 bits.
pub(super) fn product(factors: &[u64]) -> Option<u64> {
    if factors.contains(&0) {
        return Some(0);
    }
    factors.iter().try_fold(1u64, |all, factor| all.checked_mul(*factor))
}

/// Returns a measured quantity as bytes, or `None` if it is over 64 bits.
pub(super) fn whole_bytes(value: f64) -> Option<u64> {
    (value.is_finite() && (0.0..u64::MAX as f64).contains(&value)).then_some(value.round() as u64)
}

/// What is said of a product that is over 64 bits.
pub(super) const TOO_LARGE: &str = "the numbers are too large to be multiplied";
