//! A form: fields with their values, made from a table of what can be asked, and the plan of what they say.
//!
//! A field that does not apply is not shown and says nothing: it is neither in the plan nor on the command line.
//! Each change asks for a plan (`Effect::Plan`), which a job makes: planning reads side tensors, and looks at
//! what stands where the result goes. An answer to a question that a later one has overtaken is dropped.

use std::path::Path;
use std::sync::Arc;

use tui_input::Input;

use super::{shell_path, shell_word};
use crate::adapter::delta::{Combine, Recipe};
use crate::adapter::held::Held;
use crate::checkpoint::Checkpoint;
use crate::engine::Options;
use crate::error::Error;
use crate::plan::{Merging, Order, Plan};

/// One value of a field.
pub struct Choice {
    /// Its word.
    pub word: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What the command line says for it; nothing for its default.
    pub flag: &'static str,
    /// What it makes of the order and of how it is carried out.
    pub set: fn(&mut Order, &mut Options),
    /// What the button says with it; nothing: what it always says.
    pub button: &'static str,
}

/// What a field holds.
pub enum Kind {
    /// One of some values; the first is the default.
    Choice(&'static [Choice]),
    /// The folder that is made.
    Folder,
    /// Patterns of layer names, separated by blanks.
    Globs {
        /// What no pattern means.
        empty: &'static str,
        /// What the command line says before each.
        flag: &'static str,
        /// Where they go.
        set: fn(&mut Order, Vec<String>),
    },
    /// What starts it, and what it says.
    Button(&'static str),
}

/// A field: a row of the table of a form.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for, or why it has no other value.
    pub about: &'static str,
    /// True if it means something for what was seen.
    pub applies: fn(&Seen) -> bool,
    /// True if its value is about what stands in the folder: another folder begins with the default.
    pub is_of_folder: bool,
}

/// What decides which fields apply.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// True if the tensors have the names of a GGUF file.
    pub is_gguf: bool,
    /// True if a layer is broken.
    pub is_broken: bool,
    /// True if a module of the adapter does not fit.
    pub is_misaligned: bool,
    /// What stands where the result goes.
    pub there: There,
}

/// What stands where the result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum There {
    /// Nothing, or what no run may touch.
    #[default]
    Nothing,
    /// What an earlier run left.
    Unfinished(Content),
    /// A checkpoint, or an empty folder.
    Checkpoint(Content),
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Names of its files, in order.
    pub files: Vec<String>,
    /// Their bytes, in sum.
    pub bytes: u64,
}

/// A plan that a job has made, and what stands around it.
pub struct Planned {
    /// The input that it was made for.
    pub checkpoint: Arc<Checkpoint>,
    /// The adapters that are merged into it.
    pub adapters: Vec<Arc<Checkpoint>>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// How it would be run.
    pub options: Options,
    /// Bytes that are free where the result goes, if that can be known.
    pub disk_free: Option<u64>,
    /// Memory that it takes at most.
    pub peak: u64,
    /// What stands where the result goes.
    pub there: There,
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
    /// The adapter that is merged, if one is.
    pub held: Option<Arc<Held>>,
}

/// The adapter that a form is about.
pub struct Used {
    /// What it was attached by.
    pub path: String,
    /// It, held against the base.
    pub held: Arc<Held>,
}

/// The value of a field.
#[derive(Default)]
pub struct Value {
    /// Index of its choice.
    pub at: usize,
    /// Its text.
    pub text: Input,
}

/// A form with its values.
pub struct Form {
    /// The command that it is for: `convert`.
    pub verb: &'static str,
    /// Id of the checkpoint that it is about.
    pub id: u32,
    /// What the checkpoint was opened by.
    pub input: String,
    /// The name of the checkpoint.
    pub title: String,
    /// The adapter that is merged, if one is.
    pub used: Option<Used>,
    /// The table: its last row is the button, and one row holds the folder.
    pub fields: &'static [Field],
    /// The value of each field.
    pub values: Vec<Value>,
    /// The field that has the focus.
    pub cursor: usize,
    /// What decides which fields apply.
    pub seen: Seen,
    /// The last plan, or why there is none.
    pub plan: Option<Result<Planned, Error>>,
    /// First line of the plan that shows.
    pub top: usize,
    pub(super) asked: u32,
    pub(super) answered: u32,
}

impl Form {
    /// Returns a form with its focus on the button.
    pub(super) fn new(verb: &'static str, fields: &'static [Field], open: (u32, &str), title: &str) -> Self {
        Self {
            verb,
            id: open.0,
            input: open.1.to_owned(),
            title: title.to_owned(),
            used: None,
            fields,
            values: fields.iter().map(|_| Value::default()).collect(),
            cursor: fields.len() - 1,
            seen: Seen::default(),
            plan: None,
            top: 0,
            asked: 0,
            answered: 0,
        }
    }

