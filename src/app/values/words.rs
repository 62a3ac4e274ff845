//! The figures of values as words, for the clipboard and the screen.

use std::fmt::Write as _;

use super::figures::{Energy, Figures, Packed, Scales};
use crate::name::escape;
use crate::stats::Part;
use crate::stats::summary::{Extreme, QUANTILES};
use crate::units;

/// Returns a share of a whole: `6.3%`; never 0% of something, never 100% of less than all.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0%".into();
    }
    if part >= whole {
        return "100%".into();
    }
    percent(part as f64 / whole as f64)
}

/// Returns a share that is neither nothing nor all.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        ..0.1 => "<0.1%".into(),
        percent @ ..9.95 => format!("{percent:.1}%"),
        percent => format!("{:.0}%", percent.min(99.0)),
    }
}

/// Returns how much energy rows or columns carry: `4 columns carry 31% of energy: 21, 22, 900 …`. `is_long`: why none
/// stands out is said too.
#[must_use]
pub fn energy(energy: &Energy, what: &str, is_long: bool) -> String {
    let names: Vec<String> = energy.largest.iter().map(u64::to_string).collect();
    let share = if energy.share >= 1.0 - 1e-12 { "all".to_owned() } else { percent(energy.share) };
    let mut words = if energy.standing_out > 0 {
        let verb = if energy.standing_out == 1 { "carries" } else { "carry" };
        let more = if energy.standing_out > names.len() { " …" } else { "" };
        let names = names[..names.len().min(energy.standing_out)].join(", ");
        let count = units::plural(energy.standing_out, what);
        format!("{count} {verb} {share} of energy: {names}{more}")
    } else {
        let why = if is_long { "none stands out; " } else { "" };
        format!("{why}largest {}: {share} of energy", names.join(", "))
    };
    if energy.zero > 0 {
        let _ = write!(words, "; {} all zero", units::exact(energy.zero as u64));
    }
    words
}

/// Returns how many codes are in use: `16 of 16 used`.
#[must_use]
pub fn codes(used: u64, of: u64) -> String {
    format!("{} of {} used", units::exact(used), units::exact(of))
}

/// Returns what scales are like: `0.0009 … 0.0684, none zero or NaN`.
#[must_use]
pub fn scales(scales: &Scales) -> String {
    let range = scales.range.map_or_else(
        || "no finite one".to_owned(),
        |(low, high)| format!("{} … {}", units::value(low), units::value(high)),
    );
    let odd = match (scales.zeros, scales.broken) {
        (0, 0) => "none zero or NaN".to_owned(),
        (zeros, 0) => format!("{} zero", units::exact(zeros)),
        (0, broken) => format!("{} NaN or Inf", units::exact(broken)),
        (zeros, broken) => format!("{} zero, {} NaN or Inf", units::exact(zeros), units::exact(broken)),
    };
    format!("{range}, {odd}")
}

/// Returns what a layer is packed in, in words.
#[must_use]
pub fn packed(packed: &Packed) -> Vec<(&'static str, String)> {
    let mut words = Vec::new();
    words.extend(packed.codes.map(|(used, of)| ("codes", codes(used, of))));
    words.extend(packed.scales.as_ref().map(|of| ("scales", scales(of))));
    words
}

/// Returns the names of quantiles: `1%`.
pub fn quantile_names() -> impl Iterator<Item = String> {
    QUANTILES.iter().map(|quantile| format!("{:.0}%", quantile * 100.0))
}

/// Returns all figures as lines of words.
#[must_use]
pub fn text(figures: &Figures) -> String {
    let summary = &figures.summary;
    let part = if figures.part == Part::Weights { "" } else { figures.part.name() };
    let mut lines = vec![
        format!("{}  {part}", escape(&figures.name)).trim_end().to_owned(),
        format!("{} {}", units::shape(&summary.shape), summary.dtype),
    ];
    let read = if summary.count < figures.total {
        format!(", the first {}", units::percent_done(figures.share_read()))
    } else {
        String::new()
    };
    lines.push(format!("values  {}{read}", units::exact(figures.total)));
    let extreme = |of: Option<Extreme>| {
        of.map_or_else(
            || "none".into(),
            |of| format!("{} at {}", units::value(of.value), figures.place(of.at)),
        )
    };
    lines.push(format!("min  {}", extreme(summary.min)));
    lines.push(format!("max  {}", extreme(summary.max)));
    for (name, value) in [("mean", summary.mean), ("std", summary.std)] {
        lines.extend(value.map(|value| format!("{name}  {}", units::value(value))));
    }
    let about = if summary.is_exact { "" } else { "about " };
    for (name, value) in quantile_names().zip(&summary.quantiles) {
        lines.push(format!("{name}  {about}{}", units::value(*value)));
    }
    let zeros = if summary.zeros == 0 { String::new() } else { share(summary.zeros, summary.count) };
    lines.push(format!("zeros  {}  {zeros}", units::exact(summary.zeros)).trim_end().to_owned());
    lines.push(format!("NaN  {}", units::exact(summary.nan)));
    lines.push(format!("Inf  {}", units::exact(summary.infinite)));
    lines.extend(summary.rows_zero.map(|rows| format!("rows all zero  {}", units::exact(rows))));
    let outliers =
        summary.outliers.iter().map(|of| format!("{} {}", units::value(of.value), figures.place(of.at)));
    lines.push(format!("largest  {}", outliers.collect::<Vec<_>>().join("  ")));
    for (of, name) in [(&figures.columns, "column"), (&figures.rows, "row")] {
        lines.extend(of.as_ref().map(|of| format!("{name}s  {}", energy(of, name, true))));
    }
    if let Some(of) = &figures.packed {
        lines.extend(packed(of).into_iter().map(|(name, words)| format!("{name}  {words}")));
    }
    lines.join("\n") + "\n"
}
