//! Patterns: the regular expressions by which configs name modules, with the meaning of Python's `re`.
//!
//! They come from strangers: length, compiled size and number are bounded, matching takes linear time.
//! Look-around and back-references are not read; whether such a pattern matches is not known.

use std::sync::{Mutex, PoisonError};

use regex::bytes::{Regex, RegexBuilder};
use rustc_hash::FxHashMap;

/// Bytes of a pattern, and of its compiled program.
const PATTERN_BYTES_MAX: usize = 4096;
const PROGRAM_BYTES_MAX: usize = 1 << 18;
/// Patterns kept compiled for the life of the process.
const PATTERNS_MAX: usize = 4096;

/// Returns whether the pattern matches from the start of the name, as `re.match` does; `None` for a
/// pattern that is not read.
pub(super) fn starts(pattern: &str, module: &str) -> Option<bool> {
    matches(&format!("^(?:{pattern})"), module)
}

/// Returns whether the pattern matches anywhere in the name, as `re.search` does; `None` for a pattern
/// that is not read.
pub(super) fn within(pattern: &str, module: &str) -> Option<bool> {
    matches(pattern, module)
}

fn matches(pattern: &str, module: &str) -> Option<bool> {
    static COMPILED: Mutex<Option<FxHashMap<String, Option<Regex>>>> = Mutex::new(None);
    if pattern.len() > PATTERN_BYTES_MAX {
        return None;
    }
    let regex = {
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = compiled.get_or_insert_default();
        match compiled.get(pattern) {
            Some(known) => known.clone(),
            None if compiled.len() >= PATTERNS_MAX => None,
            None => compiled.entry(pattern.to_owned()).or_insert_with(|| compile(pattern)).clone(),
        }
    };
    regex.map(|regex| regex.is_match(module.as_bytes()))
}

/// Compiles a pattern over bytes: module names are ASCII in practice, and Unicode tables are not needed.
fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).unicode(false).size_limit(PROGRAM_BYTES_MAX).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        let module = "model.layers.0.mlp.down_proj";
        assert_eq!(starts(r".*\.down_proj", module), Some(true));
        assert_eq!(starts("down_proj", module), Some(false));
        assert_eq!(starts("x|model", module), Some(true));
        assert_eq!(within("down_proj", module), Some(true));
    }

    #[test]
    fn hostile_patterns_are_not_read() {
        assert_eq!(starts("(?!x)", "y"), None);
        assert_eq!(starts("(((a{99}){99}){99}){99}", "y"), None);
        assert_eq!(starts(&"a".repeat(5000), "y"), None);
        assert_eq!(within("(a*)*b", &"a".repeat(10_000)), Some(false));
    }
}
