//! Which GPUs can compute, asked once and on a thread of its own.
//!
//! | what is wrong                            | what the user reads                                              |
//! |------------------------------------------|------------------------------------------------------------------|
//! | no library                               | no NVIDIA driver found                                           |
//! | 100                                      | driver present, no CUDA device visible (…)                       |
//! | 34                                       | libcuda is the toolkit's stub, not a driver                      |
//! | 803, 804                                 | driver and libcuda versions do not match; no forward compatibility |
//! | another code                             | the driver's own name of it, and the number                      |
//! | driver older than CUDA 12.0              | driver too old for the built-in kernels (needs 525)              |
//! | a function missing                       | the driver lacks it                                              |
//! | no answer in time, or it ended the thread | driver did not answer                                           |
//! | one GPU older than Volta                 | that card is refused, the others are not                         |
//!
//! A context is not made here: that takes device memory and time, and is left to the job that computes. Codes:
//! `cuda.h`, `CUresult`. PTX ISA 8.0, which the kernels are shipped in, came with CUDA 12.0 and driver 525.

use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::symbols::{self, Code, Devices, Driver, Useless};
use crate::name::{cut_middle, escape};

/// The oldest CUDA whose driver reads the kernels: 12.0, which is driver 525.
pub const DRIVER_MIN: u32 = 12_000;
/// The oldest compute capability that the kernels are made for: 7.0, Volta.
pub const CAPABILITY_MIN: [u32; 2] = [7, 0];

/// A driver that is slower than this will not be waited for.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// More GPUs than any machine holds; a driver that counts more is broken.
const CARDS_MAX: i32 = 64;
/// Cells of a name; a driver's names are at most 96 bytes.
const NAME_CELLS_MAX: usize = 128;
/// `CU_COMPUTEMODE_PROHIBITED`.
const PROHIBITED: i32 = 2;

/// What the driver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// No GPU can compute; why, in words.
    Absent(String),
    /// The driver's version as CUDA counts it (12.8 is 12080), and its devices in CUDA's order.
    Ready {
        /// The driver's version: 12080 is 12.8.
        driver: u32,
        /// The devices.
        cards: Vec<Card>,
    },
}

/// One GPU as CUDA sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// CUDA's number of it, which need not be NVML's.
    pub ordinal: u32,
    /// Its name, with control characters spelled out.
    pub name: String,
    /// What NVML calls it too: `GPU-5d0b…`.
    pub uuid: String,
    /// Compute capability: 9 and 0 for an H200.
    pub capability: [u32; 2],
    /// Device memory in bytes.
    pub memory: u64,
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// The highest clock of its multiprocessors in kHz; `None` if it does not tell.
    pub clock_khz: Option<u32>,
    /// Why its kernels cannot run on it, in words; `None` if they can.
    pub refused: Option<String>,
}

/// Returns what the driver says. The first call asks it, for at most five seconds; later ones return the same.
pub fn probe() -> Probed {
    static PROBED: OnceLock<Probed> = OnceLock::new();
    PROBED.get_or_init(|| within(ANSWER_TIME, ask)).clone()
}

impl Probed {
    /// Returns the cards, refused ones too.
    #[must_use]
    pub fn cards(&self) -> &[Card] {
        match self {
            Self::Absent(_) => &[],
            Self::Ready { cards, .. } => cards,
        }
    }

    /// Returns the cards on which the kernels run.
    pub fn usable(&self) -> impl Iterator<Item = &Card> {
        self.cards().iter().filter(|card| card.refused.is_none())
    }

