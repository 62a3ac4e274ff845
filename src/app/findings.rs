//! Findings: what is wrong with the checkpoint that is shown, by purpose; going to what was seen, and to the fix.

use std::sync::Arc;

use super::{App, Effect, Overlay, Tab, fix_command, shell_path};
use crate::adapter::held::Held;
use crate::diagnose::Diagnosis;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::Purpose;
use crate::diagnose::subject::{About, Subject};
use crate::name::escape;
use crate::problem::Severity;

/// What was found wrong with an open checkpoint, and where the screen stands in it.
#[derive(Default)]
pub struct Findings {
    /// What the rules saw; `None` until they have looked.
    pub diagnosis: Option<Arc<Diagnosis>>,
    /// What it is wanted for.
    pub purpose: Purpose,
    /// The finding under the cursor, among those shown.
    pub row: usize,
    /// The line of the finding under the cursor, among what was seen and the fixes; `None` while the list has the
    /// focus.
    pub item: Option<usize>,
    /// First line of the finding that shows.
    pub top: usize,
    /// True after a jump to a layer: Esc comes back.
    pub is_away: bool,
    number: u32,
}

/// A line of a finding that Enter does something with.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A place that was seen.
    Seen(&'a Seen),
    /// A fix, by its number.
    Fix(usize, &'a Fix),
}

impl Findings {
    /// Returns what concerns the purpose, worst first.
    #[must_use]
    pub fn shown(&self) -> Vec<(&Finding, Severity)> {
        self.diagnosis.as_ref().map_or_else(Vec::new, |found| found.for_purpose(self.purpose).collect())
    }

    /// Returns the finding under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<(&Finding, Severity)> {
        self.shown().into_iter().nth(self.row)
    }

    /// Returns the line under the cursor, if the finding has the focus.
    #[must_use]
    pub fn item(&self) -> Option<Item<'_>> {
        items(self.current()?.0).into_iter().nth(self.item?)
    }

    /// Moves in the list, or in the finding.
    pub(super) fn step(&mut self, by: isize) {
        let last = |count: usize| count.saturating_sub(1);
        if let Some(item) = self.item {
            let count = self.current().map_or(0, |(finding, _)| items(finding).len());
            self.item = Some(item.saturating_add_signed(by).min(last(count)));
        } else {
            let count = self.shown().len();
            self.row = self.row.saturating_add_signed(by).min(last(count));
            self.top = 0;
        }
    }

    /// Chooses what it is wanted for.
    pub(super) fn choose(&mut self, purpose: Purpose) {
        (self.purpose, self.row, self.item, self.top) = (purpose, 0, None, 0);
    }
}

/// Returns the lines of a finding that Enter does something with.
#[must_use]
pub fn items(finding: &Finding) -> Vec<Item<'_>> {
    let seen = finding.seen.iter().map(Item::Seen);
    seen.chain(finding.fixes.iter().enumerate().map(|(at, fix)| Item::Fix(at, fix))).collect()
}

impl App {
    /// Returns the findings of the checkpoint that is shown.
    #[must_use]
    pub fn findings(&self) -> Option<&Findings> {
        self.opens.get(self.current).map(|open| &open.findings)
    }

    /// Returns them, for changing.
    pub fn findings_mut(&mut self) -> Option<&mut Findings> {
        self.opens.get_mut(self.current).map(|open| &mut open.findings)
    }

    /// Asks the rules about a checkpoint and what is attached to it.
    pub(super) fn diagnose(&mut self, id: u32) -> Vec<Effect> {
        let number = self.next_id;
        let Some(open) = self.opens.iter_mut().find(|open| open.id == id) else { return Vec::new() };
        self.next_id += 1;
        open.findings.number = number;
        vec![Effect::Diagnose(id, number)]
    }

