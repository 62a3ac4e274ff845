//! Beside: the values of A and B at the same rows and columns, as numbers that are walked through.
//!
//! A window of rows and columns shows, which follows the cursor; what it needs is read by a job (`Effect::ReadBeside`), and
//! so is the next place that differs. A vector stands upright: its values are rows of one column.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{App, Effect};
use crate::app::Tab;
use crate::checkpoint::tree::{Expand, Row, RowKind};
use crate::stats::seek::From;

/// The values of a pair beside each other.
pub struct Beside {
    /// The pair.
    pub pair: u32,
    /// Rows and columns that there are.
    pub size: [u64; 2],
    /// Row and column of the cursor.
    pub cursor: [u64; 2],
    /// The largest difference and its place, if it is known.
    pub most: Option<(f64, [u64; 2])>,
    /// True if no value differs.
    pub is_equal: bool,
    /// True if the values have no rows of their own: what show as rows are columns of the only one.
    pub is_upright: bool,
    /// The row of the tree that it was opened on.
    of: Row,
    first: [u64; 2],
    room: [u64; 2],
    /// True if the cursor is to come into the middle of the window.
    centers: bool,
    question: u32,
    asked: Option<Ask>,
    read: Option<(Window, Outcome)>,
    pub(super) cancel: Arc<AtomicBool>,
}

/// Rows and columns.
pub type Window = [Range<u64>; 2];
/// The values of A and of B in a window, row by row, or why they cannot be read.
pub type Outcome = Result<[Vec<f64>; 2], String>;

/// What is asked of a job. Places are those of the values, not of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The values of a window.
    Window(Window),
    /// The next place that differs.
    Next(From),
}

