//! PTX against its sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::*;

/// Adds the headers that a source needs.
fn headers(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let text = std::fs::read_to_string(path).unwrap();
    for line in text.lines() {
        let name = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix(".cuh\""));
        let Some(name) = name else { continue };
        let header = path.with_file_name(format!("{name}.cuh"));
        if found.insert(header.clone()) {
            headers(&header, found);
        }
    }
}

/// What kernels/ptx/build writes at the head of each file: the hash of the source's headers and of itself.
fn hash_of(source: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(format!("{source}.cu"));
    let mut found = BTreeSet::new();
    headers(&source, &mut found);
    let mut hasher = Sha256::new();
    for path in found.iter().chain([&source]) {
        hasher.update(std::fs::read(path).unwrap());
    }
    hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn ptx_is_of_its_sources() {
    for (file, ptx) in PTX {
        let head = ptx.lines().next().unwrap();
        assert_eq!(head, format!("// sources sha256: {}", hash_of(file)), "{file}: run kernels/ptx/build");
        assert!(ptx.contains(".target sm_70") && ptx.contains(".version 8.0"), "{file}");
    }
}

#[test]
fn every_source_is_carried() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut sources: Vec<_> = std::fs::read_dir(kernels)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|is| is == "cu"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    sources.sort();
    let carried: Vec<_> = PTX.iter().map(|(file, _)| *file).collect();
    assert_eq!(sources, carried);
}

#[test]
fn names_are_found() {
    assert!(is_there("bnb4_bf16") && is_there("low_rank_f32_f32") && !is_there("bnb4"));
}
