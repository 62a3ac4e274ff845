//! Planning and running: what the convert form asks for, and the job that runs, on threads of their own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::Message;
use crate::adapter::Adapter;
use crate::adapter::base::Search;
use crate::adapter::held::Held;
use crate::app::board::weighed;
use crate::app::form::{Content, LookRequest, Made, Planned, Request, There, in_form_words};
use crate::app::jobs::meter::Counts;
use crate::app::{App, Event};
use crate::checkpoint::Checkpoint;
use crate::diagnose::message::{Answer, explain};
use crate::diagnose::{Diagnosis, Subject};
use crate::engine::busy::Worked;
use crate::engine::cpu::Cpu;
use crate::engine::cuda::probe::probe;
use crate::engine::{self, Computing, Progress, Run};
use crate::error::{Error, Result};
use crate::job;
use crate::name::escape;

/// How often the figures of a job that runs are taken and drawn.
const TICK: Duration = Duration::from_millis(250);
/// How long the end of a job is waited for when the workbench ends: what is half written is removed by then.
const END_WAIT: Duration = Duration::from_mins(1);
/// Files of a folder that are looked at: more than any checkpoint has.
const FILES_MAX: usize = 100_000;

/// The job that runs, as the loop sees it.
#[derive(Default)]
pub(super) struct Runner(RefCell<Option<Running>>);

struct Running {
    id: u32,
    progress: Arc<Progress>,
    start: Instant,
    ticked: Instant,
}

impl Runner {
    /// Starts a job of the app on a thread.
    pub(super) fn start(&self, app: &mut App, id: u32, sender: &Sender<Message>) {
        let Some(job) = app.jobs.by_id(id) else { return };
        let Some(work) = job.work.take() else { return };
        let progress = Arc::clone(&job.progress);
        let now = Instant::now();
        self.0.replace(Some(Running { id, progress: Arc::clone(&progress), start: now, ticked: now }));
        let run = move |_: &Sender<Message>| {
            let ended = Run {
                checkpoint: &work.checkpoint,
                adapters: &work.adapters.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
                plan: &work.plan,
                options: &work.options,
                device: &Cpu,
                progress: &progress,
            }
            .carry_out_as_asked();
            Some(Message::App(Event::JobEnded(id, Box::new(ended))))
        };
        job::spawn("convert", sender.clone(), run, move |text| {
            let error = Error::input(format!("it ended: {text}"));
            Message::App(Event::JobEnded(id, Box::new(Err(error))))
        });
    }

    /// Tells the job to end. It sends its end when what it wrote is gone.
    pub(super) fn cancel(&self, id: u32) {
        if let Some(running) = self.0.borrow().as_ref().filter(|running| running.id == id) {
            running.progress.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of the end of a job.
    pub(super) fn ended(&self, id: u32) {
        self.0.borrow_mut().take_if(|running| running.id == id);
    }

    /// Returns how long to wait for something else: nothing wakes up while no job runs.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.0.borrow().as_ref().map(|running| TICK.saturating_sub(running.ticked.elapsed()))
    }

    /// Returns the figures of the job that runs, when they are due.
    pub(super) fn tick(&self) -> Option<Event> {
        let mut running = self.0.borrow_mut();
        let running = running.as_mut().filter(|running| running.ticked.elapsed() >= TICK)?;
        running.ticked = Instant::now();
        Some(Event::JobTicked(running.id, counts(&running.progress, running.start.elapsed())))
    }

    /// Ends the job that runs and waits until it has: the workbench ends.
    pub(super) fn end(&self, receiver: &Receiver<Message>) {
        let Some(running) = self.0.take() else { return };
        running.progress.cancel.store(true, Ordering::Relaxed);
        let end = Instant::now() + END_WAIT;
        while let Ok(message) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if matches!(&message, Message::App(Event::JobEnded(id, _)) if *id == running.id) {
                break;
            }
        }
    }
}

/// Reads a run's progress.
fn counts(progress: &Progress, elapsed: Duration) -> Counts {
    let gpus = progress.device.get().and_then(Computing::on_gpus);
    Counts {
        elapsed,
        worked: Worked::of(progress, gpus),
        tensors: progress.tensors.load(Ordering::Relaxed),
        is_proving: progress.proving.load(Ordering::Relaxed),
    }
}

/// Starts the thread that plans. A question that a later one has overtaken is not answered: each key in a path
/// asks one.
pub(super) fn start_planner(sender: &Sender<Message>) -> Sender<Request> {
    let (ask, requests) = channel::<Request>();
    let work = move |sender: &Sender<Message>| {
        while let Ok(first) = requests.recv() {
            let request = requests.try_iter().last().unwrap_or(first);
            let event = answer(request);
            if sender.send(Message::App(event)).is_err() {
                break;
            }
        }
        None
    };
    job::spawn("plan", sender.clone(), work, |text| Message::App(Event::JobPanicked("planning", text)));
    ask
}

