//! The result of a job: how it is to be read, and what Enter does with it.

use super::{App, Effect, Job, JobState, Tab, has_jobs};
use crate::engine::Outcome;

/// What Enter does with the result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is opened beside its input.
    Open,
    /// It is an adapter: it is attached to the checkpoint of this id, in the place of another.
    Attach(u32),
}

/// How the result of a job is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All was written, and compared.
    Verified,
    /// So many of so many modules of adapters were merged; the others were left out.
    Partial(usize, usize),
    /// Nothing was compared, or layers went over broken.
    NotProven,
}

impl Job {
    /// Returns how its result is to be read.
    #[must_use]
    pub fn verdict(&self, outcome: &Outcome) -> Verdict {
        match &self.facts.coverage {
            Some(coverage) if coverage.merged < coverage.total => {
                Verdict::Partial(coverage.merged, coverage.total)
            }
            _ if outcome.proof.is_some() && self.facts.broken == 0 => Verdict::Verified,
            _ => Verdict::NotProven,
        }
    }

    /// Returns what is said when it is done: `repair done and verified: DIR   Enter attaches it`.
    pub(super) fn done_words(&self, outcome: &Outcome, is_shown: bool) -> String {
        let verdict = match self.verdict(outcome) {
            Verdict::Verified => "done and verified".to_owned(),
            Verdict::Partial(merged, total) => format!("done, {merged} of {total} modules"),
            Verdict::NotProven => "done, not proven".to_owned(),
        };
        let next = match (is_shown, self.after) {
            (true, After::Open) => "Enter opens it",
            (true, After::Attach(_)) => "Enter attaches it in its place",
            (false, _) => "6 shows it",
        };
        format!("{} {verdict}: {}   {next}", self.verb, self.facts.output)
    }
}

/// The job under the cursor has a result that is an adapter, and the base that it is for is open.
pub(in crate::app) fn can_attach_result(app: &App) -> Result<(), String> {
    can_open_result(app)?;
    let after = app.jobs.current().map(|job| job.after);
    match after {
        Some(After::Attach(id)) if app.opens.iter().any(|open| open.id == id) => Ok(()),
        _ => Err("the result of this job is no adapter".into()),
    }
}

pub(in crate::app) fn can_open_result(app: &App) -> Result<(), String> {
    has_jobs(app)?;
    match app.jobs.current().map(|job| &job.state) {
        Some(JobState::Done(_)) if app.tab == Tab::Jobs => Ok(()),
        _ if app.tab != Tab::Jobs => Err("only on the tab of jobs (6)".into()),
        _ => Err("this job has no result".into()),
    }
}

/// Opens the result of the job under the cursor beside what is open; a repaired adapter is attached to its base.
pub(in crate::app) fn open_result(app: &mut App) -> Vec<Effect> {
    let Some(job) = app.jobs.current() else { return Vec::new() };
    let path = job.facts.output.clone();
    if let After::Attach(id) = job.after
        && let Some(at) = app.opens.iter().position(|open| open.id == id)
    {
        app.current = at;
        let before = app.attached().map(|attached| attached.path.clone());
        app.toast = before.map(|before| format!("{path} is attached in the place of {before}"));
        return app.attach(&path);
    }
    if let Some(at) = app.opens.iter().position(|open| open.path == path) {
        app.current = at;
        app.show(Tab::Detail);
        return Vec::new();
    }
    app.open(&path)
}