/// What came of it.
pub enum Answer {
    /// Values.
    Window(Outcome),
    /// A place, if any differs.
    Next(Result<Option<[u64; 2]>, String>),
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Beside {
    fn new(pair: u32, of: Row, shape: &[u64], most: Option<(f64, [u64; 2])>) -> Self {
        let row = shape.last().copied().unwrap_or(1);
        let is_upright = shape.len() < 2;
        let rows: u64 = shape[..shape.len().saturating_sub(1)].iter().product();
        let size = if is_upright { [row, 1] } else { [rows, row] };
        let turned = |place: [u64; 2]| if is_upright { [place[1], 0] } else { place };
        let most = most.map(|(value, place)| (value, turned(place)));
        Self {
            pair,
            size,
            cursor: most.map_or([0, 0], |(_, place)| place),
            most,
            is_equal: false,
            is_upright,
            of,
            first: [0, 0],
            room: [0, 0],
            centers: true,
            question: 0,
            asked: None,
            read: None,
            cancel: Arc::default(),
        }
    }

    /// Turns a place of the screen into one of the values, and back.
    fn turned(&self, place: [u64; 2]) -> [u64; 2] {
        if self.is_upright { [place[1], place[0]] } else { place }
    }

    /// Returns the rows and columns that show.
    #[must_use]
    pub fn window(&self) -> Window {
        [0, 1].map(|at| self.first[at]..self.size[at].min(self.first[at] + self.room[at]))
    }

    /// Returns the values of the window: its last ones, while others are read.
    #[must_use]
    pub fn read(&self) -> Option<&(Window, Outcome)> {
        self.read.as_ref()
    }

    /// Returns the values of A and B under the cursor, once they are read.
    #[must_use]
    pub fn under_cursor(&self) -> Option<[f64; 2]> {
        self.at(self.cursor)
    }

    /// Returns the values of A and B at a place, once they are read.
    #[must_use]
    pub fn at(&self, [row, column]: [u64; 2]) -> Option<[f64; 2]> {
        let ([rows, columns], outcome) = self.read.as_ref()?;
        if !rows.contains(&row) || !columns.contains(&column) {
            return None;
        }
        let at = (row - rows.start) * (columns.end - columns.start) + column - columns.start;
        let both = outcome.as_ref().ok()?;
        Some([*both[0].get(at as usize)?, *both[1].get(at as usize)?])
    }

    /// Returns true while the next place that differs is looked for.
    #[must_use]
    pub fn is_seeking(&self) -> bool {
        matches!(self.asked, Some(Ask::Next(_)))
    }

    /// Returns how a place is written: `[41, 892]`, of a vector `[41]`.
    #[must_use]
    pub fn place(&self, [row, column]: [u64; 2]) -> String {
        if self.is_upright { format!("[{row}]") } else { format!("[{row}, {column}]") }
    }

    /// Takes note of the rows and columns that there is room for.
    pub fn make_room(&mut self, room: [u64; 2]) {
        self.room = room.map(|cells| cells.max(1));
        self.follow();
    }

    /// Moves the window so that the cursor is in it.
    fn follow(&mut self) {
        for at in 0..2 {
            let (cursor, room) = (self.cursor[at], self.room[at].max(1));
            let first = if self.centers {
                cursor.saturating_sub((room - 1) / 2)
            } else {
                self.first[at].clamp((cursor + 1).saturating_sub(room), cursor)
            };
            self.first[at] = first.min(self.size[at].saturating_sub(room));
        }
        self.centers &= self.room == [0, 0];
    }

    fn step(&mut self, by: [isize; 2]) {
        for (at, by) in by.into_iter().enumerate() {
            let last = self.size[at].saturating_sub(1);
            self.cursor[at] = self.cursor[at].saturating_add_signed(by as i64).min(last);
        }
        self.stop();
        self.follow();
    }

    fn go(&mut self, place: [u64; 2]) {
        self.cursor = place;
        let window = self.window();
        self.centers = !(0..2).all(|at| window[at].contains(&place[at]));
        self.follow();
    }

    /// Ends looking for the next place.
    fn stop(&mut self) {
        if self.is_seeking() {
            self.ask(None);
        }
    }

    fn ask(&mut self, ask: Option<Ask>) {
        self.cancel.store(true, Ordering::Relaxed);
        self.cancel = Arc::default();
        self.question += 1;
        self.asked = ask;
    }

    /// Asks for the window, unless it is there or asked for; returns true if it did.
    fn want_window(&mut self) -> bool {
        let window = self.window();
        let [rows, columns] = window.clone();
        let wanted = Ask::Window(if self.is_upright { [columns, rows] } else { [rows, columns] });
        let is_read = self.read.as_ref().is_some_and(|(read, _)| *read == window);
        if self.room == [0, 0] || is_read || self.is_seeking() || self.asked.as_ref() == Some(&wanted) {
            return false;
        }
        self.ask(Some(wanted));
        true
    }

    /// Returns the number of what is asked for, and what it is.
    #[must_use]
    pub fn asked(&self) -> Option<(u32, &Ask)> {
        Some((self.question, self.asked.as_ref()?))
    }

    /// Takes an answer; returns what is to be said of it.
    pub(super) fn take(&mut self, question: u32, answer: Answer) -> Option<String> {
        let asked = self.asked.take_if(|_| self.question == question)?;
        match (asked, answer) {
            (Ask::Window([rows, columns]), Answer::Window(outcome)) => {
                let window = if self.is_upright { [columns, rows] } else { [rows, columns] };
                self.read = Some((window, outcome));
                None
            }
            (Ask::Next(_), Answer::Next(found)) => match found {
                Ok(Some(place)) if self.turned(place) == self.cursor => Some("no other value differs".into()),
                Ok(Some(place)) => {
                    self.go(self.turned(place));
                    None
                }
                Ok(None) => Some("no value differs".into()),
                Err(why) => Some(why),
            },
            _ => None,
        }
    }
}

/// The values of a pair are beside each other on the screen.
pub(in crate::app) fn in_beside(app: &App) -> bool {
    app.beside().is_some()
}

/// The key that goes in puts values beside each other: the row is a layer, and has no closed rows below.
pub(in crate::app) fn is_on_layer(app: &App) -> bool {
    let Some(ready) = app.ready().filter(|_| super::moves::in_tree(app) && super::is_matched(app)) else {
        return false;
    };
    let Some(row) = ready.tree.current() else { return false };
    matches!(row.kind, RowKind::Layer(_))
        && ready.tree.describe(&ready.checkpoint, ready.tree.cursor()).expand != Expand::Closed
}

/// The next place is looked for.
pub(in crate::app) fn is_seeking(app: &App) -> bool {
    app.beside().is_some_and(Beside::is_seeking)
}

pub(in crate::app) fn can_put_beside(app: &App) -> Result<(), String> {
    if app.compare().is_none() {
        return Err("nothing is compared (b compares)".into());
    }
    if is_on_layer(app) { made(app).map(drop) } else { Err("only on a layer of the tree".into()) }
}

/// Returns the values of the row under the cursor, to be walked through.
fn made(app: &App) -> Result<Beside, String> {
    let none = || "nothing is compared (b compares)".to_owned();
    let compare = app.compare().ok_or_else(none)?;
    let row = app.ready().and_then(|ready| ready.tree.current()).ok_or_else(none)?;
    let focused = app.focused().ok_or("some of these layers are not compared yet")?;
    let number = compare.table.worst_pair(focused.layer).ok_or("only A has it: nothing stands beside it")?;
    let (pair, of) = compare.pair(number).ok_or_else(none)?;
    let known = compare.table.known.get(number as usize).and_then(Option::as_ref);
    if let Some(Err(why)) = known {
        return Err(why.clone());
    }
    if pair.differs(of[0], of[1]).shape.is_some() {
        return Err("their shapes differ".into());
    }
    let of_close =
        compare.close(number).and_then(|close| close.as_ref().ok()).map(|close| close.shape.clone());
    let shape = of_close.or_else(|| pair.shape(of[0])).ok_or("its shape is not known")?;
    // What has more values than there are numbers for is never read.
    crate::tensor::elements(&shape).ok_or("its shape is too large")?;
    let figures = known.and_then(|known| known.as_ref().ok());
    let mut beside = Beside::new(number, row, &shape, figures.and_then(|figures| figures.max_abs));
    beside.is_equal = figures.is_some_and(|figures| figures.changed == 0);
    if beside.size.contains(&0) { Err("it has no values".into()) } else { Ok(beside) }
}

/// Puts the values of the row under the cursor beside each other, at the largest difference.
pub(in crate::app) fn put_beside(app: &mut App) -> Vec<Effect> {
    let made = made(app);
    match (made, app.compare_mut()) {
        (Ok(beside), Some(compare)) => compare.beside = Some(beside),
        (Err(why), _) => app.toast = Some(why),
        _ => {}
    }
    Vec::new()
}

/// Back to the layers.
pub(in crate::app) fn leave_beside(app: &mut App) -> Vec<Effect> {
    if let Some(compare) = app.compare_mut() {
        compare.beside = None;
    }
    Vec::new()
}

/// Goes to the largest difference.
pub(in crate::app) fn to_largest(app: &mut App) -> Vec<Effect> {
    let Some(beside) = app.beside_mut() else { return Vec::new() };
    beside.stop();
    match beside.most {
        Some((_, place)) => beside.go(place),
        None => app.toast = Some("the largest difference is not known yet, or none is a number".into()),
    }
    Vec::new()
}

/// Looks for the next place that differs.
pub(in crate::app) fn next_place(app: &mut App) -> Vec<Effect> {
    seek(app, true)
}

/// Looks for the place before that differs.
pub(in crate::app) fn previous_place(app: &mut App) -> Vec<Effect> {
    seek(app, false)
}

fn seek(app: &mut App, forward: bool) -> Vec<Effect> {
    let Some(compare) = app.compare_mut() else { return Vec::new() };
    let Some(beside) = compare.beside.as_mut() else { return Vec::new() };
    if let Some(Some(Ok(figures))) = compare.table.known.get(beside.pair as usize)
        && figures.changed == 0
    {
        app.toast = Some("no value differs".into());
        return Vec::new();
    }
    let place = beside.turned(beside.cursor);
    beside.ask(Some(Ask::Next(From { place, forward })));
    vec![Effect::ReadBeside(compare.number)]
}

/// Ends looking for the next place.
pub(in crate::app) fn stop_seeking(app: &mut App) -> Vec<Effect> {
    app.beside_mut().map(Beside::stop);
    Vec::new()
}

impl App {
    /// Returns the values that stand beside each other, if they show.
    #[must_use]
    pub fn beside(&self) -> Option<&Beside> {
        self.compare().filter(|_| self.tab == Tab::Detail)?.beside.as_ref()
    }