/// Makes the plan of a request, whatever happens.
pub(super) fn answer(request: Request) -> Event {
    let question = request.question;
    let planned = job::caught(|| planned(request))
        .unwrap_or_else(|text| Err(Error::input(format!("planning ended: {}", escape(&text)))));
    Event::Planned(question, Box::new(planned))
}

fn planned(mut request: Request) -> Result<Planned> {
    request.order.output = expanded(&request.order.output);
    let made = request.plan().map_err(|error| Error { message: in_form_words(&error.message), ..error })?;
    let Made { checkpoint, adapters, plan, repair, fixes, refusal } = made;
    let (options, output) = (request.options, &plan.order.output);
    let inputs: Vec<&Checkpoint> =
        std::iter::once(&*checkpoint).chain(adapters.iter().map(AsRef::as_ref)).collect();
    let there = there(output, &inputs);
    let written = plan.bytes_written();
    // Whoever compares writes nothing; what an earlier run wrote takes no more room.
    let (bytes, may_exist) = match &there {
        There::Checkpoint(_) if options.resume => (0, true),
        There::Unfinished(left) if options.resume => (written.saturating_sub(left.bytes), false),
        _ => (written, options.force),
    };
    let obstacle = match (missing_parent(output), engine::check_output(output, &inputs, bytes, may_exist)) {
        _ if refusal.is_some() => refusal.map(str::to_owned),
        _ if output.as_os_str().is_empty() => Some("name the folder to make".to_owned()),
        (Some(parent), _) => Some(format!("there is no folder {parent}")),
        (None, Err(_)) if there == There::Nothing && output.exists() => {
            // Why it is not to be replaced says more than that it is there.
            engine::check_output(output, &inputs, 0, true).err().map(|e| in_form_words(&e.message))
        }
        (None, Err(error)) => Some(in_form_words(&error.message)),
        (None, Ok(())) => None,
    };
    Ok(Planned {
        disk_free: engine::disk_free(output).ok(),
        peak: engine::peak_memory(&plan, &options),
        vram: engine::most_vram(&plan, &options),
        plan: Arc::new(plan),
        adapters,
        checkpoint,
        repair,
        fixes,
        options,
        there,
        obstacle,
    })
}

/// Returns what stands where a result goes, as far as a run may do something to it.
fn there(output: &Path, inputs: &[&Checkpoint]) -> There {
    if output.exists() {
        let is_replaceable = engine::check_output(output, inputs, 0, true).is_ok();
        return if is_replaceable { There::Checkpoint(content(output)) } else { There::Nothing };
    }
    let partial = crate::app::jobs::partial(output);
    if partial.is_dir() { There::Unfinished(content(&partial)) } else { There::Nothing }
}

/// Returns the files of a folder, those of a run's own bookkeeping left out. What cannot be read is not named.
fn content(folder: &Path) -> Content {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (!name.starts_with('.')).then_some((name, entry.metadata().map_or(0, |meta| meta.len())))
    });
    let mut files: Vec<(String, u64)> = files.take(FILES_MAX).collect();
    files.sort();
    Content {
        bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        files: files.into_iter().map(|f| f.0).collect(),
    }
}

/// Returns the folder above an output if it is not there.
fn missing_parent(output: &Path) -> Option<String> {
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    (!parent.is_dir()).then(|| escape(&parent.display().to_string()).into_owned())
}

/// Looks at the candidates of a form on a thread, and sends each as it is found.
pub(super) fn look(request: LookRequest, sender: Sender<Message>) {
    let work = move |sender: &Sender<Message>| {
        for aim in &request.aims {
            let found = request.look(aim)?;
            if sender.send(Message::App(Event::Looked(Box::new(found)))).is_err() {
                break;
            }
        }
        None
    };
    job::spawn("look", sender, work, |text| Message::App(Event::JobPanicked("looking at formats", text)));
}

/// Looks at how much an adapter changes each layer, and says how many are done ten times a second.
pub(super) fn weigh(question: weighed::Question, sender: Sender<Message>) {
    let number = question.number();
    let work = move |sender: &Sender<Message>| {
        let (said, start) = (AtomicU64::new(0), Instant::now());
        let on_done = |done: usize| {
            let now = start.elapsed().as_millis() as u64 / 100;
            if said.swap(now, Ordering::Relaxed) != now {
                // There may be nobody left to tell.
                let _ = sender.send(Message::App(Event::Weighing(number, done)));
            }
        };
        Some(Message::App(Event::Weighed(number, Box::new(question.answer(&on_done)))))
    };
    job::spawn("weigh", sender, work, move |text| {
        let error = Error::input(format!("it ended: {text}"));
        Message::App(Event::Weighed(number, Box::new(Err(error))))
    });
}

