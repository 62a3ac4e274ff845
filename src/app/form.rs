//! A form: fields with their values, made from a table of what can be asked, and the plan of what they say.
//!
//! A field that does not apply is not shown and says nothing: it is neither in the plan nor on the command line.
//! Each change asks for a plan (`Effect::Plan`), which a job makes: planning reads side tensors, and looks at
//! what stands where the result goes. An answer to a question that a later one has overtaken is dropped.

mod acts;
mod field;
mod looks;
mod planned;
mod used;
mod words;

use std::path::Path;
use std::sync::Arc;

use tui_input::Input;

pub use self::field::{Choice, Content, Field, Kind, Seen, There};
pub use self::looks::{LookRequest, Looks};
pub use self::planned::{Fixes, Fixing, Made, Planned, Request, Task};
pub(super) use self::used::last;
pub use self::used::{Holding, Used};
pub use self::words::in_form_words;
use super::marks::Marks;
pub use super::packing::FORMAT;
use super::{shell_path, shell_word};
use crate::adapter::delta::{Combine, Recipe};
use crate::adapter::held::Held;
use crate::adapter::repair::Wishes;
use crate::checkpoint::Checkpoint;
use crate::engine::{self, Options};
use crate::error::Error;
use crate::name::escape;
use crate::plan::{Merging, Order};

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
    /// What it is for.
    pub task: Task,
    /// Id of the checkpoint that it is about.
    pub id: u32,
    /// What the checkpoint was opened by.
    pub input: String,
    /// The name of the checkpoint.
    pub title: String,
    /// The adapters that are merged, or the one that is repaired: first the one that is attached.
    pub used: Vec<Used>,
    /// The fix that it is for, if it is.
    pub fixing: Option<Fixing>,
    /// The table: its last row is the button, one row holds the folder, and each adapter that is merged has one.
    pub fields: Vec<Field>,
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
    /// What was found of the formats that could be written.
    pub looks: Looks,
    /// The layers that were marked when fields were last filled with them.
    pub marks: Marks,
    pub(super) asked: u32,
    pub(super) answered: u32,
}

impl Form {
    /// Returns a form with its focus on the button.
    pub(super) fn new(task: Task, fields: &[Field], open: (u32, &str), title: &str) -> Self {
        Self {
            task,
            id: open.0,
            input: open.1.to_owned(),
            title: title.to_owned(),
            used: Vec::new(),
            fixing: None,
            values: fields.iter().map(|_| Value::default()).collect(),
            cursor: fields.len() - 1,
            fields: fields.to_vec(),
            seen: Seen::default(),
            plan: None,
            top: 0,
            looks: Looks::default(),
            marks: Marks::default(),
            asked: 0,
            answered: 0,
        }
    }

    /// Returns the field that has the focus.
    #[must_use]
    pub fn field(&self) -> &Field {
        &self.fields[self.cursor]
    }

