//! Compare: the checkpoint that is shown, A, held against another, B, layer by layer.
//!
//! B is opened if it is not, both are matched by their names, then the values of each pair are held against each other by
//! a job (`Effect::Compare`) that sends figures as it finds them. The pair under the cursor is looked at closely by another
//! (`Effect::LookAtPair`). A job works on what was asked under its number: what comes late is dropped.

mod acts;
pub mod beside;
pub mod causes;
pub mod close;
pub mod figures;
mod moves;
pub mod request;
pub mod show;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{App, Effect, OpenState, shell_path};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NodeId;
use crate::checkpoint::tree::{Mode, RowKind, Sort};
use crate::stats::matched::{Matched, NameMap, Pair, Side};
pub(super) use acts::{can_compare, is_matched, on_screen, pick};
pub(super) use acts::{
    copy_command, copy_row, end, is_running, is_strippable, sort, stop, strip, takes_enter,
};
use beside::Beside;
pub(super) use beside::{
    can_put_beside, in_beside, is_on_layer, is_seeking, leave_beside, next_place, previous_place, put_beside,
    stop_seeking, to_largest,
};
use close::Close;
use figures::{Cell, Table};
pub(super) use moves::{
    is_on_strip, is_walking, next_cell, next_differing, previous_cell, previous_differing,
};
use request::Facts;
pub use request::{News, Request};
use show::Show;
pub(super) use show::choose_show;

/// Two checkpoints that are compared.
pub struct Compare {
    /// The open checkpoint whose tree shows, by its id.
    pub a: u32,
    /// The open checkpoint that it is compared with, by its id; the same if it is compared with itself.
    pub b: u32,
    /// What names are stripped of.
    pub names: NameMap,
    /// How far it is.
    pub stage: Stage,
    /// What was matched, once it is.
    pub facts: Option<Box<Facts>>,
    /// The figures that there are so far.
    pub table: Table,
    /// Where the cells of a strip are walked: the node of its row, and the cell.
    walk: Option<(NodeId, usize)>,
    /// Which layers show.
    pub show: Show,
    /// The pair that was asked for last, and what came of it.
    close: Option<(u32, Option<Result<Close, String>>)>,
    /// The values of a pair, while they stand beside each other.
    beside: Option<Beside>,
    number: u32,
    cancel: Arc<AtomicBool>,
    cancel_close: Arc<AtomicBool>,
}

/// How far a comparison is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A and B are opened and examined.
    Opening,
    /// B could not be opened, and why.
    Failed(String),
    /// Names are matched.
    Matching,
    /// Values are compared.
    Running,
    /// All pairs were looked at.
    Done,
    /// It was stopped before that; if by a fault, which.
    Stopped(Option<String>),
}

/// What Detail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Focused {
    /// The layer of A.
    pub layer: u32,
    /// Its place among those that the row stands for, from 0.
    pub place: usize,
    /// How many the row stands for.
    pub of: usize,
    /// True if a person has walked to it; else it is the one that differs most.
    pub is_walked: bool,
}

impl Drop for Compare {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.cancel_close.store(true, Ordering::Relaxed);
    }
}

impl Compare {
    fn new(a: u32, b: u32, names: NameMap) -> Self {
        Self {
            a,
            b,
            names,
            stage: Stage::Opening,
            facts: None,
            table: Table::default(),
            walk: None,
            show: Show::All,
            close: None,
            beside: None,
            number: 0,
            cancel: Arc::default(),
            cancel_close: Arc::default(),
        }
    }

    /// Returns what was matched, if it is.
    #[must_use]
    pub fn matched(&self) -> Option<&Matched> {
        self.facts.as_ref().map(|facts| &facts.matched)
    }

    /// Returns a pair with the checkpoints that it is of.
    #[must_use]
    pub fn pair(&self, number: u32) -> Option<(&Pair, [&Checkpoint; 2])> {
        let facts = self.facts.as_ref()?;
        let pair = facts.matched.pairs.get(number as usize)?;
        Some((pair, [&facts.of[0], &facts.of[1]]))
    }

