//! `ckpt verify`: structure, offsets, config against tensors; with `--deep` every byte of the data.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::json::{self, ProblemJson};
use super::{DONE, FAILED, FOUND, shows_progress, stdout_error};
use crate::adapter::{Adapter, problems_of};
use crate::checkpoint::{Checkpoint, deep};
use crate::container::bytes::SourceFile;
use crate::container::safetensors;
use crate::error::Result;
use crate::name::escape;
use crate::problem::Problem;
use crate::units;

/// What `verify` is asked.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Folder, file, or Hub name.
    pub path: &'a str,
    /// Read all data.
    pub deep: bool,
    /// Print JSON.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
}

/// Runs the command: exit 0 clean or with warnings only, 1 with an error problem, 2 unreadable.
///
/// # Errors
/// There is nothing at the path that could be opened, or stdout fails.
pub fn run(options: &Options<'_>, out: &mut dyn Write) -> Result<u8> {
    let opened = Checkpoint::open(options.path)?;
    let checkpoint = if options.deep { opened.examine_deep() } else { opened.examine() };
    let adapter = Adapter::of(&checkpoint);
    let mut problems = problems_of(&checkpoint, adapter.as_ref());
    for verdict in strict_verdicts(&checkpoint) {
        if !problems.contains(&verdict) {
            problems.push(verdict);
        }
    }
    let bytes = if options.deep {
        let seen = read_all(&checkpoint, options.quiet);
        problems.extend(seen.problems);
        seen.bytes
    } else {
        checkpoint.files.total_bytes()
    };
    problems.sort_by_key(|p| (p.kind.severity, p.kind.code));
    let ok = !problems.iter().any(Problem::is_error);
    let tensors = checkpoint.files.tensors.len();
    if options.json {
        let list = problems.iter().map(ProblemJson::from).collect();
        json::write_line(
            out,
            &Report { path: options.path, ok, deep: options.deep, tensors, bytes, problems: list },
        )?;
    } else {
        let verb = if options.deep { "read" } else { "in range" };
        let head = format!(
            "{}: {}, {} {verb}",
            escape(options.path),
            units::plural(tensors, "tensor"),
            units::bytes(bytes)
        );
        writeln!(out, "{head}").map_err(|e| stdout_error(&e))?;
        super::table::write_problems(out, &problems).map_err(|e| stdout_error(&e))?;
    }
    let readable = checkpoint.files.shards.iter().any(|s| !s.unreadable);
    Ok(match (readable, ok) {
        (false, _) => FAILED,
        (true, true) => DONE,
        (true, false) => FOUND,
    })
}

/// The JSON document.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a str,
    ok: bool,
    deep: bool,
    tensors: usize,
    bytes: u64,
    problems: Vec<ProblemJson<'a>>,
}

/// Asks the format's own strict reader about each shard.
fn strict_verdicts(checkpoint: &Checkpoint) -> Vec<Problem> {
    if checkpoint.files.container.name() != "safetensors" {
        return Vec::new();
    }
    let shards = checkpoint.files.shards.iter().filter(|s| !s.unreadable);
    shards
        .filter_map(|s| SourceFile::open(&s.path, s.name.clone()).ok())
        .filter_map(|file| safetensors::strict_verdict(&file))
        .collect()
}

pub(super) fn read_all(checkpoint: &Checkpoint, quiet: bool) -> deep::Deep {
    let total = checkpoint.files.total_bytes().max(1);
    let done = AtomicU64::new(0);
    let shown = AtomicU64::new(0);
    let on_progress = |bytes: u64| {
        let percent =
            done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes).saturating_mul(100) / total;
        // One line a percent at most; never 100 before it is done.
        if !quiet
            && shows_progress()
            && shown.fetch_max(percent, Ordering::Relaxed) < percent
            && percent < 100
        {
            let _ = write!(std::io::stderr(), "\rread {percent}% of {}", units::bytes(total));
        }
    };
    let seen = deep::verify(checkpoint, &on_progress);
    if !quiet && shows_progress() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    seen
}
