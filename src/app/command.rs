//! Commands: what a key, the palette and help can do. Every list of keys a user sees is printed from here.
//!
//! A command that cannot run now says why: the missing thing and the key that brings it.

mod all;
mod compare;
mod conditions;
mod walk;

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use tui_input::Input;

use super::{
    App, Effect, Overlay, Tab, attach, board, convert, copy, error, export, findings, gpu, jobs, marks,
    memory, merge, repair, screenshot, values,
};

pub use self::all::COMMANDS;
pub(super) use self::conditions::has_checkpoint;
use self::conditions::{
    can_sort, can_unfold, everywhere, has_open, has_rows, has_several, in_findings, in_jobs, in_tree,
    in_tree_or_findings, off_adapter, off_board, off_board_with_weights, off_jobs, off_tree, on_active_job,
    on_done_job, on_fold, on_repaired_job, with_base, with_pane, without_base, without_rows,
};
use self::walk::{
    back, collapse, enter, expand, filter, half_page, last, next, other_pane, reload, show, sort, step,
    tensors, turn, unfold, wide,
};
pub(super) use self::walk::{first, open};

/// Cells of a command's doc: help has two columns of it on a screen of 120.
pub const DOC_CELLS_MAX: usize = 37;

/// One row of `COMMANDS`.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name in the palette, the key map and the log.
    pub name: &'static str,
    /// What it does, for help and palette: at most `DOC_CELLS_MAX`.
    pub doc: &'static str,
    /// Its keys, as `keys::text` names them.
    pub keys: &'static [&'static str],
    /// The command that it stands in for where it is in the footer: it is run by that one's keys there.
    pub via: &'static str,
    /// A short word for the footer.
    pub short: &'static str,
    /// What of the state stands behind it there: `sort: by difference`.
    pub now: fn(&App) -> &'static str,
    /// True if the footer may show it.
    pub footer: bool,
    /// True where it means something: the layer tree, a tab, everywhere.
    pub here: fn(&App) -> bool,
    /// The reason why it cannot run now.
    pub ready: fn(&App) -> Result<(), String>,
    /// Runs it.
    pub run: fn(&mut App) -> Vec<Effect>,
}

