//! Values: what the tab of that name keeps: whose values are looked at, how far reading is, and where the cursor is on
//! the map.
//!
//! The tab follows the row under the cursor. A question has a number; its answers bear it, and those that come after the
//! next question are dropped. What was read of the last few rows is kept: going back shows it at once.

mod acts;
pub mod figures;
pub mod map;
pub mod norms;
mod numbers;
pub mod words;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

pub use self::acts::Choice;
pub(super) use self::acts::{
    beside_map, beside_vector, can_choose, can_read_on, can_stop, choose_part, has_map, has_vector,
    in_values, is_running, is_stopped, needs_values, on_map, read_on, stop, switch_scale, zoom_in, zoom_out,
};
use self::figures::Figures;
use self::map::{Cut, Side, View, sides};
use self::norms::NormList;
use super::{App, Effect, Focus, OpenState, Tab};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tree::{Mode, RowKind};
use crate::stats::summary::Map;
use crate::stats::{Of, Part};

/// Rows whose values are kept.
const KEPT: usize = 8;

/// What the tab keeps.
#[derive(Default)]
pub struct Values {
    /// Which values of layers are looked at, where they have them.
    pub part: Part,
    /// True if counts are shown by their logarithms.
    pub is_log: bool,
    /// What shows of the map.
    pub view: View,
    /// Lines and columns of cells that the map had room for at the last frame.
    pub map_room: [usize; 2],
    /// Rows and columns of numbers that there was room for.
    pub number_room: [u64; 2],
    /// The list of norms, while it stands in place of the map.
    pub list: Option<NormList>,
    number: u32,
    wanted: Option<Key>,
    rests: bool,
    /// The question that is being answered.
    running: Option<u32>,
    is_stopped: bool,
    so_far: Option<Arc<Figures>>,
    /// What was read, the last first.
    seen: VecDeque<(Key, Result<Arc<Figures>, String>)>,
    region: Option<Closer>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The open checkpoint.
    pub id: u32,
    /// Whose values.
    pub of: Of,
    /// Which of them.
    pub part: Part,
}

/// What a question about values says: all that a thread needs.
pub struct Request {
    /// The number of the question.
    pub number: u32,
    /// What is asked for.
    pub key: Key,
    /// The checkpoint.
    pub checkpoint: Arc<Checkpoint>,
    /// True if the cursor is to rest on the row first.
    pub rests: bool,
}

/// An answer to a question about values.
pub enum Seen {
    /// What was seen so far.
    SoFar(Arc<Figures>),
    /// All was read, but for what lies beside the weights.
    Read(Arc<Figures>),
    /// That too.
    Done(Arc<Figures>),
    /// Why they cannot be read.
    Failed(String),
}

/// Which values are wanted one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where cells of the map end that is to be read: rows and columns.
    pub cells: Option<[Vec<u64>; 2]>,
    /// The rows and columns whose numbers are wanted.
    pub numbers: [Range<u64>; 2],
}

/// A region, and what came of it.
struct Closer {
    number: u32,
    region: Region,
    /// The last that was read: it shows until the next is.
    read: Option<(Region, RegionRead)>,
    failed: Option<String>,
}

/// What was read of a region.
pub struct RegionRead {
    /// The largest magnitudes of its cells, if they were asked for.
    pub cells: Option<Map>,
    /// Its numbers, row by row.
    pub numbers: Vec<f64>,
}

