//! Every sample, converted and merged on the simulated GPU and on the processor: the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::cuda::probe::Card;
use ckpt::engine::{Device, Options, Outcome, Progress, Proof, Run};
use ckpt::plan::{Order, Plan};

use ckpt::tensor::Dtype;
use libtest_mimic::Trial;

use super::trial;

/// Names a folder of other checkpoints to take.
const SAMPLES: &str = "CKPT_TEST_SAMPLES";

/// A folder that is removed when the test ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        // Tests run side by side, and some do the same with something else.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ckpt-gpu-{name}-{}-{number}", std::process::id()));
        let _none = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}

/// The simulator's devices, or as many of the real ones as there are.
pub(crate) fn cards(count: u32) -> Vec<Card> {
    if super::is_real() {
        let cards = ckpt::engine::cuda::measure::cards().unwrap();
        return cards.into_iter().take(count as usize).collect();
    }
    let card = |ordinal| Card {
        ordinal,
        name: "Simulated GPU".into(),
        uuid: format!("GPU-{ordinal}"),
        capability: [9, 0],
        memory: 8 << 30,
        multiprocessors: 4,
        clock_khz: None,
        refused: None,
    };
    (0..count).map(card).collect()
}

/// The files of a folder by name.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// Carries a plan out.
pub(crate) fn carry_out(
    plan: &Plan,
    (checkpoint, adapters): (&Checkpoint, &[&Checkpoint]),
    device: &dyn Device,
    options: &Options,
) -> ckpt::error::Result<Outcome> {
    let progress = Progress::default();
    Run { checkpoint, adapters, plan, options, device, progress: &progress }.carry_out()
}

/// Samples whose every layer is made by kernels, each piece of it.
fn is_whole(name: &str) -> bool {
    const ALL: &[&str] = &[
        "awq-",
        "base-",
        "bnb-",
        "bnb-fp4",
        "bnb-nf4",
        "ct-fp8",
        "ct-mx",
        "ct-nvfp4",
        "ct-w3a16",
        "ct-w4a16",
        "ct-w8a16",
        "ct-w8a8",
        "fp8-",
        "gguf-",
        "gptq-",
        "hqq-",
        "layout-aqlm",
        "layout-autoround-gptq",
        "layout-awq-marlin",
        "layout-bitnet",
        "layout-deepseek",
        "layout-eetq",
        "layout-exl2",
        "layout-fbgemm",
        "layout-fp8",
        "layout-gpt-oss",
        "layout-gptq-marlin",
        "layout-mlx",
        "layout-modelopt",
        "layout-mxfp8",
        "layout-quark-int4",
        "mxfp4-",
        "quanto-",
        "requantized-gptq-awq",
        "story-0-",
        "story-1-",
        "torchao-",
    ];
    ALL.iter().any(|start| name.starts_with(start))
}

fn convert(sample: &Path, name: &str, dtype: Dtype) {
    let scratch = Scratch::new(&format!("{}-{dtype}", name.replace('/', "-")));
    let Ok(checkpoint) = Checkpoint::open_examined(sample.to_str().unwrap()) else { return };
    let plan = |output: &str| {
        let order = Order {
            dtype: Some(dtype),
            skip_broken: true,
            ..Order::new(sample.to_str().unwrap(), &scratch.join(output))
        };
        Plan::convert(&checkpoint, order)
    };
    let (Ok(on_cpu), Ok(on_gpu)) = (plan("cpu"), plan("gpu")) else { return };
    // Pieces that end within rows' groups, and slots that hold a part of a piece.
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    carry_out(&on_cpu, (&checkpoint, &[]), &Cpu, &options).unwrap();
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let outcome = carry_out(&on_gpu, (&checkpoint, &[]), &cuda, &options).unwrap();
    let (is, should) = (files(&scratch.join("gpu")), files(&scratch.join("cpu")));
    assert_eq!(is.keys().collect::<Vec<_>>(), should.keys().collect::<Vec<_>>());
    for (file, bytes) in &should {
        assert!(is[file] == *bytes, "{name} in {dtype}: {file} differs");
    }
    if is_whole(name) {
        assert_eq!(outcome.notes, Vec::<String>::new(), "{name} in {dtype}");
    }
}

/// Adds the folders and files below a folder that are checkpoints.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is = |path: &PathBuf, ending: &str| path.extension().is_some_and(|is| is == ending);
    if entries.iter().any(|path| is(path, "safetensors") || is(path, "bin")) {
        found.push(folder.to_owned());
    }
    found.extend(entries.iter().filter(|path| is(path, "gguf")).cloned());
    entries.iter().filter(|path| path.is_dir()).for_each(|path| find(path, found));
}

pub(crate) fn trials() -> Vec<Trial> {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let folder = std::env::var_os(SAMPLES).map_or_else(ours, PathBuf::from);
    let mut samples = Vec::new();
    find(&folder, &mut samples);
    samples.sort();
    let all = samples.into_iter().flat_map(|sample| {
        let name = sample.strip_prefix(&folder).unwrap().display().to_string();
        [Dtype::BF16, Dtype::F16, Dtype::F32].map(|dtype| {
            let (sample, name) = (sample.clone(), name.clone());
            trial(format!("samples::{name}::{dtype}"), move || convert(&sample, &name, dtype))
        })
    });
    all.collect()
}
