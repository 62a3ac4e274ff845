//! The field of what computes: the choices are the GPUs that are there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::App;
use super::convert::{ANY, AS_IS};
use super::form::{Choice, Field, Kind};
use crate::engine::Options;
use crate::engine::choice::{Choice as Device, Ordinals};
use crate::engine::cuda::probe::Probed;
use crate::plan::Order;

const NAME: &str = "device";

/// The field, as long as it is not known which GPUs there are.
pub(super) const DEVICE: Field = Field { name: NAME, kind: Kind::Choice(&ALWAYS), ..ANY };

const AUTO: Choice = Choice {
    word: "auto",
    about: "Whichever is faster here: the job measures cpu and GPU on rows of these weights, and says why. Small results: the cpu.",
    ..AS_IS
};

const CPU: Choice = Choice {
    word: "cpu",
    about: "The processor, on all cores; most often the disk is the limit, whatever computes.",
    flag: "--device cpu",
    set: |_, options| options.device = Device::Cpu,
    ..AS_IS
};

static ALWAYS: [Choice; 2] = [AUTO, CPU];

/// Makes the choice of one GPU, whose number is part of the function that sets it.
macro_rules! gpu {
    ($ordinal:literal) => {
        Choice {
            word: concat!("cuda:", $ordinal),
            about: "This GPU decodes, merges and packs; the result is the same to the bit, and the cpu proves it.",
            flag: concat!("--device cuda:", $ordinal),
            set: |_: &mut Order, options: &mut Options| {
                options.device = Device::Cuda(Ordinals::one($ordinal));
            },
            ..AS_IS
        }
    };
}

/// GPUs that can be chosen one by one; more can be named on the command line.
static GPUS: [Choice; 8] = [gpu!(0), gpu!(1), gpu!(2), gpu!(3), gpu!(4), gpu!(5), gpu!(6), gpu!(7)];

const ALL: Choice = Choice {
    word: "all GPUs",
    about: "All GPUs take pieces in turn: of use where one is slower than the disk.",
    flag: "--device cuda",
    set: |_, options| options.device = Device::Cuda(Ordinals::ALL),
    ..AS_IS
};

/// Returns the choices that there are. They are made once for the same GPUs, and stay: a driver names the same ones as long
/// as the program runs.
fn choices(probed: &Probed) -> &'static [Choice] {
    static MADE: Mutex<BTreeMap<Vec<u32>, &'static [Choice]>> = Mutex::new(BTreeMap::new());
    let ordinals: Vec<u32> = probed.usable().map(|card| card.ordinal).collect();
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(ordinals).or_insert_with_key(|ordinals| {
        let gpus = ordinals.iter().filter_map(|&ordinal| GPUS.get(ordinal as usize).copied());
        let all = (ordinals.len() > 1).then_some(ALL);
        let choices: Vec<Choice> = ALWAYS.iter().copied().chain(gpus).chain(all).collect();
        choices.leak()
    })
}

impl App {
    /// Gives the form the GPUs that are there, once that is known.
    pub(super) fn offer_devices(&mut self) {
        let (Some(form), Some(probed)) = (&mut self.form, &self.gpus.probed) else { return };
        if let Some(field) = form.fields.iter_mut().find(|field| field.name == NAME) {
            field.kind = Kind::Choice(choices(probed));
        }
    }
}
