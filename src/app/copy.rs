//! Copying: what the cursor is on, and the equivalent command line.

use super::{App, Effect, Tab, findings, shell_path};
use crate::checkpoint::tree::Mode;

/// Copies what the cursor is on.
pub(super) fn copy(app: &mut App) -> Vec<Effect> {
    let tab = app.tab;
    if tab == Tab::Jobs {
        let Some(job) = app.jobs.current() else { return Vec::new() };
        let output = job.facts.output.clone();
        return copied(app, output);
    }
    if tab == Tab::Gpu {
        return app.gpu_in_words().map_or_else(Vec::new, |text| copied(app, text));
    }
    if let Some(board) = app.board().filter(|_| tab == Tab::Adapter) {
        return board.copied().map_or_else(Vec::new, |text| copied(app, text));
    }
    if tab == Tab::Values {
        return app.values_in_words().map_or_else(Vec::new, |text| {
            app.toast = Some("copied the figures".into());
            vec![Effect::Copy(text)]
        });
    }
    if let Some(text) = app.beside_in_words() {
        return copied(app, text);
    }
    if tab == Tab::Memory {
        return app.task_in_words().map_or_else(Vec::new, |text| copied(app, text));
    }
    let Some(ready) = app.ready() else { return Vec::new() };
    let text = match tab {
        Tab::Findings => findings::copied(app),
        _ => ready.tree.current().map(|row| {
            ready.layer().filter(|_| ready.tree.mode() == Mode::Layers).map_or_else(
                || ready.files().names.name(row.node),
                |layer| ready.checkpoint.layers.name(&ready.files().names, layer),
            )
        }),
    };
    text.map_or_else(Vec::new, |text| copied(app, text))
}

pub(super) fn copied(app: &mut App, text: String) -> Vec<Effect> {
    app.toast = Some(format!("copied {}", crate::name::cut_middle(&crate::name::escape(&text), 60)));
    vec![Effect::Copy(text)]
}

/// Copies the command line that does what the screen shows.
pub(super) fn copy_command(app: &mut App) -> Vec<Effect> {
    if let Some(job) = app.jobs.current().filter(|_| app.tab == Tab::Jobs) {
        let command = job.command.clone();
        app.toast = Some(format!("copied {command}"));
        return vec![Effect::Copy(command)];
    }
    let of_memory = if app.is_in_memory() { app.memory_command() } else { None };
    let of_values = app.values_command().filter(|_| app.tab == Tab::Values);
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let of_tab = match app.tab {
        Tab::Adapter if open.attached.is_some() => {
            let adapter = open.attached.as_ref().map_or("", |attached| attached.path.as_str());
            format!("ckpt align {} -a {}", shell_path(&open.path), shell_path(adapter))
        }
        Tab::Findings => findings::command(app).unwrap_or_default(),
        Tab::Gpu => "ckpt doctor".to_owned(),
        _ => format!("ckpt inspect {}", shell_path(&open.path)),
    };
    let command = of_memory.or(of_values).unwrap_or(of_tab);
    app.toast = Some(format!("copied {command}"));
    if app.log.last() != Some(&command) {
        app.log.push(command.clone());
    }
    vec![Effect::Copy(command)]
}