    /// Returns the values that stand beside each other, for changing, if they show.
    pub fn beside_mut(&mut self) -> Option<&mut Beside> {
        let is_here = self.tab == Tab::Detail;
        self.compare_mut().filter(|_| is_here)?.beside.as_mut()
    }

    /// Moves the cursor by rows and columns; returns false if no values stand beside each other.
    pub(in crate::app) fn step_beside(&mut self, by: [isize; 2]) -> bool {
        self.beside_mut().map(|beside| beside.step(by)).is_some()
    }

    /// Moves the cursor by pages; returns false if no values stand beside each other.
    pub(in crate::app) fn page_beside(&mut self, pages: isize) -> bool {
        let Some(beside) = self.beside_mut() else { return false };
        beside.step([pages * beside.room[0].max(1) as isize, 0]);
        true
    }

    /// Asks for the values that show beside each other, once it is known how many there is room for.
    pub fn ask_beside(&mut self) -> Option<Effect> {
        let row = self.ready().and_then(|ready| ready.tree.current());
        let compare = self.compare_mut()?;
        // Whatever moves the row under the cursor has left the values of it.
        compare.beside.take_if(|beside| Some(beside.of) != row);
        let number = compare.number;
        self.beside_mut()?.want_window().then_some(Effect::ReadBeside(number))
    }

    /// Returns what the cursor is on, in words, if values stand beside each other.
    pub(in crate::app) fn beside_in_words(&self) -> Option<String> {
        let beside = self.beside()?;
        let (pair, _) = self.compare()?.pair(beside.pair)?;
        let words = |value: f64| format!("{value:?}");
        let values = match beside.under_cursor() {
            Some([a, b]) => format!("A {} B {} A-B {}", words(a), words(b), words(a - b)),
            None => "not read yet".into(),
        };
        Some(format!("{} {} {values}", pair.name, beside.place(beside.cursor)))
    }
}