    /// Returns the field that has the focus.
    #[must_use]
    pub fn field(&self) -> &'static Field {
        &self.fields[self.cursor]
    }

    /// Returns the fields that show, with their place in the table.
    pub fn shown(&self) -> impl Iterator<Item = (usize, &'static Field)> + '_ {
        self.fields.iter().enumerate().filter(|(_, field)| (field.applies)(&self.seen))
    }

    /// Returns the choices that are made in the fields that show.
    fn chosen(&self) -> impl Iterator<Item = &'static Choice> + '_ {
        self.shown().filter_map(|(at, field)| match field.kind {
            Kind::Choice(choices) => choices.get(self.values[at].at),
            _ => None,
        })
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
        match &self.plan {
            _ if self.is_planning() => Err("the plan is being made".into()),
            None => Err("the plan is being made".into()),
            Some(Err(_)) => Err("not possible: the plan says why".into()),
            Some(Ok(planned)) => planned.obstacle.clone().map_or(Ok(planned), Err),
        }
    }

    /// Returns what the button says: what it does with these choices.
    #[must_use]
    pub fn button(&self) -> &'static str {
        let always = self.fields.iter().find_map(|field| match field.kind {
            Kind::Button(words) => Some(words),
            _ => None,
        });
        let said = self.chosen().map(|choice| choice.button).filter(|words| !words.is_empty()).last();
        said.or(always).unwrap_or_default()
    }

    fn folder(&self) -> usize {
        self.fields.iter().position(|field| matches!(field.kind, Kind::Folder)).unwrap_or_default()
    }

    /// Returns the folder that is made, as it was typed.
    #[must_use]
    pub fn output(&self) -> &str {
        self.values[self.folder()].text.value().trim()
    }

    pub(super) fn set_output(&mut self, path: String) {
        let at = self.folder();
        self.values[at].text = Input::new(path);
    }

    /// Takes the choices back that were about what stands in the folder: nothing is replaced that was not named
    /// when it was chosen.
    pub(super) fn forget_folder(&mut self) {
        for (field, value) in self.fields.iter().zip(&mut self.values).filter(|(field, _)| field.is_of_folder)
        {
            debug_assert!(matches!(field.kind, Kind::Choice(_)));
            value.at = 0;
        }
    }

    /// Returns the equivalent command line in parts that a line should not break.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let mut parts = vec![format!("ckpt {}", self.verb), shell_path(&self.input)];
        parts.extend(self.used.iter().map(|used| format!("-a {}", shell_path(&used.path))));
        for (at, field) in self.shown() {
            let value = &self.values[at];
            match &field.kind {
                Kind::Choice(choices) => parts.extend(choices.get(value.at).map(|c| c.flag.to_owned())),
                Kind::Globs { flag, .. } => {
                    let globs = value.text.value().split_whitespace();
                    parts.extend(globs.map(|glob| format!("{flag} {}", shell_word(glob))));
                }
                Kind::Folder | Kind::Button(_) => {}
            }
        }
        parts.retain(|part| !part.is_empty());
        parts.push(format!("-o {}", shell_path(self.output())));
        parts
    }

    /// Returns what the form asks to plan.
    pub(super) fn request(&self, checkpoint: Arc<Checkpoint>) -> Request {
        let mut order = Order {
            merging: self.used.as_ref().map(|used| Merging {
                adapters: vec![(used.path.clone(), 1.0)],
                recipe: Recipe::Peft,
                combine: Combine::Sequential,
                allow_partial: false,
                base_is_residual: false,
            }),
            ..Order::new(&self.input, Path::new(self.output()))
        };
        let mut options = Options::default();
        for (at, field) in self.shown() {
            let value = &self.values[at];
            match &field.kind {
                Kind::Choice(choices) => {
                    if let Some(choice) = choices.get(value.at) {
                        (choice.set)(&mut order, &mut options);
                    }
                }
                Kind::Globs { set, .. } => {
                    set(&mut order, value.text.value().split_whitespace().map(str::to_owned).collect());
                }
                Kind::Folder | Kind::Button(_) => {}
            }
        }
        let held = self.used.as_ref().map(|used| Arc::clone(&used.held));
        // Its layers are those that the adapter was held against.
        let checkpoint = held.as_ref().map_or(checkpoint, |held| Arc::clone(&held.base));
        Request { question: self.asked, checkpoint, order, options, held }
    }

    /// Takes what decides which fields apply; the focus leaves a field that goes.
    pub(super) fn see(&mut self, seen: Seen) {
        self.seen = seen;
        if !(self.field().applies)(&self.seen) {
            self.cursor = self.fields.len() - 1;
        }
    }

    /// Takes a plan; returns true if what was seen meanwhile has brought up choices that it was made without.
    pub(super) fn take(&mut self, plan: Result<Planned, Error>) -> bool {
        let there = plan.as_ref().map_or(There::Nothing, |planned| planned.there.clone());
        self.see(Seen { there, ..self.seen });
        let is_stale = plan.as_ref().is_ok_and(|planned| {
            let now = self.request(Arc::clone(&planned.checkpoint)).options;
            (now.force, now.resume) != (planned.options.force, planned.options.resume)
        });
        self.top = 0;
        self.plan = Some(plan);
        is_stale
    }

    /// Moves the focus over the fields that show.
    pub(super) fn step(&mut self, by: isize, wraps: bool) {
        let shown: Vec<usize> = self.shown().map(|(at, _)| at).collect();
        let count = shown.len() as isize;
        let at = shown.iter().position(|at| *at == self.cursor).unwrap_or(0) as isize + by;
        let at = if wraps { at.rem_euclid(count) } else { at.clamp(0, count - 1) };
        self.cursor = shown[at as usize];
    }

    /// Changes the value of the field; returns true if it is another, or why there is no other.
    pub(super) fn change(&mut self, by: isize) -> Result<bool, &'static str> {
        let field = self.field();
        let Kind::Choice(choices) = field.kind else { return Ok(false) };
        if choices.len() == 1 {
            return Err(field.about);
        }
        let value = &mut self.values[self.cursor];
        let new = value.at.saturating_add_signed(by).min(choices.len() - 1);
        Ok(std::mem::replace(&mut value.at, new) != new)
    }

    /// Returns the text of the field, if it takes one.
    pub(super) fn text(&mut self) -> Option<&mut Input> {
        match self.field().kind {
            Kind::Folder | Kind::Globs { .. } => Some(&mut self.values[self.cursor].text),
            Kind::Choice(_) | Kind::Button(_) => None,
        }
    }

    /// Returns what is to be known of the field with the value that it has.
    #[must_use]
    pub fn about(&self) -> &'static str {
        let field = self.field();
        match field.kind {
            Kind::Choice(choices) => choices.get(self.values[self.cursor].at).map_or("", |c| c.about),
            _ => field.about,
        }
    }
}

