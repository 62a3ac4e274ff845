//! Commands while two checkpoints are compared. They are run by the keys of others, in whose place they stand there.

use super::{Command, row};
use crate::app::App;
use crate::app::compare::{
    can_compare, can_put_beside, choose_show, copy_command, copy_row, end, in_beside, is_matched,
    is_on_layer, is_on_strip, is_running, is_seeking, is_strippable, is_walking, leave_beside, next_cell,
    next_differing, next_place, on_screen, pick, previous_cell, previous_differing, previous_place,
    put_beside, sort, stop, stop_seeking, strip, to_largest,
};
use crate::checkpoint::tree::Sort;

/// They come first: in the footer, and for the keys.
pub(super) const TABLE: &[Command] = &[
    row("strip-prefix", "Match names without the prefix", &[], "strip the prefix", strip)
        .via("details")
        .foot(is_strippable)
        .needs(can_strip),
    row("next-differing", "Next row that differs", &[], "next differing", next_differing)
        .via("next")
        .foot(is_matched)
        .needs(is_comparing),
    row("previous-differing", "Previous row that differs", &[], "previous", previous_differing)
        .via("previous")
        .only(is_matched)
        .needs(is_comparing),
    row("next-place", "Next value that differs", &[], "next that differs", next_place)
        .via("next")
        .foot(in_beside)
        .needs(needs_beside),
    row("previous-place", "Previous value that differs", &[], "previous", previous_place)
        .via("previous")
        .only(in_beside)
        .needs(needs_beside),
    row("largest-difference", "Largest difference of the layer", &[], "largest difference", to_largest)
        .via("details")
        .foot(in_beside)
        .needs(needs_beside),
    row("stop-seeking", "Stop looking for what differs", &[], "stop", stop_seeking)
        .via("cancel-job")
        .foot(is_seeking)
        .needs(needs_beside),
    row("leave-values", "From values back to the layers", &[], "layers", leave_beside)
        .via("back")
        .foot(in_beside)
        .needs(needs_beside),
    row("compare-sort", "Sort, also by difference…", &[], "sort", sort)
        .via("sort")
        .now(sort_words)
        .foot(is_matched)
        .needs(is_comparing),
    row("compare-show", "Which layers of both show…", &[], "show", choose_show)
        .via("show-states")
        .now(|app| app.compare().map_or("", |compare| compare.show.name()))
        .foot(is_matched)
        .needs(is_comparing),
    row("compare-values", "Values of A and B beside each other", &[], "values A|B", put_beside)
        .via("details")
        .foot(is_on_layer)
        .needs(can_put_beside),
    row("compare-stop", "Stop comparing values", &[], "stop", stop)
        .via("cancel-job")
        .foot(is_running)
        .needs(can_stop),
    row("other-b", "Compare with another; match names…", &[], "other B", pick)
        .via("compare")
        .foot(on_screen)
        .needs(can_compare),
    row("compare-end", "End the comparison; B stays open", &[], "end compare", end)
        .via("back")
        .foot(on_screen)
        .needs(is_comparing),
    row("copy-row", "Copy the row and its figures", &[], "copy row", copy_row)
        .via("copy")
        .foot(is_matched)
        .needs(is_comparing),
    row("next-cell", "Next layer of the strip", &[], "walk the strip", next_cell)
        .via("expand")
        .foot(is_on_strip)
        .needs(is_comparing),
    row("previous-cell", "Previous layer of the strip", &[], "back", previous_cell)
        .via("collapse")
        .only(is_walking)
        .needs(is_comparing),
    row("copy-diff", "Copy the command of the comparison", &[], "copy command", copy_command)
        .via("copy-command")
        .only(on_screen)
        .needs(is_comparing),
];

/// The order in force, as the footer says it.
fn sort_words(app: &App) -> &'static str {
    match app.ready().map(|ready| ready.tree.sort()) {
        Some(Sort::Difference) => "by difference",
        sort => sort.unwrap_or_default().name(),
    }
}

fn is_comparing(app: &App) -> Result<(), String> {
    if app.compare().is_some() { Ok(()) } else { Err("nothing is compared (b compares)".into()) }
}

fn needs_beside(app: &App) -> Result<(), String> {
    is_comparing(app)?;
    if in_beside(app) { Ok(()) } else { Err("no values stand beside each other (Enter on a layer)".into()) }
}

fn can_strip(app: &App) -> Result<(), String> {
    is_comparing(app)?;
    if is_strippable(app) { Ok(()) } else { Err("no prefix stands in the way".into()) }
}

fn can_stop(app: &App) -> Result<(), String> {
    is_comparing(app)?;
    if is_running(app) { Ok(()) } else { Err("nothing is being compared".into()) }
}
