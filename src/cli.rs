//! The command line: arguments, and the headless commands.
//!
//! One definition here gives the parser, the help, the shell completions and the man page. Results go to
//! stdout, progress and errors to stderr. Exit codes: 0 done, 1 an error was found, 2 could not do it,
//! 3 done but not proven, 130 cancelled.

pub mod align;
pub mod convert;
pub mod diagnose;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod fix;
pub mod inspect;
pub mod json;
pub mod memory;
pub mod merge;
pub mod stats;
mod table;
pub mod verify;
pub mod workbench;

use std::io::{IsTerminal as _, Write};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::error::{ErrorKind, Result};
use crate::ui::degrade::{ColorFlag, Environment};

/// Exit code: done; warnings alone are 0.
pub const DONE: u8 = 0;
/// Exit code: an error finding or problem, or a difference.
pub const FOUND: u8 = 1;
/// Exit code: could not do it.
pub const FAILED: u8 = 2;
/// Exit code: done but not proven.
pub const UNPROVEN: u8 = 3;
/// Exit code: cancelled, as shells have it for an interrupt.
pub const CANCELLED: u8 = 130;

/// A terminal workbench for LLM checkpoints: see every layer with its true shape and quantization.
#[derive(Debug, Parser)]
#[command(name = "ckpt", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Folders, files, or names of models in the local Hugging Face cache. None: recent and cached ones.
    pub paths: Vec<String>,
    /// An adapter to attach to the checkpoint: held against it module by module.
    #[arg(short = 'a', value_name = "ADAPTER")]
    pub adapters: Vec<String>,
    /// Leave the gauges off: nothing is sampled, an idle screen never wakes.
    #[arg(long)]
    pub no_gauges: bool,
    /// Write the screen to FILE instead of opening the terminal: a picture if it ends in .svg, else text (- for stdout).
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<String>,
    /// Keys to press before the screenshot, as in the key map, separated by blanks: "j j enter 5".
    #[arg(long, requires = "screenshot", default_value = "")]
    pub keys: String,
    /// Size of the screenshot in cells.
    #[arg(long, requires = "screenshot", default_value = "120x36", value_name = "WxH")]
    pub size: String,
    /// The command; none opens the workbench.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What all commands take.
    #[command(flatten)]
    pub common: Common,
}

/// What all commands take.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Theme: dark, light, high-contrast, 16-color, none, or a file in the config folder.
    #[arg(long, global = true)]
    pub theme: Option<String>,
    /// Colors: auto (the terminal and `NO_COLOR` decide), always, truecolor, 256, 16, never.
    #[arg(long, global = true, value_parser = color_flag, default_value = "auto", value_name = "WHEN")]
    pub color: ColorFlag,
    /// Draw with ASCII only.
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Less on stderr.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More on stderr.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The headless commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a checkpoint holds: layers, formats, problems.
    Inspect {
        /// Folder, file, or Hub name in the local cache.
        path: String,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check structure, offsets, and config against tensors.
    Verify {
        /// Folder, file, or Hub name in the local cache.
        path: String,
        /// Read all tensor data: NaN, infinities, unreadable bytes.
        #[arg(long)]
        deep: bool,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say why a checkpoint does not load, train, merge or serve: from the files, or from a pasted error.
    Diagnose(diagnose::Diagnose),
    /// Print what is known of a finding: what it looks for, why it matters, what helps.
    Explain {
        /// Its code or name: Q001, already-quantized. None: all codes in a table.
        code: Option<String>,
        /// Print the table of all codes as Markdown.
        #[arg(long, conflicts_with = "code")]
        markdown: bool,
    },
    /// Hold an adapter against a base, module by module, and repair it into a new folder.
    Align(align::Align),
    /// Show what loading, generating and training take, against free memory.
    Memory(memory::Memory),
    /// Show what the values of every layer are, what looks wrong first.
    Stats(stats::Stats),
    /// Compare two checkpoints of any formats: layers, shapes, formats, and with --values all values.
    Diff(diff::Diff),
    /// Convert a checkpoint to another format, in a new folder.
    Convert(convert::Convert),
    /// Merge adapters into a checkpoint, in a new folder.
    Merge(merge::Merge),
    /// Carry out the fixes of findings, in a new folder.
    Fix(fix::Fix),
    /// Carry out a plan that was saved.
    Run(convert::Replay),
    /// Show this machine: processor, memory, GPUs and whether they can compute, terminal, caches.
    Doctor(doctor::Doctor),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
}

/// Runs the command line and returns the exit code.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: clap prints them to stdout.
            let code = if error.use_stderr() { FAILED } else { DONE };
            return if error.print().is_ok() { code } else { FAILED };
        }
    };
    let wants_json = matches!(
        cli.command,
        Some(
            Command::Inspect { json: true, .. }
                | Command::Verify { json: true, .. }
                | Command::Doctor(doctor::Doctor { json: true, .. })
                | Command::Diagnose(diagnose::Diagnose { json: true, .. })
                | Command::Align(align::Align { json: true, .. })
                | Command::Memory(memory::Memory { json: true, .. })
                | Command::Stats(stats::Stats { json: true, .. })
                | Command::Diff(diff::Diff { json: true, .. })
                | Command::Convert(convert::Convert {
                    what: convert::What { how: convert::How { json: true, .. }, .. },
                    ..
                })
                | Command::Merge(merge::Merge {
                    what: convert::What { how: convert::How { json: true, .. }, .. },
                    ..
                })
                | Command::Fix(fix::Fix { how: convert::How { json: true, .. }, .. })
                | Command::Run(convert::Replay { how: convert::How { json: true, .. }, .. })
        )
    );
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = dispatch(&cli, &mut out);
    let done = match done {
        Ok(code) => flush(&mut out).map(|()| code),
        Err(error) => Err(error),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            if wants_json {
                // A closed pipe cannot take the error either; stderr still can.
                let _ = json::write_error(&mut out, &error).and_then(|()| flush(&mut out));
            }
            let _ = writeln!(std::io::stderr(), "ckpt: {}", crate::name::escape(&error.message));
            if error.kind == ErrorKind::Cancelled { CANCELLED } else { FAILED }
        }
    }
}

