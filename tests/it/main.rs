//! Tests of the whole: samples, the command line, hostile input, the arrows between modules.

mod arrows;
mod cli;
mod hostile;
mod layouts;
mod samples;

use std::path::{Path, PathBuf};

/// Returns a path under `samples/`.
fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(path)
}
