//! The convert form: what to make of the checkpoint that is shown, with its plan beside it.
//!
//! Nothing is written before the button. Each change asks for a plan (`Effect::Plan`), which a job makes:
//! planning reads side tensors. An answer to a question that a later one has overtaken is dropped. Values are
//! kept while the checkpoint is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tui_input::Input;

use super::jobs::{NewJob, Work};
use super::{App, Effect, Overlay, jobs, keys, shell_path};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::engine::{Options, Proof};
use crate::error::Error;
use crate::plan::{Names, Order, Plan};
use crate::tensor::Dtype;

/// Bytes of tensors in a file, as the command line's own default.
const SHARD_BYTES: u64 = 5_000_000_000;

/// One value of a field.
pub struct Choice<T> {
    /// Its word, as flags take it.
    pub word: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it means.
    pub value: T,
}

/// The formats to convert to.
pub const FORMATS: [Choice<()>; 1] = [Choice {
    word: "dense",
    about: "Every quantized layer is decoded to plain 16- or 32-bit values; the rest goes over byte for byte. Loads anywhere, trains, quantizes again.",
    value: (),
}];

/// The dtypes of a result.
pub const DTYPES: [Choice<Option<Dtype>>; 4] = [
    Choice {
        word: "auto",
        about: "Each format's own dtype for what is decoded; plain tensors stay as they are stored.",
        value: None,
    },
    Choice {
        word: "bf16",
        about: "All floating tensors are rounded to bfloat16: the range of f32, 8 bits of precision.",
        value: Some(Dtype::BF16),
    },
    Choice {
        word: "f16",
        about: "All floating tensors are rounded to f16: 11 bits of precision, up to 65504; larger values become infinite and are counted.",
        value: Some(Dtype::F16),
    },
    Choice {
        word: "f32",
        about: "All floating tensors as f32: nothing is rounded, twice the bytes.",
        value: Some(Dtype::F32),
    },
];

/// How much of the result is proven.
pub const PROOFS: [Choice<Proof>; 3] = [
    Choice {
        word: "sample",
        about: "The result is read again: every copied tensor is compared, and layers of each kind are decoded once more and compared.",
        value: Proof::Sample,
    },
    Choice {
        word: "full",
        about: "The result is read again, and every tensor and layer is compared. Takes about as long as the conversion.",
        value: Proof::Full,
    },
    Choice {
        word: "none",
        about: "Nothing is compared. The result is written and synced, and that is all that is known.",
        value: Proof::None,
    },
];

/// A field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// What to convert to.
    Format,
    /// Dtype of the result.
    Dtype,
    /// The folder that is made.
    Where,
    /// How much is proven.
    Verify,
    /// What computes.
    Device,
    /// The button.
    Button,
}

impl Field {
    /// The fields in the order of the screen.
    pub const ALL: [Self; 6] =
        [Self::Format, Self::Dtype, Self::Where, Self::Verify, Self::Device, Self::Button];
}

/// The form.
pub struct Form {
    /// Id of the checkpoint that it is about.
    pub id: u32,
    /// What the checkpoint was opened by.
    pub input: String,
    /// The name of the checkpoint.
    pub title: String,
    /// The field that has the focus.
    pub field: Field,
    /// Index in `DTYPES`.
    pub dtype: usize,
    /// Index in `PROOFS`.
    pub proof: usize,
    /// The folder that is made.
    pub output: Input,
    /// The last plan, or why there is none.
    pub plan: Option<Result<Planned, Error>>,
    /// First line of the plan that shows.
    pub top: usize,
    asked: u32,
    answered: u32,
}

/// A plan that a job has made, and what stands around it.
pub struct Planned {
    /// The input that it was made for.
    pub checkpoint: Arc<Checkpoint>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// How it would be run.
    pub options: Options,
    /// Bytes that are free where the result goes, if that can be known.
    pub disk_free: Option<u64>,
    /// Memory that it takes at most.
    pub peak: u64,
    /// Why it cannot be started as it is: the folder is taken, the disk is too small.
    pub obstacle: Option<String>,
}

