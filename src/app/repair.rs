//! The repair form: every key that changes and every field of the config, before anything is written.
//!
//! The repair is that of `ckpt align --repair`: a new folder with the same values under the keys that PEFT looks for.
//! Where a module cannot be repaired nothing is written, and the list says which and why.

use std::sync::Arc;

use super::convert::{ANY, AS_IS, TAKEN, WHERE, default_output, replaced};
use super::form::{Choice, Field, Form, Kind, Seen, Task};
use super::{App, Effect};
use crate::adapter::repair::Keep;

/// The fields: where it goes, and for whom.
static FIELDS: [Field; 6] = [
    WHERE,
    Field { kind: Kind::Choice(&EXISTS), ..TAKEN },
    Field {
        name: "PEFT",
        kind: Kind::Wish {
            empty: "the newest",
            flag: "--peft-version",
            set: |wishes, text| {
                wishes.version = Some(text.to_owned());
                true
            },
        },
        about: "The oldest version of PEFT that is to load it, such as 0.11: fields of the config that it does not know are left out, if that changes nothing.",
        ..ANY
    },
    Field { name: "keep", kind: Kind::Choice(&KEPT), applies: |seen| seen.asks.keep, ..ANY },
    Field {
        name: "alpha",
        kind: Kind::Wish {
            empty: "not known",
            flag: "--alpha",
            set: |wishes, text| {
                wishes.alpha = text.parse().ok().filter(|alpha: &f64| alpha.is_finite());
                wishes.alpha.is_some()
            },
        },
        about: "Neither the config nor the tensors give alpha, by which deltas are scaled: who trained the adapter knows it.",
        applies: |seen| seen.asks.alpha,
        ..ANY
    },
    Field {
        name: "",
        kind: Kind::Button("Repair"),
        about: "Nothing is written before Enter. Base and adapter are opened for reading only.",
        ..ANY
    },
];

static EXISTS: [Choice; 2] = [
    Choice {
        word: "keep",
        about: "What is there stays. Type another name in the field above, or say that it is replaced.",
        ..AS_IS
    },
    replaced("Repair and replace"),
];

static KEPT: [Choice; 3] = [
    Choice {
        word: "to be said",
        about: "The config's rank is not that of the tensors, and alpha belongs to one of the two: only who trained the adapter knows which.",
        ..AS_IS
    },
    Choice {
        word: "alpha",
        about: "Alpha stays as the config has it; the scale becomes alpha by the rank of the tensors.",
        flag: "--keep alpha",
        wish: |wishes| wishes.keep = Some(Keep::Alpha),
        ..AS_IS
    },
    Choice {
        word: "scale",
        about: "The scale stays as the config gives it; alpha changes with the rank.",
        flag: "--keep scale",
        wish: |wishes| wishes.keep = Some(Keep::Scale),
        ..AS_IS
    },
];

/// Opens the form, with the values it had.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let (Some(board), Some(attached)) = (app.board(), app.attached()) else { return Vec::new() };
    let asks = board.asks;
    if !app.form.as_deref().is_some_and(|form| form.is_of(Task::Repair, open.id, &board.held)) {
        let files = &board.held.adapter.files;
        let mut form = Form::new(Task::Repair, &FIELDS, (open.id, &open.path), &files.title);
        form.set_output(default_output(files, "repaired"));
        form.begin_with(&attached.path, Arc::clone(&board.held));
        app.form = Some(Box::new(form));
    }
    app.show_form(Seen { asks, ..Seen::default() })
}

/// There is something that a repair would change, or that it cannot.
pub(super) fn has_repair(app: &App) -> bool {
    app.is_on_board() && app.board().is_some_and(|board| board.is_repairable)
}
