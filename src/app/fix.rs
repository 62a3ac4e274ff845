//! The fix form: what a fix changes, edit by edit, before anything is written. What decodes, merges or repairs opens
//! the form of that.

use std::sync::Arc;

use super::convert::{ANY, AS_IS, PROOFS, TAKEN, UNFINISHED, WHERE, can_convert, default_output, replaced};
use super::device::DEVICE;
use super::form::{Choice, Field, Fixing, Form, Kind, Seen, Task};
use super::{App, Effect, board, convert, merge, repair};
use crate::diagnose::treatment::{Treatment, Way};
use crate::diagnose::{About, Act, Finding};
use crate::engine::Options;

/// The fields: where it goes, and what is compared.
static FIELDS: [Field; 6] = [
    WHERE,
    Field { kind: Kind::Choice(&EXISTS), ..TAKEN },
    UNFINISHED,
    Field { name: "verify", kind: Kind::Choice(&VERIFY), ..ANY },
    // Most fixes copy: there is nothing to choose then.
    Field { applies: |seen| seen.is_computed, ..DEVICE },
    Field {
        name: "",
        kind: Kind::Button("Fix"),
        about: "Nothing is written before Enter. The input is opened for reading only; files that do not change are copied by the file system.",
        ..ANY
    },
];

static EXISTS: [Choice; 3] = [
    Choice {
        word: "keep",
        about: "What is there stays. Type another name in the field above, or choose what becomes of it.",
        ..AS_IS
    },
    Choice {
        word: "compare",
        about: "What is there is compared with this plan, and nothing is written.",
        flag: "--resume",
        set: |_, options: &mut Options| options.resume = true,
        button: "Compare",
        ..AS_IS
    },
    replaced("Fix and replace"),
];

static VERIFY: [Choice; 3] = [
    Choice {
        word: "sample",
        about: "The result is read again: tensors that were written one by one are compared, and of files that the file system copied some tensors and parts.",
        ..PROOFS[0]
    },
    Choice {
        about: "The result is read again, and every byte of every tensor is compared with the input.",
        ..PROOFS[1]
    },
    PROOFS[2],
];

/// Opens what a fix of a finding asks to be looked at first: the form of its edits, or of decoding, merging or
/// repairing. `fix` is its number among the finding's. What cannot be done is said.
pub fn open(app: &mut App, finding: Finding, fix: usize) -> Vec<Effect> {
    let Finding { rule, about, fixes, .. } = finding;
    let is_first = fixes.iter().position(crate::diagnose::Fix::applies) == Some(fix);
    let Some(chosen) = fixes.into_iter().nth(fix) else {
        app.toast = Some(format!("{}: nothing is known that helps", rule.code()));
        return Vec::new();
    };
    let ready = match &chosen.act {
        Act::Advice => Err(chosen.summary.clone()),
        Act::Dequantize | Act::Pack(_) => can_convert(app),
        Act::Merge => merge::can_merge(app),
        Act::Repair if app.board().is_none() => {
            Err("an adapter is repaired for its base: open that, and attach the adapter (a)".into())
        }
        Act::Repair | Act::Edit(_) => can_fix(app, about),
    };
    if let Err(why) = ready {
        app.toast = Some(why);
        return Vec::new();
    }
    match chosen.act {
        Act::Advice => Vec::new(),
        Act::Dequantize => convert::open_for(app, "dense"),
        Act::Pack(name) => convert::open_for(app, name),
        Act::Merge => merge::open(app),
        Act::Repair => repair::open(app),
        Act::Edit(edits) => {
            let code = rule.code();
            let fixing = Fixing {
                code: if is_first { code.to_owned() } else { format!("{code}:{}", fix + 1) },
                summary: chosen.summary,
                loss: chosen.loss,
                treatment: Treatment {
                    about,
                    way: Way::Edits,
                    edits: edits.into_iter().map(|edit| (code, edit)).collect(),
                    rules: vec![(rule, about)],
                },
            };
            show(app, fixing)
        }
    }
}

/// Shows the form of edits, with the values it had if it is for the same.
fn show(app: &mut App, fixing: Fixing) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let Some(ready) = app.ready() else { return Vec::new() };
    let is_same = |form: &Form| {
        form.task == Task::Fix
            && form.id == open.id
            && form.fixing.as_ref().is_some_and(|known| known.is_for(&fixing))
    };
    if !app.form.as_deref().is_some_and(is_same) {
        let attached = app.attached().zip(app.board());
        let attached = attached.map(|(attached, board)| (attached.path.clone(), Arc::clone(&board.held)));
        let files = match (&attached, fixing.treatment.about) {
            (Some((_, held)), About::Adapter(_)) => &held.adapter.files,
            _ => &ready.checkpoint.files,
        };
        let title = &ready.checkpoint.files.title;
        let mut form = Form::new(Task::Fix, &FIELDS, (open.id, &open.path), title);
        form.set_output(default_output(files, "fixed"));
        // What the rule saw it may have seen of the two together.
        if let Some((path, held)) = attached {
            form.begin_with(&path, held);
        }
        app.form = Some(Box::new(form));
    }
    if let Some(form) = &mut app.form {
        form.fixing = Some(fixing);
    }
    app.show_form(Seen::default())
}

fn can_fix(app: &App, about: About) -> Result<(), String> {
    super::command::has_checkpoint(app)?;
    match about {
        About::Adapter(_) if app.board().is_none() => board::needs_board(app),
        // Edits name tensors of what was examined.
        About::Checkpoint if app.ready().is_some_and(|ready| !ready.checkpoint.examined) => {
            Err("quant states are still being read".into())
        }
        _ => Ok(()),
    }
}
