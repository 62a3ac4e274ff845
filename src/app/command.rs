//! Commands: what a key, the palette and help can do. Every list of keys a user sees is printed from here.
//!
//! A command that cannot run now says why: the missing thing and the key that brings it.

mod all;
mod compare;
mod conditions;

use std::sync::Arc;

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use tui_input::Input;

use super::picker::Picker;
use super::{
    App, Effect, Focus, Overlay, Ready, Tab, attach, board, convert, copy, error, findings, gpu, jobs,
    memory, merge, repair,
};
use crate::checkpoint::tree::{Mode, Sort};

pub use self::all::COMMANDS;
pub(super) use self::conditions::has_checkpoint;
use self::conditions::{
    can_sort, can_unfold, everywhere, has_open, has_rows, has_several, in_findings, in_jobs, in_tree,
    in_tree_or_findings, off_adapter, off_board, off_board_with_weights, off_jobs, off_tree, on_active_job,
    on_done_job, on_repaired_job, with_base, with_pane, without_base, without_rows,
};

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
        .foot(|app| in_tree(app) && !super::compare::is_strippable(app))
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
    row("compare", "Compare with another checkpoint…", &["b"], "other B", super::compare::pick)
        .foot(super::compare::on_screen)
        .needs(super::compare::can_compare),
    row("convert", "Convert… (a plan first, always)", &["c"], "convert", convert::open)
        .foot(off_board_with_weights)
        .needs(convert::can_convert),
    row("merge", "Merge the adapter… (a plan first)", &["m"], "merge", merge::open)
        .foot(with_base)
        .needs(merge::can_merge),
    row("tensors", "Layers or raw tensors", &["t"], "tensors", tensors).foot(in_tree).needs(has_checkpoint),
    row("unfold", "Unfold alike layers, fold them again", &["u"], "unfold", unfold)
        .foot(in_tree)
        .needs(can_unfold),
    row("sort", "Sort…", &["s"], "sort", sort).foot(App::is_on_board).needs(can_sort),
    row("next", "Next that stands out, or filter hit", &["n"], "next", |app| next(app, true))
        .foot(App::is_on_board)
        .needs(has_checkpoint),
    row("previous", "Previous that stands out, or hit", &["N"], "previous", |app| next(app, false))
        .needs(has_checkpoint),
    row("detail", "Tab: the row under the cursor", &["1"], "tree", |app| show(app, Tab::Detail))
        .foot(off_tree),
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
    Command { name, doc, keys, via: "", short, footer: false, here: |_| true, ready: |_| Ok(()), run }
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

    const fn via(mut self, other: &'static str) -> Self {
        self.via = other;
        self
    }

    const fn needs(mut self, ready: fn(&App) -> Result<(), String>) -> Self {
        self.ready = ready;
        self
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

/// Runs `change` on the checkpoint that is shown.
fn with(app: &mut App, change: impl FnOnce(&mut Ready)) -> Vec<Effect> {
    if let Some(ready) = app.ready_mut() {
        change(ready);
    }
    Vec::new()
}

fn step(app: &mut App, by: isize) -> Vec<Effect> {
    let (tab, focus) = (app.tab, app.focus);
    if tab == Tab::Jobs {
        app.jobs.step(by);
        return Vec::new();
    }
    if tab == Tab::Gpu {
        app.step_gpu(by);
        return Vec::new();
    }
    if let Some(board) = app.board_mut().filter(|_| tab == Tab::Adapter) {
        board.step(by);
        return Vec::new();
    }
    if tab == Tab::Findings {
        if let Some(findings) = app.findings_mut() {
            findings.step(by);
        }
        return Vec::new();
    }
    if tab == Tab::Memory {
        app.step_task(by);
        return Vec::new();
    }
    with(app, |ready| match (tab, focus) {
        (Tab::Detail, Focus::Tree) => {
            ready.tree.move_cursor(by);
            ready.detail_top = 0;
        }
        (Tab::Detail, Focus::Side) => ready.detail_top = ready.detail_top.saturating_add_signed(by),
        _ => ready.tab_top = ready.tab_top.saturating_add_signed(by),
    })
}

fn half_page(app: &mut App, direction: isize) -> Vec<Effect> {
    let rows = (app.page_rows / 2).max(1) as isize;
    if app.tab == Tab::Gpu {
        app.gpus.top = app.gpus.top.saturating_add_signed(rows * direction);
        return Vec::new();
    }
    if app.tab == Tab::Memory {
        // Where it ends the view knows; it stops there.
        return with(app, |ready| ready.tab_top = ready.tab_top.saturating_add_signed(rows * direction));
    }
    step(app, rows * direction)
}

/// Goes to the first row.
pub(super) fn first(app: &mut App) -> Vec<Effect> {
    step(app, -isize::MAX)
}

fn last(app: &mut App) -> Vec<Effect> {
    let is_list = matches!(app.tab, Tab::Findings | Tab::Jobs | Tab::Memory | Tab::Gpu) || app.is_on_board();
    let is_text = app.focus == Focus::Side && !is_list;
    // Texts end at their last line; the view stops there, but a huge top would be stuck.
    step(app, if is_text { 1000 } else { isize::MAX })
}

fn expand(app: &mut App) -> Vec<Effect> {
    if app.tab == Tab::Findings {
        return app.enter_finding();
    }
    if app.focus == Focus::Side {
        return Vec::new();
    }
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let row = ready.tree.cursor();
        ready.tree.open(&checkpoint, row);
    })
}

