//! What a form asks to plan, and the plan that a job makes of it.

use std::sync::Arc;

use super::There;
use crate::adapter::held::Held;
use crate::adapter::repair::{Repair, Wishes};
use crate::checkpoint::Checkpoint;
use crate::diagnose::treatment::{Treated, Treatment};
use crate::engine::Options;
use crate::error::{Error, Result};
use crate::plan::fixed::Change;
use crate::plan::repaired::Repaired;
use crate::plan::{Attached, Order, Plan};

/// What a form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Decoding a checkpoint.
    Convert,
    /// Merging adapters into a checkpoint.
    Merge,
    /// Giving an adapter the keys and the config that PEFT wants.
    Repair,
    /// Carrying out the fix of a finding.
    Fix,
}

impl Task {
    /// Returns its verb: `convert`.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Convert => "convert",
            Self::Merge => "merge",
            Self::Repair => "repair",
            Self::Fix => "fix",
        }
    }
}

/// A fix of a finding: what is edited.
#[derive(Clone, Debug)]
pub struct Fixing {
    /// What the command line calls it: `Q001`, or `Q001:2` for its second fix.
    pub code: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// What it costs in quality; empty if nothing.
    pub loss: &'static str,
    /// The edits, and of what they are.
    pub treatment: Treatment,
}

impl Fixing {
    /// Returns true if the two do the same.
    #[must_use]
    pub fn is_for(&self, other: &Self) -> bool {
        self.code == other.code
            && self.treatment.about == other.treatment.about
            && self.treatment.edits == other.treatment.edits
    }
}

/// What a fix changes, as it is shown.
#[derive(Clone, Debug, Default)]
pub struct Fixes {
    /// What changes, edit by edit.
    pub changes: Vec<Change>,
    /// What is so already, in words.
    pub idle: Vec<String>,
}

impl Fixes {
    /// Returns what it does in a line each, the first few.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        const SAID_MAX: usize = 6;
        let line = |change: &Change| {
            let Change { file, what, before, after, .. } = change;
            let place = if what.is_empty() { file.clone() } else { format!("{file}: {what}") };
            format!("{place}: {before} → {after}")
        };
        let mut said: Vec<String> = self.changes.iter().take(SAID_MAX).map(line).collect();
        if self.changes.len() > SAID_MAX {
            said.push(format!("and {} more changes", self.changes.len() - SAID_MAX));
        }
        said
    }
}

/// What is to be planned.
pub struct Request {
    /// Number of the question.
    pub question: u32,
    /// What for.
    pub task: Task,
    /// The input.
    pub checkpoint: Arc<Checkpoint>,
    /// What the user asked.
    pub order: Order,
    /// How it would be run.
    pub options: Options,
    /// The adapters that are merged, or the one that is repaired, and what their deltas are multiplied by.
    pub adapters: Vec<(Arc<Held>, f64)>,
    /// What a repair is told.
    pub wishes: Wishes,
    /// The fix, if that is the task, with what its adapters were attached by.
    pub fixing: Option<(Fixing, Vec<String>)>,
}

/// A plan and its inputs.
pub struct Made {
    /// The input.
    pub checkpoint: Arc<Checkpoint>,
    /// The further inputs: adapters that are merged; of a repair the base.
    pub adapters: Vec<Arc<Checkpoint>>,
    /// The plan.
    pub plan: Plan,
    /// What is repaired, and what is not, if that is the task.
    pub repair: Option<Repair>,
    /// What a fix changes, if that is the task.
    pub fixes: Option<Fixes>,
    /// Why it must not be carried out, in words, whatever stands where the result goes.
    pub refusal: Option<&'static str>,
}

impl Request {
    /// Makes the plan.
    ///
    /// # Errors
    /// What was asked cannot be done: in words of the command line.
    pub fn plan(&self) -> Result<Made> {
        let order = self.order.clone();
        let (plan, adapters) = match self.task {
            Task::Convert => (Plan::convert(&self.checkpoint, order)?, Vec::new()),
            Task::Merge => {
                let attached = self.adapters.iter().map(|(held, weight)| Attached::new(held, *weight));
                let attached: Vec<Attached<'_>> = attached.collect();
                let merged = self.adapters.iter().map(|(held, _)| Arc::clone(&held.adapter)).collect();
                (Plan::merge(&self.checkpoint, order, &attached)?, merged)
            }
            Task::Repair => return self.repaired(order),
            Task::Fix => return self.fixed(order),
        };
        let checkpoint = Arc::clone(&self.checkpoint);
        Ok(Made { checkpoint, adapters, plan, repair: None, fixes: None, refusal: None })
    }

    fn fixed(&self, order: Order) -> Result<Made> {
        let (fixing, paths) =
            self.fixing.as_ref().ok_or_else(|| Error::input("there is no fix to carry out"))?;
        let held = self.adapters.iter().map(|(held, _)| Arc::clone(held));
        let adapters: Vec<(String, Arc<Held>)> = paths.iter().cloned().zip(held).collect();
        let Treated { checkpoint, adapters, plan, changes, idle } =
            fixing.treatment.plan(&self.checkpoint, &adapters, order)?;
        let refusal = changes.is_empty().then_some("nothing would change: nothing is written");
        Ok(Made { checkpoint, adapters, plan, repair: None, fixes: Some(Fixes { changes, idle }), refusal })
    }

    fn repaired(&self, order: Order) -> Result<Made> {
        let (held, _) = self.adapters.first().ok_or_else(|| Error::input("no adapter is attached"))?;
        let repaired = Repaired::plan(held, &self.wishes, order);
        let refusal = repaired.obstacle();
        let Repaired { repair, result, plan } = repaired;
        Ok(Made {
            checkpoint: Arc::new(result),
            adapters: vec![Arc::clone(&held.base)],
            plan,
            repair: Some(repair),
            fixes: None,
            refusal,
        })
    }
}

/// A plan that a job has made, and what stands around it.
pub struct Planned {
    /// The input that it was made for.
    pub checkpoint: Arc<Checkpoint>,
    /// The further inputs: adapters that are merged; of a repair the base.
    pub adapters: Vec<Arc<Checkpoint>>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// What is repaired, and what is not, if that is the task.
    pub repair: Option<Repair>,
    /// What a fix changes, if that is the task.
    pub fixes: Option<Fixes>,
    /// How it would be run.
    pub options: Options,
    /// Bytes that are free where the result goes, if that can be known.
    pub disk_free: Option<u64>,
    /// Memory that it takes at most.
    pub peak: u64,
    /// Memory that it takes at most of each GPU that computes; `None` on the processor.
    pub vram: Option<u64>,
    /// What stands where the result goes.
    pub there: There,
    /// Why it cannot be started as it is: the folder is taken, the disk is too small, not all can be repaired.
    pub obstacle: Option<String>,
}
