//! The loop: waits for one event, drains all that are ready, updates, draws once. And its headless twin,
//! which drives the same app by a key script for pictures and tests.
//!
//! A blocking reader thread, a signal thread and jobs send into one channel. Idle, nothing wakes up but
//! the gauges' tick, and nothing is drawn unless a figure changed.

mod burst;
mod comparing;
mod places;
mod saving;
mod script;
mod translate;
mod values;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crossterm::event::Event as TermEvent;

use crate::adapter::held::Held;
use crate::app::board::weighed;
use crate::app::form::Request;
use crate::app::picker::Place;
use crate::app::{App, Effect, Event, OpenState, Tab, keys};
use crate::checkpoint::side::FileSide;
use crate::checkpoint::{Checkpoint, Progress};
use crate::error::{Error, Result};
use crate::gauges::Sampler;
use crate::quant::Evidence;
use crate::terminal::{Listener, Screen, Signal, install_panic_hook};
use crate::ui::degrade::{ColorFlag, Environment, decide};
use crate::ui::theme::Theme;
use crate::ui::{self, Look, Scroll};
use crate::{job, memory};
use burst::{Bursts, next_events};
pub use saving::{is_picture, write_picture};
pub use script::{Script, degrade, screenshot, text_of, write_screenshot};
use translate::translate;
use values::Values;
use work::Runner;

/// How often the machine is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// While headers are read, how often the count is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long the first frame waits for the headers: a checkpoint that opens within it never shows a count.
const FIRST_FRAME_WAIT: Duration = Duration::from_millis(80);
/// How long a toast stands at least.
const TOAST_TIME: Duration = Duration::from_secs(2);

/// What the workbench is started with.
pub struct Options {
    /// What to open; nothing shows the picker.
    pub paths: Vec<String>,
    /// The adapter to attach to the first of them.
    pub adapter: Option<String>,
    /// The theme's name.
    pub theme: Option<String>,
    /// `--color`.
    pub color: ColorFlag,
    /// `--ascii`.
    pub ascii: bool,
    /// True if the machine is sampled.
    pub gauges: bool,
    /// The environment that decides about colors and glyphs.
    pub environment: Environment,
    /// A key that panics, for testing that the terminal is restored: `CKPT_PANIC_KEY`.
    pub panic_key: Option<String>,
}

/// What the loop waits for.
enum Message {
    Term(TermEvent),
    Signal(Signal),
    App(Event),
}

/// Runs the workbench in the terminal until the user quits.
///
/// # Errors
/// There is no terminal, the theme or key map is unusable, or the terminal is gone.
pub fn run(options: &Options) -> Result<()> {
    let degrade = decide(&options.environment, options.color, options.ascii);
    let full = places::theme(options.theme.as_deref())?;
    let theme = full.clone().at(degrade.colors);
    let keymap = keys::keymap(places::config_text("keys.toml").as_deref()).map_err(Error::input)?;
    let listener = Listener::new()?;
    // Colors are mapped by the degrade pass; crossterm must not drop attributes on its own account.
    crossterm::style::force_color_output(true);
    let (sender, receiver) = channel();
    let (mut app, mut effects) = App::new(&options.paths, keymap);
    effects.extend(options.adapter.iter().flat_map(|path| app.attach(path)));
    let questions = start_explainer(&sender);
    let plans = work::start_planner(&sender);
    let values = Values::start(&sender);
    let panic_key = options.panic_key.clone();
    let runner = Runner::default();
    let session = Session { sender, questions, plans, values, runner, panic_key, theme: full };
    session.perform_all(&mut app, effects);
    // Most checkpoints are open before the first frame: then nothing flickers.
    if let Ok(message) = receiver.recv_timeout(FIRST_FRAME_WAIT) {
        session.take(&mut app, message, None, &mut Scroll::default());
    }
    install_panic_hook();
    let mut screen = Screen::enter()?;
    session.start(listener, options.gauges);
    let look = Look { theme: &theme, degrade };
    let ended = event_loop(&mut app, &session, &receiver, &mut screen, &look);
    screen.leave();
    session.runner.end(&receiver);
    ended
}

