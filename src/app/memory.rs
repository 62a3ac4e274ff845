//! Memory: what the tab of that name keeps: the numbers that may be changed, the task under the cursor, the focus.
//!
//! One number is always marked, and ← → change it. Tab takes the focus to it, and on to the next one; there digits
//! are typed, which are tabs everywhere else. Esc, Enter, or Tab behind the last number, give the focus back.

use std::sync::Arc;

use super::{App, Effect, Ready, Tab, shell_path};
use crate::adapter::held::Held;
use crate::footprint::words::{self, Place};
use crate::footprint::{
    Anatomy, BATCH_MAX, CONTEXT_MAX, CacheDtype, Footprint, Optimizer, RANK_MAX, Settings, Targets, Trainable,
};
use crate::gauges::Sample;
use crate::units;

/// What the tab keeps of one checkpoint.
pub struct Memory {
    /// What counts of the checkpoint; made anew when it is read again.
    pub anatomy: Arc<Anatomy>,
    /// The numbers.
    pub settings: Settings,
    /// The task under the cursor.
    pub task: usize,
    /// The number that is marked.
    pub field: Field,
    /// True if the focus is on that number.
    pub is_on_number: bool,
    typed: String,
    trained: Option<(Arc<Held>, Trainable)>,
}

/// A number that may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Tokens a sequence.
    Context,
    /// Sequences at once.
    Batch,
    /// Rank of an adapter.
    Rank,
    /// What updates the weights.
    Optimizer,
    /// Whether activations are computed again.
    Checkpointing,
}

impl Field {
    /// All of them, in the order of the screen.
    pub const ALL: [Self; 5] = [Self::Context, Self::Batch, Self::Rank, Self::Optimizer, Self::Checkpointing];

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Batch => "batch",
            Self::Rank => "rank",
            Self::Optimizer => "optimizer",
            Self::Checkpointing => "checkpointing",
        }
    }

    /// Returns the largest number, for those that are typed.
    fn most(self) -> Option<u64> {
        match self {
            Self::Context => Some(CONTEXT_MAX),
            Self::Batch => Some(BATCH_MAX),
            Self::Rank => Some(RANK_MAX),
            Self::Optimizer | Self::Checkpointing => None,
        }
    }

    fn of(self, settings: &mut Settings) -> Option<&mut u64> {
        match self {
            Self::Context => Some(&mut settings.context),
            Self::Batch => Some(&mut settings.batch),
            Self::Rank => Some(&mut settings.rank),
            Self::Optimizer | Self::Checkpointing => None,
        }
    }
}

impl Memory {
    fn new(ready: &Ready) -> Self {
        let anatomy = Arc::new(Anatomy::of(&ready.checkpoint));
        Self {
            settings: Settings::first(anatomy.architecture.limit),
            anatomy,
            task: 0,
            field: Field::Context,
            is_on_number: false,
            typed: String::new(),
            trained: None,
        }
    }

    /// Returns what a number is, in words.
    #[must_use]
    pub fn value(&self, field: Field) -> String {
        match field {
            Field::Context => self.settings.context.to_string(),
            Field::Batch => self.settings.batch.to_string(),
            Field::Rank => match &self.trained {
                Some((_, trained)) if trained.rank > 0 => format!("{} of the adapter", trained.rank),
                Some(_) => "of the adapter".into(),
                None => self.settings.rank.to_string(),
            },
            Field::Optimizer => self.settings.optimizer.name().into(),
            Field::Checkpointing => if self.settings.checkpointing { "on" } else { "off" }.into(),
        }
    }

