//! Requests: what a comparison asks of a thread, and what it is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::beside::{Answer, Ask};
use super::close::Close;
use super::figures::Figures;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tree::Guests;
use crate::error::{Error, ErrorKind, Result};
use crate::job;
use crate::stats::matched::{Matched, NameMap, Pair};
use crate::stats::pairs::Of;
use crate::stats::{Compared, Options, Source, Watch, compare, region, seek};

/// What a job has found.
pub enum News {
    /// What was matched.
    Matched(Box<Facts>),
    /// Figures of pairs, by their number, or why there are none.
    Figures(Vec<(u32, std::result::Result<Figures, String>)>),
    /// It has ended; the fault, if by one.
    Ended(Option<String>),
    /// A pair was looked at closely, or could not be.
    Close(u32, Box<std::result::Result<Close, String>>),
    /// What values that stand beside each other asked for, by the number of the question.
    Beside(u32, Answer),
}

/// What was matched, and of which checkpoints.
pub struct Facts {
    /// A and B, as they were matched.
    pub of: [Arc<Checkpoint>; 2],
    /// Their layers.
    pub matched: Matched,
    /// Those that only B has, for the tree of A, which takes them.
    guests: Guests,
}

impl Facts {
    /// Returns what was matched of A and B.
    #[must_use]
    pub fn new(of: [Arc<Checkpoint>; 2], mut matched: Matched) -> Self {
        let guests = Guests::of(&of[1], std::mem::take(&mut matched.guests));
        Self { of, matched, guests }
    }

    /// Gives away the layers that only B has.
    pub(super) fn take_guests(&mut self) -> Guests {
        std::mem::take(&mut self.guests)
    }
}

/// A comparison, as a thread is asked for it.
pub struct Request {
    /// Its number.
    pub number: u32,
    of: [Arc<Checkpoint>; 2],
    names: NameMap,
    cancel: Cancel,
}

impl Request {
    pub(super) fn new(
        number: u32,
        of: [Arc<Checkpoint>; 2],
        names: &NameMap,
        cancel: &Arc<AtomicBool>,
    ) -> Self {
        Self { number, of, names: names.clone(), cancel: Cancel(Arc::clone(cancel)) }
    }

    /// Matches both, then compares pair by pair on so many threads; `tell` is told, and says whether to go on.
    pub fn run(&self, threads: usize, tell: &mut (dyn FnMut(News) -> bool + Send)) {
        let of = self.of.clone();
        let matched = Matched::of(&of[0], &of[1], &self.names);
        let pairs = matched.pairs.clone();
        if !tell(News::Matched(Box::new(Facts::new(of, matched)))) {
            return;
        }
        let wanted: Vec<&Pair> = pairs.iter().collect();
        let both = Of { a: &self.of[0], b: &self.of[1] };
        let tell = Mutex::new(tell);
        both.compare(&wanted, threads, &self.cancel, &|number, found| {
            // What was cancelled has no figures, which is not its fault.
            if self.cancel.check().is_err() {
                return;
            }
            let found = found.map(|compared| Figures::of(&compared)).map_err(|error| error.message);
            let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
            if !tell(News::Figures(vec![(number as u32, found)])) {
                self.cancel.0.store(true, Ordering::Relaxed);
            }
        });
        let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell(News::Ended(None));
    }
}

/// A pair, as a thread is asked to look at it closely.
pub struct CloseRequest {
    /// The number of the comparison.
    pub number: u32,
    /// The number of the pair.
    pub at: u32,
    pair: Pair,
    of: [Arc<Checkpoint>; 2],
    cancel: Cancel,
}

impl CloseRequest {
    pub(super) fn new(
        (number, at): (u32, u32),
        pair: Pair,
        of: [Arc<Checkpoint>; 2],
        cancel: &Arc<AtomicBool>,
    ) -> Self {
        Self { number, at, pair, of, cancel: Cancel(Arc::clone(cancel)) }
    }

    /// Looks at it. `None` if it was cancelled.
    #[must_use]
    pub fn look(&self) -> Option<News> {
        let found = hold(&self.pair, &self.of, &self.cancel);
        self.cancel.check().ok()?;
        Some(News::Close(self.at, Box::new(found.map(|compared| Close::of(&compared)))))
    }
}

/// What values that stand beside each other need, as a thread is asked for it.
pub struct BesideRequest {
    /// The number of the comparison.
    pub number: u32,
    /// The number of the question.
    pub question: u32,
    ask: Ask,
    pair: Pair,
    of: [Arc<Checkpoint>; 2],
    cancel: Cancel,
}

impl BesideRequest {
    pub(super) fn new(
        (number, question): (u32, u32),
        ask: Ask,
        (pair, of): (Pair, [Arc<Checkpoint>; 2]),
        cancel: &Arc<AtomicBool>,
    ) -> Self {
        Self { number, question, ask, pair, of, cancel: Cancel(Arc::clone(cancel)) }
    }

    /// Reads it, whatever happens. `None` if it was cancelled.
    #[must_use]
    pub fn read(&self) -> Option<News> {
        let answer = match &self.ask {
            Ask::Window([rows, columns]) => Answer::Window(self.told(|[a, b]| {
                let numbers = |source| region::numbers(source, rows.clone(), columns.clone());
                Ok([numbers(a)?, numbers(b)?])
            })),
            Ask::Next(from) => {
                Answer::Next(self.told(|[a, b]| seek::next_difference(a, b, *from, &self.cancel)))
            }
        };
        self.cancel.check().ok()?;
        Some(News::Beside(self.question, answer))
    }

    /// Returns what makes an answer of the reason why there is none.
    #[must_use]
    pub fn failing(&self) -> fn(String) -> Answer {
        match self.ask {
            Ask::Window(_) => |why| Answer::Window(Err(why)),
            Ask::Next(_) => |why| Answer::Next(Err(why)),
        }
    }

    fn told<T>(&self, look: impl FnOnce(&[Source<'_>; 2]) -> Result<T>) -> std::result::Result<T, String> {
        job::caught(|| look(&self.pair.open(&self.of[0], &self.of[1])?))?.map_err(|error| error.message)
    }
}

/// Holds the two of a pair against each other, with the counts of their values.
fn hold(pair: &Pair, of: &[Arc<Checkpoint>; 2], cancel: &Cancel) -> std::result::Result<Compared, String> {
    let found = job::caught(|| -> Result<Compared> {
        let [a, b] = pair.open(&of[0], &of[1])?;
        compare(&a, &b, &Options::default(), cancel)
    });
    found?.map_err(|error| error.message)
}

/// Ends a job when it is told to.
struct Cancel(Arc<AtomicBool>);

impl Watch for Cancel {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(Error::new(ErrorKind::Cancelled, "cancelled"))
        } else {
            Ok(())
        }
    }
}
