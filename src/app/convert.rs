//! The convert form: what to make of the checkpoint that is shown, with its plan beside it.
//!
//! Nothing is written before the button. Values are kept while the checkpoint is open, but what is to become of a
//! folder that is there is asked anew each time.

use std::path::Path;

use super::device::DEVICE;
use super::form::{Choice, Field, Form, Kind, Seen, Task, There};
use super::packing::{self, FORMAT};
use super::{App, Effect};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::engine::Proof;
use crate::plan::Names;
use crate::tensor::Dtype;

/// A value that leaves everything as it is.
pub(super) const AS_IS: Choice =
    Choice { word: "", about: "", flag: "", set: |_, _| {}, wish: |_| {}, button: "" };
/// A field of an input of any kind.
pub(super) const ANY: Field =
    Field { name: "", kind: Kind::Button(""), about: "", applies: |_| true, is_of_folder: false };

/// The folder that is made.
pub(super) const WHERE: Field = Field {
    name: "where",
    kind: Kind::Folder,
    about: "A new folder. It appears when all is written and compared, whole or not at all. ~ is your home folder.",
    ..ANY
};
/// What becomes of a folder that is there; its choices name what the button does.
pub(super) const TAKEN: Field = Field {
    name: "exists",
    applies: |seen| matches!(seen.there, There::Checkpoint(_)),
    is_of_folder: true,
    ..ANY
};
/// What becomes of what an earlier run left.
pub(super) const UNFINISHED: Field = Field {
    name: "partial",
    kind: Kind::Choice(&PARTIAL),
    applies: |seen| matches!(seen.there, There::Unfinished(_)),
    is_of_folder: true,
    ..ANY
};

/// What layers become; the options of formats follow.
static FORMAT_FIELDS: [Field; 2] = [
    Field { name: FORMAT, kind: Kind::Choice(&packing::FORMATS), applies: |seen| !seen.is_gguf, ..ANY },
    Field { name: FORMAT, kind: Kind::Choice(&packing::GGUF), applies: |seen| seen.is_gguf, ..ANY },
];

/// The fields behind them: where, and how.
static FIELDS: [Field; 11] = [
    Field { name: "dtype", kind: Kind::Choice(&DTYPES), ..ANY },
    Field { name: "names", kind: Kind::Choice(&NAMES), applies: |seen| seen.is_gguf, ..ANY },
    Field {
        name: "only",
        kind: Kind::Globs { empty: "all layers", flag: "--only", set: |order, globs| order.only = globs },
        about: "Only layers whose whole name matches are converted. * is any text, ? one character, a blank separates: *.mlp.* *.o_proj",
        applies: packing::is_not_packed,
        ..ANY
    },
    Field {
        name: "skip",
        kind: Kind::Globs { empty: "none", flag: "--skip", set: |order, globs| order.skip = globs },
        about: "Layers whose whole name matches stay as they are. * is any text, ? one character, a blank separates: *lm_head",
        applies: packing::is_not_packed,
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
        kind: Kind::Button("Convert"),
        about: "Nothing is written before Enter. The input is opened for reading only.",
        ..ANY
    },
];

pub(super) static DTYPES: [Choice; 4] = [
    Choice {
        word: "auto",
        about: "Each format's own dtype for what is decoded; plain tensors stay as they are stored.",
        ..AS_IS
    },
    Choice {
        word: "bf16",
        about: "All floating tensors are rounded to bfloat16: the range of f32, 8 bits of precision.",
        flag: "--dtype bf16",
        set: |order, _| order.dtype = Some(Dtype::BF16),
        ..AS_IS
    },
    Choice {
        word: "f16",
        about: "All floating tensors are rounded to f16: 11 bits of precision, up to 65504; larger values become infinite and are counted.",
        flag: "--dtype f16",
        set: |order, _| order.dtype = Some(Dtype::F16),
        ..AS_IS
    },
    Choice {
        word: "f32",
        about: "All floating tensors as f32: nothing is rounded, twice the bytes.",
        flag: "--dtype f32",
        set: |order, _| order.dtype = Some(Dtype::F32),
        ..AS_IS
    },
];

pub(super) static NAMES: [Choice; 2] = [
    Choice {
        word: "own",
        about: "Tensors keep the names of the GGUF file. hf gives a folder that transformers loads.",
        ..AS_IS
    },
    Choice {
        word: "hf",
        about: "Tensors get their Hugging Face names and values, and config and tokenizer are written: transformers loads it.",
        flag: "--names hf",
        set: |order, _| order.names = Names::Hf,
        ..AS_IS
    },
];

pub(super) static BROKEN: [Choice; 2] = [
    Choice {
        word: "refuse",
        about: "Nothing is converted while a layer is broken; the plan names each, and what is wrong with it.",
        ..AS_IS
    },
    Choice {
        word: "copy",
        about: "The tensors of broken layers go over as they are. They stay broken, and the result is not proven.",
        flag: "--skip-broken",
        set: |order, _| order.skip_broken = true,
        ..AS_IS
    },
];

static EXISTS: [Choice; 3] = exists("Convert and replace");

