//! What to pack layers as, on the command line.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::plan::{Order, To};
use crate::quant::target::{Aim, Compute, GptqFiles, GroupSize, Search, TARGETS, Wishes};

/// The options of formats that are written.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Packing")]
pub struct Packing {
    /// Bits of a code (gptq, compressed-tensors).
    #[arg(long, value_name = "2|3|4|8")]
    pub bits: Option<u32>,
    /// Columns that share a scale; -1 is the whole row.
    #[arg(long, value_parser = group_size, allow_hyphen_values = true, value_name = "N|-1")]
    pub group_size: Option<GroupSize>,
    /// Zero points beside scales, instead of ranges around zero.
    #[arg(long)]
    pub asym: bool,
    /// How GPTQ's files store zero points: less one (v1) or as they are (v2).
    #[arg(long, value_enum, value_name = "v1|v2")]
    pub gptq_format: Option<FilesFlag>,
    /// Scheme of compressed-tensors; ue8m0 of fp8.
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<String>,
    /// Values that share an absmax (bnb-nf4, bnb-fp4); rows and columns that share a scale (fp8).
    #[arg(long, value_name = "N")]
    pub block_size: Option<u64>,
    /// Quantize the absmax too (bnb-nf4, bnb-fp4).
    #[arg(long)]
    pub double_quant: bool,
    /// The dtype that loaders compute in (bnb-nf4, bnb-fp4).
    #[arg(long, value_enum, value_name = "DTYPE")]
    pub compute_dtype: Option<ComputeFlag>,
    /// How scales are chosen: by the range of each group (none, round-to-nearest), those of the least squared error
    /// (mse), or by half-quadratic splitting (hqq). None of them is calibrated: no data is used.
    #[arg(long, value_enum, default_value = "none")]
    pub search: SearchFlag,
    /// Leave these layers plain: names with * and ?.
    #[arg(long, value_name = "GLOB")]
    pub keep: Vec<String>,
    /// Pack these layers although the format's loaders leave them plain by default: a head.
    #[arg(long, value_name = "GLOB")]
    pub also: Vec<String>,
    /// Print what each format would be, by its size and by what a sample of it loses, and write nothing.
    #[arg(long)]
    pub candidates: bool,
}

/// How GPTQ's files store zero points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilesFlag {
    /// Less one.
    V1,
    /// As they are.
    V2,
}

/// Dtypes that loaders compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ComputeFlag {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

/// How scales are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SearchFlag {
    /// Round-to-nearest.
    #[default]
    None,
    /// The least sum of squared errors.
    Mse,
    /// Half-quadratic splitting.
    Hqq,
}

/// A value of `--to`: `dense`, a format that can be written, for merges `same`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToFlag(pub String);

/// Returns the parser of `--to`; `more`: the names beside the formats that are packed, and what they are.
pub(in crate::cli) fn to_parser(
    more: &'static [(&'static str, &'static str)],
) -> impl clap::builder::TypedValueParser<Value = ToFlag> {
    let more = more.iter().map(|(name, about)| PossibleValue::new(*name).help(*about));
    // Of two with one name the input decides.
    let is_first = |at: usize| !TARGETS[..at].iter().any(|row| row.name == TARGETS[at].name);
    let formats = TARGETS.iter().enumerate().filter(move |(at, _)| is_first(*at));
    let formats = formats.map(|(_, row)| PossibleValue::new(row.name).help(row.about));
    clap::builder::TypedValueParser::map(
        clap::builder::PossibleValuesParser::new(more.chain(formats).collect::<Vec<_>>()),
        ToFlag,
    )
}

impl Packing {
    /// Puts into an order what layers become.
    pub(in crate::cli) fn apply(&self, to: &ToFlag, order: &mut Order) -> Result<()> {
        let wishes = self.wishes();
        order.keep.clone_from(&self.keep);
        order.also.clone_from(&self.also);
        order.to = match to.0.as_str() {
            plain @ ("dense" | "same") => {
                if let Some((option, _)) = wishes.named().first() {
                    return Err(Error::input(format!("{option}: --to {plain} has no options")));
                }
                if plain == "same" { To::Same } else { To::Dense }
            }
            name => To::Packed(Aim { name: name.to_owned(), wishes }),
        };
        Ok(())
    }

    fn wishes(&self) -> Wishes {
        Wishes {
            bits: self.bits,
            group_size: self.group_size,
            asymmetric: self.asym,
            gptq: self.gptq_format.map(|files| match files {
                FilesFlag::V1 => GptqFiles::V1,
                FilesFlag::V2 => GptqFiles::V2,
            }),
            scheme: self.scheme.clone(),
            block_size: self.block_size,
            double_quant: self.double_quant,
            compute_dtype: self.compute_dtype.map(|dtype| match dtype {
                ComputeFlag::Bf16 => Compute::Bf16,
                ComputeFlag::F16 => Compute::F16,
                ComputeFlag::F32 => Compute::F32,
            }),
            search: match self.search {
                SearchFlag::None => Search::None,
                SearchFlag::Mse => Search::Mse,
                SearchFlag::Hqq => Search::Hqq,
            },
        }
    }
}

fn group_size(text: &str) -> std::result::Result<GroupSize, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(GroupSize::Row),
        Ok(size) if size > 0 => {
            let size = u32::try_from(size).ok();
            size.map(GroupSize::Of).ok_or_else(|| "too large for a group".to_owned())
        }
        _ => Err("a number of columns, or -1 for the whole row".into()),
    }
}