fn event_loop(
    app: &mut App,
    session: &Session,
    receiver: &Receiver<Message>,
    screen: &mut Screen,
    look: &Look<'_>,
) -> Result<()> {
    let mut scroll = Scroll::default();
    let mut is_dirty = true;
    let mut toast: Option<(u32, Instant)> = None;
    loop {
        if is_dirty {
            screen.draw(|frame| ui::draw(frame, app, &mut scroll, look))?;
            // How many values there is room for is known once they were drawn.
            let effects = app.ask_for_room();
            session.perform_all(app, effects);
        }
        let is_opening = app.opens.iter().any(|open| matches!(open.state, OpenState::Opening(_)));
        // Progress is sampled: the figures on screen move while nothing is sent.
        let wait = if is_opening { Some(PROGRESS_EVERY) } else { session.runner.wait() };
        toast = app.unread_toast().map(|number| {
            toast
                .filter(|(shown, _)| *shown == number)
                .unwrap_or_else(|| (number, Instant::now() + TOAST_TIME))
        });
        let toast_wait = toast.map(|(_, end)| end.saturating_duration_since(Instant::now()));
        let wait = wait.into_iter().chain(toast_wait).min();
        let first = match wait {
            Some(wait) => receiver.recv_timeout(wait).ok(),
            None => {
                Some(receiver.recv().map_err(|_closed| Error::input("the workbench's threads are gone"))?)
            }
        };
        is_dirty = is_opening;
        if let Some(tick) = session.runner.tick() {
            app.update(tick);
            is_dirty = true;
        }
        if toast.is_some_and(|(_, end)| end <= Instant::now()) {
            app.update(Event::ToastRead);
            is_dirty |= app.toast.is_none();
        }
        let mut next = first;
        while let Some(message) = next {
            match session.take(app, message, Some(screen), &mut scroll) {
                Outcome::Quit => return Ok(()),
                Outcome::Changed => is_dirty = true,
                Outcome::Same => {}
            }
            next = receiver.try_recv().ok();
        }
    }
}

/// What a message led to.
enum Outcome {
    Same,
    Changed,
    Quit,
}

/// What the loop keeps: where jobs send to, and where the explainer is asked.
struct Session {
    sender: Sender<Message>,
    questions: Sender<Question>,
    plans: Sender<Request>,
    values: Values,
    runner: Runner,
    panic_key: Option<String>,
    /// Pictures are made with it.
    theme: Theme,
}

/// A layer to explain: the checkpoint's id, the layer, the checkpoint.
type Question = (u32, u32, Arc<Checkpoint>);

/// Starts the thread that gathers evidence. A question that a later one has overtaken is not answered: a
/// held key asks for each layer that the cursor crosses.
fn start_explainer(sender: &Sender<Message>) -> Sender<Question> {
    let (ask, questions) = channel::<Question>();
    let work = move |sender: &Sender<Message>| {
        while let Ok(first) = questions.recv() {
            let (id, layer, checkpoint) = questions.try_iter().last().unwrap_or(first);
            let event = job::caught(|| evidence(&checkpoint, layer)).map_or_else(
                |text| Event::JobPanicked("explaining a layer", text),
                |found| Event::Explained(id, layer, found),
            );
            if sender.send(Message::App(event)).is_err() {
                break;
            }
        }
        None
    };
    job::spawn("explain", sender.clone(), work, |text| {
        Message::App(Event::JobPanicked("explaining a layer", text))
    });
    ask
}

impl Session {
    /// Starts the threads that only a terminal needs: keys, signals, gauges.
    fn start(&self, listener: Listener, gauges: bool) {
        let panicked = |job: &'static str| move |text| Message::App(Event::JobPanicked(job, text));
        let read = |sender: &Sender<Message>| {
            let mut bursts = Bursts::default();
            while let Ok(events) = next_events() {
                let events = bursts.take(events, Instant::now());
                if events.into_iter().any(|event| sender.send(Message::Term(event)).is_err()) {
                    return None;
                }
            }
            // The terminal is gone: end as on a hangup.
            Some(Message::Signal(Signal::Hangup))
        };
        job::spawn("keys", self.sender.clone(), read, panicked("reading keys"));
        let listen = |sender: &Sender<Message>| {
            listener.run(|signal| sender.send(Message::Signal(signal)).is_ok());
            None
        };
        job::spawn("signals", self.sender.clone(), listen, panicked("listening to signals"));
        if gauges {
            let sample = |sender: &Sender<Message>| {
                let mut sampler = Sampler::new();
                while sender.send(Message::App(Event::Sampled(Box::new(sampler.sample())))).is_ok() {
                    std::thread::sleep(SAMPLE_EVERY);
                }
                None
            };
            job::spawn("gauges", self.sender.clone(), sample, panicked("sampling the machine"));
        }
    }