/// What is to be planned.
pub struct Request {
    /// Number of the question.
    pub question: u32,
    /// The input.
    pub checkpoint: Arc<Checkpoint>,
    /// What the user asked.
    pub order: Order,
    /// How it would be run.
    pub options: Options,
}

impl Form {
    fn new(id: u32, input: &str, files: &Files) -> Self {
        Self {
            id,
            input: input.to_owned(),
            title: files.title.clone(),
            field: Field::Button,
            dtype: 0,
            proof: 0,
            output: Input::new(default_output(files)),
            plan: None,
            top: 0,
            asked: 0,
            answered: 0,
        }
    }

    /// Returns true while the plan is not that of what the form says.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.asked != self.answered
    }

    /// Returns the plan that the button would start, or why it would not.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn startable(&self) -> Result<&Planned, String> {
        if self.is_planning() {
            return Err("the plan is being made".into());
        }
        match &self.plan {
            None => Err("the plan is being made".into()),
            Some(Err(_)) => Err("not possible: the plan says why".into()),
            Some(Ok(planned)) => planned.obstacle.clone().map_or(Ok(planned), Err),
        }
    }

    /// Returns the folder that is made, as it was typed.
    #[must_use]
    pub fn output(&self) -> &str {
        self.output.value().trim()
    }

    /// Returns the equivalent command line in parts that a line should not break.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let mut parts =
            vec!["ckpt convert".to_owned(), shell_path(&self.input), format!("--to {}", FORMATS[0].word)];
        if self.dtype > 0 {
            parts.push(format!("--dtype {}", DTYPES[self.dtype].word));
        }
        if self.proof > 0 {
            parts.push(format!("--verify {}", PROOFS[self.proof].word));
        }
        parts.push(format!("-o {}", shell_path(self.output())));
        parts
    }

    fn request(&self, checkpoint: Arc<Checkpoint>) -> Request {
        let order = Order {
            input: self.input.clone(),
            output: PathBuf::from(self.output()),
            dtype: DTYPES[self.dtype].value,
            only: Vec::new(),
            skip: Vec::new(),
            skip_broken: false,
            shard_bytes: SHARD_BYTES,
            names: Names::default(),
            merging: None,
        };
        let options = Options { proof: PROOFS[self.proof].value, ..Options::default() };
        Request { question: self.asked, checkpoint, order, options }
    }

    fn step(&mut self, by: isize, wraps: bool) {
        let count = Field::ALL.len() as isize;
        let at = Field::ALL.iter().position(|field| *field == self.field).unwrap_or(0) as isize + by;
        let at = if wraps { at.rem_euclid(count) } else { at.clamp(0, count - 1) };
        self.field = Field::ALL[at as usize];
    }

    /// Changes the value of the field; returns true if it is another, or why there is no other.
    fn change(&mut self, by: isize) -> Result<bool, &'static str> {
        let (at, count) = match self.field {
            Field::Dtype => (&mut self.dtype, DTYPES.len()),
            Field::Verify => (&mut self.proof, PROOFS.len()),
            Field::Format => return Err("dense is the only format that can be written so far"),
            Field::Device => return Err("cpu is the only device that converts so far"),
            Field::Where | Field::Button => return Ok(false),
        };
        let new = at.saturating_add_signed(by).min(count - 1);
        let is_other = new != *at;
        *at = new;
        Ok(is_other)
    }
}