    /// Returns the fields that show, with their place in the table.
    pub fn shown(&self) -> impl Iterator<Item = (usize, &Field)> + '_ {
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
        let aligning = self.used.iter().find(|used| matches!(used.holding, Holding::Aligning(_)));
        match (&self.plan, aligning) {
            (_, Some(used)) => Err(format!("aligning {}", used.name())),
            _ if self.is_planning() => Err("the plan is being made".into()),
            (None, _) => Err("the plan is being made".into()),
            (Some(Err(_)), _) => Err("not possible: the plan says why".into()),
            (Some(Ok(planned)), _) => planned.obstacle.clone().map_or(Ok(planned), Err),
        }
    }

    /// Returns true if there is nothing to repair, and nothing that stands in the way of it.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        let repair = self.plan.as_ref().and_then(|plan| plan.as_ref().ok()?.repair.as_ref());
        repair.is_some_and(|repair| repair.is_empty() && repair.refused.is_empty())
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

    /// Sets the patterns of the fields of a name.
    pub(super) fn set_globs(&mut self, name: &str, globs: &str) {
        let is_it = |field: &Field| field.name == name && matches!(field.kind, Kind::Globs { .. });
        for (_, value) in self.fields.iter().zip(&mut self.values).filter(|(field, _)| is_it(field)) {
            value.text = Input::new(globs.to_owned());
        }
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
        let verb = if self.task == Task::Repair { "align" } else { self.task.verb() };
        let mut parts = vec![format!("ckpt {verb}"), shell_path(&self.input)];
        parts.extend(self.used.iter().enumerate().map(|(at, used)| self.adapter_words(at, used)));
        if self.task == Task::Repair {
            parts.push("--repair".into());
        }
        parts.extend(self.fixing.as_ref().map(|fixing| fixing.code.clone()));
        for (at, field) in self.shown() {
            let value = &self.values[at];
            match &field.kind {
                Kind::Choice(choices) => parts.extend(choices.get(value.at).map(|c| c.flag.to_owned())),
                Kind::Globs { flag, .. } => {
                    let globs = value.text.value().split_whitespace();
                    parts.extend(globs.map(|glob| format!("{flag} {}", shell_word(glob))));
                }
                Kind::Wish { flag, .. } if !value.text.value().trim().is_empty() => {
                    parts.push(format!("{flag} {}", shell_word(value.text.value().trim())));
                }
                Kind::Folder | Kind::Scale(_) | Kind::Wish { .. } | Kind::Button(_) => {}
            }
        }
        parts.retain(|part| !part.is_empty());
        parts.push(format!("-o {}", shell_path(self.output())));
        parts
    }

    /// An adapter on the command line: with its scale, unless that is 1.
    fn adapter_words(&self, at: usize, used: &Used) -> String {
        match self.scale_text(at) {
            Some(scale) if scale.parse() != Ok(1.0) => {
                format!("-a {}", shell_path(&format!("{}={scale}", used.path)))
            }
            _ => format!("-a {}", shell_path(&used.path)),
        }
    }

    /// Returns what the form asks to plan.
    ///
    /// # Errors
    /// What cannot be planned, in words: a scale that is no number, an adapter that could not be held against the
    /// base. `None` while one is being held against it.
    pub(super) fn request(&self, checkpoint: Arc<Checkpoint>) -> Result<Option<Request>, Error> {
        let Some(held) = self.held()? else { return Ok(None) };
        let scales = self.scales()?;
        let named = self.used.iter().map(|used| used.path.clone()).zip(scales.iter().copied());
        let mut order = Order {
            merging: (self.task == Task::Merge).then(|| Merging {
                adapters: named.collect(),
                recipe: Recipe::Peft,
                combine: Combine::Sequential,
                allow_partial: false,
                base_is_residual: false,
            }),
            ..Order::new(&self.input, Path::new(self.output()))
        };
        if self.task == Task::Repair {
            let input = self.used.first().map_or("", |used| used.path.as_str());
            order = crate::plan::repaired::order(input, &order.output);
        }
        if let Some(fixing) = &self.fixing {
            order.fixes = vec![fixing.code.clone()];
        }
        let (mut options, mut wishes) = (Options::default(), Wishes::default());
        for (at, field) in self.shown() {
            let value = &self.values[at];
            match &field.kind {
                Kind::Choice(choices) => {
                    if let Some(choice) = choices.get(value.at) {
                        (choice.set)(&mut order, &mut options);
                        (choice.wish)(&mut wishes);
                    }
                }
                Kind::Globs { set, .. } => {
                    set(&mut order, value.text.value().split_whitespace().map(str::to_owned).collect());
                }
                Kind::Wish { set, .. } => {
                    let text = value.text.value().trim();
                    if !text.is_empty() && !set(&mut wishes, text) {
                        return Err(Error::input(format!("{}: {} is no number", field.name, escape(text))));
                    }
                }
                Kind::Folder | Kind::Scale(_) | Kind::Button(_) => {}
            }
        }
        // Its layers are those that the adapter was held against.
        let checkpoint = held.first().map_or(checkpoint, |held: &Arc<Held>| Arc::clone(&held.base));
        let adapters = held.into_iter().zip(scales).collect();
        Ok(Some(Request {
            question: self.asked,
            task: self.task,
            checkpoint,
            order,
            options,
            adapters,
            wishes,
            fixing: self
                .fixing
                .clone()
                .map(|fixing| (fixing, self.used.iter().map(|used| used.path.clone()).collect())),
        }))
    }

    /// Takes what decides which fields apply; the focus leaves a field that goes.
    pub(super) fn see(&mut self, seen: Seen) {
        self.seen = Seen { is_several: self.used.len() > 1, ..seen };
        self.seen.to = self.format();
        if !(self.field().applies)(&self.seen) {
            self.cursor = self.fields.len() - 1;
        }
    }

    /// Takes a plan; returns true if what was seen meanwhile has brought up choices that it was made without.
    pub(super) fn take(&mut self, plan: Result<Planned, Error>) -> bool {
        let there = plan.as_ref().map_or(There::Nothing, |planned| planned.there.clone());
        let is_computed =
            plan.as_ref().map_or(self.seen.is_computed, |planned| engine::choice::computes(&planned.plan));
        self.see(Seen { there, is_computed, ..self.seen });
        let is_stale = plan.as_ref().is_ok_and(|planned| {
            let now = self.request(Arc::clone(&planned.checkpoint));
            let of = |options: &Options| (options.force, options.resume, options.device);
            now.ok().flatten().is_some_and(|now| of(&now.options) != of(&planned.options))
        });
        // The list of what is repaired stays where it was read.
        if self.task != Task::Repair {
            self.top = 0;
        }
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
        let field = *self.field();
        let Kind::Choice(choices) = field.kind else { return Ok(false) };
        if choices.len() == 1 {
            return Err(field.about);
        }
        let value = &mut self.values[self.cursor];
        let new = value.at.saturating_add_signed(by).min(choices.len() - 1);
        let is_other = std::mem::replace(&mut value.at, new) != new;
        self.seen.to = self.format();
        Ok(is_other)
    }

    /// Chooses what layers become, if that can be chosen here.
    pub(super) fn choose_format(&mut self, word: &str) {
        let of = |(at, field): (usize, &Field)| match field.kind {
            Kind::Choice(choices) if field.name == FORMAT => {
                Some((at, choices.iter().position(|choice| choice.word == word)?))
            }
            _ => None,
        };
        let found = self.shown().find_map(of);
        if let Some((field, choice)) = found {
            self.values[field].at = choice;
            self.seen.to = self.format();
        }
    }

    /// Returns the words of what layers can become.
    pub(super) fn formats(&self) -> impl Iterator<Item = &'static str> + '_ {
        let of = |(_, field): (usize, &Field)| match field.kind {
            Kind::Choice(choices) if field.name == FORMAT => Some(choices),
            _ => None,
        };
        self.shown().find_map(of).into_iter().flatten().map(|choice| choice.word)
    }

    /// Returns what the folder's name ends in for a word of what layers become.
    pub(super) fn suffix(&self, word: &str) -> String {
        let adapter = self.used.first().map(|used| last(used.name()));
        match (adapter, word) {
            (Some(adapter), "" | "dense" | "same") => adapter.to_owned(),
            (Some(adapter), word) => format!("{adapter}-{word}"),
            (None, "") => "dense".to_owned(),
            (None, word) => word.to_owned(),
        }
    }

    /// Returns the word of what layers become.
    #[must_use]
    pub fn format(&self) -> &'static str {
        let of = |(at, field): (usize, &Field)| match field.kind {
            Kind::Choice(choices) if field.name == FORMAT => choices.get(self.values[at].at),
            _ => None,
        };
        self.shown().find_map(of).map_or("", |choice| choice.word)
    }

    /// Returns the text of the field, if it takes one.
    pub(super) fn text(&mut self) -> Option<&mut Input> {
        let kind = self.field().kind;
        (kind.is_text() || matches!(kind, Kind::Scale(_))).then(|| &mut self.values[self.cursor].text)
    }

    /// Returns what is to be known of the field with the value that it has.
    #[must_use]
    pub fn about(&self) -> String {
        let field = self.field();
        match field.kind {
            Kind::Choice(choices) => {
                choices.get(self.values[self.cursor].at).map_or("", |c| c.about).to_owned()
            }
            Kind::Scale(at) => {
                let name = self.used.get(at).map_or("", Used::name);
                format!("{}: {}", escape(name), field.about)
            }
            _ => field.about.to_owned(),
        }
    }
}