    fn take(
        &self,
        app: &mut App,
        message: Message,
        screen: Option<&mut Screen>,
        scroll: &mut Scroll,
    ) -> Outcome {
        let event = match message {
            Message::App(event) => event,
            Message::Signal(Signal::Quit | Signal::Hangup) => return Outcome::Quit,
            Message::Signal(Signal::Suspend) => return self.act(screen, Screen::suspend),
            Message::Signal(Signal::Continue) => return self.act(screen, |s| s.resume().map(|()| true)),
            Message::Term(TermEvent::Resize(..)) => return Outcome::Changed,
            Message::Term(event) => match translate(&event, app, scroll) {
                Some(event) => event,
                None => return Outcome::Same,
            },
        };
        if let (Event::Key(key), Some(panic_key)) = (&event, &self.panic_key) {
            assert_ne!(key, panic_key, "the key of CKPT_PANIC_KEY was pressed");
        }
        if let Event::JobEnded(id, _) = &event {
            self.runner.ended(*id);
        }
        // A machine that stands still draws nothing, but in the tab where its history moves on.
        let is_still = matches!(&event, Event::Sampled(sample) if app.sample.as_ref() == Some(&**sample));
        if is_still && app.tab != Tab::Gpu {
            app.update(event);
            return Outcome::Same;
        }
        let was_examined = matches!(event, Event::Examined(..));
        let effects = app.update(event);
        if was_examined {
            // What opening took and nothing needs any more has been freed by now.
            let tidy = |_: &Sender<Message>| {
                memory::give_back();
                None
            };
            job::spawn("tidy", self.sender.clone(), tidy, |text| {
                Message::App(Event::JobPanicked("giving memory back", text))
            });
        }
        self.perform(app, effects, screen)
    }

    /// Does something to the screen; a terminal that is gone ends the workbench.
    #[expect(clippy::unused_self, reason = "reads as what the session does, like its neighbors")]
    fn act(&self, screen: Option<&mut Screen>, act: impl FnOnce(&mut Screen) -> Result<bool>) -> Outcome {
        match screen.map(act) {
            Some(Err(_)) => Outcome::Quit,
            _ => Outcome::Changed,
        }
    }

    fn perform_all(&self, app: &mut App, effects: Vec<Effect>) {
        self.perform(app, effects, None);
    }

    fn perform(&self, app: &mut App, effects: Vec<Effect>, mut screen: Option<&mut Screen>) -> Outcome {
        for effect in effects {
            match effect {
                Effect::Quit => return Outcome::Quit,
                Effect::Open(id, path) => self.open(app, id, path),
                Effect::Examine(id) => self.examine(app, id),
                Effect::Explain(id, layer) => self.explain(app, id, layer),
                Effect::FindPlaces => self.find_places(places::find),
                Effect::FindAdapters => {
                    let base = app.ready().map(|ready| ready.files().folder.clone()).unwrap_or_default();
                    self.find_places(move || places::find_adapters(&base));
                }
                Effect::Attach(id, number) => {
                    if let Some((base, path)) = work::pair(app, id) {
                        self.hold(base, path, move |held| Event::Attached(id, number, held));
                    }
                }
                Effect::Diagnose(id, number) => {
                    if let Some(checkpoint) = checkpoint_of(app, id) {
                        work::diagnose((id, number), checkpoint, app.held_of(id), self.sender.clone());
                    }
                }
                Effect::Weigh(id, number) => {
                    if let Some(question) = weighed::Question::of(app, id, number) {
                        work::weigh(question, self.sender.clone());
                    }
                }
                Effect::ExplainError(number) => {
                    let question = work::ErrorQuestion::of(app);
                    let look = move |_: &Sender<Message>| {
                        Some(Message::App(Event::ErrorExplained(number, Box::new(question.answer()))))
                    };
                    job::spawn("error", self.sender.clone(), look, |text| {
                        Message::App(Event::JobPanicked("explaining an error", text))
                    });
                }
                Effect::FindBase(id) => {
                    if let Some(checkpoint) = checkpoint_of(app, id) {
                        let work = move |_: &Sender<Message>| Some(Message::App(work::base(id, &checkpoint)));
                        job::spawn("base", self.sender.clone(), work, |text| {
                            Message::App(Event::JobPanicked("looking for the base", text))
                        });
                    }
                }
                Effect::Hold(id, number, path) => {
                    if let Some(base) = work::base_of_form(app, id) {
                        self.hold(base, path, move |held| Event::Held(number, held));
                    }
                }
                Effect::Plan(_) => {
                    if let Some(request) = app.plan_request() {
                        // The planner ends only with the workbench.
                        let _ = self.plans.send(request);
                    }
                }
                Effect::Look(number) => {
                    if let Some(request) = app.look_request(number) {
                        work::look(request, self.sender.clone());
                    }
                }
                Effect::Compare(number) => comparing::start(app, number, &self.sender),
                Effect::LookAtPair(number) => comparing::look(app, number, &self.sender),
                Effect::ReadBeside(number) => comparing::read(app, number, &self.sender),
                Effect::AskGpus => work::ask_gpus(self.sender.clone()),
                Effect::ScanValues(number) => self.values.scan(app, number),
                Effect::StopValues => self.values.stop(),
                Effect::ReadRegion(number) => self.values.region(app, number),
                Effect::StartJob(id) => self.runner.start(app, id, &self.sender),
                Effect::CancelJob(id) => self.runner.cancel(id),
                Effect::Copy(text) => {
                    if let Some(Err(error)) = screen.as_deref_mut().map(|s| s.copy(&text)) {
                        app.toast = Some(error.message);
                    }
                }
                Effect::Picture(path) => {
                    let size = screen.as_deref().map_or(Ok((80, 24)), Screen::size);
                    app.toast = Some(saving::picture(app, size, &self.theme, &path));
                }
                Effect::Export(path, text) => app.toast = Some(saving::export(&path, &text)),
                Effect::Repaint => {
                    if matches!(
                        self.act(screen.as_deref_mut(), |s| s.repaint().map(|()| true)),
                        Outcome::Quit
                    ) {
                        return Outcome::Quit;
                    }
                }
                Effect::Suspend => match screen.as_deref_mut().map(Screen::suspend) {
                    Some(Err(_)) => return Outcome::Quit,
                    Some(Ok(false)) => {
                        app.toast = Some("no shell with job control started this: it stays".into());
                    }
                    _ => {}
                },
            }
        }
        Outcome::Changed
    }

