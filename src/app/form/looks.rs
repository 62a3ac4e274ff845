//! What a form has found of the formats that could be written: candidates, side by side.
//!
//! They are looked at when the field of formats has the focus or a format is chosen: it reads some rows of some layers.
//! What they would lose hangs on the adapters and the layers that are kept, so other ones begin anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Form, Request, Task};
use crate::app::packing::{FORMAT, is_packed};
use crate::app::{App, Effect};
use crate::engine::Progress;
use crate::engine::candidates::{Candidate, aims, look};
use crate::error::Result;
use crate::plan::{Attached, Order, Plan, To};
use crate::quant::target::Aim;

/// Candidates of a form.
#[derive(Default)]
pub struct Looks {
    /// Those that were looked at, in the order in which they came.
    pub found: Vec<Candidate>,
    /// Those that are being looked at.
    pub waiting: Vec<Aim>,
    /// What they are about: the order, whatever layers become of it.
    about: String,
    /// Number of the last question.
    number: u32,
    progress: Arc<Progress>,
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.progress.cancel.store(true, Ordering::Relaxed);
    }
}

/// What is to be looked at.
pub struct LookRequest {
    /// Number of the question.
    pub number: u32,
    /// The candidates.
    pub aims: Vec<Aim>,
    request: Request,
    progress: Arc<Progress>,
}

impl LookRequest {
    /// Looks at one candidate; `None` if nobody waits for it any more.
    #[must_use]
    pub fn look(&self, aim: &Aim) -> Option<Candidate> {
        let Request { checkpoint, order, adapters, .. } = &self.request;
        let attached: Vec<Attached<'_>> =
            adapters.iter().map(|(held, weight)| Attached::new(held, *weight)).collect();
        let inputs: Vec<_> = adapters.iter().map(|(held, _)| &*held.adapter).collect();
        let plan = |order: Order| -> Result<Plan> {
            if attached.is_empty() {
                Plan::convert(checkpoint, order)
            } else {
                Plan::merge(checkpoint, order, &attached)
            }
        };
        let found = look((checkpoint, &inputs), order, &plan, std::slice::from_ref(aim), &self.progress);
        found.ok()?.pop()
    }
}

impl Form {
    /// Returns true if candidates are of use: formats are being chosen, or one was.
    fn wants_looks(&self) -> bool {
        matches!(self.task, Task::Convert | Task::Merge)
            && (self.field().name == FORMAT || is_packed(&self.seen))
    }

    /// Returns what is still to be looked at for an order, and forgets what is not about it.
    fn missing(&mut self, request: &Request) -> Vec<Aim> {
        let about = format!("{:?}", Order { to: To::Dense, output: PathBuf::new(), ..request.order.clone() });
        if self.looks.about != about {
            let number = self.looks.number;
            self.looks = Looks::default();
            (self.looks.about, self.looks.number) = (about, number);
        }
        let mut wanted = aims(&request.checkpoint);
        if let To::Packed(aim) = &request.order.to
            && !wanted.contains(aim)
        {
            wanted.push(aim.clone());
        }
        let is_known = |aim: &Aim| {
            self.looks.found.iter().any(|candidate| candidate.aim == *aim) || self.looks.waiting.contains(aim)
        };
        wanted.retain(|aim| !is_known(aim));
        wanted
    }
}

impl App {
    /// Asks for the candidates that are missing.
    pub(super) fn ask_looks(&mut self) -> Vec<Effect> {
        if !self.form.as_ref().is_some_and(|form| form.wants_looks()) {
            return Vec::new();
        }
        let Some(request) = self.plan_request() else { return Vec::new() };
        let Some(form) = &mut self.form else { return Vec::new() };
        let missing = form.missing(&request);
        if missing.is_empty() {
            return Vec::new();
        }
        form.looks.number += 1;
        form.looks.waiting.extend(missing);
        vec![Effect::Look(form.looks.number)]
    }

    /// Returns what is to be looked at, if the question of this number is the last one.
    #[must_use]
    pub fn look_request(&self, number: u32) -> Option<LookRequest> {
        let request = self.plan_request()?;
        let looks = &self.form.as_ref()?.looks;
        (looks.number == number).then(|| LookRequest {
            number,
            aims: looks.waiting.clone(),
            request,
            progress: Arc::clone(&looks.progress),
        })
    }

    /// Takes a candidate that was looked at.
    pub(in crate::app) fn looked(&mut self, candidate: Candidate) {
        let Some(form) = &mut self.form else { return };
        let looks = &mut form.looks;
        let Some(at) = looks.waiting.iter().position(|aim| *aim == candidate.aim) else { return };
        looks.waiting.remove(at);
        looks.found.push(candidate);
    }
}