fn dispatch(cli: &Cli, out: &mut dyn Write) -> Result<u8> {
    match &cli.command {
        Some(Command::Inspect { path, json }) => inspect::run(path, *json, out),
        Some(Command::Verify { path, deep, json }) => {
            verify::run(&verify::Options { path, deep: *deep, json: *json, quiet: cli.common.quiet }, out)
        }
        Some(Command::Diagnose(asked)) => diagnose::run(asked, cli.common.quiet, out),
        Some(Command::Explain { code, markdown }) => explain::run(code.as_deref(), *markdown, out),
        Some(Command::Align(asked)) => align::run(asked, out),
        Some(Command::Memory(asked)) => memory::run(asked, out),
        Some(Command::Stats(asked)) => stats::run(asked, cli.common.quiet, out),
        Some(Command::Diff(asked)) => diff::run(asked, cli.common.quiet, out),
        Some(Command::Convert(convert)) => convert::run(convert, cli.common.quiet, out),
        Some(Command::Merge(merge)) => merge::run(merge, cli.common.quiet, out),
        Some(Command::Fix(fix)) => fix::run(fix, cli.common.quiet, out),
        Some(Command::Run(replay)) => convert::replay(replay, cli.common.quiet, out),
        Some(Command::Doctor(asked)) => doctor::run(asked, out),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(*shell, &mut Cli::command(), "ckpt", out);
            Ok(DONE)
        }
        Some(Command::Man) => {
            clap_mangen::Man::new(Cli::command()).render(out).map_err(|e| stdout_error(&e))?;
            Ok(DONE)
        }
        None => workbench::run(cli, out),
    }
}

fn color_flag(value: &str) -> std::result::Result<ColorFlag, String> {
    ColorFlag::parse(value).ok_or_else(|| "one of auto, always, truecolor, 256, 16, never".to_owned())
}

/// Returns the environment variables that decide about colors and glyphs.
#[must_use]
pub fn environment() -> Environment {
    Environment::read(|name| std::env::var(name).ok())
}

fn flush(out: &mut dyn Write) -> Result<()> {
    out.flush().map_err(|e| stdout_error(&e))
}

/// Returns the error of a write to stdout.
#[must_use]
pub fn stdout_error(source: &std::io::Error) -> crate::error::Error {
    crate::error::Error::new(crate::error::ErrorKind::Io, format!("write to stdout: {source}"))
}

/// Returns true if progress may be printed: stderr is a terminal.
#[must_use]
pub fn shows_progress() -> bool {
    std::io::stderr().is_terminal()
}