    /// Returns why no GPU can compute, in words; `None` if one can.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::Absent(why) => Some(why.clone()),
            Self::Ready { .. } if self.usable().next().is_some() => None,
            Self::Ready { cards, .. } => {
                let whys = cards.iter().filter_map(|card| {
                    let why = card.refused.as_ref()?;
                    Some(format!("CUDA {} {}: {why}", card.ordinal, card.name))
                });
                Some(whys.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// Writes a version as people know it: `12.8` for 12080.
#[must_use]
pub fn version_words(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Asks on a thread, and waits for the answer that long. A thread that hangs in the driver is left there.
fn within(time: Duration, ask: fn() -> Probed) -> Probed {
    let (sender, receiver) = channel();
    let asking = move || {
        // Nobody listens any more if it took too long.
        let _ = sender.send(ask());
    };
    if let Err(error) = std::thread::Builder::new().name("cuda".into()).spawn(asking) {
        return Probed::Absent(format!("no thread to ask the driver on: {error}"));
    }
    receiver.recv_timeout(time).unwrap_or_else(|missing| {
        Probed::Absent(match missing {
            RecvTimeoutError::Timeout => format!("driver did not answer within {} seconds", time.as_secs()),
            RecvTimeoutError::Disconnected => "driver did not answer: asking it ended badly".into(),
        })
    })
}

fn ask() -> Probed {
    answers().unwrap_or_else(Probed::Absent)
}

/// Returns the devices, or why there are none.
fn answers() -> Result<Probed, String> {
    let driver = Driver::load().map_err(useless)?;
    driver.init().map_err(refusal)?;
    let version = driver.version().map_err(refusal)?;
    let version = u32::try_from(version).unwrap_or(0);
    if version < DRIVER_MIN {
        let has = version_words(version);
        return Err(format!(
            "driver too old for the built-in kernels (needs 525): it serves CUDA {has}, they need {}",
            version_words(DRIVER_MIN)
        ));
    }
    let devices = Devices::load(driver).map_err(useless)?;
    let count = driver.count().map_err(refusal)?;
    match count {
        0 => Err(no_device()),
        1..=CARDS_MAX => {
            let cards = (0..count).map(|ordinal| card(devices, ordinal)).collect();
            Ok(Probed::Ready { driver: version, cards })
        }
        _ => Err(format!("the driver counts {count} devices, which no machine has: it is not believed")),
    }
}

/// Reads one device. What it does not tell refuses it, and no other.
fn card(devices: Devices, ordinal: i32) -> Card {
    let mut card = Card {
        ordinal: ordinal.unsigned_abs(),
        name: "not told".into(),
        uuid: "not told".into(),
        capability: [0, 0],
        memory: 0,
        multiprocessors: 0,
        clock_khz: None,
        refused: None,
    };
    card.refused = fill(devices, ordinal, &mut card).err();
    card
}

fn fill(devices: Devices, ordinal: i32, card: &mut Card) -> Result<(), String> {
    let told = |what: &'static str| move |code: Code| format!("it does not tell its {what}: {}", words(code));
    let device = devices.get(ordinal).map_err(told("handle"))?;
    card.name =
        cut_middle(&escape(&devices.name(device).map_err(told("name"))?), NAME_CELLS_MAX).into_owned();
    card.uuid = devices.uuid(device).map_err(told("identifier"))?;
    card.memory = devices.memory(device).map_err(told("memory"))?;
    let number = |attribute: i32, what: &'static str| {
        let value = devices.attribute(attribute, device).map_err(told(what))?;
        u32::try_from(value).map_err(|_negative| format!("it tells a {what} of {value}"))
    };
    card.multiprocessors = number(symbols::MULTIPROCESSORS, "number of multiprocessors")?;
    card.clock_khz = number(symbols::CLOCK_KHZ, "clock").ok();
    card.capability =
        [number(symbols::MAJOR, "compute capability")?, number(symbols::MINOR, "compute capability")?];
    if card.capability < CAPABILITY_MIN {
        let [major, minor] = card.capability;
        return Err(format!(
            "GPU older than Volta: compute capability {major}.{minor}, the kernels need 7.0"
        ));
    }
    // An old driver or a slice may not tell; then the job finds out.
    if devices.attribute(symbols::COMPUTE_MODE, device) == Ok(PROHIBITED) {
        return Err("closed to computing: its compute mode is Prohibited (nvidia-smi -c 0 opens it)".into());
    }
    Ok(())
}

fn useless(why: Useless) -> String {
    match why {
        Useless::Absent => "no NVIDIA driver found (libcuda.so.1)".into(),
        Useless::Lacks(name) => {
            format!("the driver lacks {name}: libcuda is half installed, or not NVIDIA's own")
        }
    }
}

/// Returns what it means that the driver does not start.
fn refusal(code: Code) -> String {
    match code {
        34 => "libcuda is the toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH".into(),
        46 => "all GPUs are busy: their compute mode is exclusive, and another process has them (46)".into(),
        100 => no_device(),
        304 => "the operating system refused the driver: device files, permissions (304)".into(),
        802 => "the system is not ready: Fabric Manager does not run, or still starts (802)".into(),
        803 => {
            "driver and libcuda versions do not match: reboot, or load the kernel module again (803)".into()
        }
        804 => {
            "driver and libcuda versions do not match: no forward compatibility on this GPU, take libcuda of \
             cuda-compat out of LD_LIBRARY_PATH (804)"
                .into()
        }
        999 => "the driver does not start (999): often the kernel module nvidia-uvm is not loaded".into(),
        code => format!("the driver does not start: {}", words(code)),
    }
}

fn no_device() -> String {
    let visible = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("CUDA_VISIBLE_DEVICES is \"{}\"", cut_middle(&escape(&value), NAME_CELLS_MAX)),
        Err(_) => "CUDA_VISIBLE_DEVICES is not set".into(),
    };
    format!("driver present, no CUDA device visible ({visible}; a container needs its flags for GPUs)")
}

/// Writes a code with the driver's own name of it.
fn words(code: Code) -> String {
    match symbols::name_of(code) {
        Some(name) => format!("{} ({code})", escape(&name)),
        None => format!("code {code}, which the driver has no name for"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