    /// Takes what the rules saw, unless they were asked again since.
    pub(super) fn diagnosed(&mut self, id: u32, number: u32, diagnosis: Diagnosis) -> Vec<Effect> {
        let open = self.opens.iter_mut().find(|open| open.id == id && open.findings.number == number);
        let Some(open) = open else { return Vec::new() };
        let findings = &mut open.findings;
        findings.diagnosis = Some(Arc::new(diagnosis));
        findings.step(0);
        self.explain_error()
    }

    /// Returns the adapter that is held against the checkpoint of an id, if one is.
    #[must_use]
    pub fn held_of(&self, id: u32) -> Option<Arc<Held>> {
        let open = self.opens.iter().find(|open| open.id == id)?;
        match &open.attached.as_ref()?.state {
            super::attach::AttachState::Ready(board) => Some(Arc::clone(&board.held)),
            _ => None,
        }
    }

    /// Lets `look` see the checkpoint that is shown as rules see it.
    pub fn with_subject<R>(&self, look: impl FnOnce(&Subject<'_>) -> R) -> Option<R> {
        let ready = self.ready()?;
        let held = self.opens.get(self.current).and_then(|open| self.held_of(open.id));
        let held: Vec<&Held> = held.iter().map(AsRef::as_ref).collect();
        let facts = ready.adapter.as_ref();
        Some(look(&Subject { checkpoint: &ready.checkpoint, facts, held: &held, deep: &[] }))
    }

    /// Returns the command line of a fix of the checkpoint that is shown; `None` for advice.
    #[must_use]
    pub fn command_of_fix(&self, finding: &Finding, fix: &Fix) -> Option<String> {
        let open = self.opens.get(self.current)?;
        let adapters: Vec<String> = open.attached.iter().map(|attached| attached.path.clone()).collect();
        self.with_subject(|subject| fix_command(fix, finding, subject, (&open.path, &adapters)))?
    }

    /// Goes into the finding, where it has lines to go to.
    pub(super) fn enter_finding(&mut self) -> Vec<Effect> {
        if let Some(findings) = self.findings_mut() {
            let has_items = findings.current().is_some_and(|(finding, _)| !items(finding).is_empty());
            findings.item = has_items.then_some(0);
        }
        Vec::new()
    }

    /// Does what Enter does: from the list the first fix that can be carried out, in the finding what its line is.
    pub(super) fn enter_on_finding(&mut self) -> Vec<Effect> {
        let Some(findings) = self.findings() else { return Vec::new() };
        let Some((finding, _)) = findings.current() else { return Vec::new() };
        let finding = finding.clone();
        match findings.item() {
            None => match finding.fixes.iter().position(Fix::applies) {
                Some(fix) => self.open_fix(&finding, fix),
                None => self.enter_finding(),
            },
            Some(Item::Fix(fix, _)) => self.open_fix(&finding, fix),
            Some(Item::Seen(seen)) => {
                let seen = seen.clone();
                self.go_to_seen(&finding, &seen)
            }
        }
    }

    /// Opens the plan of a fix, or says that it is advice.
    pub fn open_fix(&mut self, finding: &Finding, fix: usize) -> Vec<Effect> {
        if finding.fixes.get(fix).is_some_and(Fix::applies) {
            self.overlay = None;
        }
        super::fix::open(self, finding.clone(), fix)
    }

    /// Goes to the layer or the module that was seen; Esc comes back.
    fn go_to_seen(&mut self, finding: &Finding, seen: &Seen) -> Vec<Effect> {
        if matches!(finding.about, About::Adapter(_)) {
            self.show(Tab::Adapter);
            if let (Some(name), Some(board)) = (&seen.tensor, self.board_mut()) {
                board.go_to(name);
            }
        } else {
            let Some(ready) = self.ready_mut() else { return Vec::new() };
            let checkpoint = Arc::clone(&ready.checkpoint);
            let Some(name) = &seen.tensor else {
                let place = [&seen.file, &seen.key].into_iter().flatten().map(|part| escape(part));
                let place: Vec<_> = place.collect();
                self.toast = Some(format!("{} is of no layer: y copies it", place.join("  ")));
                return Vec::new();
            };
            let Some(node) = ready.tree.find(&checkpoint, name) else {
                self.toast = Some(format!("{} is not in the tree", escape(name)));
                return Vec::new();
            };
            ready.tree.select_node(&checkpoint, node);
            self.show(Tab::Detail);
        }
        if let Some(findings) = self.findings_mut() {
            findings.is_away = true;
        }
        Vec::new()
    }

    /// Comes back from a jump; returns false if there was none.
    pub(super) fn return_from_jump(&mut self) -> bool {
        let Some(findings) = self.findings_mut().filter(|findings| findings.is_away) else { return false };
        findings.is_away = false;
        self.show(Tab::Findings);
        true
    }

    /// Takes a key of the menu of purposes.
    pub(super) fn purpose_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let last = Purpose::ALL.len() - 1;
        match key {
            "esc" | "q" | "f" => {}
            "j" | "down" => self.overlay = Some(Overlay::PurposeMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::PurposeMenu(at.saturating_sub(1))),
            "enter" => {
                if let Some(findings) = self.findings_mut() {
                    findings.choose(Purpose::ALL[at.min(last)]);
                }
                self.show(Tab::Findings);
            }
            _ => self.overlay = Some(Overlay::PurposeMenu(at)),
        }
        Vec::new()
    }
}

