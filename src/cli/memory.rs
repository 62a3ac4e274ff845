//! `ckpt memory`: what loading, generating and training take, against the memory that is free.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::table::table;
use super::{DONE, FAILED, json, stdout_error};
use crate::adapter::held::Held;
use crate::app::memory::places;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::footprint::words::{self, Place};
use crate::footprint::{
    Anatomy, BATCH_MAX, CONTEXT_MAX, CacheDtype, Footprint, Optimizer, PartKind, RANK_MAX, Settings, Targets,
    Task, Trainable, Verdict,
};
use crate::gauges::{Sample, Sampler};
use crate::name::escape;
use crate::units;

/// What `memory` is asked.
#[derive(Debug, Args)]
pub struct Memory {
    /// Folder, file, or Hub name in the local cache.
    pub path: String,
    /// An adapter that is trained, in the place of a new one of a rank.
    #[arg(short = 'a', long, value_name = "ADAPTER", conflicts_with_all = ["rank", "targets"])]
    pub adapter: Option<String>,
    /// Tokens a sequence. Default: 8192, or the model's limit if that is less.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CONTEXT_MAX))]
    pub context: Option<u64>,
    /// Sequences at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=BATCH_MAX))]
    pub batch: u64,
    /// Rank of a LoRA adapter. Default: 16.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=RANK_MAX))]
    pub rank: Option<u64>,
    /// What updates the weights that are trained.
    #[arg(long, value_name = "NAME", default_value = "adamw", value_parser = optimizers())]
    pub optimizer: Optimizer,
    /// Whether activations are computed again in the backward pass.
    #[arg(long, value_name = "WHEN", default_value = "on")]
    pub checkpointing: Switch,
    /// Layers that a LoRA adapter is put on: all, qv, or names separated by commas. Default: all.
    #[arg(long, value_name = "LAYERS", value_parser = Targets::parse)]
    pub targets: Option<Targets>,
    /// Element type of the KV cache.
    #[arg(long, value_name = "DTYPE", default_value = "f16", value_parser = cache_dtypes())]
    pub kv_dtype: CacheDtype,
    /// Count with the double quantization of bitsandbytes: 4.127 bit a value, not 4.5.
    #[arg(long)]
    pub double_quant: bool,
    /// Whether PEFT's preparation makes F32 of what is not quantized before QLoRA.
    #[arg(long, value_name = "WHEN", default_value = "on")]
    pub kbit_prep: Switch,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

fn optimizers() -> impl clap::builder::TypedValueParser<Value = Optimizer> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Optimizer::ALL.map(Optimizer::name)).map(|name| {
        let found = Optimizer::ALL.into_iter().find(|optimizer| optimizer.name() == name);
        found.expect("the parser lets only these names through")
    })
}

fn cache_dtypes() -> impl clap::builder::TypedValueParser<Value = CacheDtype> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(CacheDtype::ALL.map(CacheDtype::name)).map(|name| {
        let found = CacheDtype::ALL.into_iter().find(|dtype| dtype.name() == name);
        found.expect("the parser lets only these names through")
    })
}

impl Memory {
    fn settings(&self, anatomy: &Anatomy) -> Settings {
        let first = Settings::first(anatomy.architecture.limit);
        Settings {
            context: self.context.unwrap_or(first.context),
            batch: self.batch,
            rank: self.rank.unwrap_or(first.rank),
            optimizer: self.optimizer,
            checkpointing: self.checkpointing == Switch::On,
            targets: self.targets.clone().unwrap_or(first.targets),
            cache: self.kv_dtype,
            double_quant: self.double_quant,
            kbit_prep: self.kbit_prep == Switch::On,
        }
    }
}

