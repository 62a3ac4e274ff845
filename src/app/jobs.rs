//! Jobs: what was started, in the order of starting. One runs at a time on a device; the next starts when it ends.
//!
//! The engine runs on a thread of its own, which the loop starts (`Effect::StartJob`) and ends
//! (`Effect::CancelJob`). While one runs the loop takes counts a few times a second (`Event::JobTicked`).

mod context;
pub mod meter;
mod question;
mod result;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::form::in_form_words;
use super::{App, Effect, Overlay, Tab};
use crate::checkpoint::Checkpoint;
use crate::engine::{Options, Outcome, Progress, Proof, most_vram};
use crate::error::{Error, ErrorKind};
use crate::plan::{Coverage, Group, Plan};
use crate::quant::target::Target;
use crate::units;
pub use context::Context;
use meter::{Counts, Meter, Speed};
pub use question::Question;
pub(super) use question::{can_cancel, cancel, quit};
pub use result::{After, Verdict};
pub(super) use result::{can_attach_result, can_open_result, open_result};

/// The jobs of this session.
#[derive(Default)]
pub struct Jobs {
    /// In the order of starting.
    pub list: Vec<Job>,
    /// Row under the cursor.
    pub cursor: usize,
    /// First line of the lower pane that shows.
    pub top: usize,
    /// How fast the last job was, if it ran long enough to say.
    pub measured: Option<Measured>,
    /// True once the user has chosen to quit: it happens when the running job has ended.
    pub is_leaving: bool,
}

/// How fast a job was, from its start to the end of its proof.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Bytes written a second.
    pub bytes_per_second: f64,
    /// What was proven at the end.
    pub proof: Proof,
}

/// Below this time a rate says nothing of a longer job.
const MEASURED_MIN: Duration = Duration::from_secs(1);

impl Measured {
    fn of(outcome: &Outcome, proof: Proof) -> Option<Self> {
        let is_enough = outcome.elapsed >= MEASURED_MIN && outcome.bytes_written > 0;
        let bytes_per_second = outcome.bytes_written as f64 / outcome.elapsed.as_secs_f64();
        is_enough.then_some(Self { bytes_per_second, proof })
    }
}

/// One job.
pub struct Job {
    /// Names it in messages.
    pub id: u32,
    /// `convert`.
    pub verb: &'static str,
    /// What becomes of what: `bnb-nf4-A/model → model-dense`.
    pub subject: String,
    /// The equivalent command line.
    pub command: String,
    /// The plan in numbers.
    pub facts: Facts,
    /// What it works on, until it is started.
    pub work: Option<Work>,
    /// Where it is, shared with the engine.
    pub progress: Arc<Progress>,
    /// How far it is.
    pub state: JobState,
    /// What the loop has read of its progress.
    pub meter: Meter,
    /// Bytes that were free of each GPU before it was started, by what NVML calls it.
    pub free_before: Vec<(String, u64)>,
    /// True once it was told to end.
    pub is_cancelling: bool,
    /// What becomes of its result.
    pub after: After,
}

/// What a job works on.
pub struct Work {
    /// The input.
    pub checkpoint: Arc<Checkpoint>,
    /// The adapters that are merged into it.
    pub adapters: Vec<Arc<Checkpoint>>,
    /// What to do.
    pub plan: Arc<Plan>,
    /// How.
    pub options: Options,
}

/// A plan in numbers: what the screen needs when the plan itself is gone.
pub struct Facts {
    /// The folder that is made.
    pub output: String,
    /// Alike steps.
    pub groups: Vec<Group>,
    /// Tensors that are written.
    pub tensors: usize,
    /// Files of tensors.
    pub shards: usize,
    /// Files beside them: written anew, and copied.
    pub others: usize,
    /// Bytes that are written.
    pub bytes: u64,
    /// Threads that compute.
    pub threads: usize,
    /// Memory that it takes at most of each GPU that computes; `None` on the processor.
    pub vram: Option<u64>,
    /// What is proven at the end.
    pub proof: Proof,
    /// Layers that are broken and go over as they are.
    pub broken: usize,
    /// How many modules of adapters are merged, if there are any.
    pub coverage: Option<Coverage>,
    /// What layers are packed as, if anew.
    pub target: Option<Arc<dyn Target>>,
    /// Names of the layers that are packed, by their number in the plan.
    pub packed: Vec<String>,
    /// What it does besides, in words.
    pub said: Vec<String>,
}

impl Facts {
    fn of(plan: &Plan, options: &Options, said: Vec<String>) -> Self {
        Self {
            output: plan.order.output.display().to_string(),
            groups: plan.groups(),
            tensors: plan.shards.iter().map(|shard| shard.tensors.len()).sum(),
            shards: plan.shards.len(),
            others: plan.written().len() + plan.copied().count(),
            bytes: plan.bytes_written(),
            threads: options.threads,
            vram: most_vram(plan, options),
            proof: options.proof,
            broken: plan.broken.len(),
            coverage: plan.coverage.clone(),
            target: plan.target.clone(),
            packed: plan.packs.iter().map(|pack| pack.name.clone()).collect(),
            said,
        }
    }
}

