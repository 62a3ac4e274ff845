//! What packing took, in numbers and words: over all layers, and of those that it took most of.

use serde::Serialize;

use crate::engine::Outcome;
use crate::engine::verify::Quality;
use crate::engine::verify::measured::Sums;
use crate::engine::verify::totals::{Totals, worst_first};
use crate::name::{cut_middle, escape};
use crate::plan::Plan;

/// Layers that are shown in plain output.
const SHOWN: usize = 8;
/// Cells of a layer's name.
const NAME_CELLS: usize = 48;

/// What packing took of a layer.
#[derive(Serialize)]
pub(super) struct LayerQuality<'a> {
    layer: &'a str,
    /// Relative Frobenius error.
    relative_error: f64,
    /// That of round-to-nearest, where better scales were searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta_kept: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codes_changed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks_changed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keeps_grid: Option<bool>,
}

/// Returns what packing took of each layer, if any was packed and measured.
pub(super) fn json<'a>(plan: &'a Plan, outcome: &Outcome) -> Option<Vec<LayerQuality<'a>>> {
    let quality = &outcome.proof.as_ref()?.quality;
    let row = |(pack, quality): &(u32, Quality)| LayerQuality {
        layer: &plan.packs[*pack as usize].name,
        relative_error: quality.sums.relative_error(),
        nearest_error: quality.nearest.map(Sums::relative_error),
        delta_kept: quality.delta_kept(),
        codes_changed: quality.codes_changed,
        blocks_changed: quality.blocks.map(|[changed, _]| changed),
        blocks: quality.blocks.map(|[_, all]| all),
        keeps_grid: quality.keeps_grid,
    };
    (!quality.is_empty()).then(|| quality.iter().map(row).collect())
}

/// Returns what is said of it, in lines.
pub(super) fn lines(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let Some(proof) = &outcome.proof else {
        let is_packed = !plan.packs.is_empty();
        return is_packed.then(|| "▲ quality not measured: --verify none".to_owned()).into_iter().collect();
    };
    let Some(totals) = Totals::of(&proof.quality) else { return Vec::new() };
    let mut lines = totals.words(plan.target.as_deref());
    lines.extend(table(plan, &proof.quality));
    lines
}

/// The columns behind the error: of merges what is left and the codes that changed, of a search the error without it.
fn columns(is_merged: bool, is_searched: bool, [kept, codes, nearest]: [String; 3]) -> String {
    let merged = if is_merged { format!(" {kept:>10} {codes:>10}") } else { String::new() };
    if is_searched { format!("{merged} {nearest:>10}") } else { merged }
}

/// The layers of which it took most.
fn table(plan: &Plan, quality: &[(u32, Quality)]) -> Vec<String> {
    let rows = worst_first(quality);
    let is_merged = quality.iter().any(|(_, quality)| quality.is_merged);
    let is_searched = quality.iter().any(|(_, quality)| quality.nearest.is_some());
    let changed =
        if quality.iter().any(|(_, quality)| quality.blocks.is_some()) { "blocks" } else { "codes" };
    let percent =
        |share: Option<f64>| share.map_or_else(String::new, |share| format!("{:.2} %", 100.0 * share));
    let mut lines = vec![format!(
        "  {:<NAME_CELLS$} {:>9}{}",
        "layer",
        "error",
        columns(is_merged, is_searched, ["delta kept", changed, "nearest"].map(str::to_owned))
    )];
    for (pack, quality) in rows.iter().take(SHOWN) {
        let name = escape(&plan.packs[*pack as usize].name).into_owned();
        let name = cut_middle(&name, NAME_CELLS).into_owned();
        let error = percent(Some(quality.sums.relative_error()));
        let nearest = quality.nearest.map(Sums::relative_error);
        let blocks = quality.blocks.map(|[changed, all]| changed as f64 / all.max(1) as f64);
        let more = [quality.delta_kept(), quality.codes_changed.or(blocks), nearest].map(percent);
        let more = columns(is_merged, is_searched, more);
        lines.push(format!("  {name:<NAME_CELLS$} {error:>9}{more}").trim_end().to_owned());
    }
    if rows.len() > SHOWN {
        lines.push(format!("  … {} more, of which it took less: --json has all", rows.len() - SHOWN));
    }
    lines
}