/// Returns what can become of what is there; what the button says when it is replaced.
pub(super) const fn exists(replace: &'static str) -> [Choice; 3] {
    [
        Choice {
            word: "keep",
            about: "What is there stays. Type another name in the field above, or say what becomes of it.",
            ..AS_IS
        },
        Choice {
            word: "check",
            about: "Nothing is written: what is there is compared with this plan, as a finished run of it.",
            flag: "--resume",
            set: |_, options| options.resume = true,
            button: "Check what is there",
            ..AS_IS
        },
        replaced(replace),
    ]
}

/// The choice that replaces what is there, with what the button says then.
pub(super) const fn replaced(button: &'static str) -> Choice {
    Choice {
        word: "replace",
        about: "What is there goes when the new folder is whole, and not before.",
        flag: "--force",
        set: |_, options| options.force = true,
        button,
        ..AS_IS
    }
}

pub(super) static PARTIAL: [Choice; 2] = [
    Choice {
        word: "resume",
        about: "Files that an earlier run of this plan finished are kept; those of another plan are made anew.",
        flag: "--resume",
        set: |_, options| options.resume = true,
        button: "Resume",
        ..AS_IS
    },
    Choice { word: "start over", about: "What an earlier run left is removed.", ..AS_IS },
];

pub(super) static PROOFS: [Choice; 3] = [
    Choice {
        word: "sample",
        about: "The result is read again: every copied tensor is compared, and layers of each kind are decoded once more and compared.",
        ..AS_IS
    },
    Choice {
        word: "full",
        about: "The result is read again, and every tensor and layer is compared. Takes about as long as writing it.",
        flag: "--verify full",
        set: |_, options| options.proof = Proof::Full,
        ..AS_IS
    },
    Choice {
        word: "none",
        about: "Nothing is compared. The result is written and synced, and that is all that is known.",
        flag: "--verify none",
        set: |_, options| options.proof = Proof::None,
        ..AS_IS
    },
];

/// Returns what of a checkpoint decides which fields apply.
pub(super) fn seen(checkpoint: &Checkpoint) -> Seen {
    Seen {
        is_misaligned: false,
        is_gguf: checkpoint.files.container.name() == "gguf",
        is_quantized: checkpoint.layers.specs().iter().any(|spec| spec.format.get().name() != "dense"),
        is_writable: checkpoint.layers.specs().iter().any(|spec| spec.format.get().is_writable()),
        is_several: false,
        asks: crate::adapter::repair::Asks::default(),
        is_broken: checkpoint.layers.specs().iter().any(|spec| !spec.broken.is_empty()),
        there: There::Nothing,
        is_computed: false,
        to: "",
    }
}

/// Returns the folder that a result would have, with what it is made of behind its name: beside the input, or here for
/// a checkpoint in the Hub's cache.
pub(super) fn default_output(files: &Files, what: &str) -> String {
    let name = files.title.rsplit('/').next().unwrap_or("checkpoint");
    let is_file = files.path != files.folder;
    let stem = name.rsplit_once('.').filter(|_| is_file).map_or(name, |(stem, _)| stem);
    let name = format!("{stem}-{what}");
    let folder = &files.folder;
    let above = folder.parent().map(|above| (above, above.file_name()));
    match (folder.file_name(), above) {
        (Some(_), Some((_, Some(cache)))) if cache == "snapshots" => name,
        _ if is_file && folder == Path::new(".") => name,
        _ if is_file => folder.join(name).display().to_string(),
        (Some(_), Some((above, _))) => above.join(name).display().to_string(),
        // `.` and `..` have no name of their own, and an empty path is the working folder.
        _ if folder.as_os_str().is_empty() || folder == Path::new(".") => format!("../{name}"),
        _ => folder.join("..").join(name).display().to_string(),
    }
}

fn fields() -> Vec<Field> {
    [&FORMAT_FIELDS[..], &packing::OPTIONS, &FIELDS].concat()
}

/// Opens the form, with the values it had.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    begin(app, None)
}

/// Opens the form for what layers are to become.
pub(super) fn open_for(app: &mut App, format: &str) -> Vec<Effect> {
    begin(app, Some(format))
}

fn begin(app: &mut App, format: Option<&str>) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let Some(ready) = app.ready() else { return Vec::new() };
    let (files, seen) = (ready.files(), seen(&ready.checkpoint));
    if app.form.as_ref().is_none_or(|form| form.id != open.id || form.task != Task::Convert) {
        let mut form = Form::new(Task::Convert, &fields(), (open.id, &open.path), &files.title);
        form.set_output(default_output(files, "dense"));
        app.form = Some(Box::new(form));
    }
    if let Some(form) = &mut app.form {
        form.see(seen.clone());
        if let Some(format) = format {
            form.choose_format(format);
        }
    }
    app.follow_format();
    app.fill_marked();
    app.show_form(seen)
}

pub(super) fn can_convert(app: &App) -> Result<(), String> {
    super::command::has_checkpoint(app)?;
    let Some(ready) = app.ready() else { return Ok(()) };
    if !app.is_readable() {
        return Err("nothing of this checkpoint could be read".into());
    }
    if ready.adapter.is_some() {
        return Err("an adapter has no weights of its own; convert its base".into());
    }
    if !ready.checkpoint.examined {
        return Err("quant states are still being read".into());
    }
    Ok(())
}
