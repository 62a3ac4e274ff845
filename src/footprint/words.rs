//! Words: what screen and command line say alike of a footprint.

use super::tasks::context_that_fits;
use super::{Anatomy, CONTEXT_MAX, Settings, Task, Verdict};
use crate::units;

/// Memory that a task could be put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `GPU0`, `RAM`.
    pub label: String,
    /// The device's own name: `NVIDIA L4`; for main memory its label.
    pub name: String,
    /// All of it, in bytes.
    pub total: u64,
    /// What is free now, in bytes.
    pub free: u64,
}

/// Returns what a task needs, in one number: likely, or at least where a part is not known.
#[must_use]
pub fn need(task: &Task) -> String {
    let sign = if task.is_whole() { "" } else { "≥ " };
    format!("{sign}{}", units::bytes(task.likely()))
}

/// Returns whether a task fits into free memory: `✓ fits`, `✗ 1.40 GiB over`, `? part not known`.
#[must_use]
pub fn verdict(task: &Task, free: u64) -> String {
    match task.verdict(free) {
        Verdict::Fits => "✓ fits".into(),
        Verdict::Over(over) => format!("✗ {} over", units::bytes(over)),
        Verdict::Unknown => "? part not known".into(),
    }
}

/// Returns the span of a task's need: the sum, likely, at most.
#[must_use]
pub fn span(task: &Task) -> String {
    let sign = if task.is_whole() { "" } else { "at least " };
    format!(
        "{sign}{} in sum, likely {} (a tenth more for the allocator), at most {}",
        units::bytes(task.least()),
        units::bytes(task.likely()),
        units::bytes(task.most())
    )
}

/// Returns what is to be said of the KV cache: its size, its rule, what is left out of it. `place` is where the most
/// memory is free.
#[must_use]
pub fn cache_lines(anatomy: &Anatomy, settings: &Settings, place: Option<&Place>) -> Vec<String> {
    let cache = match &anatomy.architecture.cache {
        Ok(cache) => cache,
        Err(why) => return vec![format!("KV cache: not computed: {why}")],
    };
    let mut lines = Vec::new();
    if let Some(one) = cache.bytes_per_token(settings.cache).filter(|&one| one > 0) {
        let all = cache.bytes(settings.context, settings.batch, settings.cache);
        let all = all.map_or_else(|| "more than can be counted".into(), units::bytes);
        let batch = if settings.batch == 1 { String::new() } else { format!(" × batch {}", settings.batch) };
        let mut line = format!(
            "KV cache  {} a token   {} tokens{batch} {all}",
            units::bytes(one),
            units::exact(settings.context)
        );
        let fits = place.and_then(|place| Some((place, context_that_fits(anatomy, settings, place.free)?)));
        if let Some((place, tokens)) = fits {
            let tokens = if tokens == CONTEXT_MAX {
                "any context".into()
            } else {
                format!("up to {} tokens", units::exact(tokens))
            };
            line = format!("{line}   fits {} {tokens}", place.label);
        }
        if let Some(limit) = anatomy.architecture.limit {
            let over = if settings.context > limit { "▲ over the model's limit of" } else { "model limit" };
            line = format!("{line}   ({over} {})", units::exact(limit));
        }
        lines.push(line);
    }
    lines.push(format!(
        "{}{}",
        cache.words,
        if cache.groups.is_empty() { "" } else { settings_words(settings) }
    ));
    for group in cache.groups.iter().filter(|group| group.window.is_some()) {
        let layers = units::plural(usize::try_from(group.layers).unwrap_or(usize::MAX), "layer");
        lines.push(format!("{layers} keep the last {} tokens only", units::exact(group.window.unwrap_or(0))));
    }
    lines.extend(cache.notes.iter().cloned());
    lines.extend(cache.left_out.iter().map(|why| format!("not counted: {why}")));
    lines
}

fn settings_words(settings: &Settings) -> &'static str {
    match settings.cache {
        super::CacheDtype::Bits16 => " × 16 bit",
        super::CacheDtype::Fp8 => " × 8 bit",
        super::CacheDtype::F32 => " × 32 bit",
    }
}
