//! Selection: which layers `--only` and `--skip` take.

use regex::RegexSet;

use crate::error::{Error, Result};
use crate::name::escape;

/// Patterns over layer names.
pub(crate) struct Selection {
    only: Option<RegexSet>,
    skip: RegexSet,
}

impl Selection {
    pub(super) fn new(only: &[String], skip: &[String]) -> Result<Self> {
        let only = if only.is_empty() { None } else { Some(set(only)?) };
        Ok(Self { only, skip: set(skip)? })
    }

    /// Returns the selection of what a pattern takes: of nothing, if there is none.
    pub(crate) fn only(globs: &[String]) -> Result<Self> {
        Ok(Self { only: Some(set(globs)?), skip: RegexSet::empty() })
    }

    /// Returns true if every layer is taken.
    pub(super) fn is_all(&self) -> bool {
        self.only.is_none() && self.skip.is_empty()
    }

    pub(crate) fn takes(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.is_match(name)) && !self.skip.is_match(name)
    }
}

/// Warns of patterns that match none of the names: one that is misspelled would otherwise do nothing without a word.
pub(super) fn warn_of_idle(
    (flag, globs): (&str, &[String]),
    names: impl Iterator<Item = String>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if globs.is_empty() {
        return Ok(());
    }
    let (set, mut is_idle) = (set(globs)?, vec![true; globs.len()]);
    for name in names {
        set.matches(&name).into_iter().for_each(|at| is_idle[at] = false);
    }
    let idle = globs.iter().zip(is_idle).filter(|(_, is_idle)| *is_idle);
    warnings.extend(idle.map(|(glob, _)| format!("{flag} {}: no layer has such a name", escape(glob))));
    Ok(())
}

/// Returns the patterns: `*` is any text, `?` any character, all else itself.
fn set(globs: &[String]) -> Result<RegexSet> {
    let pattern = |glob: &String| {
        let text: String = glob
            .chars()
            .map(|c| match c {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                c => regex::escape(&c.to_string()),
            })
            .collect();
        format!("(?s)^{text}$")
    };
    RegexSet::new(globs.iter().map(pattern))
        .map_err(|e| Error::input(format!("{}: {}", escape(&globs.join(" ")), escape(&e.to_string()))))
}

#[cfg(test)]
mod tests;
