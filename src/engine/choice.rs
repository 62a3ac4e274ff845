//! Which device computes: the one that was asked for, or the one that is faster here.
//!
//! `auto` measures: it has processor and GPU decode, and where they are packed encode, the same rows of the plan's own
//! weights, with as many pieces at a time as the run would have, and takes the faster. Where no GPU can compute, where nothing is computed, and where the
//! processor would be done before a GPU has started, it is the processor; why is always said.

mod measured;

use std::fmt;
use std::str::FromStr;

use super::cpu::Cpu;
use super::cuda::probe::{Card, Probed, probe};
use super::cuda::{Cuda, slot_values};
use super::{Device, Run};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{OutTensor, Plan, Source};
use crate::units;

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Whichever is faster.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// These GPUs.
    Cuda(Ordinals),
}

/// GPUs by CUDA's numbers of them; an empty set means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordinals(u64);

impl Ordinals {
    /// GPUs that can be named: `0` to `63`.
    const MOST: u32 = 64;

    /// All GPUs that there are.
    pub const ALL: Self = Self(0);

    /// Returns one GPU.
    #[must_use]
    pub const fn one(ordinal: u32) -> Self {
        Self(1 << (ordinal % Self::MOST))
    }

    fn iter(self) -> impl Iterator<Item = u32> {
        (0..Self::MOST).filter(move |at| self.0 >> at & 1 == 1)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(Ordinals(0)) => f.write_str("cuda"),
            Self::Cuda(ordinals) => {
                let ordinals: Vec<String> = ordinals.iter().map(|at| at.to_string()).collect();
                write!(f, "cuda:{}", ordinals.join(","))
            }
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(Ordinals::default())),
            _ => {}
        }
        let list = text.strip_prefix("cuda:").ok_or("one of auto, cpu, cuda, cuda:0, cuda:0,1")?;
        let mut ordinals = 0;
        for number in list.split(',') {
            let at = number.parse().ok().filter(|&at: &u32| at < Ordinals::MOST);
            ordinals |= 1 << at.ok_or_else(|| format!("{number:?} is no number of a GPU"))?;
        }
        Ok(Self::Cuda(Ordinals(ordinals)))
    }
}

/// A device that is ready.
pub struct Opened {
    /// The device.
    pub device: Box<dyn Device>,
    /// Why it is this one; empty if it was asked for.
    pub why: String,
}

impl Opened {
    fn cpu(why: impl Into<String>) -> Self {
        Self { device: Box::new(Cpu), why: why.into() }
    }
}

impl Choice {
    /// Returns true if a GPU may be what computes.
    #[must_use]
    pub fn may_be(self, ordinal: u32) -> bool {
        match self {
            Self::Auto => true,
            Self::Cpu => false,
            Self::Cuda(asked) => asked == Ordinals::ALL || asked.iter().any(|at| at == ordinal),
        }
    }

    /// Returns why no GPU will be started for a plan, wherever it is run, in words that may be empty; `None` if one may be.
    #[must_use]
    pub fn without_gpu(self, plan: &Plan) -> Option<String> {
        match self {
            Self::Cpu => Some(String::new()),
            Self::Cuda(_) => None,
            Self::Auto => match computed_bytes(plan) {
                0 => Some("auto: there is nothing but copies and casts, which the cpu makes".into()),
                bytes if bytes < SMALL => {
                    Some(format!("auto: the cpu has made {} before a GPU has started", units::bytes(bytes)))
                }
                _ => None,
            },
        }
    }

    /// Returns the processor in the place of GPUs that were asked for.
    fn instead(self, why: &str) -> Opened {
        Opened::cpu(format!("{self}: {why}; the cpu computes instead"))
    }

    /// Opens the device for a run; that of the run itself is not used.
    ///
    /// # Errors
    /// GPUs are asked for that are not there, or the inputs cannot be read.
    pub fn open(self, run: &Run<'_>) -> Result<Opened> {
        match self {
            Self::Cpu => Ok(Opened::cpu("")),
            Self::Cuda(ordinals) => match usable(ordinals)? {
                Ok(cards) => Ok(match start(run, &cards) {
                    Ok(cuda) => Opened { device: Box::new(cuda), why: String::new() },
                    Err(error) => self.instead(&error.message),
                }),
                Err(why) => Ok(self.instead(&why)),
            },
            Self::Auto => auto(run),
        }
    }
}