    /// Returns what a close look at a pair has found, or why it found nothing; `None` while it is looked at.
    #[must_use]
    pub fn close(&self, pair: u32) -> Option<&Result<Close, String>> {
        self.close.as_ref().filter(|(of, _)| *of == pair)?.1.as_ref()
    }

    /// Returns the side and the prefix that would make some names the same, if none is.
    #[must_use]
    pub fn strippable(&self) -> Option<(Side, &str)> {
        let (side, prefix) = self.matched()?.strip.as_ref()?;
        Some((*side, prefix))
    }

    /// Forgets what was found, and ends what looks for more.
    fn forget(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.cancel_close.store(true, Ordering::Relaxed);
        (self.cancel, self.cancel_close) = (Arc::default(), Arc::default());
        (self.facts, self.table) = (None, Table::default());
        (self.walk, self.close, self.beside) = (None, None, None);
        self.stage = Stage::Opening;
    }
}

impl App {
    /// Returns the comparison, if the checkpoint that is shown is its A.
    #[must_use]
    pub fn compare(&self) -> Option<&Compare> {
        let shown = self.opens.get(self.current)?.id;
        self.compare.as_deref().filter(|compare| compare.a == shown)
    }

    fn compare_mut(&mut self) -> Option<&mut Compare> {
        let shown = self.opens.get(self.current)?.id;
        self.compare.as_deref_mut().filter(|compare| compare.a == shown)
    }

    /// Compares the checkpoint that is shown with another, which is opened if it is not; names are matched as said.
    pub fn compare_with(&mut self, path: &str, names: NameMap) -> Vec<Effect> {
        let Some(a) = self.opens.get(self.current).map(|open| (open.id, open.path.clone())) else {
            return Vec::new();
        };
        self.end_compare();
        let at = self.current;
        // Another that is open under this path comes first; the same is held against itself.
        let others = self.opens.iter().filter(|open| open.path == path);
        let open = others.clone().find(|open| open.id != a.0).or_else(|| others.clone().next());
        let (b, effects) = if let Some(open) = open {
            (open.id, Vec::new())
        } else {
            let effects = self.open(path);
            (self.next_id - 1, effects)
        };
        self.current = at;
        self.log.push(diff_command([&a.1, path], &names));
        self.compare = Some(Box::new(Compare::new(a.0, b, names)));
        self.show(super::Tab::Detail);
        if let Some(ready) = self.ready_mut() {
            ready.detail_top = 0;
            if ready.tree.mode() == Mode::Tensors {
                let checkpoint = Arc::clone(&ready.checkpoint);
                ready.tree.set_mode(&checkpoint, Mode::Layers);
            }
        }
        effects
    }