const TABLE: &[Command] = &[
    row("details", "Details of the row; into the tab", &["enter"], "details", enter)
        .foot(|app| in_tree(app) && !super::compare::takes_enter(app))
        .needs(has_rows),
    row("keys", "Keys of the module; unfold alike ones", &[], "keys", enter)
        .via("details")
        .foot(App::is_on_board)
        .needs(board::needs_board),
    row("down", "Move down", &["j", "down"], "down", |app| step(app, 1)).needs(has_rows),
    row("up", "Move up", &["k", "up"], "up", |app| step(app, -1)).needs(has_rows),
    row("expand", "Open the row", &["l", "right"], "open", expand).needs(in_tree_or_findings),
    row("collapse", "Close the row, or go to its parent", &["h", "left"], "close", collapse)
        .needs(in_tree_or_findings),
    row("next-task", "Next task", &[], "task", |app| step(app, 1)).via("down").foot(App::has_numbers),
    row("next-gpu", "Next GPU", &[], "GPU", |app| step(app, 1)).via("down").foot(gpu::with_several),
    row("number", "Mark the next number", &[], "number", |app| memory::next_number(app, true))
        .via("next-pane")
        .foot(App::has_numbers),
    row("number-before", "Mark the number before", &[], "number", |app| memory::next_number(app, false))
        .via("previous-pane")
        .only(App::has_numbers),
    row("lower", "Lower the marked number", &[], "less", memory::lower)
        .via("collapse")
        .foot(App::has_numbers),
    row("raise", "Raise the marked number", &[], "more", memory::raise).via("expand").foot(App::has_numbers),
    row("first", "First row (g g)", &["home"], "first", first).needs(has_rows),
    row("last", "Last row", &["G", "end"], "last", last).needs(has_rows),
    row("half-page-down", "Half a page down", &["ctrl-d", "pgdn"], "page", |app| half_page(app, 1))
        .needs(has_rows),
    row("half-page-up", "Half a page up", &["ctrl-u", "pgup"], "page", |app| half_page(app, -1))
        .needs(has_rows),
    row("map", "Into the map of values", &[], "map", enter)
        .via("next-pane")
        .foot(values::beside_map)
        .needs(values::has_map),
    row("numbers", "Into the numbers of a vector", &[], "numbers", enter)
        .via("next-pane")
        .foot(values::beside_vector)
        .needs(values::has_vector),
    row("norms", "Into the list of norms", &[], "norms", enter)
        .via("next-pane")
        .foot(values::norms::beside_norms)
        .needs(values::norms::shows_list),
    row("norm-on-map", "The row or column, on the map", &[], "on the map", values::norms::to_map)
        .via("details")
        .foot(values::norms::on_norms)
        .needs(values::norms::has_list),
    row("norm-order", "Sort the norms…", &[], "sort", values::norms::choose_order)
        .via("sort")
        .foot(values::norms::on_norms)
        .needs(values::norms::has_list),
    row("end-norms", "From the list of norms to the tree", &[], "end the list", values::norms::leave)
        .via("back")
        .foot(values::norms::on_norms)
        .needs(values::norms::has_list),
    row("zoom-in", "Closer on the map of values", &["+"], "closer", values::zoom_in)
        .foot(values::on_map)
        .needs(values::has_map),
    row("zoom-out", "Farther on the map of values", &["-"], "farther", values::zoom_out)
        .foot(values::on_map)
        .needs(values::has_map),
    row("values-part", "Weights, codes, scales…; all norms", &[], "which values", values::choose_part)
        .via("show-states")
        .foot(values::in_values)
        .needs(values::can_choose),
    row("logarithms", "Histogram: counts or their logarithms", &["L"], "logarithms", values::switch_scale)
        .foot(values::in_values)
        .needs(values::needs_values),
    row("stop-values", "Stop reading values", &[], "stop", values::stop)
        .via("cancel-job")
        .foot(values::is_running)
        .needs(values::can_stop),
    row("read-values", "Read the values that were stopped", &[], "read on", values::read_on)
        .via("cancel-job")
        .foot(values::is_stopped)
        .needs(values::can_read_on),
    row("open-fix", "Plan of the fix; or what its line is", &[], "plan of the fix", enter)
        .via("details")
        .foot(in_findings)
        .needs(findings::has_finding),
    row("into-finding", "Into the finding: places and fixes", &[], "into it", expand)
        .via("expand")
        .foot(in_findings)
        .needs(findings::has_finding),
    row("purpose", "For what: load, qlora, merge, vllm…", &[], "for what", findings::choose_purpose)
        .via("show-states")
        .foot(in_findings)
        .needs(has_checkpoint),
    row("cancel-job", "Cancel the job that runs…", &["x"], "cancel…", jobs::cancel)
        .foot(on_active_job)
        .needs(jobs::can_cancel),
    row("open-result", "Open the result beside its input", &[], "open the result", enter)
        .via("details")
        .foot(on_done_job)
        .needs(jobs::can_open_result),
    row("attach-result", "Attach the repaired adapter", &[], "attach the repaired adapter", enter)
        .via("details")
        .foot(on_repaired_job)
        .needs(jobs::can_attach_result),
    row("weigh", "How much it changes each layer", &["w"], "weigh", board::weigh)
        .foot(App::is_on_board)
        .needs(board::needs_board),
    row("show-states", "Which modules the board shows…", &["f"], "show", board::choose)
        .foot(App::is_on_board)
        .needs(board::needs_board),
    row("repair", "Repair the adapter… (a list first)", &["r"], "repair", repair::open)
        .foot(repair::has_repair)
        .needs(board::needs_board),
    row("open-base", "Open the base, this adapter attached", &[], "open its base", attach::open_base)
        .via("open")
        .foot(attach::has_base)
        .needs(attach::can_open_base),
    row("choose-base", "Open another base for this adapter…", &[], "choose its base", attach::choose_base)
        .via("attach")
        .foot(attach::is_adapter)
        .needs(attach::needs_adapter),
    row("filter", "Filter by words: name, dtype:, bits:…", &["/"], "filter", filter)
        .foot(off_board)
        .needs(has_checkpoint),
    row("attach", "Attach an adapter to this base…", &["a"], "attach", attach::pick)
        .foot(with_base)
        .needs(attach::can_attach),
    row("compare", "Compare with another checkpoint…", &["b"], "compare", super::compare::pick)
        .needs(super::compare::can_compare),
    row("convert", "Convert… (a plan first, always)", &["c"], "convert", convert::open)
        .foot(off_board_with_weights)
        .needs(convert::can_convert),
    row("merge", "Merge the adapter… (a plan first)", &["m"], "merge", merge::open)
        .foot(with_base)
        .needs(merge::can_merge),
    row("tensors", "Layers or raw tensors", &["t"], "tensors", tensors).foot(in_tree).needs(has_checkpoint),
    row("unfold", "Unfold alike layers, fold them again", &["u"], "unfold", unfold)
        .foot(on_fold)
        .needs(can_unfold),
    row("mark", "Mark for convert, merge, stats", &["space"], "mark", marks::toggle)
        .only(in_tree)
        .needs(marks::can_toggle),
    row("unmark", "Take all marks away", &[], "unmark", marks::clear).needs(marks::can_clear),
    row("sort", "Sort…", &["s"], "sort", sort).foot(App::is_on_board).needs(can_sort),
    row("next", "Next that stands out, or filter hit", &["n"], "next", |app| next(app, true))
        .foot(App::is_on_board)
        .needs(has_checkpoint),
    row("previous", "Previous that stands out, or hit", &["N"], "previous", |app| next(app, false))
        .needs(has_checkpoint),
    row("detail", "Tab: the row under the cursor", &["1"], "tree", |app| show(app, Tab::Detail))
        .foot(off_tree),
    row("values", "Tab: values of the row", &["2", "v"], "values", |app| show(app, Tab::Values))
        .needs(has_checkpoint),
    row("findings", "Tab: what is wrong, and what helps", &["3", "d"], "findings", |app| {
        show(app, Tab::Findings)
    })
    .foot(with_pane)
    .needs(has_checkpoint),
    row("adapter", "Tab: the adapter", &["4"], "adapter", |app| show(app, Tab::Adapter))
        .foot(off_adapter)
        .needs(attach::has_adapter),
    row("memory", "Tab: what tasks need, what is free", &["5"], "memory", |app| show(app, Tab::Memory))
        .foot(with_pane)
        .needs(has_checkpoint),
    row("jobs", "Tab: what was started, how far it is", &["6"], "jobs", |app| show(app, Tab::Jobs))
        .foot(off_jobs)
        .needs(jobs::has_jobs),
    row("gpu", "Tab: GPUs, who holds their memory", &["7"], "GPUs", |app| show(app, Tab::Gpu))
        .foot(gpu::beside_gpus),
    row("matrix", "QLoRA matrix: what trains and merges", &["M"], "matrix", findings::open_matrix)
        .foot(in_findings)
        .needs(has_checkpoint),
    row("error", "Explain an error; a paste does it too", &["e"], "error", error::open).foot(off_board),
    row("next-pane", "Next pane", &["tab"], "pane", other_pane),
    row("previous-pane", "Previous pane", &["backtab"], "pane", other_pane),
    row("open", "Open a path, cached or recent", &["o"], "open", open).foot(without_base),
    row("previous-checkpoint", "Previous open checkpoint", &[","], "previous", |app| turn(app, -1))
        .needs(has_several),
    row("next-checkpoint", "Next open checkpoint", &["."], "next", |app| turn(app, 1)).needs(has_several),
    row("copy", "Copy what the cursor is on", &["y"], "copy", copy::copy).needs(has_rows),
    row("copy-command", "Copy the equivalent command line", &["Y"], "copy command", copy::copy_command)
        .foot(in_jobs)
        .needs(has_open),
    row("wide", "Full width for this pane, and back", &["z"], "wide", wide).needs(has_checkpoint),
    row("reload", "Read the files again", &["R"], "read again", reload).foot(without_rows).needs(has_open),
    row("command-log", "This session as a shell script", &["@"], "log", |app| {
        app.overlay = Some(Overlay::Log);
        Vec::new()
    }),
    row("screenshot", "A picture of this screen, in a file", &[], "picture", screenshot::screenshot),
    row("export", "Values or a comparison, in a file", &[], "export", export::export)
        .needs(export::can_export),
    row("palette", "Commands by name", &[":"], "commands", |app| {
        app.overlay = Some(Overlay::Palette(Input::default(), 0));
        Vec::new()
    })
    .foot(everywhere),
    row("help", "Keys of here and everywhere", &["?", "f1"], "help", |app| {
        app.overlay = Some(Overlay::Help(Input::default(), 0));
        Vec::new()
    })
    .foot(everywhere),
    row("back", "One step back, or clear the filter", &["esc"], "back", back),
    row("repaint", "Draw every cell again", &["ctrl-l"], "repaint", |_| vec![Effect::Repaint]),
    row("suspend", "Back to the shell; fg returns", &["ctrl-z"], "suspend", |_| vec![Effect::Suspend]),
    row("quit", "Quit", &["q", "ctrl-c"], "quit", jobs::quit).foot(everywhere),
];

