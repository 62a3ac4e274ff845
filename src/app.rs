//! App: what the workbench knows, and how events change it. No I/O, no clock, no terminal.
//!
//! `update` takes an event and returns effects: things that only the loop can do (open a file, copy to the
//! clipboard, stop). Commands are rows of `command::COMMANDS`; keys, footer, help and palette are made from
//! that table.

mod arrived;
pub mod attach;
pub mod board;
pub mod command;
pub mod compare;
pub mod convert;
mod copy;
mod device;
pub mod error;
mod event;
mod export;
pub mod findings;
pub mod fix;
mod fix_command;
pub mod form;
pub mod gpu;
pub mod jobs;
pub mod keys;
pub mod marks;
pub mod measured;
pub mod memory;
mod merge;
mod mouse;
mod packing;
pub mod picker;
mod ready;
mod repair;
mod screenshot;
mod shell;
mod tab;
mod toast;
mod typing;
pub mod values;

use std::sync::Arc;

use tui_input::Input;

use crate::checkpoint::Progress;
use crate::error::Error;
use crate::gauges::Sample;
use attach::Attached;
use command::{COMMANDS, Command};
use compare::Compare;
use error::ErrorText;
pub use event::{Effect, Event};
use findings::Findings;
pub use fix_command::fix_command;
use form::Form;
use gpu::Gpus;
use jobs::{Jobs, Question};
use picker::Picker;
pub use ready::Ready;
pub use shell::{shell_path, shell_word};
pub use tab::Tab;
use values::Values;

/// The workbench.
pub struct App {
    /// The open checkpoints, in the order of opening.
    pub opens: Vec<Open>,
    /// Which of them is shown.
    pub current: usize,
    /// Which tab is shown.
    pub tab: Tab,
    /// Which pane has the focus.
    pub focus: Focus,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// The convert form, with its values while it is closed.
    pub form: Option<Box<Form>>,
    /// True if the form shows.
    pub is_form_open: bool,
    /// What was started.
    pub jobs: Jobs,
    /// The error that is explained, kept while it does not show.
    pub error: ErrorText,
    /// The filter line while it is typed in.
    pub filter_input: Option<Input>,
    /// A line that stays until the next key, and as long as it takes to read.
    pub toast: Option<String>,
    /// Two checkpoints that are compared.
    compare: Option<Box<Compare>>,
    /// The machine, if gauges are on and have been sampled.
    pub sample: Option<Sample>,
    /// What the tab of GPUs keeps.
    pub gpus: Gpus,
    /// What the tab of values keeps.
    pub values: Values,
    /// True if the focused pane has the whole width.
    pub is_wide: bool,
    /// Share of the tree pane, in percent.
    pub split_percent: u16,
    /// The equivalent command lines of this session.
    pub log: Vec<String>,
    /// Keys by their text, from the table and the user's key map.
    pub keymap: keys::Keymap,
    /// Height of the tree's window at the last frame, for half pages.
    pub page_rows: usize,
    pending_g: bool,
    next_id: u32,
    toast_age: toast::Age,
}

/// One open checkpoint.
pub struct Open {
    /// Names it in messages of jobs.
    pub id: u32,
    /// What was asked for.
    pub path: String,
    /// How far it is.
    pub state: OpenState,
    /// The adapter that is attached to it.
    pub attached: Option<Attached>,
    /// What is wrong with it, and with the two together.
    pub findings: Findings,
}

/// How far an open checkpoint is.
pub enum OpenState {
    /// Headers are being read.
    Opening(Arc<Progress>),
    /// It could not be opened at all.
    Failed(Error),
    /// It is here.
    Ready(Box<Ready>),
}

/// A pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The tree.
    Tree,
    /// The tab.
    Side,
}

/// What lies over the screen.
pub enum Overlay {
    /// Keys of here and everywhere, filtered by what is typed.
    Help(Input, usize),
    /// Commands by name.
    Palette(Input, usize),
    /// The orders of the tree.
    SortMenu(usize),
    /// What the checkpoint is wanted for.
    PurposeMenu(usize),
    /// What trains on which base, with the cursor on a row.
    Matrix(usize),
    /// The error that is explained: `App::error`.
    Error,
    /// Which rows of the board show.
    StatesMenu(usize),
    /// The orders of the board.
    OrderMenu(usize),
    /// Where a picture of the screen goes.
    Picture(Input),
    /// Where the figures that show go.
    Export(Input),
    /// Which values of a layer are looked at.
    PartMenu(usize),
    /// Which layers of a comparison show.
    ShowMenu(usize),
    /// The orders of the list of norms.
    NormOrderMenu(usize),
    /// The commands of this session as a shell script.
    Log,
    /// Choosing what to open.
    Picker(Box<Picker>),
    /// Asking before something is lost.
    Ask(Question),
}

