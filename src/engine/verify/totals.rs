//! What packing took over all layers, in words: what is said at the end of a run, in the model card and on the screen.

use super::Quality;
use super::measured::Sums;
use crate::quant::target::Target;
use crate::units;

/// A share of an adapter's change below which most of it is gone.
const MOSTLY_GONE: f64 = 0.5;

/// Returns layers in the order of what packing took of them, most first: of an adapter's change where one is merged, else of
/// the values.
#[must_use]
pub fn worst_first(quality: &[(u32, Quality)]) -> Vec<&(u32, Quality)> {
    let is_merged = quality.iter().any(|(_, quality)| quality.is_merged);
    let cost = |quality: &Quality| match quality.delta_kept() {
        Some(kept) => 1.0 - kept,
        None if is_merged => f64::NEG_INFINITY,
        None => quality.sums.relative_error(),
    };
    let mut rows: Vec<&(u32, Quality)> = quality.iter().collect();
    rows.sort_by(|(_, a), (_, b)| cost(b).total_cmp(&cost(a)));
    rows
}

/// Quality over all layers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Layers that were measured.
    pub layers: usize,
    /// Sums over all of them.
    pub sums: Sums,
    /// The largest relative error of a layer.
    pub largest_error: f64,
    /// Layers for which better scales were searched, their sums, and those of round-to-nearest.
    pub searched: Option<(usize, Sums, Sums)>,
    /// Layers that adapters are merged into, and the least share of a change that is left of one.
    pub merged: Option<(usize, Option<f64>)>,
    /// Layers on the grid of the base, of those that are packed as they were.
    pub on_grid: Option<(usize, usize)>,
    /// Blocks of ggml that are not the base's, and all of them, over the layers that adapters are merged into.
    pub blocks: Option<[u64; 2]>,
    /// Share of the codes that are not the base's, as a mean over the layers of which it is known.
    pub codes_changed: Option<f64>,
}

impl Totals {
    /// Returns the totals, if any layer was measured.
    #[must_use]
    pub fn of(quality: &[(u32, Quality)]) -> Option<Self> {
        let mut totals = Self { layers: quality.len(), ..Self::default() };
        let (mut changed, mut known) = (0.0, 0usize);
        for (_, quality) in quality {
            totals.sums += quality.sums;
            totals.largest_error = totals.largest_error.max(quality.sums.relative_error());
            if let Some(nearest) = quality.nearest {
                let (layers, searched, without) = totals.searched.get_or_insert_default();
                *layers += 1;
                *searched += quality.sums;
                *without += nearest;
            }
            if quality.is_merged {
                let (layers, least) = totals.merged.get_or_insert_default();
                *layers += 1;
                if let Some(kept) = quality.delta_kept() {
                    *least = Some(least.map_or(kept, |least: f64| least.min(kept)));
                }
            }
            if let Some(keeps) = quality.keeps_grid {
                let (on_grid, of) = totals.on_grid.get_or_insert_default();
                *on_grid += usize::from(keeps);
                *of += 1;
            }
            if let Some([changed, all]) = quality.blocks {
                let [sum, of] = totals.blocks.get_or_insert_default();
                *sum += changed;
                *of += all;
            }
            if let Some(share) = quality.codes_changed {
                changed += share;
                known += 1;
            }
        }
        totals.codes_changed = (known > 0).then(|| changed / known as f64);
        (totals.layers > 0).then_some(totals)
    }

    /// Returns the share of the adapters' change that is left, if adapters are merged and change anything.
    #[must_use]
    pub fn delta_kept(&self) -> Option<f64> {
        self.merged.and_then(|_| self.sums.delta_kept())
    }

    /// Returns what is said of it, in lines: error, search, change.
    #[must_use]
    pub fn words(&self, target: Option<&dyn Target>) -> Vec<String> {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let layers = units::plural(self.layers, "layer");
        let label = target.map(|target| format!("{}: ", target.label())).unwrap_or_default();
        let method = target.map(Target::method).filter(|method| !method.is_empty());
        let method = method.map(|method| format!(", {method}")).unwrap_or_default();
        let mut lines = vec![format!(
            "quality  {label}relative error {} over {layers}, at most {} in one{method}",
            percent(self.sums.relative_error()),
            percent(self.largest_error)
        )];
        if let Some((count, searched, nearest)) = self.searched {
            let (with, without) = (searched.relative_error(), nearest.relative_error());
            lines.push(format!(
                "search   {} → {} over {}: round-to-nearest against the scales that were searched for",
                percent(without),
                percent(with),
                units::plural(count, "layer")
            ));
        }
        if let Some((count, least)) = self.merged {
            let layers = units::plural(count, "layer");
            let kept = self.delta_kept().map_or_else(
                || "the adapters change nothing".to_owned(),
                |kept| format!("{} of the adapters' change is left", percent(kept)),
            );
            let least = least.map(|least| format!(", {} in the worst", percent(least))).unwrap_or_default();
            let codes = self.codes_changed.map(|share| format!(", {} of the codes changed", percent(share)));
            let blocks = self.blocks.map(|[changed, all]| {
                format!(", {} of {} blocks changed", units::exact(changed), units::exact(all))
            });
            let changed = codes.or(blocks).unwrap_or_default();
            lines.push(format!("delta    {kept} over {layers}{least}{changed}"));
        }
        if let Some((on_grid, of)) = self.on_grid {
            let rest = if on_grid == of { "" } else { "; the others got new scales" };
            lines.push(format!(
                "grid     {on_grid} of {of} layers keep the scales and zero points of the base{rest}"
            ));
        }
        lines
    }

    /// Returns what to warn of: an adapter that is mostly rounded away.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let kept = self.delta_kept().filter(|kept| *kept < MOSTLY_GONE)?;
        Some(format!(
            "▲ most of the adapter is rounded away: {:.1} % of its change is left, because it is smaller than the steps \
             between codes",
            100.0 * kept
        ))
    }
}
