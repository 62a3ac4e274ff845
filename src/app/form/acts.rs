//! What keys, clicks and pastes do to a form, and what a plan does that comes back.

use std::sync::Arc;

use tui_input::Input;

use super::last;
use super::{Form, Kind, Planned, Request, Seen, Task, There};
use crate::adapter::held::Held;
use crate::app::convert::default_output;
use crate::app::jobs::{After, NewJob, Work};
use crate::app::packing::FORMAT;
use crate::app::picker::{Picker, Purpose};
use crate::app::{App, Effect, OpenState, Overlay, jobs, keys};
use crate::diagnose::About;
use crate::error::Error;

/// Lines of the plan that a page has.
const PAGE_LINES: usize = 8;

impl App {
    /// Returns the form, if it shows.
    #[must_use]
    pub fn form(&self) -> Option<&Form> {
        self.form.as_deref().filter(|_| self.is_form_open)
    }

    /// Returns what the form asks to plan; nothing while that cannot be planned.
    #[must_use]
    pub fn plan_request(&self) -> Option<Request> {
        let form = self.form.as_ref()?;
        form.request(self.checkpoint_of_form()?).ok()?
    }

    fn checkpoint_of_form(&self) -> Option<Arc<crate::checkpoint::Checkpoint>> {
        let id = self.form.as_ref()?.id;
        match &self.opens.iter().find(|open| open.id == id)?.state {
            OpenState::Ready(ready) => Some(Arc::clone(&ready.checkpoint)),
            _ => None,
        }
    }