    /// Returns what the tasks need with these numbers.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.anatomy, &self.settings, self.trained.as_ref().map(|(_, trained)| trained))
    }

    /// Takes the adapter that is attached now: it is trained in the place of a rank.
    pub fn take_adapter(&mut self, held: Option<&Arc<Held>>) {
        match held {
            None => self.trained = None,
            Some(held) if self.trained.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, held)) => {}
            Some(held) => self.trained = Some((Arc::clone(held), Trainable::of_adapter(held))),
        }
    }

    /// Changes the marked number by one step.
    fn change(&mut self, is_up: bool) {
        self.typed.clear();
        let settings = &mut self.settings;
        match self.field {
            Field::Batch => {
                let batch = settings.batch;
                settings.batch = if is_up { (batch + 1).min(BATCH_MAX) } else { (batch - 1).max(1) };
            }
            Field::Context => settings.context = doubled(settings.context, is_up, CONTEXT_MAX),
            Field::Rank => settings.rank = doubled(settings.rank, is_up, RANK_MAX),
            Field::Optimizer => {
                let (all, now) = (Optimizer::ALL, settings.optimizer);
                let at = all.iter().position(|optimizer| *optimizer == now).unwrap_or(0);
                let by = if is_up { 1 } else { all.len() - 1 };
                settings.optimizer = all[(at + by) % all.len()];
            }
            Field::Checkpointing => settings.checkpointing = !settings.checkpointing,
        }
    }

    /// Takes a digit or a backspace for the marked number; returns false for anything else.
    ///
    /// # Errors
    /// The number would be too large, in words.
    fn type_key(&mut self, key: &str) -> Result<bool, String> {
        let (field, Some(most)) = (self.field, self.field.most()) else { return Ok(false) };
        let is_digit = key.len() == 1 && key.bytes().all(|byte| byte.is_ascii_digit());
        if key == "backspace" {
            if self.typed.is_empty() {
                self.typed = self.value(field);
            }
            self.typed.pop();
        } else if is_digit {
            let longer = format!("{}{key}", self.typed);
            if longer.parse().map_or(true, |number: u64| number > most) {
                return Err(format!("{}: at most {}", field.name(), units::exact(most)));
            }
            self.typed = longer;
        } else {
            return Ok(false);
        }
        // Nothing typed, or 0, leaves 1: there is always a token, a sequence, a rank.
        let number = self.typed.parse().unwrap_or(0).max(1);
        if let Some(value) = field.of(&mut self.settings) {
            *value = number;
        }
        Ok(true)
    }

    /// Moves the focus to the next or previous number, from the last one back to the tasks.
    fn next_number(&mut self, is_forward: bool) {
        self.typed.clear();
        let all = Field::ALL;
        let at = all.iter().position(|field| *field == self.field).unwrap_or(0);
        if !self.is_on_number {
            self.is_on_number = true;
            return;
        }
        let next = if is_forward { Some(at + 1) } else { at.checked_sub(1) };
        match next.and_then(|next| all.get(next)) {
            Some(field) => self.field = *field,
            None => {
                (self.is_on_number, self.field) = (false, Field::Context);
            }
        }
    }

    fn leave_number(&mut self) {
        self.typed.clear();
        self.is_on_number = false;
    }

    /// Returns the command line that prints the same.
    fn command(&self, path: &str, adapter: Option<&str>) -> String {
        let settings = &self.settings;
        let which = match adapter {
            Some(adapter) => format!("-a {}", shell_path(adapter)),
            None => format!("--rank {}", settings.rank),
        };
        let checkpointing = if settings.checkpointing { "on" } else { "off" };
        // What the screen does not change has the defaults of the command line.
        debug_assert!(settings.targets == Targets::All && settings.cache == CacheDtype::Bits16);
        format!(
            "ckpt memory {} {which} --context {} --batch {} --optimizer {} --checkpointing {checkpointing}",
            shell_path(path),
            settings.context,
            settings.batch,
            settings.optimizer.name()
        )
    }
}

/// Returns the next power of two above or below, within 1 and `most`.
fn doubled(number: u64, is_up: bool, most: u64) -> u64 {
    if is_up {
        return (number + 1).checked_next_power_of_two().unwrap_or(most).min(most);
    }
    // Half of the power of two that holds the number.
    (number.next_power_of_two() / 2).max(1)
}

impl Ready {
    /// Returns what the tab of memory keeps, made when it is first asked for.
    pub fn memory(&mut self) -> &mut Memory {
        let memory = self.memory.take().unwrap_or_else(|| Memory::new(self));
        self.memory.insert(memory)
    }

    /// Makes the anatomy anew after the checkpoint was replaced; the numbers stay.
    pub(super) fn refresh_memory(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.anatomy = Arc::new(Anatomy::of(&self.checkpoint));
        }
    }
}