    /// Ends the comparison; B stays open.
    fn end_compare(&mut self) {
        let Some(compare) = self.compare.take() else { return };
        if let Some(ready) = self.by_id(compare.a) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            ready.tree.clear_guests(&checkpoint);
            if ready.tree.sort() == Sort::Difference {
                ready.tree.set_sort(&checkpoint, Sort::Natural);
            }
        }
    }

    fn checkpoint_of(&self, id: u32) -> Result<&Arc<Checkpoint>, Option<String>> {
        match self.opens.iter().find(|open| open.id == id).map(|open| &open.state) {
            Some(OpenState::Ready(ready)) => Ok(&ready.checkpoint),
            Some(OpenState::Failed(error)) => Err(Some(error.message.clone())),
            _ => Err(None),
        }
    }

    /// Asks for what the comparison needs next: to be called after everything that happens.
    pub(super) fn tend_compare(&mut self) -> Vec<Effect> {
        let Some(compare) = self.compare.as_deref() else { return Vec::new() };
        let mut effects = Vec::new();
        let both = [self.checkpoint_of(compare.a), self.checkpoint_of(compare.b)];
        match both {
            [Ok(a), Ok(b)] if a.examined && b.examined => {
                let of = [Arc::clone(a), Arc::clone(b)];
                let is_same = |facts: &Facts| (0..2).all(|side| Arc::ptr_eq(&facts.of[side], &of[side]));
                let is_wanted = matches!(compare.stage, Stage::Opening | Stage::Failed(_));
                if compare.facts.as_ref().map_or(is_wanted, |facts| !is_same(facts)) {
                    effects.extend(self.match_again());
                }
            }
            [a, b] => {
                let why = [a.err(), b.err()].into_iter().flatten().flatten().next();
                let stage = why.map_or(Stage::Opening, Stage::Failed);
                let is_news = compare.facts.is_some() || compare.stage != stage;
                if is_news {
                    self.undress_tree();
                }
                if let Some(compare) = self.compare.as_deref_mut().filter(|_| is_news) {
                    compare.forget();
                    compare.stage = stage;
                }
            }
        }
        self.end_left_walk();
        effects.extend(self.look_closer());
        effects.extend(self.ask_beside());
        effects
    }

    /// Ends the walk along a strip that the cursor has left.
    fn end_left_walk(&mut self) {
        let node = self.ready().and_then(|ready| ready.tree.current()).map(|row| row.node);
        if let Some(compare) = self.compare_mut()
            && compare.walk.is_some_and(|(of, _)| Some(of) != node)
        {
            compare.walk = None;
        }
    }

    /// Begins anew with the names as they are to be matched.
    fn match_again(&mut self) -> Option<Effect> {
        let number = self.next_id;
        self.undress_tree();
        let compare = self.compare.as_deref_mut()?;
        self.next_id += 1;
        compare.forget();
        compare.number = number;
        compare.stage = Stage::Matching;
        Some(Effect::Compare(number))
    }

    /// Returns what the comparison of this number is to do.
    #[must_use]
    pub fn compare_request(&self, number: u32) -> Option<Request> {
        let compare = self.compare.as_deref().filter(|compare| compare.number == number)?;
        let of = [self.checkpoint_of(compare.a).ok()?, self.checkpoint_of(compare.b).ok()?];
        Some(Request::new(number, of.map(Arc::clone), &compare.names, &compare.cancel))
    }

    /// Returns the pair of the comparison of this number that is to be looked at closely.
    #[must_use]
    pub fn close_request(&self, number: u32) -> Option<request::CloseRequest> {
        let compare = self.compare.as_deref().filter(|compare| compare.number == number)?;
        let (pair, of) = (compare.close.as_ref()?.0, &compare.facts.as_ref()?.of);
        let found = compare.pair(pair)?.0.clone();
        Some(request::CloseRequest::new((number, pair), found, of.clone(), &compare.cancel_close))
    }

    /// Returns what the comparison of this number asks of values that stand beside each other.
    #[must_use]
    pub fn beside_request(&self, number: u32) -> Option<request::BesideRequest> {
        let compare = self.compare.as_deref().filter(|compare| compare.number == number)?;
        let (beside, of) = (compare.beside.as_ref()?, &compare.facts.as_ref()?.of);
        let (question, ask) = beside.asked()?;
        let pair = compare.pair(beside.pair)?.0.clone();
        Some(request::BesideRequest::new((number, question), ask.clone(), (pair, of.clone()), &beside.cancel))
    }

    /// Takes what a job has found, unless the comparison has ended or begun anew since.
    pub(super) fn compared(&mut self, number: u32, news: News) {
        let Some(compare) = self.compare.as_deref_mut().filter(|compare| compare.number == number) else {
            return;
        };
        match news {
            News::Matched(facts) if compare.stage == Stage::Matching => {
                compare.table = Table::new(&facts.of[0], &facts.matched);
                compare.facts = Some(facts);
                compare.stage = Stage::Running;
                self.dress_tree();
            }
            News::Matched(_) => {}
            News::Figures(found) => {
                compare.table.take(found);
                self.show_layers();
            }
            News::Ended(why) => {
                if matches!(compare.stage, Stage::Matching | Stage::Running) {
                    compare.stage = why.map_or(Stage::Done, |why| Stage::Stopped(Some(why)));
                }
                self.rank();
            }
            News::Beside(question, answer) => {
                let said = compare.beside.as_mut().and_then(|beside| beside.take(question, answer));
                self.toast = said.or(self.toast.take());
            }
            News::Close(pair, found) => {
                if let Some((asked, close)) = &mut compare.close
                    && *asked == pair
                {
                    *close = Some(*found);
                }
            }
        }
    }

    /// Tells the tree how much each layer differs.
    fn rank(&mut self) {
        let Some(compare) = self.compare.as_deref() else { return };
        let (a, weights, guests) = (compare.a, compare.table.weights(), Cell::OnlyA.weight());
        if let Some(ready) = self.by_id(a) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            ready.tree.set_differences(&checkpoint, weights, guests);
        }
    }

    /// Asks for a close look at the pair that Detail is about, unless it was asked for.
    fn look_closer(&mut self) -> Option<Effect> {
        let wanted = self.focused().and_then(|focused| {
            let compare = self.compare()?;
            compare.table.worst_pair(focused.layer)
        });
        let compare = self.compare_mut()?;
        let asked = compare.close.as_ref().map(|(pair, _)| *pair);
        // Its own bias may turn out to lie farther apart while the weights are looked at.
        if wanted.is_none() || asked == wanted || compare.facts.is_none() {
            return None;
        }
        compare.cancel_close.store(true, Ordering::Relaxed);
        compare.cancel_close = Arc::default();
        compare.close = wanted.map(|pair| (pair, None));
        Some(Effect::LookAtPair(compare.number))
    }

    /// Returns the layers of A that the row under the cursor stands for.
    #[must_use]
    pub fn row_layers(&self, row: usize) -> Vec<Range<u32>> {
        self.ready().map_or_else(Vec::new, |ready| ready.tree.alike_layers(&ready.checkpoint, row))
    }

    /// Returns the layer that Detail is about while two are compared: the one whose cell is walked to, else of those that
    /// the row stands for the one that differs most. `None` on a group, and while some have not been compared.
    #[must_use]
    pub fn focused(&self) -> Option<Focused> {
        let compare = self.compare()?;
        let ready = self.ready()?;
        let row = ready.tree.current().filter(|row| matches!(row.kind, RowKind::Layer(_)))?;
        let layers: Vec<u32> = self.row_layers(ready.tree.cursor()).into_iter().flatten().collect();
        let of = layers.len();
        if let Some((node, place)) = compare.walk.filter(|(node, _)| *node == row.node)
            && let Some(&layer) = layers.get(place)
        {
            debug_assert_eq!(node, row.node, "a walk is in its row");
            return Some(Focused { layer, place, of, is_walked: true });
        }
        let is_waiting = |layer: &u32| compare.table.cell(*layer) == Cell::Waiting;
        if of > 1 && layers.iter().any(is_waiting) && compare.stage == Stage::Running {
            return None;
        }
        let mut worst: Option<Focused> = None;
        for (place, layer) in layers.into_iter().enumerate() {
            let weight = |layer| compare.table.cell(layer).weight();
            if worst.is_none_or(|worst| weight(layer) > weight(worst.layer)) {
                worst = Some(Focused { layer, place, of, is_walked: false });
            }
        }
        worst
    }

    /// Returns the cell that is walked to in the row under the cursor.
    #[must_use]
    pub fn walked_cell(&self) -> Option<usize> {
        self.focused().filter(|focused| focused.is_walked).map(|focused| focused.place)
    }

    /// Returns the orders that the layers can be sorted by now.
    #[must_use]
    pub fn sorts(&self) -> Vec<Sort> {
        Sort::ALL.into_iter().chain(self.compare().map(|_| Sort::Difference)).collect()
    }

    /// Returns the command line of the comparison.
    #[must_use]
    pub fn diff_command(&self) -> Option<String> {
        let compare = self.compare()?;
        let path = |id: u32| self.opens.iter().find(|open| open.id == id).map(|open| open.path.as_str());
        Some(diff_command([path(compare.a)?, path(compare.b)?], &compare.names))
    }
}

fn diff_command(paths: [&str; 2], names: &NameMap) -> String {
    let mut command = format!("ckpt diff {} {} --values", shell_path(paths[0]), shell_path(paths[1]));
    for (flag, prefixes) in [("-a", &names.strip_a), ("-b", &names.strip_b)] {
        for prefix in prefixes {
            command = format!("{command} --strip-prefix{flag} {}", super::shell_word(prefix));
        }
    }
    for (from, to) in &names.renames {
        command = format!("{command} --map {}", super::shell_word(&format!("{from}={to}")));
    }
    command
}
