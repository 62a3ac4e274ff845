//! Tests of the whole: samples, the command line, hostile input, the arrows between modules.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking and say what they counted")]

mod align;
mod align_foreign;
mod align_identity;
mod arrows;
mod board;
mod cli;
mod codes;
mod combine;
mod compare_view;
mod convert;
mod decode;
mod decode_hostile;
mod deltas;
mod diff;
mod doctor;
mod fix;
mod fix_form;
mod gguf_file;
mod gguf_names;
mod gguf_tokenizers;
mod gpu;
mod gpu_jobs;
mod hostile;
mod jobs;
mod layouts;
mod memory;
mod merge;
mod merge_gguf;
mod merge_gguf_hostile;
mod merge_proof;
mod merge_same;
mod merge_turned;
mod packed_samples;
mod packing_hostile;
mod packing_views;
mod pasted_hostile;
mod pictures;
mod precision;
mod pty;
mod references;
mod requantize;
mod requantize_bnb;
mod requantize_ct;
mod requantize_gguf;
mod requantize_gptq;
mod requantize_laws;
mod robot;
mod rules;
mod samples;
mod scaled_samples;
mod screens;
mod stats;
mod stories;
mod tracebacks;
mod values;
mod views;
mod weights;

use std::path::{Path, PathBuf};

/// Returns a path under `samples/`.
fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(path)
}