/// Returns where tasks could be put: GPUs that tell their memory, then main memory.
#[must_use]
pub fn places(sample: &Sample) -> Vec<Place> {
    let gpus = sample.gpus.iter().filter_map(|gpu| {
        let vram = gpu.vram.as_ref().ok()?;
        // A GPU that hides its name is known by its label.
        let name = gpu.name.as_ref().map_or_else(|_| gpu.label(), Clone::clone);
        Some(Place { label: gpu.label(), name, total: vram.total, free: vram.free })
    });
    let ram = sample.ram.as_ref().ok();
    let ram =
        ram.map(|ram| Place { label: "RAM".into(), name: "RAM".into(), total: ram.total, free: ram.free() });
    gpus.chain(ram).collect()
}

impl App {
    /// True if the tab of memory shows.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.tab == Tab::Memory && self.is_readable()
    }

    /// True if the tab of memory shows with numbers that can be changed: an adapter alone has none.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.is_in_memory() && self.ready().is_some_and(|ready| ready.adapter.is_none())
    }

    /// Takes a key while the focus is on a number of the tab; returns false if it is none for it.
    pub(super) fn memory_key(&mut self, key: &str) -> bool {
        if !self.is_in_memory() {
            return false;
        }
        let has_adapter = self.board().is_some();
        let Some(memory) = self.ready_mut().map(Ready::memory).filter(|memory| memory.is_on_number) else {
            return false;
        };
        if key == "enter" {
            memory.leave_number();
            return true;
        }
        if memory.field == Field::Rank && has_adapter {
            return false;
        }
        match memory.type_key(key) {
            Ok(is_taken) => is_taken,
            Err(why) => {
                self.toast = Some(why);
                true
            }
        }
    }

    /// Gives the focus back to the tasks; returns false if it was there.
    pub(super) fn leave_number(&mut self) -> bool {
        let is_here = self.is_in_memory();
        let memory = self.ready_mut().filter(|_| is_here).map(Ready::memory);
        memory.filter(|memory| memory.is_on_number).map(Memory::leave_number).is_some()
    }

    /// Moves the cursor among the tasks.
    pub(super) fn step_task(&mut self, by: isize) {
        let Some(ready) = self.ready_mut() else { return };
        // The tasks are at the top.
        ready.tab_top = 0;
        let memory = ready.memory();
        memory.leave_number();
        let last = memory.footprint().tasks.len().saturating_sub(1);
        memory.task = memory.task.saturating_add_signed(by).min(last);
    }

    /// Returns the command line that prints what the tab shows.
    pub(super) fn memory_command(&mut self) -> Option<String> {
        let adapter = self.board().and(self.attached()).map(|attached| attached.path.clone());
        let path = self.opens.get(self.current)?.path.clone();
        Some(self.ready_mut()?.memory().command(&path, adapter.as_deref()))
    }

    /// Returns the task under the cursor and its need, to be copied.
    pub(super) fn task_in_words(&mut self) -> Option<String> {
        let memory = self.ready_mut()?.memory();
        let footprint = memory.footprint();
        let task = footprint.tasks.get(memory.task)?;
        Some(format!("{}: {}", task.name.trim(), words::span(task)))
    }
}

pub(super) fn raise(app: &mut App) -> Vec<Effect> {
    change(app, true)
}

pub(super) fn lower(app: &mut App) -> Vec<Effect> {
    change(app, false)
}

fn change(app: &mut App, is_up: bool) -> Vec<Effect> {
    let has_adapter = app.board().is_some();
    if let Some(memory) = app.ready_mut().map(Ready::memory) {
        if memory.field == Field::Rank && has_adapter {
            app.toast = Some("rank: that of the attached adapter counts".into());
            return Vec::new();
        }
        memory.change(is_up);
    }
    Vec::new()
}

pub(super) fn next_number(app: &mut App, is_forward: bool) -> Vec<Effect> {
    if let Some(memory) = app.ready_mut().map(Ready::memory) {
        memory.next_number(is_forward);
    }
    Vec::new()
}
