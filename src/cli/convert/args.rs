//! What `convert` and `run` are asked on the command line.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::packing::{Packing, ToFlag, to_parser};
use crate::engine::choice::Choice;
use crate::engine::{Options, Proof};
use crate::plan::{Names, Order};
use crate::tensor::Dtype;

/// What `convert` is asked.
#[derive(Debug, Args)]
pub struct Convert {
    /// Folder, file, or Hub name in the local cache.
    pub path: String,
    /// The folder to make; of a type of GGUF also a file NAME.gguf. It appears when it is complete.
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// What to convert to.
    #[arg(long, value_parser = to_parser(&TO), value_name = "FORMAT")]
    pub to: ToFlag,
    /// Names of the result's tensors: hf gives those of a GGUF file their Hugging Face names and values, and
    /// writes config and tokenizer.
    #[arg(long, value_enum, default_value = "own")]
    pub names: NamesFlag,
    /// Options of the format.
    #[command(flatten)]
    pub packing: Packing,
    /// What is written, and how.
    #[command(flatten)]
    pub what: What,
}

/// What a command that makes a plan writes.
#[derive(Debug, Args)]
pub struct What {
    /// Dtype of the result: auto keeps that of each format's own result, and plain tensors as stored.
    #[arg(long, value_enum, default_value = "auto")]
    pub dtype: DtypeFlag,
    /// Convert only these layers: names with * and ?.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Leave these layers as they are.
    #[arg(long, value_name = "GLOB")]
    pub skip: Vec<String>,
    /// Copy the tensors of broken layers instead of refusing; exit code 3.
    #[arg(long)]
    pub skip_broken: bool,
    /// Bytes of tensors in a file: 5GB, 500MB, 2GiB.
    #[arg(long, value_parser = size, default_value = "5GB", value_name = "SIZE")]
    pub max_shard_size: u64,
    /// Print what would be done, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Save the plan in FILE, for `ckpt run`, and write nothing else.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// How it is carried out.
    #[command(flatten)]
    pub how: How,
}

impl What {
    /// Returns the order to make `output` of `input`.
    pub(in crate::cli) fn order(&self, input: &str, output: &Path) -> Order {
        Order {
            dtype: self.dtype.dtype(),
            only: self.only.clone(),
            skip: self.skip.clone(),
            skip_broken: self.skip_broken,
            shard_bytes: self.max_shard_size,
            ..Order::new(input, output)
        }
    }
}

/// How a plan is carried out: what all writers take.
#[derive(Debug, Args)]
pub struct How {
    /// What computes: auto (whichever is faster here), cpu, cuda (all GPUs), cuda:0 or cuda:0,1.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: Choice,
    /// Threads that compute; as many as there are cores if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Bytes of a slot, the piece that is worked on at a time.
    #[arg(long, value_parser = size, default_value = "8MiB", value_name = "SIZE", hide = true)]
    pub slot_size: u64,
    /// Replace a checkpoint that is there.
    #[arg(long)]
    pub force: bool,
    /// Continue what an earlier run of the same command left, or check that it was complete.
    #[arg(long)]
    pub resume: bool,
    /// What is decoded again and compared when all is written.
    #[arg(long, value_enum, default_value = "sample")]
    pub verify: VerifyFlag,
    /// Print events as lines of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `run` is asked.
#[derive(Debug, Args)]
pub struct Replay {
    /// A plan that `convert --plan`, `merge --plan` or `fix --plan` saved.
    pub plan: PathBuf,
    /// How it is carried out.
    #[command(flatten)]
    pub how: How,
}

/// What a conversion makes beside packed formats.
const TO: [(&str, &str); 1] = [("dense", "plain tensors in 16 or 32 bits")];

/// Dtypes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeFlag {
    /// That of each format's own result; plain tensors as stored.
    Auto,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

/// Whose names the result's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamesFlag {
    /// Those of the input.
    Own,
    /// Hugging Face's.
    Hf,
}

impl NamesFlag {
    /// Returns whose names the result's tensors get.
    pub(in crate::cli) fn names(self) -> Names {
        match self {
            Self::Own => Names::Own,
            Self::Hf => Names::Hf,
        }
    }
}

/// How much is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyFlag {
    /// Some layers of each kind.
    Sample,
    /// All layers.
    Full,
    /// Nothing.
    None,
}

impl DtypeFlag {
    pub(super) fn dtype(self) -> Option<Dtype> {
        match self {
            Self::Auto => None,
            Self::Bf16 => Some(Dtype::BF16),
            Self::F16 => Some(Dtype::F16),
            Self::F32 => Some(Dtype::F32),
        }
    }
}

/// Reads a size: a number with B, KB, MB, GB, TB (thousands) or KiB … TiB.
fn size(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(word, unit)| Some((lower.strip_suffix(word)?, *unit))).unwrap_or((&lower, 1));
    let bytes = number.trim().parse::<f64>().ok().map(|number| number * unit as f64);
    bytes
        .filter(|bytes| (1.0..1e18).contains(bytes))
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "a size like 5GB, 500MB or 2GiB".to_owned())
}

impl How {
    pub(in crate::cli) fn options(&self) -> Options {
        let defaults = Options::default();
        Options {
            device: self.device,
            threads: self.threads.map_or(defaults.threads, usize::from),
            slot_bytes: self.slot_size as usize,
            proof: match self.verify {
                VerifyFlag::Sample => Proof::Sample,
                VerifyFlag::Full => Proof::Full,
                VerifyFlag::None => Proof::None,
            },
            force: self.force,
            resume: self.resume,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GB"), Ok(5_000_000_000));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert_eq!(size("1.5mb"), Ok(1_500_000));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["", "GB", "-1GB", "0", "1e30", "nan"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