const fn row(
    name: &'static str,
    doc: &'static str,
    keys: &'static [&'static str],
    short: &'static str,
    run: fn(&mut App) -> Vec<Effect>,
) -> Command {
    Command {
        name,
        doc,
        keys,
        via: "",
        short,
        now: |_| "",
        footer: false,
        here: |_| true,
        ready: |_| Ok(()),
        run,
    }
}

impl Command {
    const fn foot(mut self, here: fn(&App) -> bool) -> Self {
        self.footer = true;
        self.here = here;
        self
    }

    const fn only(mut self, here: fn(&App) -> bool) -> Self {
        self.here = here;
        self
    }

    const fn now(mut self, now: fn(&App) -> &'static str) -> Self {
        self.now = now;
        self
    }

    const fn via(mut self, other: &'static str) -> Self {
        self.via = other;
        self
    }

    const fn needs(mut self, ready: fn(&App) -> Result<(), String>) -> Self {
        self.ready = ready;
        self
    }

    /// Returns the words of the footer.
    #[must_use]
    pub fn words(&self, app: &App) -> String {
        match (self.now)(app) {
            "" => self.short.to_owned(),
            now => format!("{}: {now}", self.short),
        }
    }
}

/// Returns the commands whose name or doc matches, best first; all for an empty text.
#[must_use]
pub fn search(text: &str) -> Vec<&'static Command> {
    if text.is_empty() {
        return COMMANDS.iter().collect();
    }
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::new(text, CaseMatching::Ignore, Normalization::Smart, AtomKind::Fuzzy);
    let mut buffer = Vec::new();
    let mut found: Vec<(u32, &'static Command)> = COMMANDS
        .iter()
        .filter_map(|command| {
            let by_name = pattern.score(Utf32Str::new(command.name, &mut buffer), &mut matcher);
            // A hit in the name beats any in the doc, and the whole name any other.
            let more = if command.name.eq_ignore_ascii_case(text) { 20_000 } else { 10_000 };
            let by_name = by_name.map(|score| score + more);
            let score =
                by_name.or_else(|| pattern.score(Utf32Str::new(command.doc, &mut buffer), &mut matcher))?;
            Some((score, command))
        })
        .collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, command)| command).collect()
}
