//! Causes: where the error of a pair lies, as far as its values say: in some rows or columns, in one value, or all over.
//!
//! A row or column stands out as in the tab of values: its norm is four times that of the middle one.

use crate::app::values::figures::{Energy, STANDS_OUT};
use crate::stats::Compared;
use crate::units;

/// The share of the error from which on it is said to lie in one value.
const ONE_VALUE: f64 = 0.2;

/// Returns where the error lies, in sentences with their numbers. Empty where nothing differs, or it has no rows and columns and lies in no single value.
#[must_use]
pub fn causes(compared: &Compared) -> Vec<String> {
    let mut causes = Vec::new();
    if compared.changed == 0 || compared.distance <= 0.0 {
        return causes;
    }
    if let Some(most) = compared.max_abs {
        let share = (most.value / compared.distance).powi(2);
        if share >= ONE_VALUE && compared.changed > 1 {
            let [row, column] = compared.place(most.at);
            let place =
                if compared.shape.len() < 2 { format!("[{column}]") } else { format!("[{row}, {column}]") };
            causes.push(format!("One value, at {place}, holds {} of the error.", percent(share)));
        }
    }
    let Some([error, b]) = compared.sides.as_deref() else { return causes };
    for (name, norms, of_b) in [("column", &error.columns, &b.columns), ("row", &error.rows, &b.rows)] {
        causes.extend(side(name, norms, of_b));
    }
    if causes.is_empty() {
        causes.push("The error is spread: no row, column or value stands out.".to_owned());
    }
    causes
}

/// Returns what the rows or columns that stand out hold of the error, and whether their values stand out too.
fn side(name: &str, norms: &[f64], of_b: &[f64]) -> Option<String> {
    let energy = Energy::of(norms)?;
    let listed = |of: &[u64], count: usize| {
        let list: Vec<String> = of.iter().take(count).map(|at| units::exact(*at)).collect();
        let more = count.saturating_sub(list.len());
        let more = if more > 0 { format!(" and {} more", units::exact(more as u64)) } else { String::new() };
        format!("{}{more}", list.join(", "))
    };
    let (count, of) = (energy.standing_out, energy.count);
    let touched = of - energy.zero;
    // Then the middle one has none, and nothing can be so many times that.
    if 2 * touched <= of {
        let (s, holds) = if touched == 1 { ("", "holds") } else { ("s", "hold") };
        let all = listed(&energy.largest, touched);
        return Some(format!(
            "{} of {} {name}s {holds} all of the error: {name}{s} {all}.",
            units::exact(touched as u64),
            units::exact(of as u64)
        ));
    }
    if count == 0 {
        return None;
    }
    let holds = if count == 1 { "holds" } else { "hold" };
    let mut words = format!(
        "{} of {} {name}s {holds} {} of the error: {}.",
        units::exact(count as u64),
        units::exact(of as u64),
        percent(energy.share),
        listed(&energy.largest, count)
    );
    let middle = |norms: &[f64]| {
        let mut sorted = norms.to_vec();
        let (_, middle, _) = sorted.select_nth_unstable_by(norms.len() / 2, f64::total_cmp);
        *middle
    };
    let (of_error, of_values) = (middle(norms), middle(of_b));
    let both = norms.iter().zip(of_b).filter(|(error, value)| {
        **error > STANDS_OUT * of_error && of_values > 0.0 && **value > STANDS_OUT * of_values
    });
    let times = both.clone().map(|(_, value)| value / of_values).fold(f64::INFINITY, f64::min);
    let outliers = both.count();
    if outliers > 0 {
        let which = match (outliers, outliers == count) {
            (1, true) => "It stands out in B too: its values have".to_owned(),
            (_, true) => format!("All {outliers} stand out in B too: their values have"),
            (1, false) => "One of them stands out in B too: its values have".to_owned(),
            _ => format!("{outliers} of them stand out in B too: their values have"),
        };
        let least = if outliers == 1 { "" } else { "at least " };
        words = format!("{words} {which} {least}{times:.1} times the norm of the middle {name}.");
    }
    Some(words)
}

/// Returns a share in percent: never 0% of something, never 100% of less than all.
fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent < 1.0 => "<1%".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1}%"),
        percent if percent > 99.0 && share < 1.0 => ">99%".to_owned(),
        percent => format!("{percent:.0}%"),
    }
}

#[cfg(test)]
mod tests;