    fn open(&self, app: &App, id: u32, path: String) {
        let progress = app.opens.iter().find(|o| o.id == id).and_then(|open| match &open.state {
            OpenState::Opening(progress) => Some(Arc::clone(progress)),
            _ => None,
        });
        let progress: Arc<Progress> = progress.unwrap_or_default();
        let work = move |_: &Sender<Message>| {
            let opened = open_path(&path, &progress);
            if opened.is_ok() {
                places::remember(&path);
            }
            Some(Message::App(Event::Opened(id, Box::new(opened))))
        };
        let failed = move |text| {
            let error = Error::input(format!("opening ended: {text}"));
            Message::App(Event::Opened(id, Box::new(Err(error))))
        };
        job::spawn("open", self.sender.clone(), work, failed);
    }

    fn examine(&self, app: &App, id: u32) {
        let Some(checkpoint) = checkpoint_of(app, id) else { return };
        let work = move |_: &Sender<Message>| {
            Some(Message::App(Event::Examined(id, Box::new(checkpoint.examine()))))
        };
        job::spawn("examine", self.sender.clone(), work, |text| {
            Message::App(Event::JobPanicked("reading quant states", text))
        });
    }

    fn explain(&self, app: &App, id: u32, layer: u32) {
        if let Some(checkpoint) = checkpoint_of(app, id) {
            // The explainer ends only with the workbench.
            let _ = self.questions.send((id, layer, checkpoint));
        }
    }

    /// Opens an adapter and holds it against its base; `event` is what comes of it.
    fn hold(
        &self,
        base: Arc<Checkpoint>,
        path: String,
        event: impl Fn(Box<Result<Held>>) -> Event + Clone + Send + 'static,
    ) {
        let done = event.clone();
        let work = move |_: &Sender<Message>| Some(Message::App(done(work::held(base, &path))));
        job::spawn("align", self.sender.clone(), work, move |text| {
            Message::App(event(Box::new(Err(Error::input(format!("aligning ended: {text}"))))))
        });
    }

    fn find_places(&self, find: impl FnOnce() -> Vec<Place> + Send + 'static) {
        let work = move |sender: &Sender<Message>| {
            let places = find();
            sender.send(Message::App(Event::Places(places.clone()))).ok()?;
            for place in places {
                let facts = places::facts_of(&place);
                sender.send(Message::App(Event::PlaceFacts(place.path, facts))).ok()?;
            }
            None
        };
        job::spawn("places", self.sender.clone(), work, |text| {
            Message::App(Event::JobPanicked("looking for checkpoints", text))
        });
    }
}

/// Opens a path; `~` is the home folder, as in a shell.
fn open_path(path: &str, progress: &Progress) -> Result<Checkpoint> {
    let path = work::expanded(Path::new(path)).display().to_string();
    Checkpoint::open_with(&path, progress)
}

fn checkpoint_of(app: &App, id: u32) -> Option<Arc<Checkpoint>> {
    app.opens.iter().find(|open| open.id == id).and_then(|open| match &open.state {
        OpenState::Ready(ready) => Some(Arc::clone(&ready.checkpoint)),
        _ => None,
    })
}

fn evidence(checkpoint: &Checkpoint, layer: u32) -> Vec<Evidence> {
    if layer as usize >= checkpoint.layers.len() {
        return Vec::new();
    }
    let spec = checkpoint.layers.spec(layer);
    let data = FileSide::new(&checkpoint.files);
    checkpoint
        .layers
        .with_parts(&checkpoint.files, layer, &data, |parts| spec.format.get().explain(parts, spec))
}