/// Returns where a result is written before it has its name: a hidden folder beside it.
#[must_use]
pub fn partial(output: &Path) -> PathBuf {
    let name = output.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    output.with_file_name(format!(".{name}.ckpt-partial"))
}

/// How far a job is.
pub enum JobState {
    /// Another runs.
    Queued,
    /// The engine works on it.
    Running,
    /// It is done.
    Done(Outcome),
    /// It ended without a result.
    Failed(Error),
    /// The user ended it; what is left of it, in words.
    Cancelled(String),
}

impl Job {
    /// Returns true while it runs or waits.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state, JobState::Queued | JobState::Running)
    }

    /// Returns how fast it is, if that is known.
    #[must_use]
    pub fn speed(&self) -> Option<Speed> {
        self.meter.speed(self.facts.threads)
    }

    /// Returns the share that is done.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        match self.state {
            JobState::Done(_) => 1.0,
            _ => self.meter.ratio(self.facts.bytes),
        }
    }

    /// Returns the job in a few words: `convert at 68%`.
    #[must_use]
    pub fn at(&self) -> String {
        format!("{} at {}", self.verb, units::percent_done(self.ratio()))
    }
}

impl Jobs {
    /// Returns the job that runs.
    #[must_use]
    pub fn running(&self) -> Option<&Job> {
        self.list.iter().find(|job| matches!(job.state, JobState::Running))
    }

    /// Returns the job under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<&Job> {
        self.list.get(self.cursor)
    }

    /// Returns a job by its id.
    pub fn by_id(&mut self, id: u32) -> Option<&mut Job> {
        self.list.iter_mut().find(|job| job.id == id)
    }

    /// Moves the cursor.
    pub(super) fn step(&mut self, by: isize) {
        self.cursor = self.cursor.saturating_add_signed(by).min(self.list.len().saturating_sub(1));
        self.top = 0;
    }

    /// Starts the first that waits, unless one runs: there is one device.
    fn start_next(&mut self) -> Vec<Effect> {
        if self.running().is_some() || self.is_leaving {
            return Vec::new();
        }
        let next = self.list.iter_mut().find(|job| matches!(job.state, JobState::Queued));
        next.map_or_else(Vec::new, |job| {
            job.state = JobState::Running;
            vec![Effect::StartJob(job.id)]
        })
    }
}

/// What a new job is made of.
pub(super) struct NewJob {
    pub(super) verb: &'static str,
    pub(super) subject: String,
    pub(super) command: String,
    pub(super) work: Work,
    pub(super) after: After,
    pub(super) said: Vec<String>,
}

impl App {
    /// Adds a job, starts it if none runs, and shows it.
    pub(super) fn add_job(&mut self, new: NewJob) -> Vec<Effect> {
        let NewJob { verb, subject, command, work, after, said } = new;
        let id = self.next_id;
        self.next_id += 1;
        self.log.push(command.clone());
        self.jobs.list.push(Job {
            id,
            verb,
            subject,
            command,
            facts: Facts::of(&work.plan, &work.options, said),
            work: Some(work),
            progress: Arc::default(),
            state: JobState::Queued,
            meter: Meter::default(),
            free_before: Vec::new(),
            is_cancelling: false,
            after,
        });
        self.jobs.cursor = self.jobs.list.len() - 1;
        self.jobs.top = 0;
        self.show(Tab::Jobs);
        self.start_next()
    }

    pub(super) fn job_ticked(&mut self, id: u32, counts: Counts) {
        if let Some(job) = self.jobs.by_id(id).filter(|job| matches!(job.state, JobState::Running)) {
            job.meter.take(counts);
        }
    }

    pub(super) fn job_ended(&mut self, id: u32, ended: Result<Outcome, Error>) -> Vec<Effect> {
        let is_shown = self.tab == Tab::Jobs;
        let Some(job) = self.jobs.by_id(id) else { return Vec::new() };
        let verb = job.verb;
        job.work = None;
        let ended = ended.map_err(|error| Error { message: in_form_words(&error.message), ..error });
        let words = match &ended {
            Ok(outcome) => job.done_words(outcome, is_shown),
            Err(error) if error.kind == ErrorKind::Cancelled => format!("{verb} {}", error.message),
            Err(error) => format!("{verb} failed: {}", error.message),
        };
        let measured = ended.as_ref().ok().and_then(|outcome| Measured::of(outcome, job.facts.proof));
        job.state = match ended {
            Ok(outcome) => JobState::Done(outcome),
            Err(error) if error.kind == ErrorKind::Cancelled => JobState::Cancelled(error.message),
            Err(error) => JobState::Failed(error),
        };
        self.jobs.measured = measured.or(self.jobs.measured);
        self.toast = Some(words);
        if self.jobs.is_leaving {
            return vec![Effect::Quit];
        }
        // A question about this job has answered itself.
        let is_moot = match self.overlay {
            Some(Overlay::Ask(Question::Cancel(asked))) => asked == id,
            Some(Overlay::Ask(Question::Quit)) => true,
            _ => false,
        };
        if is_moot {
            self.overlay = None;
        }
        self.start_next()
    }
}

pub(in crate::app) fn has_jobs(app: &App) -> Result<(), String> {
    if app.jobs.list.is_empty() {
        Err("no job was started yet (c converts, m merges)".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