/// What the tab shows.
pub enum Looked<'a> {
    /// There is nothing to read; what to do instead.
    Nothing(&'static str),
    /// They are being read; what was seen so far.
    Reading(Option<&'a Figures>),
    /// Reading was stopped.
    Stopped(Option<&'a Figures>),
    /// All was read.
    Seen(&'a Figures),
    /// Why they cannot be read.
    Failed(&'a str),
}

impl Values {
    /// Takes note of what is to be looked at now.
    fn want(&mut self, wanted: Option<Key>) -> Option<Effect> {
        if wanted == self.wanted && (wanted.is_some() || self.running.is_none()) {
            return None;
        }
        let was_running = self.running.take().is_some();
        let is_same_row = self.wanted.zip(wanted).is_some_and(|(a, b)| (a.id, a.of) == (b.id, b.of));
        // A cursor that moves has not come to rest yet; whoever opens the tab or turns to another part waits for it.
        self.rests = self.wanted.is_some() && !is_same_row;
        if wanted.is_some() && !is_same_row || self.wanted.map(|key| key.part) != wanted.map(|key| key.part) {
            self.view = View::default();
        }
        (self.wanted, self.so_far, self.region, self.is_stopped) = (wanted, None, None, false);
        match wanted {
            Some(key) if !self.recall(key) => Some(self.ask()),
            _ => was_running.then_some(Effect::StopValues),
        }
    }

    fn ask(&mut self) -> Effect {
        self.number += 1;
        self.running = Some(self.number);
        Effect::ScanValues(self.number)
    }

    /// Moves what is known to the front; returns false if nothing is.
    fn recall(&mut self, key: Key) -> bool {
        let known = self.seen.iter().position(|(known, _)| *known == key);
        let known = known.and_then(|at| self.seen.remove(at));
        let is_known = known.is_some();
        self.seen.extend(known);
        self.seen.rotate_right(usize::from(is_known));
        is_known
    }

    fn keep(&mut self, outcome: Result<Arc<Figures>, String>) {
        (self.running, self.so_far) = (None, None);
        if let Some(key) = self.wanted {
            self.seen.retain(|(known, _)| *known != key);
            self.seen.push_front((key, outcome));
            self.seen.truncate(KEPT);
        }
    }

    /// Takes an answer.
    fn take(&mut self, number: u32, seen: Seen) {
        if self.running != Some(number) {
            return;
        }
        match seen {
            Seen::SoFar(figures) | Seen::Read(figures) => self.so_far = Some(figures),
            Seen::Done(figures) => self.keep(Ok(figures)),
            Seen::Failed(why) => self.keep(Err(why)),
        }
    }

    /// Forgets what was read of a checkpoint: it was read again.
    pub(super) fn forget(&mut self, id: u32) {
        self.seen.retain(|(key, _)| key.id != id);
        if self.wanted.is_some_and(|key| key.id == id) {
            self.wanted = None;
            (self.so_far, self.region) = (None, None);
        }
    }

    fn known(&self) -> Option<&Result<Arc<Figures>, String>> {
        let key = self.wanted?;
        self.seen.iter().find(|(known, _)| *known == key).map(|(_, outcome)| outcome)
    }

    /// Returns whose values the tab shows, and which of them were asked for.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        self.wanted
    }

    /// Returns the figures that show, all read or not.
    #[must_use]
    pub fn figures(&self) -> Option<&Figures> {
        let known = self.known().and_then(|known| known.as_ref().ok());
        known.or(self.so_far.as_ref()).map(AsRef::as_ref)
    }

    /// Returns the sides of the map that shows, if there is one.
    #[must_use]
    pub fn sides(&self) -> Option<[Side; 2]> {
        let figures = self.figures()?;
        sides(figures.map_values()?, &figures.summary.sides.as_ref()?.map, self.map_room)
    }

    /// Returns how many values there are where they have no rows: they have no map, and are walked one by one.
    #[must_use]
    pub fn vector(&self) -> Option<u64> {
        let figures = self.figures()?;
        (figures.summary.shape.len() < 2 && figures.total > 0).then_some(figures.total)
    }

    /// Returns the cells that show, and the largest magnitude in each: those that were read, or while they are not what
    /// the scan's map says of their surroundings.
    #[must_use]
    pub fn cells(&self) -> Option<(Cut, Vec<f32>)> {
        let (sides, map) = (self.sides()?, &self.figures()?.summary.sides.as_ref()?.map);
        let cut = self.view.cut(sides);
        let read = self.region.as_ref().and_then(|closer| closer.read.as_ref()).filter(|(region, _)| {
            let ends = region.cells.as_ref();
            ends.is_some_and(|[rows, columns]| *rows == cut.rows && *columns == cut.columns)
        });
        let cells = match read.and_then(|(_, read)| read.cells.as_ref()) {
            Some(map) if !cut.is_of_map => map.cells.clone(),
            _ => cut.pooled(sides, map),
        };
        Some((cut, cells))
    }

    /// Returns true while the cells that show are not read.
    #[must_use]
    pub fn is_reading_cells(&self) -> bool {
        let Some(closer) = &self.region else { return false };
        let is_read = closer.read.as_ref().is_some_and(|(region, _)| region.cells == closer.region.cells);
        closer.region.cells.is_some() && !is_read
    }

    /// Returns why the region cannot be read.
    #[must_use]
    pub fn region_failure(&self) -> Option<&str> {
        self.region.as_ref()?.failed.as_deref()
    }

    /// Returns the numbers that were read last: their rows and columns, and they themselves.
    #[must_use]
    pub fn numbers(&self) -> Option<(&[Range<u64>; 2], &[f64])> {
        let (region, read) = self.region.as_ref()?.read.as_ref()?;
        Some((&region.numbers, &read.numbers))
    }

    /// Returns the value under the cursor, once it is read.
    #[must_use]
    pub fn under_cursor(&self) -> Option<f64> {
        let ([rows, columns], numbers) = self.numbers()?;
        let [row, column] = self.view.cursor;
        if !rows.contains(&row) || !columns.contains(&column) {
            return None;
        }
        let at = (row - rows.start) * (columns.end - columns.start) + column - columns.start;
        numbers.get(usize::try_from(at).ok()?).copied()
    }

    /// Asks for what the map shows closer than a scan does, and for the numbers at the cursor.
    fn want_region(&mut self) -> Option<Effect> {
        let (cursor, room) = (self.view.cursor, self.number_room);
        let region = if let Some(all) = self.vector() {
            Region { cells: None, numbers: [0..1, numbers::lines_around(cursor[1], all, room)] }
        } else {
            let sides = self.sides()?;
            let cut = self.view.cut(sides);
            let numbers = [0, 1].map(|at| numbers::around(cursor[at], sides[at].values, room[at]));
            Region { cells: (!cut.is_of_map).then_some([cut.rows, cut.columns]), numbers }
        };
        if self.region.as_ref().is_some_and(|closer| closer.region == region) {
            return None;
        }
        self.number += 1;
        let read = self.region.take().and_then(|closer| closer.read);
        self.region = Some(Closer { number: self.number, region, read, failed: None });
        Some(Effect::ReadRegion(self.number))
    }

    fn take_region(&mut self, number: u32, read: Result<RegionRead, String>) {
        let Some(closer) = self.region.as_mut().filter(|closer| closer.number == number) else { return };
        match read {
            Ok(read) => closer.read = Some((closer.region.clone(), read)),
            Err(why) => (closer.read, closer.failed) = (None, Some(why)),
        }
    }
}

impl App {
    /// Returns whose values the row under the cursor has.
    ///
    /// # Errors
    /// It has none of its own; in words what to do.
    pub fn values_of_row(&self) -> Result<Of, &'static str> {
        let none = "Nothing is here whose values could be looked at.";
        let ready = self.ready().ok_or(none)?;
        match ready.tree.current().ok_or(none)?.kind {
            RowKind::Layer(layer) => Ok(Of::Layer(layer)),
            RowKind::Tensor(tensor) => Ok(Of::Tensor(tensor)),
            RowKind::Guest(_) => Err("Only B has it: . turns to B, whose values can be looked at."),
            RowKind::Group if ready.tree.mode() == Mode::Tensors => {
                Err("Values are of one tensor: Enter opens this row.")
            }
            RowKind::Group if ready.tree.can_unfold(&ready.checkpoint, ready.tree.cursor()) => {
                Err("Values are of one layer: u unfolds, Enter opens this row.")
            }
            RowKind::Group => Err("Values are of one layer: Enter opens this row."),
        }
    }

    /// Asks for what the tab of values is to show, if it was not yet; what it no longer shows is stopped.
    pub fn ask_values(&mut self) -> Vec<Effect> {
        let is_here = self.tab == Tab::Values && !self.is_form_open;
        let key = |app: &Self| {
            let open = app.opens.get(app.current)?;
            // Before quant states are read nobody knows how to decode.
            let OpenState::Ready(ready) = &open.state else { return None };
            let of = app.values_of_row().ok().filter(|_| ready.checkpoint.examined)?;
            Some(Key { id: open.id, of, part: app.values.part })
        };
        let wanted = if is_here { key(self) } else { None };
        let mut effects: Vec<Effect> = self.values.want(wanted).into_iter().collect();
        self.tend_norms();
        if wanted.is_some() && self.focus == Focus::Side && self.values.list.is_none() {
            effects.extend(self.values.want_region());
        }
        effects
    }

    /// Returns the question that is being asked, if it is still that of this number.
    #[must_use]
    pub fn values_request(&self, number: u32) -> Option<Request> {
        let values = &self.values;
        values.running.filter(|running| *running == number)?;
        self.request_of(number, values.rests)
    }

    /// Returns the region that is wanted, if it is still that of this number, and of what.
    #[must_use]
    pub fn region_request(&self, number: u32) -> Option<(Request, Region)> {
        let closer = self.values.region.as_ref().filter(|closer| closer.number == number)?;
        Some((self.request_of(number, false)?, closer.region.clone()))
    }

    fn request_of(&self, number: u32, rests: bool) -> Option<Request> {
        let key = self.values.wanted?;
        let open = self.opens.iter().find(|open| open.id == key.id)?;
        let OpenState::Ready(ready) = &open.state else { return None };
        // Numbers are of the part that shows.
        let part = self.values.figures().map_or(key.part, |figures| figures.part);
        let key = Key { part, ..key };
        Some(Request { number, key, checkpoint: Arc::clone(&ready.checkpoint), rests })
    }

    /// Returns what the tab shows.
    #[must_use]
    pub fn values_looked(&self) -> Looked<'_> {
        if let Err(why) = self.values_of_row() {
            return Looked::Nothing(why);
        }
        let values = &self.values;
        match values.known() {
            Some(Ok(figures)) => Looked::Seen(figures),
            Some(Err(why)) => Looked::Failed(why),
            None if values.is_stopped => Looked::Stopped(values.so_far.as_deref()),
            None => Looked::Reading(values.so_far.as_deref()),
        }
    }

    pub(super) fn values_seen(&mut self, number: u32, seen: Seen) {
        self.values.take(number, seen);
    }

    pub(super) fn region_read(&mut self, number: u32, read: Result<RegionRead, String>) {
        self.values.take_region(number, read);
    }
}

#[cfg(test)]
mod tests;