/// Asks CUDA which GPUs can compute.
pub(super) fn ask_gpus(sender: Sender<Message>) {
    let ask = |_: &Sender<Message>| Some(Message::App(Event::Probed(Box::new(probe()))));
    job::spawn("gpus", sender, ask, |text| Message::App(Event::JobPanicked("asking CUDA", text)));
}

/// Asks the rules on a thread; the ids of the checkpoint and of the question.
pub(super) fn diagnose(
    (id, number): (u32, u32),
    checkpoint: Arc<Checkpoint>,
    held: Option<Arc<Held>>,
    sender: Sender<Message>,
) {
    let look = move |_: &Sender<Message>| {
        let found = diagnosed(&checkpoint, held.as_deref());
        Some(Message::App(Event::Diagnosed(id, number, Box::new(found))))
    };
    job::spawn("diagnose", sender, look, |text| Message::App(Event::JobPanicked("diagnosing", text)));
}

/// Asks the rules about a checkpoint and the adapter that is held against it.
pub(super) fn diagnosed(checkpoint: &Checkpoint, held: Option<&Held>) -> Diagnosis {
    let facts = Adapter::of(checkpoint);
    let held: Vec<&Held> = held.into_iter().collect();
    Diagnosis::of(&Subject { checkpoint, facts: facts.as_ref(), held: &held, deep: &[] })
}

/// An error text, and what it is held against: all that a thread needs.
pub(super) struct ErrorQuestion {
    text: String,
    checkpoint: Option<Arc<Checkpoint>>,
    held: Option<Arc<Held>>,
    diagnosis: Option<Arc<Diagnosis>>,
}

impl ErrorQuestion {
    /// Returns the question of the overlay.
    pub(super) fn of(app: &App) -> Self {
        let id = app.opens.get(app.current).map(|open| open.id);
        Self {
            text: app.error.text.clone(),
            checkpoint: id.and_then(|id| super::checkpoint_of(app, id)),
            held: id.and_then(|id| app.held_of(id)),
            diagnosis: app.findings().and_then(|findings| findings.diagnosis.clone()),
        }
    }

    /// Asks the rules.
    pub(super) fn answer(&self) -> Answer {
        let (Some(checkpoint), Some(diagnosis)) = (&self.checkpoint, &self.diagnosis) else {
            return explain(&self.text, None);
        };
        let facts = Adapter::of(checkpoint);
        let held: Vec<&Held> = self.held.iter().map(AsRef::as_ref).collect();
        let subject = Subject { checkpoint, facts: facts.as_ref(), held: &held, deep: &[] };
        explain(&self.text, Some((&subject, diagnosis)))
    }
}

/// Looks for the base of an adapter.
pub(super) fn base(id: u32, checkpoint: &Checkpoint) -> Event {
    let facts = Adapter::read(checkpoint);
    Event::BaseFound(id, Box::new(Search::of(checkpoint, &facts)))
}

/// Opens an adapter and holds it against a base, whatever happens.
pub(super) fn held(base: Arc<Checkpoint>, path: &str) -> Box<Result<Held>> {
    let path = expanded(Path::new(path)).display().to_string();
    let held = job::caught(|| Held::open(base, &path, None));
    Box::new(held.unwrap_or_else(|text| Err(Error::input(format!("aligning ended: {}", escape(&text))))))
}

/// Returns the base and the adapter that a checkpoint of an id has attached.
pub(super) fn pair(app: &App, id: u32) -> Option<(Arc<Checkpoint>, String)> {
    let open = app.opens.iter().find(|open| open.id == id)?;
    Some((super::checkpoint_of(app, id)?, open.attached.as_ref()?.path.clone()))
}

/// Returns the base that a form is about, as its adapter was held against it.
pub(super) fn base_of_form(app: &App, id: u32) -> Option<Arc<Checkpoint>> {
    let held = app.form.as_ref().filter(|form| form.id == id).and_then(|form| form.used.first()?.held());
    held.map(|held| Arc::clone(&held.base)).or_else(|| super::checkpoint_of(app, id))
}

/// Returns a path with `~` as the home folder, as in a shell.
pub(super) fn expanded(path: &Path) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match path.strip_prefix("~") {
        Ok(rest) => home().map_or_else(|| path.to_path_buf(), |home| home.join(rest)),
        Err(_) => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests;
