//! Candidates: what a checkpoint could be packed as, side by side, by size and by what a sample would lose.

use super::cpu::Cpu;
use super::sampled::{Sampled, sample};
use super::{Options, Progress, Run};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::plan::{Order, Plan, To};
use crate::quant::target::{Aim, TARGETS, Wishes};

/// A format that a checkpoint could be packed as.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What is asked for it.
    pub aim: Aim,
    /// What it would be, or why it cannot be.
    pub estimate: std::result::Result<Estimate, String>,
}

/// What a result would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Its label: `GPTQ4 g128`.
    pub label: String,
    /// How its codes are chosen; empty where there is one way.
    pub method: String,
    /// Bytes of the whole result.
    pub bytes: u64,
    /// What a sample of it loses.
    pub sampled: Sampled,
}

/// A name of `--to`, with what is wished of it.
type Named = (&'static str, fn(&mut Wishes));

/// Names of `--to` beside each other, with wishes: what is looked at for a checkpoint of tensors, and for a GGUF file.
const TENSORS: [Named; 9] = [
    ("bnb-nf4", |_| {}),
    ("bnb-int8", |_| {}),
    ("gptq", |_| {}),
    ("gptq", |wishes| wishes.bits = Some(8)),
    ("awq", |_| {}),
    ("compressed-tensors", |_| {}),
    ("compressed-tensors", |wishes| wishes.scheme = Some("w8a16".into())),
    ("fp8", |_| {}),
    ("nvfp4", |_| {}),
];
const GGUF: [Named; 6] = [
    ("q8_0", |_| {}),
    ("q6_k", |_| {}),
    ("q5_k", |_| {}),
    ("q4_k", |_| {}),
    ("q4_0", |_| {}),
    ("q3_k", |_| {}),
];

/// Returns what a checkpoint is held against without further wishes.
#[must_use]
pub fn aims(checkpoint: &Checkpoint) -> Vec<Aim> {
    let is_gguf = checkpoint.files.container.name() == "gguf";
    let names: &[Named] = if is_gguf { &GGUF } else { &TENSORS };
    let has_stacks = checkpoint.layers.specs().iter().any(|spec| spec.shape.len() == 3);
    let stacks: [Named; 1] = [("mxfp4", |_| {})];
    let stacks = stacks.iter().filter(|_| has_stacks && !is_gguf);
    names
        .iter()
        .chain(stacks)
        .filter(|(name, _)| TARGETS.iter().any(|row| row.name == *name))
        .map(|(name, set)| {
            let mut wishes = Wishes::default();
            set(&mut wishes);
            Aim { name: (*name).to_owned(), wishes }
        })
        .collect()
}

/// Looks at what a checkpoint would be as each of `aims`; `plan` makes the plan of an order.
///
/// # Errors
/// It was cancelled. What cannot be made is a candidate that says why.
pub fn look(
    (checkpoint, adapters): (&Checkpoint, &[&Checkpoint]),
    order: &Order,
    plan: &dyn Fn(Order) -> Result<Plan>,
    aims: &[Aim],
    progress: &Progress,
) -> Result<Vec<Candidate>> {
    let one = |aim: &Aim| -> Result<Candidate> {
        progress.check()?;
        let order = Order { to: To::Packed(aim.clone()), ..order.clone() };
        let estimate = plan(order).and_then(|plan| {
            let options = Options::default();
            let run = Run { checkpoint, adapters, plan: &plan, options: &options, device: &Cpu, progress };
            let sampled = sample(&run)?;
            let target = plan.target.as_ref().ok_or_else(|| Error::input("nothing is packed anew"))?;
            let (label, method) = (target.label(), target.method());
            Ok(Estimate { label, method, bytes: plan.bytes_written(), sampled })
        });
        progress.check()?;
        Ok(Candidate { aim: aim.clone(), estimate: estimate.map_err(|error| error.message) })
    };
    aims.iter().map(one).collect()
}