/// Returns the folder that a result would have: beside the input, or here for a checkpoint in the Hub's cache.
fn default_output(files: &Files) -> String {
    let name = files.title.rsplit('/').next().unwrap_or("checkpoint");
    let is_file = files.path != files.folder;
    let stem = name.rsplit_once('.').filter(|_| is_file).map_or(name, |(stem, _)| stem);
    let name = format!("{stem}-dense");
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

impl App {
    /// Returns the form, if it shows.
    #[must_use]
    pub fn form(&self) -> Option<&Form> {
        self.form.as_deref().filter(|_| self.is_form_open)
    }

    /// Returns what the form asks to plan.
    #[must_use]
    pub fn plan_request(&self) -> Option<Request> {
        let form = self.form.as_ref()?;
        let open = self.opens.iter().find(|open| open.id == form.id)?;
        match &open.state {
            super::OpenState::Ready(ready) => Some(form.request(Arc::clone(&ready.checkpoint))),
            _ => None,
        }
    }

    fn ask_plan(&mut self) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        form.asked += 1;
        vec![Effect::Plan(form.asked)]
    }

    pub(super) fn planned(&mut self, question: u32, plan: Result<Planned, Error>) {
        if let Some(form) = self.form.as_mut().filter(|form| form.asked == question) {
            form.answered = question;
            form.top = 0;
            form.plan = Some(plan);
        }
    }

    pub(super) fn form_key(&mut self, key: &str) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        let is_text = form.field == Field::Where;
        match key {
            "esc" => self.is_form_open = false,
            "ctrl-c" => return jobs::quit(self),
            "tab" => form.step(1, true),
            "backtab" => form.step(-1, true),
            "down" | "enter" if key == "down" || form.field != Field::Button => form.step(1, false),
            "up" => form.step(-1, false),
            "pgdn" => form.top += 8,
            "pgup" => form.top = form.top.saturating_sub(8),
            "enter" => return self.start_convert(),
            _ if is_text => {
                let is_other = keys::edit(&mut form.output, key);
                return if is_other { self.ask_plan() } else { Vec::new() };
            }
            "left" | "right" => match form.change(if key == "left" { -1 } else { 1 }) {
                Ok(true) => return self.ask_plan(),
                Ok(false) => {}
                Err(why) => self.toast = Some(why.into()),
            },
            "q" => self.is_form_open = false,
            "Y" => {
                let command = form.command().join(" ");
                self.toast = Some(format!("copied {command}"));
                return vec![Effect::Copy(command)];
            }
            "?" => self.overlay = Some(Overlay::Help(Input::default(), 0)),
            _ => {}
        }
        Vec::new()
    }

    /// Puts the focus on a field; a click on the button starts.
    pub(super) fn click_field(&mut self, field: Field) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        form.field = field;
        if field == Field::Button { self.start_convert() } else { Vec::new() }
    }

    /// Inserts pasted text into the field that takes text.
    pub(super) fn paste_into_form(&mut self, line: &str) -> Vec<Effect> {
        match &mut self.form {
            Some(form) if form.field == Field::Where => {
                keys::insert(&mut form.output, line);
                self.ask_plan()
            }
            _ => {
                self.toast = Some("pasted text goes into the field where".into());
                Vec::new()
            }
        }
    }

    fn start_convert(&mut self) -> Vec<Effect> {
        let Some(form) = &self.form else { return Vec::new() };
        let planned = match form.startable() {
            Ok(planned) => planned,
            Err(why) => {
                self.toast = Some(why);
                return Vec::new();
            }
        };
        let output = planned.plan.order.output.display().to_string();
        if self.jobs.list.iter().any(|job| job.is_active() && job.facts.output == output) {
            self.toast = Some("a job already writes there: choose another folder".into());
            return Vec::new();
        }
        let name = planned
            .plan
            .order
            .output
            .file_name()
            .map_or_else(|| output.clone().into(), |name| name.to_string_lossy());
        let new = NewJob {
            verb: "convert",
            subject: format!("{} → {name}", form.title),
            command: form.command().join(" "),
            work: Work {
                checkpoint: Arc::clone(&planned.checkpoint),
                plan: Arc::clone(&planned.plan),
                options: planned.options,
            },
        };
        self.is_form_open = false;
        self.form = None;
        self.add_job(new)
    }
}

/// Opens the form, with the values it had.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    let Some(ready) = app.ready() else { return Vec::new() };
    if app.form.as_ref().is_none_or(|form| form.id != open.id) {
        app.form = Some(Box::new(Form::new(open.id, &open.path, ready.files())));
    }
    app.is_form_open = true;
    // Disk and folders may have changed since.
    app.ask_plan()
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