/// Opens the menu of purposes.
pub(super) fn choose_purpose(app: &mut App) -> Vec<Effect> {
    let purpose = app.findings().map(|findings| findings.purpose).unwrap_or_default();
    let at = Purpose::ALL.iter().position(|other| *other == purpose).unwrap_or(0);
    app.overlay = Some(Overlay::PurposeMenu(at));
    Vec::new()
}

/// Returns the text of the finding under the cursor: what `y` copies.
pub(super) fn copied(app: &App) -> Option<String> {
    let (finding, _) = app.findings()?.current()?;
    match app.findings()?.item() {
        Some(Item::Seen(seen)) => Some(seen_words(seen)),
        Some(Item::Fix(_, fix)) => app.command_of_fix(finding, fix).or_else(|| Some(fix.summary.clone())),
        None => Some(format!("{:?}: {}", finding.rule, finding.title)),
    }
}

/// Returns the command line of what the tab shows.
pub(super) fn command(app: &App) -> Option<String> {
    let open = app.opens.get(app.current)?;
    let adapter = open.attached.as_ref().map(|attached| format!(" -a {}", shell_path(&attached.path)));
    let purpose = open.findings.purpose.name();
    Some(format!("ckpt diagnose {}{} --for {purpose}", shell_path(&open.path), adapter.unwrap_or_default()))
}

/// Returns a place in one line, escaped.
#[must_use]
pub fn seen_words(seen: &Seen) -> String {
    let place: Vec<&str> = [&seen.file, &seen.key].into_iter().flatten().map(String::as_str).collect();
    let mut words = place.join("  ");
    if let Some(tensor) = seen.tensor.as_ref().filter(|tensor| !seen.value.contains(tensor.as_str())) {
        words = format!("{words}  {tensor}");
    }
    // A message names its file itself.
    let is_named = seen.file.as_ref().is_some_and(|file| seen.value.starts_with(file.as_str()));
    let words = if is_named { "" } else { words.trim() };
    let gap = if words.is_empty() { "" } else { "  " };
    escape(&format!("{words}{gap}{}", seen.value)).into_owned()
}

/// There are findings to walk through.
pub(super) fn has_finding(app: &App) -> Result<(), String> {
    super::command::has_checkpoint(app)?;
    let any = app.findings().is_some_and(|findings| findings.current().is_some());
    if any { Ok(()) } else { Err("nothing was found for this purpose (f chooses another)".into()) }
}
