//! `ckpt merge`: adapters merged into a checkpoint, in a new folder.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::convert::packing::{Packing, ToFlag, to_parser};
use super::convert::{Job, NamesFlag, What};
use crate::adapter::delta::{Combine, Recipe};
use crate::adapter::held::Held;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::plan::{Attached, Merging, Order, Plan};

/// What `merge` is asked.
#[derive(Debug, Args)]
pub struct Merge {
    /// The base: folder, file, or Hub name in the local cache; plain or quantized.
    pub base: String,
    /// An adapter, and what its deltas are multiplied by if not 1. Several are merged in this order.
    #[arg(short = 'a', long = "adapter", value_name = "ADAPTER[=SCALE]", required = true)]
    pub adapters: Vec<String>,
    /// The folder to make; where a GGUF is written also a file NAME.gguf. It appears when it is complete.
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// What to write: dense dequantizes the base and keeps the adapter whole; same packs the layers that are merged
    /// into again, as they are; a format packs all layers anew. Of a GGUF base, same and the types of GGUF make a GGUF,
    /// with names, rows and metadata as they are; so does an adapter with Hugging Face's names, where the architecture
    /// is known.
    #[arg(long, value_parser = to_parser(&TO), default_value = "dense", value_name = "FORMAT")]
    pub to: ToFlag,
    /// Names of the result's tensors, for a GGUF base that becomes dense: hf gives them their Hugging Face names and
    /// values, and writes config and tokenizer.
    #[arg(long, value_enum, default_value = "own")]
    pub names: NamesFlag,
    /// Where values are rounded: as PEFT does now, with `safe_merge`, with `low_cpu_mem_usage`, or before 0.12.
    #[arg(long, value_enum, default_value = "peft")]
    pub rounding: Rounding,
    /// How several adapters become one delta: one after the other, each rounding in turn (sequential, the default);
    /// the weighted sum of their deltas (cat); or the weighted sums of their factors, of the same rank (linear). Both
    /// are those of PEFT's `add_weighted_adapter`, with one rounding; for cat on a 16-bit base PEFT rounds factors and
    /// delta too, and `--rounding peft-safe` gives its bits.
    #[arg(long, default_value = "sequential", value_name = "sequential|cat|linear", value_parser = combine)]
    pub combine: Combine,
    /// The base is what PEFT left of it when training began: for adapters whose `init_lora_weights` (pissa, olora,
    /// corda, loftq, `lora_ga`) changed the base.
    #[arg(long)]
    pub base_is_residual: bool,
    /// Merge the modules that fit and leave the others out, instead of refusing; exit code 3.
    #[arg(long)]
    pub allow_partial: bool,
    /// Options of the format.
    #[command(flatten)]
    pub packing: Packing,
    /// What is written, and how.
    #[command(flatten)]
    pub what: What,
}

/// What a merge makes beside formats that are packed anew.
const TO: [(&str, &str); 2] = [
    ("dense", "plain tensors in 16 or 32 bits"),
    (
        "same",
        "packed layers stay packed: those that are merged into are packed again, in their format; a GGUF stays a GGUF",
    ),
];

/// Where values are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rounding {
    /// Once, after the sum.
    Peft,
    /// The delta, and the sum.
    PeftSafe,
    /// The factors, and the sum.
    PeftLowMem,
    /// The factors, the delta and the sum.
    #[value(name = "peft-0.11")]
    Peft011,
}

/// Adapters that are held against a base, and what each is multiplied by.
pub(super) struct Adapters(Vec<(Held, f64)>);

impl Adapters {
    /// Opens adapters and holds them against a base.
    pub(super) fn open(base: &Arc<Checkpoint>, merging: &Merging) -> Result<Self> {
        let one = |(path, weight): &(String, f64)| Ok((Held::open(Arc::clone(base), path, None)?, *weight));
        Ok(Self(merging.adapters.iter().map(one).collect::<Result<_>>()?))
    }

    pub(super) fn plan(&self, base: &Checkpoint, order: Order) -> Result<Plan> {
        let attached = self.0.iter().map(|(held, weight)| Attached::new(held, *weight));
        Plan::merge(base, order, &attached.collect::<Vec<_>>())
    }

    pub(super) fn list(&self) -> Vec<&Checkpoint> {
        self.0.iter().map(|(held, _)| &*held.adapter).collect()
    }
}

/// Runs the command: exit 0 done and proven, 3 done with modules or layers left out, 130 cancelled.
///
/// # Errors
/// Base or adapter cannot be opened, a module does not fit, the result cannot be written, or stdout fails.
pub fn run(merge: &Merge, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let merging = Merging {
        adapters: merge.adapters.iter().map(|text| named(text)).collect::<Result<_>>()?,
        recipe: merge.rounding.recipe(),
        combine: merge.combine,
        allow_partial: merge.allow_partial,
        base_is_residual: merge.base_is_residual,
    };
    let base = Arc::new(Checkpoint::open_examined(&merge.base)?);
    let adapters = Adapters::open(&base, &merging)?;
    let mut order = merge.what.order(&merge.base, &merge.output);
    order.merging = Some(merging);
    order.names = merge.names.names();
    merge.packing.apply(&merge.to, &mut order)?;
    let make = |order| adapters.plan(&base, order);
    let job = Job { checkpoint: &base, adapters: &adapters.list(), order: &order, plan: &make };
    job.planned((&merge.packing, &merge.what), quiet, out)
}

/// Returns the path of an adapter and its scale: `DIR=0.5`. What stands there as it is needs none.
fn named(text: &str) -> Result<(String, f64)> {
    if std::path::Path::new(text).exists() {
        return Ok((text.to_owned(), 1.0));
    }
    let Some((path, scale)) = text.rsplit_once('=') else { return Ok((text.to_owned(), 1.0)) };
    let scale = scale.parse::<f64>().ok().filter(|scale| scale.is_finite());
    let scale = scale.ok_or_else(|| Error::input(format!("-a {text}: the scale is no number")))?;
    Ok((path.to_owned(), scale))
}

/// Reads how adapters are combined; PEFT's other ways are refused by name.
fn combine(text: &str) -> std::result::Result<Combine, String> {
    let why = match text {
        "sequential" => return Ok(Combine::Sequential),
        "cat" => return Ok(Combine::Cat),
        "linear" => return Ok(Combine::Linear),
        "svd" => {
            "it cuts the sum of the deltas to a low rank again, which a merge has no need of: cat merges all of it"
        }
        "ties" | "ties_svd" => "TIES drops the smallest values and lets the adapters vote on signs",
        "dare_ties" | "dare_linear" | "dare_ties_svd" | "dare_linear_svd" => {
            "DARE drops values at random, so that no two runs are equal"
        }
        "magnitude_prune" | "magnitude_prune_svd" => "it drops the smallest values of each adapter",
        _ => return Err("none of sequential, cat, linear".into()),
    };
    let instead = "not computed here; PEFT's add_weighted_adapter makes one adapter of it that can be merged";
    Err(if text == "svd" { why.to_owned() } else { format!("{why}: {instead}") })
}

impl Rounding {
    fn recipe(self) -> Recipe {
        match self {
            Self::Peft => Recipe::Peft,
            Self::PeftSafe => Recipe::PeftSafe,
            Self::PeftLowMem => Recipe::PeftLowMem,
            Self::Peft011 => Recipe::Peft011,
        }
    }
}
