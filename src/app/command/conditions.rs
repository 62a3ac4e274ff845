//! Where commands mean something, and why they cannot run.

use super::{App, Tab, attach, gpu, jobs};

pub(in crate::app) fn everywhere(_: &App) -> bool {
    true
}

pub(in crate::app) fn in_tree(app: &App) -> bool {
    app.tab == Tab::Detail && app.is_readable()
}

/// The tree stands beside a tab that shows nothing of a fold.
pub(in crate::app) fn on_fold(app: &App) -> bool {
    in_tree(app) || app.tab == Tab::Values && app.values_of_row().is_err() && can_unfold(app).is_ok()
}

fn with_rows(app: &App) -> bool {
    app.is_readable()
}

/// A pane about the checkpoint shows, and not the board, which has keys enough of its own.
pub(in crate::app) fn off_board(app: &App) -> bool {
    with_pane(app) && !app.is_on_board()
}

/// A checkpoint shows that has weights of its own, and not the board.
pub(in crate::app) fn off_board_with_weights(app: &App) -> bool {
    with_weights(app) && !app.is_on_board()
}

/// A checkpoint shows that has weights of its own.
fn with_weights(app: &App) -> bool {
    with_rows(app) && app.ready().is_some_and(|ready| ready.adapter.is_none())
}

/// A pane about the checkpoint shows.
pub(in crate::app) fn with_pane(app: &App) -> bool {
    app.is_readable() && !app.tab.is_of_all()
}

/// A checkpoint shows that an adapter can be attached to.
pub(in crate::app) fn with_base(app: &App) -> bool {
    with_weights(app) && !app.tab.is_of_all()
}

/// The tab of the adapter is in the footer while one is attached and this is another tab.
pub(in crate::app) fn off_adapter(app: &App) -> bool {
    app.tab != Tab::Adapter && app.attached().is_some()
}

/// The key that opens does not open the base of an adapter.
pub(in crate::app) fn without_base(app: &App) -> bool {
    !attach::has_base(app)
}

pub(in crate::app) fn without_rows(app: &App) -> bool {
    !app.opens.is_empty() && !app.is_readable()
}

pub(in crate::app) fn off_tree(app: &App) -> bool {
    !app.tab.is_beside_tree()
}

pub(in crate::app) fn in_findings(app: &App) -> bool {
    app.tab == Tab::Findings
}

pub(in crate::app) fn in_jobs(app: &App) -> bool {
    app.tab == Tab::Jobs
}

/// The tab of jobs is in the footer while it shows nothing else: there is a job, and this is another tab.
pub(in crate::app) fn off_jobs(app: &App) -> bool {
    app.tab != Tab::Jobs && !app.jobs.list.is_empty()
}

pub(in crate::app) fn on_active_job(app: &App) -> bool {
    in_jobs(app) && app.jobs.current().is_some_and(jobs::Job::is_active)
}

pub(in crate::app) fn on_done_job(app: &App) -> bool {
    in_jobs(app) && jobs::can_open_result(app).is_ok() && jobs::can_attach_result(app).is_err()
}

pub(in crate::app) fn on_repaired_job(app: &App) -> bool {
    in_jobs(app) && jobs::can_attach_result(app).is_ok()
}

pub(in crate::app) fn has_open(app: &App) -> Result<(), String> {
    if app.opens.is_empty() { Err("open a checkpoint first (o)".into()) } else { Ok(()) }
}

/// There are rows to walk through: jobs, GPUs, or a checkpoint.
pub(in crate::app) fn has_rows(app: &App) -> Result<(), String> {
    match app.tab {
        Tab::Jobs => jobs::has_jobs(app),
        Tab::Gpu => gpu::has_gpus(app),
        _ => has_checkpoint(app),
    }
}

pub(in crate::app) fn has_checkpoint(app: &App) -> Result<(), String> {
    has_open(app)?;
    app.ready().map(|_| ()).ok_or_else(|| "this one is not open yet, or could not be read".into())
}

pub(in crate::app) fn has_several(app: &App) -> Result<(), String> {
    if app.opens.len() > 1 { Ok(()) } else { Err("only one checkpoint is open (o opens another)".into()) }
}

pub(in crate::app) fn in_tree_or_findings(app: &App) -> Result<(), String> {
    has_checkpoint(app)?;
    let is_here = app.tab.is_beside_tree() || app.tab == Tab::Findings;
    if is_here { Ok(()) } else { Err("only in the layer tree (1) and in Findings (3)".into()) }
}

pub(in crate::app) fn can_unfold(app: &App) -> Result<(), String> {
    has_checkpoint(app)?;
    let Some(ready) = app.ready() else { return Ok(()) };
    let is_folded = ready.tree.can_unfold(&ready.checkpoint, ready.tree.cursor());
    if is_folded { Ok(()) } else { Err("this row is in no fold of alike layers".into()) }
}

pub(in crate::app) fn can_sort(app: &App) -> Result<(), String> {
    has_checkpoint(app)?;
    let is_here = app.tab.is_beside_tree() || app.is_on_board();
    if is_here { Ok(()) } else { Err("only in the layer tree (1) and on the adapter board (4)".into()) }
}
