//! What is asked before something is lost: ending a job, quitting while one runs.

use super::{App, Effect, Job, JobState, Overlay, Tab};
use crate::name::escape;

/// What is asked before something is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// End the job of this id.
    Cancel(u32),
    /// Quit while a job runs.
    Quit,
}

impl App {
    /// Returns what a question says: the question, its cost, the answers.
    #[must_use]
    pub fn question(&self, question: Question) -> [String; 3] {
        let running = self.jobs.list.iter().find(|job| match question {
            Question::Cancel(id) => job.id == id,
            Question::Quit => matches!(job.state, JobState::Running),
        });
        let (at, cost) = running.map_or_else(Default::default, |job| {
            let output = escape(&job.facts.output).into_owned();
            let cost = if job.facts.shards > 1 {
                format!(
                    "{output} will not be made; files that are whole are kept, starting it again resumes."
                )
            } else {
                format!("{output} will not be made; what is written so far is removed.")
            };
            (job.at(), cost)
        });
        match question {
            Question::Cancel(_) => {
                [format!("Cancel {at}?"), cost, "Enter cancels it   Esc lets it run".to_owned()]
            }
            Question::Quit => [
                format!("Quit and cancel {at}?"),
                cost,
                "q again quits and cancels   Esc stays, it goes on".to_owned(),
            ],
        }
    }

    pub(in crate::app) fn question_key(&mut self, question: Question, key: &str) -> Vec<Effect> {
        match (question, key) {
            (Question::Cancel(id), "enter" | "x") => self.cancel_job(id),
            (Question::Quit, "enter" | "q" | "ctrl-c") => self.leave(),
            (_, "ctrl-c") => quit(self),
            (_, "esc" | "q") => Vec::new(),
            _ => {
                self.overlay = Some(Overlay::Ask(question));
                Vec::new()
            }
        }
    }

    fn cancel_job(&mut self, id: u32) -> Vec<Effect> {
        let Some(job) = self.jobs.by_id(id) else { return Vec::new() };
        match job.state {
            JobState::Running => {
                job.is_cancelling = true;
                vec![Effect::CancelJob(id)]
            }
            JobState::Queued => {
                job.work = None;
                job.state = JobState::Cancelled("cancelled before it started; nothing was written".into());
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Ends all jobs, and then the workbench: what is half written must be gone first.
    fn leave(&mut self) -> Vec<Effect> {
        self.jobs.is_leaving = true;
        let active: Vec<u32> =
            self.jobs.list.iter().filter(|job| job.is_active()).map(|job| job.id).collect();
        let effects: Vec<Effect> = active.into_iter().flat_map(|id| self.cancel_job(id)).collect();
        if effects.is_empty() {
            return vec![Effect::Quit];
        }
        self.toast = Some("cancelling, then it quits".into());
        effects
    }
}

/// Quits, or asks first while a job runs.
pub(in crate::app) fn quit(app: &mut App) -> Vec<Effect> {
    if app.jobs.running().is_none() || app.jobs.is_leaving {
        return vec![Effect::Quit];
    }
    app.overlay = Some(Overlay::Ask(Question::Quit));
    Vec::new()
}

/// Asks whether to end the job under the cursor, or the one that runs.
pub(in crate::app) fn cancel(app: &mut App) -> Vec<Effect> {
    let Some((id, is_queued)) = subject(app).map(|job| (job.id, matches!(job.state, JobState::Queued)))
    else {
        return Vec::new();
    };
    if is_queued {
        return app.cancel_job(id);
    }
    app.overlay = Some(Overlay::Ask(Question::Cancel(id)));
    Vec::new()
}

/// Returns the job that `x` is about.
fn subject(app: &App) -> Option<&Job> {
    let marked = app.jobs.current().filter(|_| app.tab == Tab::Jobs);
    marked.or_else(|| app.jobs.running()).filter(|job| job.is_active() && !job.is_cancelling)
}

pub(in crate::app) fn can_cancel(app: &App) -> Result<(), String> {
    if app.jobs.list.iter().all(|job| !job.is_active()) {
        return Err("no job runs".into());
    }
    subject(app).map(|_| ()).ok_or_else(|| "this job has ended, or is ending".into())
}
