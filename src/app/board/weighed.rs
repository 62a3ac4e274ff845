//! Weighed: how much the attached adapter changes each layer, looked at on a thread when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::app::{App, Effect};
use crate::engine::Progress;
use crate::engine::deltas::Delta;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::units;

/// How far the looking is.
#[derive(Default)]
pub enum Weighed {
    /// It was not asked for.
    #[default]
    Not,
    /// So many weights are done.
    Running(Look, usize),
    /// By the modules of the adapter; of a module with a bias that of the weight.
    Done(BTreeMap<String, Delta>),
    /// It could not be done, and why.
    Failed(String),
}

/// A look that ends when nobody waits for it any more.
pub struct Look {
    number: u32,
    progress: Arc<Progress>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.progress.cancel.store(true, Ordering::Relaxed);
    }
}

impl Weighed {
    /// Returns what is said of the change of a module; `None` if nothing is known.
    #[must_use]
    pub fn of(&self, module: &str) -> Option<String> {
        let Self::Done(found) = self else { return None };
        Some(found.get(module).map_or_else(|| "not looked at: it is not merged".to_owned(), words))
    }

    /// Returns what is said of the changes of several modules together.
    #[must_use]
    pub fn of_all<'m>(&self, modules: impl Iterator<Item = &'m str>) -> Option<String> {
        let Self::Done(found) = self else { return None };
        let found: Vec<&Delta> = modules.filter_map(|module| found.get(module)).collect();
        let [first, .., _] = found[..] else { return found.first().map(|delta| words(delta)) };
        let zeros = found.iter().filter(|delta| delta.is_zero).count();
        let ends = |of: &dyn Fn(&Delta) -> Option<f64>| {
            let values = found.iter().filter(|delta| !delta.is_zero).filter_map(|delta| of(delta));
            values.fold(None, |ends: Option<(f64, f64)>, value| {
                Some(ends.map_or((value, value), |(a, b)| (a.min(value), b.max(value))))
            })
        };
        let mut said = Vec::new();
        if let Some((low, high)) = ends(&Delta::relative) {
            said.push(format!("{} … {} of their layers", share(low), share(high)));
        }
        if let (Some((low, high)), Some(rank)) = (ends(&|delta| delta.effective_rank), first.rank) {
            said.push(format!("effective rank {low:.1} … {high:.1} of {rank}"));
        }
        if zeros > 0 {
            said.push(format!("{zeros} of {} change nothing", found.len()));
        }
        Some(said.join("   "))
    }

    /// Returns what is said of how far it is.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        match self {
            Self::Not | Self::Done(_) => None,
            Self::Running(_, done) => Some(format!("weighing: {} done", units::plural(*done, "layer"))),
            Self::Failed(why) => Some(format!("not weighed: {why}")),
        }
    }
}

fn share(relative: f64) -> String {
    format!("{:.3} %", 100.0 * relative)
}

fn words(delta: &Delta) -> String {
    if delta.is_zero {
        return "nothing: all of the change is zero".into();
    }
    let norms = format!("norm {:.4} beside {:.4}", delta.norm, delta.base_norm);
    let relative = delta.relative().map_or_else(
        || format!("a layer that is all zero, {norms}"),
        |relative| format!("{} of the layer, {norms}", share(relative)),
    );
    let rank = delta.rank.zip(delta.effective_rank);
    let rank = rank.map(|(rank, effective)| format!("   effective rank {effective:.1} of {rank}"));
    format!("{relative}{}", rank.unwrap_or_default())
}

impl App {
    /// Takes how many layers have been looked at.
    pub(in crate::app) fn weighing(&mut self, number: u32, done: usize) {
        if let Some(Weighed::Running(look, so_far)) = self.weighed_by(number) {
            debug_assert_eq!(look.number, number, "found by its number");
            *so_far = done.max(*so_far);
        }
    }

    /// Takes what was found.
    pub(in crate::app) fn weighed(&mut self, number: u32, found: Result<Vec<Delta>>) {
        let Some(weighed) = self.weighed_by(number) else { return };
        *weighed = match found {
            Ok(found) => {
                let mut by_module = BTreeMap::new();
                for delta in found {
                    for module in &delta.modules {
                        by_module.entry(module.clone()).or_insert_with(|| delta.clone());
                    }
                }
                Weighed::Done(by_module)
            }
            Err(error) => Weighed::Failed(escape(&error.message).into_owned()),
        };
    }

    fn weighed_by(&mut self, number: u32) -> Option<&mut Weighed> {
        let boards = self.opens.iter_mut().filter_map(super::super::Open::board_mut);
        let mut weighed = boards.map(|board| &mut board.weighed);
        weighed.find(|weighed| matches!(weighed, Weighed::Running(look, _) if look.number == number))
    }
}

/// Looks at how much the adapter changes each layer; while it does, ends it.
pub(in crate::app) fn weigh(app: &mut App) -> Vec<Effect> {
    let number = app.next_id;
    let Some(open) = app.opens.get(app.current).map(|open| open.id) else { return Vec::new() };
    let Some(board) = app.board_mut() else { return Vec::new() };
    if matches!(board.weighed, Weighed::Running(..)) {
        board.weighed = Weighed::Failed("it was ended; w begins again".into());
        return Vec::new();
    }
    let look = Look { number, progress: Arc::default() };
    board.weighed = Weighed::Running(look, 0);
    app.next_id += 1;
    vec![Effect::Weigh(open, number)]
}

/// What a thread needs for a look.
pub struct Question {
    number: u32,
    held: Arc<crate::adapter::held::Held>,
    progress: Arc<Progress>,
}

impl Question {
    /// Returns that of the adapter that is attached to a checkpoint, if it is still asked.
    #[must_use]
    pub fn of(app: &App, id: u32, number: u32) -> Option<Self> {
        let board = app.opens.iter().find(|open| open.id == id)?.board()?;
        let Weighed::Running(look, _) = &board.weighed else { return None };
        let (held, progress) = (Arc::clone(&board.held), Arc::clone(&look.progress));
        (look.number == number).then_some(Self { number, held, progress })
    }

    /// Answers it; `on_done` is told how many layers are done.
    ///
    /// # Errors
    /// As `of_adapter`.
    pub fn answer(&self, on_done: &(dyn Fn(usize) + Sync)) -> Result<Vec<Delta>> {
        let found = crate::engine::deltas::of_adapter(&self.held, &self.progress, on_done);
        found.map(|found| found.deltas).map_err(|error| match error.kind {
            ErrorKind::Cancelled => Error::new(ErrorKind::Cancelled, "it was ended"),
            _ => error,
        })
    }

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}