/// Returns the GPUs that are asked for, or why none of them computes.
fn usable(ordinals: Ordinals) -> Result<std::result::Result<Vec<Card>, String>> {
    let cards = match probe() {
        Probed::Absent(why) => return Ok(Err(why)),
        Probed::Ready { cards, .. } => cards,
    };
    if let Some(absent) = ordinals.iter().find(|at| cards.iter().all(|card| card.ordinal != *at)) {
        let there: Vec<String> = cards.iter().map(|card| format!("cuda:{}", card.ordinal)).collect();
        let there = if there.is_empty() { "none".into() } else { there.join(", ") };
        let message = format!("--device cuda:{absent}: there is no such GPU; there are: {there}");
        return Err(Error::new(ErrorKind::Device, message));
    }
    let asked = |card: &Card| ordinals.0 == 0 || ordinals.iter().any(|at| at == card.ordinal);
    let (refused, cards): (Vec<Card>, Vec<Card>) =
        cards.into_iter().filter(asked).partition(|card| card.refused.is_some());
    if cards.is_empty() {
        let why = refused.into_iter().find_map(|card| card.refused);
        return Ok(Err(why.unwrap_or_else(|| "no GPU is there".into())));
    }
    Ok(Ok(cards))
}

fn start(run: &Run<'_>, cards: &[Card]) -> Result<Cuda> {
    let cuda = Cuda::open(cards, slot_values(run.options))?;
    cuda.may_keep(super::vram::of_layers(run.plan, run.options));
    Ok(cuda)
}

/// Bytes of a result below which a GPU is not started: the processor is done before.
const SMALL: u64 = 256 << 20;

fn auto(run: &Run<'_>) -> Result<Opened> {
    let cards = match usable(Ordinals::default())? {
        Ok(cards) => cards,
        // There is nothing to choose from: `doctor` says why.
        Err(_why) => return Ok(Opened::cpu("")),
    };
    if let Some(why) = Choice::Auto.without_gpu(run.plan) {
        return Ok(Opened::cpu(why));
    }
    // One is enough to be limited by the bus and the disk; the one with the most free memory.
    let cuda = match roomiest(run, cards) {
        Ok(cuda) => cuda,
        Err(error) => return Ok(Opened::cpu(format!("auto: {}", error.message))),
    };
    let rates = measured::rates(run, &cuda)?;
    cuda.count_anew();
    let Some([cpu, gpu]) = rates else {
        return Ok(Opened::cpu("auto: no kernel for these formats"));
    };
    let rate = |bytes: f64| format!("{}/s", units::bytes(bytes as u64));
    let why = format!("auto: of these weights the cpu makes {}, the GPU {}", rate(cpu), rate(gpu));
    if gpu > cpu {
        return Ok(Opened { device: Box::new(cuda), why });
    }
    Ok(Opened::cpu(why))
}

/// Starts the GPU with the most free memory.
fn roomiest(run: &Run<'_>, cards: Vec<Card>) -> Result<Cuda> {
    let mut best: Option<(u64, Cuda)> = None;
    let mut failed = None;
    for card in cards {
        match start(run, &[card]) {
            Ok(cuda) => {
                let free = cuda.free();
                if best.as_ref().is_none_or(|(most, _)| free > *most) {
                    best = Some((free, cuda));
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    match (best, failed) {
        (Some((_, cuda)), _) => Ok(cuda),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::new(ErrorKind::Device, "no GPU is there")),
    }
}

/// Returns true if a device has something to make: layers that are decoded, merged or encoded.
#[must_use]
pub fn computes(plan: &Plan) -> bool {
    computed_bytes(plan) > 0
}

/// Returns the bytes of a plan's result that are computed, not copied.
fn computed_bytes(plan: &Plan) -> u64 {
    computed(plan).map(|tensor| tensor.bytes).sum()
}

/// Returns the tensors that are.
fn computed(plan: &Plan) -> impl Iterator<Item = &OutTensor> {
    let tensors = plan.shards.iter().filter(|shard| shard.run.is_none()).flat_map(|shard| &shard.tensors);
    tensors.filter(|tensor| {
        super::values_of(tensor.source).is_some() || matches!(tensor.source, Source::Encoded { .. })
    })
}

#[cfg(test)]
mod tests;
