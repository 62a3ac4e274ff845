//! Values: the thread that reads them for the tab, one question at a time. A question that a later one has overtaken ends
//! at its next piece, and is not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::Message;
use crate::app::values::figures::{Figures, Packed, Scales};
use crate::app::values::{Region, RegionRead, Request, Seen};
use crate::app::{App, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::job;
use crate::stats::{Options, Part, Source, Summary, Watch, region, scan};

/// How long the cursor rests on a row before its values are read.
const REST: Duration = Duration::from_millis(150);

/// Where values are asked for.
pub(super) struct Values {
    questions: Sender<Question>,
    /// The number of the scan that is wanted, if any.
    wanted: Arc<AtomicU32>,
}

/// What is asked for.
enum Question {
    Scan(Request),
    Region(Request, Region),
}

/// Of no question: they begin with 1.
const NONE: u32 = 0;

impl Values {
    /// Starts the thread that reads.
    pub(super) fn start(sender: &Sender<Message>) -> Self {
        let (ask, questions) = channel::<Question>();
        let wanted = Arc::new(AtomicU32::new(NONE));
        let of_thread = Arc::clone(&wanted);
        let work = move |sender: &Sender<Message>| {
            while let Ok(first) = questions.recv() {
                let Some(question) = rested(first, &questions) else { break };
                if answer(question, &of_thread, sender).is_none() {
                    break;
                }
            }
            None
        };
        job::spawn("values", sender.clone(), work, |text| {
            Message::App(Event::JobPanicked("reading values", text))
        });
        Self { questions: ask, wanted }
    }

    /// Asks for the values that the app wants; what was asked for before is stopped.
    pub(super) fn scan(&self, app: &App, number: u32) {
        if let Some(request) = app.values_request(number) {
            self.wanted.store(number, Ordering::Relaxed);
            // The reader ends only with the workbench.
            let _ = self.questions.send(Question::Scan(request));
        }
    }

    /// Stops reading.
    pub(super) fn stop(&self) {
        self.wanted.store(NONE, Ordering::Relaxed);
    }

    /// Asks for the region that the app wants.
    pub(super) fn region(&self, app: &App, number: u32) {
        if let Some((request, region)) = app.region_request(number) {
            let _ = self.questions.send(Question::Region(request, region));
        }
    }
}

/// Returns the question to answer: the last of those that wait, once no other comes while the cursor rests. `None` when
/// the workbench has ended.
fn rested(first: Question, questions: &Receiver<Question>) -> Option<Question> {
    let mut question = questions.try_iter().last().unwrap_or(first);
    while matches!(&question, Question::Scan(request) if request.rests) {
        match questions.recv_timeout(REST) {
            Ok(next) => question = questions.try_iter().last().unwrap_or(next),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(question)
}

/// Answers a question; `None` when nobody listens any more.
fn answer(question: Question, wanted: &AtomicU32, sender: &Sender<Message>) -> Option<()> {
    let send = |event: Event| sender.send(Message::App(event)).ok();
    match question {
        Question::Scan(request) => {
            let number = request.number;
            let check = || {
                let is_wanted = wanted.load(Ordering::Relaxed) == number;
                let gone = || Error::new(ErrorKind::Cancelled, "something else is looked at");
                if is_wanted { Ok(()) } else { Err(gone()) }
            };
            // The workbench has ended if nobody takes it.
            let tell = |seen: Seen| {
                let _ = send(Event::ValuesSeen(number, Box::new(seen)));
            };
            let attention = Attention { check: &check, tell: Some(&tell) };
            let Some(seen) = seen(&request, &attention) else { return Some(()) };
            send(Event::ValuesSeen(number, Box::new(seen)))
        }
        Question::Region(request, region) => {
            send(Event::RegionRead(request.number, Box::new(region_of(&request, &region))))
        }
    }
}

/// Who waits for values.
pub(super) struct Attention<'a> {
    /// Fails when nobody does any more.
    pub(super) check: &'a (dyn Fn() -> Result<()> + Sync),
    /// Takes what was seen on the way, where that is of use: then time counts too.
    pub(super) tell: Option<&'a (dyn Fn(Seen) + Sync)>,
}

/// Returns what is seen of values, whatever happens; `None` if nobody waits any more.
pub(super) fn seen(request: &Request, attention: &Attention<'_>) -> Option<Seen> {
    match job::caught(|| read(request, attention)) {
        Ok(Ok(figures)) => Some(Seen::Done(Arc::new(figures))),
        Ok(Err(error)) if error.kind == ErrorKind::Cancelled => None,
        Ok(Err(error)) => Some(Seen::Failed(error.message)),
        Err(fault) => Some(Seen::Failed(format!("reading values ended: {fault}"))),
    }
}

/// A pass over values that somebody waits for.
struct Pass<'a> {
    attention: &'a Attention<'a>,
    /// Makes figures of what was read so far, where they are shown.
    figures: Option<&'a (dyn Fn(Summary) -> Figures + Sync)>,
}

impl Watch for Pass<'_> {
    fn check(&self) -> Result<()> {
        (self.attention.check)()
    }

    fn wants_looks(&self) -> bool {
        self.attention.tell.is_some() && self.figures.is_some()
    }

    fn look(&self, so_far: Summary) {
        if let Some((tell, figures)) = self.attention.tell.zip(self.figures) {
            tell(Seen::SoFar(Arc::new(figures(so_far))));
        }
    }
}

