//! The merge form: what to make of the base and the adapter that is attached, with the plan beside it.
//!
//! Its fields are another table over the form of `convert`; those that mean the same are the same.

use std::sync::Arc;

use super::attach::AttachState;
use super::convert::{
    ANY, AS_IS, BROKEN, DTYPES, NAMES, PROOFS, TAKEN, UNFINISHED, WHERE, default_output, exists, seen,
};
use super::device::DEVICE;
use super::form::{Choice, Field, Form, Kind, Seen, Task, last};
use super::packing::{self, FORMAT};
use super::{App, Effect};
use crate::adapter::delta::{Combine, Recipe};
use crate::plan::Order;

/// What layers become; the options of formats follow.
static FORMAT_FIELDS: [Field; 3] = [
    Field {
        name: FORMAT,
        kind: Kind::Choice(&packing::FORMATS),
        applies: |seen| !seen.is_gguf && !seen.is_writable,
        ..ANY
    },
    Field {
        name: FORMAT,
        kind: Kind::Choice(&packing::MERGED_SAME),
        applies: |seen| !seen.is_gguf && seen.is_writable,
        ..ANY
    },
    Field { name: FORMAT, kind: Kind::Choice(&packing::GGUF_MERGED), applies: |seen| seen.is_gguf, ..ANY },
];

/// The fields behind them: which modules, where, and how.
static FIELDS: [Field; 15] = [
    Field { name: "dtype", kind: Kind::Choice(&DTYPES), ..ANY },
    Field {
        name: "scale",
        kind: Kind::Scale(0),
        about: "its delta is multiplied by this, beside its own scaling. a merges another adapter as well, x takes one out again.",
        ..ANY
    },
    Field { name: "combine", kind: Kind::Choice(&COMBINED), applies: |seen| seen.is_several, ..ANY },
    Field { name: "rounded", kind: Kind::Choice(&ROUNDINGS), ..ANY },
    Field { name: "modules", kind: Kind::Choice(&MODULES), applies: |seen| seen.is_misaligned, ..ANY },
    Field {
        name: "only",
        kind: Kind::Globs { empty: "all layers", flag: "--only", set: |order, globs| order.only = globs },
        about: "Only quantized layers whose whole name matches are decoded; those that the adapter changes have to be. * is any text, a blank separates.",
        applies: |seen| seen.is_quantized && packing::is_not_packed(seen),
        ..ANY
    },
    Field {
        name: "skip",
        kind: Kind::Globs { empty: "none", flag: "--skip", set: |order, globs| order.skip = globs },
        about: "Quantized layers whose whole name matches stay as they are; those that the adapter changes cannot. * is any text, a blank separates.",
        applies: |seen| seen.is_quantized && packing::is_not_packed(seen),
        ..ANY
    },
    Field {
        name: "names",
        kind: Kind::Choice(&NAMES),
        applies: |seen| seen.is_gguf && matches!(seen.to, "" | "dense"),
        ..ANY
    },
    Field { name: "broken", kind: Kind::Choice(&BROKEN), applies: |seen| seen.is_broken, ..ANY },
    WHERE,
    Field { kind: Kind::Choice(&EXISTS), ..TAKEN },
    UNFINISHED,
    Field { name: "verify", kind: Kind::Choice(&PROOFS), ..ANY },
    DEVICE,
    Field {
        name: "",
        kind: Kind::Button("Merge"),
        about: "Nothing is written before Enter. Base and adapter are opened for reading only.",
        ..ANY
    },
];

static EXISTS: [Choice; 3] = exists("Merge and replace");

static COMBINED: [Choice; 3] = [
    Choice {
        word: "sequential",
        about: "One adapter after the other, each rounded in turn: as merge_and_unload does with several.",
        ..AS_IS
    },
    Choice {
        word: "cat",
        about: "The weighted sum of all deltas, rounded once: PEFT's add_weighted_adapter with cat.",
        flag: "--combine cat",
        set: |order, _| combine(order, Combine::Cat),
        ..AS_IS
    },
    Choice {
        word: "linear",
        about: "The weighted sums of the factors, which must have the same rank: PEFT's add_weighted_adapter with linear. It is not the sum of the deltas.",
        flag: "--combine linear",
        set: |order, _| combine(order, Combine::Linear),
        ..AS_IS
    },
];