impl App {
    /// Returns a workbench that opens these paths, and the first effects. None: the picker.
    #[must_use]
    pub fn new(paths: &[String], keymap: keys::Keymap) -> (Self, Vec<Effect>) {
        let mut app = Self {
            opens: Vec::new(),
            current: 0,
            tab: Tab::Detail,
            focus: Focus::Tree,
            overlay: None,
            form: None,
            is_form_open: false,
            jobs: Jobs::default(),
            error: ErrorText::default(),
            filter_input: None,
            toast: None,
            compare: None,
            sample: None,
            gpus: Gpus::default(),
            values: Values::default(),
            is_wide: false,
            split_percent: 48,
            log: Vec::new(),
            keymap,
            page_rows: 20,
            pending_g: false,
            next_id: 0,
            toast_age: toast::Age::default(),
        };
        let mut effects: Vec<Effect> = paths.iter().flat_map(|path| app.open(path)).collect();
        app.current = 0;
        if paths.is_empty() {
            effects.extend(command::open(&mut app));
        }
        (app, effects)
    }

    /// Starts opening a path; it is shown at once.
    pub fn open(&mut self, path: &str) -> Vec<Effect> {
        let id = self.next_id;
        self.next_id += 1;
        self.log.push(format!("ckpt {}", shell_path(path)));
        self.opens.push(Open {
            id,
            path: path.to_owned(),
            state: OpenState::Opening(Arc::default()),
            attached: None,
            findings: Findings::default(),
        });
        self.current = self.opens.len() - 1;
        self.tab = Tab::Detail;
        self.focus = Focus::Tree;
        vec![Effect::Open(id, path.to_owned())]
    }

    /// Returns the checkpoint that is shown, if it is here.
    #[must_use]
    pub fn ready(&self) -> Option<&Ready> {
        match &self.opens.get(self.current)?.state {
            OpenState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    /// Returns the checkpoint that is shown, for changing.
    pub fn ready_mut(&mut self) -> Option<&mut Ready> {
        match &mut self.opens.get_mut(self.current)?.state {
            OpenState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    /// Returns true if there is something to walk through: a checkpoint of which anything could be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.ready().is_some_and(|ready| ready.files().shards.iter().any(|shard| !shard.unreadable))
    }

    /// Returns true if tab and tree stand side by side: those that follow the row do, the others take the whole width.
    #[must_use]
    pub fn shows_tree(&self) -> bool {
        self.tab.is_beside_tree() && !(self.is_wide && self.focus == Focus::Side)
    }

    /// Returns the share of the tree pane in percent: values take more room than details.
    #[must_use]
    pub fn tree_percent(&self) -> u16 {
        if self.tab == Tab::Values { self.split_percent * 3 / 4 } else { self.split_percent }
    }

    /// Returns true if the tab shows.
    #[must_use]
    pub fn shows_side(&self) -> bool {
        self.tab != Tab::Detail || !(self.is_wide && self.focus == Focus::Tree)
    }

    /// Takes an event.
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        let before = self.toast.clone();
        let mut effects = self.take(event);
        effects.extend(self.ask_gpus());
        effects.extend(self.ask_values());
        effects.extend(self.tend_compare());
        self.note_toast(before.as_deref());
        effects
    }

    /// Asks for what shows as far as there is room for it, which is known once it was drawn.
    pub fn ask_for_room(&mut self) -> Vec<Effect> {
        let mut effects = self.ask_values();
        effects.extend(self.ask_beside());
        effects
    }

    fn take(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) => self.key(&key),
            Event::Paste(text) => self.paste(&text),
            Event::ClickRow(row) => self.click_row(row),
            Event::ClickPlace(place) => self.click_place(place),
            Event::ClickTab(tab) => {
                self.show(tab);
                Vec::new()
            }
            Event::ClickField(field) => self.click_field(field),
            Event::ClickJob(row) => self.click_job(row),
            Event::ClickGpu(row) => {
                self.step_gpu(row as isize - self.gpus.cursor as isize);
                Vec::new()
            }
            Event::Probed(probed) => self.probed(*probed),
            Event::ClickCell(cell) => self.click_cell(cell),
            Event::ValuesSeen(number, seen) => {
                self.values_seen(number, *seen);
                Vec::new()
            }
            Event::RegionRead(number, read) => {
                self.region_read(number, *read);
                Vec::new()
            }
            Event::ClickPane(focus) => {
                self.focus = focus;
                Vec::new()
            }
            Event::Wheel(focus, lines) => self.wheel(focus, lines),
            Event::Split(percent) => {
                let percent = if self.tab == Tab::Values { percent * 4 / 3 } else { percent };
                self.split_percent = percent.clamp(20, 80);
                Vec::new()
            }
            Event::Opened(id, opened) => self.opened(id, *opened),
            Event::Examined(id, checkpoint) => self.examined(id, *checkpoint),
            Event::Explained(id, layer, evidence) => self.explained(id, (layer, evidence)),
            Event::Sampled(sample) => self.sampled(*sample),
            Event::Places(places) => self.in_picker(|picker| picker.take(places)),
            Event::PlaceFacts(path, facts) => self.in_picker(|picker| picker.learn(&path, &facts)),
            Event::Attached(id, number, held) => self.attached_to(id, number, *held),
            Event::Weighing(number, done) => {
                self.weighing(number, done);
                Vec::new()
            }
            Event::Weighed(number, found) => {
                self.weighed(number, *found);
                Vec::new()
            }
            Event::Diagnosed(id, number, diagnosis) => self.diagnosed(id, number, *diagnosis),
            Event::ErrorExplained(number, answer) => {
                self.error_explained(number, *answer);
                Vec::new()
            }
            Event::BaseFound(id, search) => {
                if let Some(ready) = self.by_id(id) {
                    ready.base = Some(*search);
                }
                Vec::new()
            }
            Event::Held(number, held) => self.held_for_form(number, *held),
            Event::ClickBoard(row) => self.click_board(row),
            Event::ClickFinding(row) => self.click_finding(row),
            Event::Compared(number, news) => {
                self.compared(number, *news);
                Vec::new()
            }
            Event::Planned(question, plan) => self.planned(question, *plan),
            Event::Looked(candidate) => {
                self.looked(*candidate);
                Vec::new()
            }
            Event::JobTicked(id, counts) => {
                self.job_ticked(id, counts);
                Vec::new()
            }
            Event::JobEnded(id, ended) => self.job_ended(id, *ended),
            Event::ToastRead => {
                self.toast_read();
                Vec::new()
            }
            Event::JobPanicked(job, text) => {
                self.toast = Some(format!("{job} ended: {text}"));
                Vec::new()
            }
        }
    }

