//! Hostile input: every sample cut at many lengths and with bytes changed opens or is refused in words,
//! never with a panic, a hang or a read outside the file; harmful pickles run nothing and cost little.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ckpt::checkpoint::Checkpoint;

use crate::sample;

/// A folder that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ckpt-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::File::create_new(&path)
            .or_else(|_| fs::OpenOptions::new().write(true).truncate(true).open(&path))
            .unwrap()
            .write_all(bytes)
            .unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Option<Checkpoint> {
    Checkpoint::open_examined(&path.display().to_string()).ok()
}

const SMALL: [&str; 6] = [
    "gptq-w2-g32-sym-v1-A/model/model.safetensors",
    "bnb-nf4-dq-B/model/model.safetensors",
    "bad-gguf/good.gguf",
    "bin-variants/zip.bin",
    "bin-variants/legacy.bin",
    "peft-lora-bin-A/adapter/adapter_model.bin",
];

#[test]
fn every_cut_opens_or_is_refused() {
    let scratch = Scratch::new("cut");
    let mut cuts = 0;
    for file in SMALL {
        let bytes = fs::read(sample(file)).unwrap();
        let name = Path::new(file).file_name().unwrap().to_string_lossy().into_owned();
        let step = (bytes.len() / 150).max(1);
        for cut in (0..bytes.len()).step_by(step).chain(0..bytes.len().min(64)) {
            let path = scratch.write(&name, &bytes[..cut]);
            if let Some(checkpoint) = open(&path) {
                let errors = checkpoint.problems.iter().filter(|p| p.is_error()).count();
                assert!(errors > 0, "{file} cut at {cut} of {}: no problem found", bytes.len());
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 900, "only {cuts} cuts");
}

#[test]
fn changed_bytes_never_panic() {
    let scratch = Scratch::new("mutate");
    // A fixed generator: a failing case can be found again.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for file in SMALL {
        let bytes = fs::read(sample(file)).unwrap();
        let name = Path::new(file).file_name().unwrap().to_string_lossy().into_owned();
        for _ in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..=random(3) {
                // Most faults are in headers: the first 4 KiB, or the tail of a zip.
                let at = if random(4) == 0 {
                    changed.len() - 1 - random(changed.len().min(2048))
                } else {
                    random(changed.len().min(4096))
                };
                changed[at] = [0, 0xff, 0x7f, 0x80, b'"', b'9'][random(6)];
            }
            open(&scratch.write(&name, &changed));
        }
    }
}

#[test]
fn harmful_pickles_run_nothing_and_cost_little() {
    let mut files: Vec<PathBuf> = fs::read_dir(sample("bin-malicious"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "bin"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 14);
    for path in files {
        let started = Instant::now();
        let checkpoint = open(&path);
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_secs(1), "{}: {elapsed:?}", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(checkpoint) = checkpoint else { continue };
        let named = |word: &str| {
            checkpoint.problems.iter().any(|p| p.kind.code == "K017" && p.message.contains(word))
        };
        match name.as_str() {
            "os-system" | "legacy-os-system" | "stack-global" | "opcode-inst" | "raw-pickle" => {
                assert!(named("system"), "{name}: {:?}", checkpoint.problems);
            }
            "eval" => assert!(named("eval"), "{:?}", checkpoint.problems),
            "getattr" => assert!(named("getattr"), "{:?}", checkpoint.problems),
            "memo-bomb" | "zip-deflated-bomb" => {}
            _ => assert!(checkpoint.problems.iter().any(ckpt::problem::Problem::is_error), "{name}"),
        }
    }
}

#[test]
fn a_fifo_in_place_of_a_shard_does_not_hang() {
    let scratch = Scratch::new("fifo");
    let path = scratch.0.join("model.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no mkfifo here");
        return;
    }
    assert!(open(&path).is_none());
    assert!(open(&scratch.0).is_none());
}

#[test]
fn a_folder_of_links_that_leave_it_or_dangle_is_named() {
    let scratch = Scratch::new("links");
    std::os::unix::fs::symlink("/nonexistent/blob", scratch.0.join("model.safetensors")).unwrap();
    let checkpoint = open(&scratch.0).unwrap();
    assert!(checkpoint.problems.iter().any(|p| p.kind.code == "K023"), "{:?}", checkpoint.problems);
}

/// Replaces text in the header of a safetensors file, padding with spaces to the header's own length.
fn edit_header(file: &str, from: &str, to: &str) -> Vec<u8> {
    let bytes = fs::read(sample(file)).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..end]).unwrap();
    assert!(header.contains(from) && to.len() <= from.len());
    let mut edited = header.replacen(from, to, 1);
    edited.extend(std::iter::repeat_n(' ', header.len() - edited.len()));
    [&bytes[..8], edited.as_bytes(), &bytes[end..]].concat()
}

#[test]
fn metadata_of_torchao_that_cannot_be_read_are_reported() {
    let scratch = Scratch::new("torchao");
    let file = "torchao-int8-A/model/model.safetensors";
    let faults = |from: &str, to: &str| -> Vec<String> {
        let path = scratch.write("model.safetensors", &edit_header(file, from, to));
        let found = open(&path).unwrap().problems;
        found.into_iter().filter(|p| p.kind.name == "bad-metadata").map(|p| p.message).collect()
    };
    assert_eq!(faults("tensor_names", "tensor_names"), Vec::<String>::new());
    let one = "model.safetensors: 1 of the names in tensor_names have no JSON that describes them, such as \
               model.layers.0.mlp.up_proj.weight";
    let described = r#""model.layers.0.mlp.up_proj.weight":"{"#;
    assert_eq!(faults(described, r#""model.layers.0.mlp.up_proj.weight":"}"#), [one]);
    assert_eq!(faults(described, r#""model.layers.0.mlp.up_proj.bias":"{"#), [one]);
    let list = "model.safetensors: tensor_names is not a JSON list of names";
    assert_eq!(faults(r#""tensor_names":"["#, r#""tensor_names":"{"#), [list]);
}

#[test]
fn sums_of_sizes_that_no_file_has_end_at_the_largest_number() {
    let scratch = Scratch::new("sums");
    let half = 1u64 << 63;
    let part = |name: &str| {
        format!(
            r#""model.layers.0.mlp.up_proj.{name}":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}}"#
        )
    };
    let header = format!("{{{},{},{}}}", part("qweight"), part("qzeros"), part("scales"));
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let path = scratch.write("model.safetensors", &bytes);
    let found = open(&path).unwrap();
    let sizes: Vec<u64> =
        (0..found.layers.len() as u32).map(|layer| found.layers.bytes(&found.files, layer)).collect();
    assert_eq!(sizes, [u64::MAX], "{:?}", found.problems);
    for command in [&["memory"][..], &["diagnose", "--deep"], &["inspect"], &["verify", "--deep"]] {
        let done =
            std::process::Command::new(env!("CARGO_BIN_EXE_ckpt")).args(command).arg(&path).output().unwrap();
        assert!(matches!(done.status.code(), Some(0..=3)), "{command:?}: {done:?}");
    }
}
