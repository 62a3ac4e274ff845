//! The `ckpt` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ckpt::memory::map_large_blocks();
    ExitCode::from(ckpt::cli::run(std::env::args_os()))
}