/// Runs the command: exit 0 when anything was readable.
///
/// # Errors
/// The checkpoint or the adapter cannot be opened, or stdout fails.
pub fn run(asked: &Memory, out: &mut dyn Write) -> Result<u8> {
    let checkpoint = Arc::new(Checkpoint::open_examined(&asked.path)?);
    let anatomy = Anatomy::of(&checkpoint);
    let settings = asked.settings(&anatomy);
    let held =
        asked.adapter.as_ref().map(|path| Held::open(Arc::clone(&checkpoint), path, None)).transpose()?;
    let trained = held.as_ref().map(Trainable::of_adapter);
    let report = Report {
        asked,
        footprint: Footprint::of(&anatomy, &settings, trained.as_ref()),
        anatomy: &anatomy,
        settings: &settings,
        trained: trained.as_ref(),
        sample: Sampler::new().sample(),
        checkpoint: &checkpoint,
    };
    if asked.json {
        json::write_line(out, &report.json())?;
    } else {
        report.write(out).map_err(|e| stdout_error(&e))?;
    }
    let readable = checkpoint.files.shards.iter().any(|shard| !shard.unreadable);
    Ok(if readable { DONE } else { FAILED })
}

/// What is printed.
struct Report<'a> {
    asked: &'a Memory,
    checkpoint: &'a Checkpoint,
    anatomy: &'a Anatomy,
    settings: &'a Settings,
    trained: Option<&'a Trainable>,
    footprint: Footprint,
    sample: Sample,
}