fn collapse(app: &mut App) -> Vec<Effect> {
    if app.tab == Tab::Findings {
        leave_finding(app);
        return Vec::new();
    }
    if app.focus == Focus::Side {
        app.focus = Focus::Tree;
        return Vec::new();
    }
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        ready.tree.close_or_parent(&checkpoint);
    })
}

fn enter(app: &mut App) -> Vec<Effect> {
    match (app.tab, app.focus) {
        (Tab::Findings, _) => app.enter_on_finding(),
        (Tab::Adapter, _) => {
            app.board_mut().map(board::Board::enter);
            Vec::new()
        }
        (Tab::Jobs, _) => match jobs::can_open_result(app) {
            Ok(()) => jobs::open_result(app),
            Err(why) => {
                app.toast = Some(why);
                Vec::new()
            }
        },
        (Tab::Detail, Focus::Tree) => {
            let opened = app.ready_mut().is_some_and(|ready| {
                let checkpoint = Arc::clone(&ready.checkpoint);
                let row = ready.tree.cursor();
                ready.tree.open(&checkpoint, row)
            });
            if !opened {
                app.focus = Focus::Side;
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Goes from a finding back to the list; returns false if the list had the focus.
fn leave_finding(app: &mut App) -> bool {
    app.findings_mut().is_some_and(|findings| findings.item.take().is_some())
}

fn filter(app: &mut App) -> Vec<Effect> {
    app.show(Tab::Detail);
    let text = app.ready().and_then(|ready| ready.tree.filter()).map(|f| f.text().to_owned());
    app.filter_input = Some(Input::new(text.unwrap_or_default()));
    Vec::new()
}

fn tensors(app: &mut App) -> Vec<Effect> {
    app.show(Tab::Detail);
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let mode = match ready.tree.mode() {
            Mode::Layers => Mode::Tensors,
            Mode::Tensors => Mode::Layers,
        };
        ready.tree.set_mode(&checkpoint, mode);
    })
}

fn unfold(app: &mut App) -> Vec<Effect> {
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let row = ready.tree.cursor();
        ready.tree.toggle_unfold(&checkpoint, row);
    })
}

fn sort(app: &mut App) -> Vec<Effect> {
    if app.is_on_board() {
        return board::choose_order(app);
    }
    let at = app.ready().map_or(0, |r| Sort::ALL.iter().position(|s| *s == r.tree.sort()).unwrap_or(0));
    app.overlay = Some(Overlay::SortMenu(at));
    Vec::new()
}

fn next(app: &mut App, forward: bool) -> Vec<Effect> {
    if matches!(app.tab, Tab::Findings | Tab::Jobs | Tab::Gpu) {
        return step(app, if forward { 1 } else { -1 });
    }
    if app.is_on_board() {
        return board::next(app, forward);
    }
    let Some(ready) = app.ready_mut() else { return Vec::new() };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let from = ready.tree.cursor();
    ready.detail_top = 0;
    if ready.tree.next_marked(&checkpoint, from, forward).is_none() {
        app.toast = Some("nothing stands out: no problem, no odd layer".into());
    }
    Vec::new()
}

fn show(app: &mut App, tab: Tab) -> Vec<Effect> {
    app.show(tab);
    Vec::new()
}

fn other_pane(app: &mut App) -> Vec<Effect> {
    if app.tab == Tab::Findings && !leave_finding(app) {
        return app.enter_finding();
    }
    if app.tab == Tab::Detail {
        app.focus = if app.focus == Focus::Tree { Focus::Side } else { Focus::Tree };
    }
    Vec::new()
}

/// Opens the picker.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    let is_first = app.opens.is_empty();
    app.overlay = Some(Overlay::Picker(Box::new(Picker { is_first, ..Picker::default() })));
    vec![Effect::FindPlaces]
}

fn turn(app: &mut App, by: isize) -> Vec<Effect> {
    let count = app.opens.len() as isize;
    app.current = (app.current as isize + by).rem_euclid(count.max(1)) as usize;
    Vec::new()
}

fn wide(app: &mut App) -> Vec<Effect> {
    app.is_wide = !app.is_wide;
    Vec::new()
}

fn reload(app: &mut App) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    app.toast = Some("read again".into());
    vec![Effect::Open(open.id, open.path.clone())]
}

fn back(app: &mut App) -> Vec<Effect> {
    let is_filtered = app.ready().is_some_and(|ready| ready.tree.filter().is_some());
    if app.tab == Tab::Findings && leave_finding(app) || app.return_from_jump() {
        return Vec::new();
    }
    if app.is_on_board() {
        app.back_on_board();
    } else if app.leave_number() {
        // The tasks have the focus again.
    } else if app.tab != Tab::Detail || app.focus == Focus::Side {
        app.show(Tab::Detail);
    } else if is_filtered {
        app.set_filter("");
    } else {
        app.toast = Some("q quits".into());
    }
    Vec::new()
}