fn read(request: &Request, attention: &Attention<'_>) -> Result<Figures> {
    let start = Instant::now();
    (attention.check)()?;
    let (checkpoint, of) = (&*request.checkpoint, request.key.of);
    let weights = Source::open(checkpoint, of, Part::Weights)?;
    let parts = weights.parts();
    // What a layer has no part of it shows its weights for.
    let part = if parts.contains(&request.key.part) { request.key.part } else { Part::Weights };
    let opened = if part == Part::Weights { None } else { Some(Source::open(checkpoint, of, part)?) };
    let source = opened.as_ref().unwrap_or(&weights);
    let code_bits = weights.decoding.as_ref().and_then(|decoding| decoding.rows.code_bits());
    let code_count = code_bits.map(|bits| 1u64 << bits.min(16));
    let figures = |summary: Summary| Figures {
        code_count: code_count.filter(|_| part == Part::Codes),
        ..Figures::of(source.name.clone(), (part, parts.clone()), source.count(), summary)
    };
    let options = Options { with_sides: true, ..Options::default() };
    let summary = scan(source, &options, &Pass { attention, figures: Some(&figures) })?;
    let mut figures = figures(summary);
    figures.elapsed = attention.tell.map(|_| start.elapsed());
    if part != Part::Weights || parts.len() < 2 {
        return Ok(figures);
    }
    if let Some(tell) = attention.tell {
        tell(Seen::Read(Arc::new(figures.clone())));
    }
    let beside = |part: Part| -> Result<Option<Summary>> {
        if !parts.contains(&part) {
            return Ok(None);
        }
        let source = Source::open(checkpoint, of, part)?;
        scan(&source, &Options::default(), &Pass { attention, figures: None }).map(Some)
    };
    let scales = beside(Part::Scales)?.as_ref().map(Scales::of);
    let codes = beside(Part::Codes)?.map(|summary| summary.counts.buckets().len() as u64);
    figures.packed = Some(Packed { codes: codes.zip(code_count), scales });
    Ok(figures)
}

/// Reads a region, whatever happens.
pub(super) fn region_of(request: &Request, region: &Region) -> std::result::Result<RegionRead, String> {
    /// A screen has few cells: what they need is read to its end.
    struct Always;
    impl Watch for Always {}
    let read = || -> Result<RegionRead> {
        let source = Source::open(&request.checkpoint, request.key.of, request.key.part)?;
        let [rows, columns] = &region.numbers;
        let numbers = region::numbers(&source, rows.clone(), columns.clone())?;
        let cells = region.cells.as_ref();
        let cells =
            cells.map(|[rows, columns]| region::pooled(&source, rows, columns, &Always)).transpose()?;
        Ok(RegionRead { cells, numbers })
    };
    job::caught(read)
        .map_err(|fault| format!("reading values ended: {fault}"))?
        .map_err(|error| error.message)
}