    fn key(&mut self, key: &str) -> Vec<Effect> {
        // What was said of a text that is being typed, or of a first key, is over with the next one.
        let stays = self.filter_input.is_none() && !self.pending_g;
        let before = self.toast.take();
        let effects = self.act_on(key);
        if stays && self.toast.is_none() {
            self.keep_toast(before);
        }
        effects
    }

    fn act_on(&mut self, key: &str) -> Vec<Effect> {
        if self.overlay.is_some() {
            // The palette and the sort menu move the cursor too.
            let mut effects = self.overlay_key(key);
            effects.extend(self.explain());
            return effects;
        }
        if self.is_form_open {
            return self.form_key(key);
        }
        if self.filter_input.is_some() {
            return self.filter_key(key);
        }
        if std::mem::take(&mut self.pending_g) {
            if key == "g" {
                command::first(self);
            }
            return self.explain();
        }
        if key == "g" {
            self.pending_g = true;
            self.toast = Some("g  first row".into());
            return Vec::new();
        }
        if self.memory_key(key) {
            return Vec::new();
        }
        let Some(command) = self.keymap.get(key).copied() else { return Vec::new() };
        let stands_in = |other: &&Command| other.via == command.name && (other.here)(self);
        let command = COMMANDS.iter().find(stands_in).unwrap_or(command);
        let mut effects = self.run(command);
        effects.extend(self.explain());
        effects
    }

    /// Runs a command, or says why it cannot run now.
    pub fn run(&mut self, command: &'static Command) -> Vec<Effect> {
        match (command.ready)(self) {
            Ok(()) => (command.run)(self),
            Err(why) => {
                self.toast = Some(format!("{}: {why}", command.name));
                Vec::new()
            }
        }
    }

    /// Shows a tab; those beside the tree leave the focus there.
    pub fn show(&mut self, tab: Tab) {
        compare::leave_beside(self);
        self.tab = tab;
        self.focus = if tab.is_beside_tree() { Focus::Tree } else { Focus::Side };
        if let Some(ready) = self.ready_mut() {
            ready.tab_top = 0;
        }
    }

    /// Returns the commands that the footer shows: those that matter here, in order.
    #[must_use]
    pub fn footer(&self) -> Vec<&'static Command> {
        COMMANDS.iter().filter(|command| command.footer && (command.here)(self)).collect()
    }
}

#[cfg(test)]
mod tests;
