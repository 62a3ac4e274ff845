//! Sparks: figures over time in one line, a cell each.

/// Six heights that a terminal tells apart.
const HEIGHTS: [char; 6] = ['▁', '▂', '▃', '▅', '▆', '▇'];

/// Returns the figures as heights, of which `most` is the highest; a figure that is missing leaves a blank.
pub(super) fn spark(figures: impl IntoIterator<Item = Option<f64>>, most: f64) -> String {
    let height = |figure: f64| {
        let share = if most > 0.0 { (figure / most).clamp(0.0, 1.0) } else { 0.0 };
        HEIGHTS[(share * (HEIGHTS.len() - 1) as f64).round() as usize]
    };
    figures.into_iter().map(|figure| figure.map_or(' ', height)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_blank_and_nothing_leaves_the_scale() {
        assert_eq!(
            spark([Some(0.0), None, Some(50.0), Some(100.0), Some(900.0), Some(f64::NAN)], 100.0),
            "▁ ▅▇▇▁"
        );
        assert_eq!(spark([Some(3.0)], 0.0), "▁");
    }
}