static ROUNDINGS: [Choice; 4] = [
    Choice {
        word: "peft",
        about: "As merge_and_unload does now: base and delta are added, and the sum is rounded once.",
        ..AS_IS
    },
    Choice {
        word: "safe",
        about: "As merge_and_unload(safe_merge=True): the delta is rounded to the base's dtype, and the sum.",
        flag: "--rounding peft-safe",
        set: |order, _| round(order, Recipe::PeftSafe),
        ..AS_IS
    },
    Choice {
        word: "low-mem",
        about: "As PEFT with low_cpu_mem_usage=True: the factors are rounded to the base's dtype, and the sum.",
        flag: "--rounding peft-low-mem",
        set: |order, _| round(order, Recipe::PeftLowMem),
        ..AS_IS
    },
    Choice {
        word: "0.11",
        about: "As PEFT before 0.12: the factors, the delta and the sum are rounded to the base's dtype.",
        flag: "--rounding peft-0.11",
        set: |order, _| round(order, Recipe::Peft011),
        ..AS_IS
    },
];

static MODULES: [Choice; 2] = [
    Choice {
        word: "all",
        about: "Nothing is merged while a module does not fit; the board (4) says which, and r there repairs what can be repaired.",
        ..AS_IS
    },
    Choice {
        word: "those that fit",
        about: "Modules that do not fit are left out: the result has a part of the adapter only.",
        flag: "--allow-partial",
        set: |order, _| {
            if let Some(merging) = &mut order.merging {
                merging.allow_partial = true;
            }
        },
        button: "Merge what fits",
        ..AS_IS
    },
];

fn combine(order: &mut Order, combine: Combine) {
    if let Some(merging) = &mut order.merging {
        merging.combine = combine;
    }
}

fn round(order: &mut Order, recipe: Recipe) {
    if let Some(merging) = &mut order.merging {
        merging.recipe = recipe;
    }
}

fn fields() -> Vec<Field> {
    [&FORMAT_FIELDS[..], &packing::OPTIONS, &FIELDS].concat()
}

/// Opens the form, with the values it had.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let (Some(ready), Some(board), Some(attached)) = (app.ready(), app.board(), app.attached()) else {
        return Vec::new();
    };
    let seen = Seen { is_misaligned: board.odd() > 0, ..seen(&ready.checkpoint) };
    if !app.form.as_deref().is_some_and(|form| form.is_of(Task::Merge, open.id, &board.held)) {
        let mut form = Form::new(Task::Merge, &fields(), (open.id, &open.path), &ready.files().title);
        form.begin_with(&attached.path, Arc::clone(&board.held));
        let name = form.used.first().map_or("", |used| last(used.name()));
        form.set_output(default_output(ready.files(), name));
        app.form = Some(Box::new(form));
    }
    app.fill_marked();
    app.show_form(seen)
}

pub(super) fn can_merge(app: &App) -> Result<(), String> {
    super::command::has_checkpoint(app)?;
    if app.ready().is_some_and(|ready| ready.adapter.is_some()) {
        return Err("this is an adapter: it is merged into its base (o opens that, a chooses it)".into());
    }
    let Some(attached) = app.attached() else { return Err("attach an adapter first (a)".into()) };
    match &attached.state {
        AttachState::Aligning => Err("the adapter is still being aligned".into()),
        AttachState::Failed(_) => Err("the adapter could not be attached: 4 says why".into()),
        AttachState::Ready(board) if board.gate.total == 0 => Err("the adapter has no modules".into()),
        AttachState::Ready(board) if !board.can_merge() => {
            Err("no module of the adapter fits this base: 4 says why".into())
        }
        AttachState::Ready(board) => {
            board.unmergeable.as_ref().map_or(Ok(()), |why| Err(format!("not possible: {why}")))
        }
    }
}
