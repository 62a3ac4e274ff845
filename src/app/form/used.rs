//! The adapters of a form: the one that is attached, and those that are merged with it, each with its scale.

use std::sync::Arc;

use tui_input::Input;

use super::{Field, Form, Kind, Task, Value};
use crate::adapter::held::Held;
use crate::error::Error;
use crate::name::escape;

/// An adapter that a form is about.
pub struct Used {
    /// What it was attached by.
    pub path: String,
    /// It, held against the base.
    pub holding: Holding,
}

/// How far an adapter is.
pub enum Holding {
    /// It is opened and held against the base: the number of the question.
    Aligning(u32),
    /// It could not be, and why.
    Failed(Error),
    /// It is here.
    Here(Arc<Held>),
}

impl Used {
    /// Returns its name: its title, else the last part of what it was asked by.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.holding {
            Holding::Here(held) => &held.adapter.files.title,
            _ => last(&self.path),
        }
    }

    /// Returns it, if it is here.
    #[must_use]
    pub fn held(&self) -> Option<&Arc<Held>> {
        match &self.holding {
            Holding::Here(held) => Some(held),
            _ => None,
        }
    }
}

/// Returns the last part of a path or title.
pub(in crate::app) fn last(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

impl Form {
    /// Returns true if the form is for a task on a checkpoint with this adapter attached to it.
    pub(in crate::app) fn is_of(&self, task: Task, id: u32, held: &Arc<Held>) -> bool {
        let first = self.used.first().and_then(Used::held);
        self.task == task && self.id == id && first.is_some_and(|first| Arc::ptr_eq(first, held))
    }

    /// Adds the adapter that the form is about from the beginning.
    pub(in crate::app) fn begin_with(&mut self, path: &str, held: Arc<Held>) {
        self.used = vec![Used { path: path.to_owned(), holding: Holding::Here(held) }];
        for (field, value) in self.fields.iter().zip(&mut self.values) {
            if matches!(field.kind, Kind::Scale(_)) {
                value.text = Input::new("1.0".into());
            }
        }
    }

    /// Adds an adapter that is merged as well, with a field for its scale, which gets the focus.
    pub(in crate::app) fn add_adapter(&mut self, path: &str, number: u32) {
        let is_scale = |field: &Field| matches!(field.kind, Kind::Scale(_));
        let Some(last) = self.fields.iter().rposition(is_scale) else { return };
        let field = Field { kind: Kind::Scale(self.used.len()), ..self.fields[last] };
        self.used.push(Used { path: path.to_owned(), holding: Holding::Aligning(number) });
        self.seen.is_several = true;
        self.fields.insert(last + 1, field);
        self.values.insert(last + 1, Value { at: 0, text: Input::new("1.0".into()) });
        self.cursor = last + 1;
    }

    /// Takes out the adapter whose scale has the focus.
    ///
    /// # Errors
    /// It is the one that is attached, or the field is another: in words.
    pub(in crate::app) fn remove_adapter(&mut self) -> Result<(), &'static str> {
        match self.field().kind {
            Kind::Scale(0) => {
                Err("this adapter is the one that is attached: a on the board attaches another")
            }
            Kind::Scale(at) => {
                self.used.remove(at);
                self.fields.remove(self.cursor);
                self.values.remove(self.cursor);
                let mut number = 0;
                for field in &mut self.fields {
                    if let Kind::Scale(at) = &mut field.kind {
                        *at = number;
                        number += 1;
                    }
                }
                self.cursor -= 1;
                self.seen.is_several = self.used.len() > 1;
                Ok(())
            }
            _ => Err("x takes an adapter out: go to its scale first"),
        }
    }

    /// Takes an adapter that was held against the base, or why it was not; returns true if it was asked for.
    pub(in crate::app) fn take_adapter(&mut self, number: u32, held: Result<Held, Error>) -> bool {
        let waits = |used: &&mut Used| matches!(used.holding, Holding::Aligning(asked) if asked == number);
        let Some(used) = self.used.iter_mut().find(waits) else { return false };
        used.holding = match held {
            Ok(held) => Holding::Here(Arc::new(held)),
            Err(error) => Holding::Failed(error),
        };
        true
    }

    /// Returns the adapters, if all are here.
    ///
    /// # Errors
    /// One could not be held against the base.
    pub(super) fn held(&self) -> Result<Option<Vec<Arc<Held>>>, Error> {
        for used in &self.used {
            if let Holding::Failed(error) = &used.holding {
                let message =
                    format!("{}: {} (x on its scale takes it out)", escape(used.name()), error.message);
                return Err(Error::new(error.kind, message));
            }
        }
        Ok(self.used.iter().map(|used| used.held().cloned()).collect())
    }

    /// Returns the text of an adapter's scale, if it has a field.
    pub(super) fn scale_text(&self, at: usize) -> Option<&str> {
        let field = self.fields.iter().position(|field| matches!(field.kind, Kind::Scale(of) if of == at))?;
        Some(self.values[field].text.value().trim())
    }

    /// Returns what the delta of each adapter is multiplied by.
    ///
    /// # Errors
    /// One is no number.
    pub(super) fn scales(&self) -> Result<Vec<f64>, Error> {
        let scale = |(at, used): (usize, &Used)| match self.scale_text(at) {
            None => Ok(1.0),
            Some(text) => text.parse::<f64>().ok().filter(|scale| scale.is_finite()).ok_or_else(|| {
                let name = used.name();
                let said = if text.is_empty() { "is empty" } else { "is no number" };
                Error::input(format!("the scale of {} {said}: a number such as 0.5 goes there", escape(name)))
            }),
        };
        self.used.iter().enumerate().map(scale).collect()
    }

    /// Returns true if a further adapter can be merged.
    #[must_use]
    pub fn takes_adapters(&self) -> bool {
        self.task == Task::Merge
    }
}