impl Report<'_> {
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let settings = self.settings;
        writeln!(
            out,
            "{}   {}   {} params   {}",
            escape(&self.asked.path),
            self.checkpoint.headline(),
            units::count(self.checkpoint.summary().parameters),
            units::bytes(self.anatomy.stored_bytes)
        )?;
        let on = |is_on: bool| if is_on { "on" } else { "off" };
        writeln!(
            out,
            "context {}   batch {}   rank {}   optimizer {}   checkpointing {}   targets {}   KV cache {}   double quantization {}   kbit preparation {}",
            units::exact(settings.context),
            settings.batch,
            self.trained.map_or(settings.rank, |trained| trained.rank),
            settings.optimizer.name(),
            on(settings.checkpointing),
            self.trained
                .map_or_else(|| escape(&settings.targets.option()).into_owned(), |_| "the adapter's".into()),
            settings.cache.name(),
            on(settings.double_quant),
            on(settings.kbit_prep)
        )?;
        let places = places(&self.sample);
        self.table(out, &places)?;
        for task in &self.footprint.tasks {
            write_task(out, task)?;
        }
        writeln!(out)?;
        if !self.anatomy.is_adapter {
            let best = places.iter().filter(|place| place.label != "RAM").max_by_key(|place| place.free);
            for line in words::cache_lines(self.anatomy, settings, best.or(places.first())) {
                writeln!(out, "{}", escape(&line))?;
            }
        }
        for line in &self.footprint.unknown {
            writeln!(out, "not known from the files: {}", escape(line))?;
        }
        Ok(())
    }

    fn table(&self, out: &mut dyn Write, places: &[Place]) -> std::io::Result<()> {
        writeln!(out)?;
        if self.sample.gpus.is_empty() {
            let state = &self.sample.gpu_state;
            writeln!(
                out,
                "no GPU: {}",
                escape(if state.why.is_empty() { state.kind.name() } else { &state.why })
            )?;
        }
        for gpu in &self.sample.gpus {
            if let Err(why) = &gpu.vram {
                writeln!(out, "{}: free memory not known: {why}", gpu.label())?;
            }
        }
        let heads: Vec<String> =
            places.iter().map(|place| format!("{} {} free", place.label, units::bytes(place.free))).collect();
        let head: Vec<&str> =
            ["task", "likely", "at most"].into_iter().chain(heads.iter().map(String::as_str)).collect();
        let row = |task: &Task| {
            let most = units::bytes(task.most());
            let most = if task.is_whole() { most } else { format!("≥ {most}") };
            let verdicts = places.iter().map(|place| words::verdict(task, place.free));
            [task.name.clone(), words::need(task), most].into_iter().chain(verdicts).collect()
        };
        let rows: Vec<Vec<String>> = self.footprint.tasks.iter().map(row).collect();
        let right: Vec<bool> = (0..head.len()).map(|column| matches!(column, 1 | 2)).collect();
        table(out, &head, &rows, &right)
    }

    fn json(&self) -> Value {
        let settings = self.settings;
        let tasks = &self.footprint.tasks;
        let each = |value: &dyn Fn(&Task) -> Value| -> Value {
            tasks.iter().map(|task| (task.kind.name().to_owned(), value(task))).collect::<Map<_, _>>().into()
        };
        let parts = |task: &Task, value: &dyn Fn(&crate::footprint::Part) -> Value| -> Value {
            task.parts
                .iter()
                .map(|part| (part.kind.name().to_owned(), value(part)))
                .collect::<Map<_, _>>()
                .into()
        };
        let cache = self.anatomy.architecture.cache.as_ref().ok();
        let with = |free: u64, wanted: Verdict| -> Vec<&str> {
            tasks.iter().filter(|task| task.verdict(free) == wanted).map(|task| task.kind.name()).collect()
        };
        let place = |place: &Place| Device {
            name: place.name.clone(),
            label: place.label.clone(),
            total: place.total,
            free: place.free,
            fits: with(place.free, Verdict::Fits),
            not_known: with(place.free, Verdict::Unknown),
        };
        let (ram, gpus): (Vec<Place>, Vec<Place>) =
            places(&self.sample).into_iter().partition(|p| p.label == "RAM");
        json!({
            "path": self.asked.path,
            "architecture": self.anatomy.architecture.name,
            "weights": crate::footprint::weights::stored(self.anatomy),
            "kv_cache": cache.and_then(|cache| cache.bytes(settings.context, settings.batch, settings.cache)),
            "kv_cache_per_token": cache.and_then(|cache| cache.bytes_per_token(settings.cache)),
            "kv_cache_rule": self.anatomy.architecture.cache.as_ref().map_or_else(|why| format!("not computed: {why}"), |cache| cache.words.clone()),
            "context": settings.context,
            "context_limit": self.anatomy.architecture.limit,
            "batch": settings.batch,
            "rank": self.trained.map_or(settings.rank, |trained| trained.rank),
            "optimizer": settings.optimizer.name(),
            "checkpointing": settings.checkpointing,
            "targets": self.trained.map_or_else(|| settings.targets.option(), |_| "adapter".into()),
            "kv_dtype": settings.cache.name(),
            "double_quant": settings.double_quant,
            "kbit_prep": settings.kbit_prep,
            "tasks": each(&|task| task.likely().into()),
            "least": each(&|task| task.least().into()),
            "most": each(&|task| task.most().into()),
            "parts": each(&|task| parts(task, &|part| part.bytes.into())),
            "known": each(&|task| parts(task, &|part| json!({
                "how": part.known.name(), "percent": part.known.percent(), "words": part.words,
            }))),
            "left_out": each(&|task| task.left_out.clone().into()),
            "unknown": self.footprint.unknown,
            "gpu": {"state": self.sample.gpu_state.kind.name(), "why": self.sample.gpu_state.why},
            "devices": gpus.iter().map(place).collect::<Vec<_>>(),
            "ram": ram.first().map(place),
        })
    }
}

#[derive(Serialize)]
struct Device<'a> {
    name: String,
    label: String,
    total: u64,
    free: u64,
    fits: Vec<&'a str>,
    not_known: Vec<&'a str>,
}

fn write_task(out: &mut dyn Write, task: &Task) -> std::io::Result<()> {
    writeln!(out, "\n{}: {}", task.name.trim(), words::span(task))?;
    for kind in PartKind::ALL {
        if let Some(part) = task.part(kind) {
            let (name, bytes) = (kind.words(), units::bytes(part.bytes));
            writeln!(out, "  {name:<12}{bytes:>10}   {}   {}", part.known.words(), escape(&part.words))?;
        }
    }
    for why in &task.left_out {
        writeln!(out, "  not computed  {}", escape(why))?;
    }
    Ok(())
}