/// What messages say of flags, and what it is in a form.
const WORDS: [(&str, &str); 9] = [
    ("; --force replaces checkpoints only", "; only a checkpoint is replaced, type another name"),
    ("; --force replaces a checkpoint", "; type another name, or choose check or replace"),
    ("; --force replaces it", "; replace in the form makes it anew"),
    ("; --skip-broken copies their tensors as they are", " (broken: copy takes their tensors as they are)"),
    ("--only and --skip leave", "only and skip leave"),
    ("--only, --skip ", "only, skip: "),
    ("--names hf", "names: hf"),
    ("--resume continues", "starting it again resumes"),
    (
        "; --allow-partial leaves the others out, align --repair mends what can be mended",
        " (modules: those that fit leaves the others out, ckpt align --repair mends what can be mended)",
    ),
];

/// Returns a message of the plan or of a run as a form says it: of its fields, not of flags.
#[must_use]
pub fn in_form_words(message: &str) -> String {
    // The folder's flag stands first, and only there: a name may hold the same letters.
    let message = message.strip_prefix("-o ").unwrap_or(message);
    WORDS.iter().fold(message.to_owned(), |message, (flag, word)| message.replacen(flag, word, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_a_form_speaks_of_no_flags() {
        for (said, shown) in [
            (
                "-o ../x: is there already; --force replaces a checkpoint",
                "../x: is there already; type another name, or choose check or replace",
            ),
            (
                "-o x: it holds folders; --force replaces checkpoints only",
                "x: it holds folders; only a checkpoint is replaced, type another name",
            ),
            ("--only and --skip leave none of the 21 layers", "only and skip leave none of the 21 layers"),
            (
                "1 layer broken; --skip-broken copies their tensors as they are: a: b",
                "1 layer broken (broken: copy takes their tensors as they are): a: b",
            ),
            (
                "cancelled; 2 files done are kept aside, --resume continues",
                "cancelled; 2 files done are kept aside, starting it again resumes",
            ),
            ("a-o b: the disk is full", "a-o b: the disk is full"),
        ] {
            assert_eq!(in_form_words(said), shown);
        }
    }
}