    /// Shows the form for what was seen.
    pub(in crate::app) fn show_form(&mut self, seen: Seen) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            // Whoever comes back has not said again what is to become of what is there.
            form.forget_folder();
            form.see(seen);
        }
        self.is_form_open = true;
        self.offer_devices();
        // Disk and folders may have changed since.
        self.ask_plan()
    }

    fn ask_plan(&mut self) -> Vec<Effect> {
        let checkpoint = self.checkpoint_of_form();
        let (Some(form), Some(checkpoint)) = (&mut self.form, checkpoint) else { return Vec::new() };
        form.asked += 1;
        match form.request(checkpoint) {
            Ok(Some(_)) => vec![Effect::Plan(form.asked)],
            // The plan is made when the adapter has come.
            Ok(None) => Vec::new(),
            Err(error) => {
                form.answered = form.asked;
                form.plan = Some(Err(error));
                Vec::new()
            }
        }
    }

    pub(in crate::app) fn planned(&mut self, question: u32, plan: Result<Planned, Error>) -> Vec<Effect> {
        let Some(form) = self.form.as_mut().filter(|form| form.asked == question) else { return Vec::new() };
        form.answered = question;
        // What a job of ours writes at this moment is no run that was left.
        let is_ours = |planned: &Planned| {
            let output = planned.plan.order.output.display().to_string();
            self.jobs.list.iter().any(|job| job.is_active() && job.facts.output == output)
        };
        let plan = plan.map(|mut planned| {
            if is_ours(&planned) {
                planned.there = There::Nothing;
            }
            planned
        });
        if form.take(plan) { self.ask_plan() } else { self.ask_looks() }
    }

    /// Takes an adapter that is merged as well, held against the base.
    pub(in crate::app) fn held_for_form(&mut self, number: u32, held: Result<Held, Error>) -> Vec<Effect> {
        let is_asked = self.form.as_mut().is_some_and(|form| form.take_adapter(number, held));
        if is_asked { self.ask_plan() } else { Vec::new() }
    }

    pub(in crate::app) fn form_key(&mut self, key: &str) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        let kind = form.field().kind;
        let is_button = matches!(kind, Kind::Button(_));
        match key {
            "esc" => self.is_form_open = false,
            "ctrl-c" => return jobs::quit(self),
            "tab" => form.step(1, true),
            "backtab" => form.step(-1, true),
            "enter" if is_button => return self.start(),
            // The list of what is repaired stands under the button: the keys go on into it.
            "down" if is_button && form.task == Task::Repair => form.top += 1,
            "up" if is_button && form.task == Task::Repair && form.top > 0 => form.top -= 1,
            "down" | "enter" => form.step(1, false),
            "up" => form.step(-1, false),
            "pgdn" => form.top += PAGE_LINES,
            "pgup" => form.top = form.top.saturating_sub(PAGE_LINES),
            _ if kind.is_text() => return self.edit_form(|input| keys::edit(input, key)),
            "a" if form.takes_adapters() => return pick_adapter(self),
            "x" if form.takes_adapters() => match form.remove_adapter() {
                Ok(()) => return self.ask_plan(),
                Err(why) => self.toast = Some(why.into()),
            },
            "q" => self.is_form_open = false,
            "Y" => {
                let command = form.command().join(" ");
                self.toast = Some(format!("copied {command}"));
                return vec![Effect::Copy(command)];
            }
            "?" => self.overlay = Some(Overlay::Help(Input::default(), 0)),
            _ if form.text().is_some() => {
                // Other letters are in no number.
                let is_number =
                    key.chars().count() > 1 || key.starts_with(|c: char| "0123456789.-+e".contains(c));
                return if is_number { self.edit_form(|input| keys::edit(input, key)) } else { Vec::new() };
            }
            "left" | "right" => match form.change(if key == "left" { -1 } else { 1 }) {
                Ok(true) => {
                    if form.field().name == FORMAT {
                        self.follow_format();
                    }
                    return self.ask_plan();
                }
                Ok(false) => {}
                Err(why) => self.toast = Some(why.into()),
            },
            _ => {}
        }
        if self.is_form_open { self.ask_looks() } else { Vec::new() }
    }

    /// Names the folder after what layers become, as long as nobody has named it otherwise.
    pub(in crate::app) fn follow_format(&mut self) {
        let (Some(ready), Some(form)) = (self.ready(), &self.form) else { return };
        let files = ready.files();
        let names: Vec<String> =
            form.formats().map(|word| default_output(files, &form.suffix(word))).collect();
        let name = default_output(files, &form.suffix(form.format()));
        if names.iter().any(|name| name == form.output())
            && let Some(form) = &mut self.form
        {
            form.set_output(name);
            form.forget_folder();
        }
    }

    /// Edits the text of the field that has the focus.
    fn edit_form(&mut self, edit: impl FnOnce(&mut Input) -> bool) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        if !form.text().is_some_and(edit) {
            return Vec::new();
        }
        if matches!(form.field().kind, Kind::Folder) {
            form.forget_folder();
        }
        self.ask_plan()
    }

    /// Puts the focus on a field; a click on the button starts.
    pub(in crate::app) fn click_field(&mut self, field: usize) -> Vec<Effect> {
        let Some(form) = self.form.as_mut().filter(|form| field < form.fields.len()) else {
            return Vec::new();
        };
        form.cursor = field;
        if matches!(form.field().kind, Kind::Button(_)) { self.start() } else { self.ask_looks() }
    }

    /// Inserts pasted text into the field that has the focus.
    pub(in crate::app) fn paste_into_form(&mut self, line: &str) -> Vec<Effect> {
        if self.form.as_mut().is_some_and(|form| form.text().is_none()) {
            let task = self.form.as_ref().map(|form| form.task);
            let fields = match task {
                Some(Task::Repair) => "fields where and PEFT",
                Some(Task::Fix) => "field where",
                _ => "fields where, only, skip, keep and also",
            };
            self.toast = Some(format!("pasted text goes into the {fields}"));
        }
        self.edit_form(|input| {
            keys::insert(input, line);
            true
        })
    }

    /// Merges another adapter as well: it is held against the base first.
    pub(in crate::app) fn add_adapter(&mut self, path: &str) -> Vec<Effect> {
        let number = self.next_id;
        let Some(form) = self.form.as_mut().filter(|form| form.takes_adapters()) else { return Vec::new() };
        if form.used.iter().any(|used| used.path.trim_end_matches('/') == path.trim_end_matches('/')) {
            self.toast = Some("this adapter is merged already: its scale says how much of it".into());
            return Vec::new();
        }
        self.next_id += 1;
        form.add_adapter(path, number);
        let mut effects = vec![Effect::Hold(form.id, number, path.to_owned())];
        effects.extend(self.ask_plan());
        effects
    }

    fn start(&mut self) -> Vec<Effect> {
        let Some(form) = &self.form else { return Vec::new() };
        let planned = match form.startable() {
            Ok(planned) => planned,
            Err(why) => {
                self.toast = Some(why);
                return Vec::new();
            }
        };
        let output = planned.plan.order.output.display().to_string();
        if self.jobs.list.iter().any(|job| job.is_active() && job.facts.output == output) {
            self.toast = Some("a job already writes there: choose another folder".into());
            return Vec::new();
        }
        let name = planned
            .plan
            .order
            .output
            .file_name()
            .map_or_else(|| output.clone().into(), |name| name.to_string_lossy());
        let names: Vec<&str> = form.used.iter().map(|used| last(used.name())).collect();
        let is_of_adapter =
            form.fixing.as_ref().is_some_and(|fixing| fixing.treatment.about != About::Checkpoint);
        let (from, after) = match form.task {
            Task::Repair => (names.concat(), After::Attach(form.id)),
            Task::Fix if is_of_adapter => (names.concat(), After::Attach(form.id)),
            Task::Fix => (form.title.clone(), After::Open),
            _ => (
                std::iter::once(form.title.as_str()).chain(names).collect::<Vec<_>>().join(" + "),
                After::Open,
            ),
        };
        let new = NewJob {
            verb: form.task.verb(),
            subject: format!("{from} → {name}"),
            command: form.command().join(" "),
            after,
            work: Work {
                checkpoint: Arc::clone(&planned.checkpoint),
                adapters: planned.adapters.clone(),
                plan: Arc::clone(&planned.plan),
                options: planned.options,
            },
            said: match (&planned.repair, &planned.fixes) {
                (Some(repair), _) => repair.said(),
                (_, Some(fixes)) => fixes.said(),
                _ => Vec::new(),
            },
        };
        self.is_form_open = false;
        self.form = None;
        self.add_job(new)
    }
}

/// Opens the picker of adapters over the form.
fn pick_adapter(app: &mut App) -> Vec<Effect> {
    let picker = Picker { purpose: Purpose::Merge, ..Picker::default() };
    app.overlay = Some(Overlay::Picker(Box::new(picker)));
    vec![Effect::FindAdapters]
}
