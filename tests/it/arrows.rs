//! The arrows between modules, and what may stand where, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The order of ARCHITECTURE.md: a module uses only what stands left of it.
const ORDER: [&str; 24] = [
    "error",
    "problem",
    "name",
    "units",
    "tensor",
    "container",
    "quant",
    "checkpoint",
    "adapter",
    "footprint",
    "plan",
    "diagnose",
    "engine",
    "stats",
    "gauges",
    "memory",
    "terminal",
    "job",
    "app",
    "ui",
    "workbench",
    "cli",
    "lib",
    "main",
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 30, "only {} sources found", found.len());
    found
}

fn module_of(path: &Path) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(src).unwrap().components().next().unwrap();
    let stem = Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy();
    stem.trim_end_matches("_tests").to_owned()
}

#[test]
fn modules_use_only_what_stands_left_of_them() {
    let rank = |module: &str| ORDER.iter().position(|m| *m == module);
    for (path, text) in sources() {
        let module = module_of(&path);
        let own = rank(&module).unwrap_or_else(|| panic!("{module} is not in the order of ARCHITECTURE.md"));
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if let Some(other) = rank(&used) {
                    assert!(other <= own, "{}:{}: {module} uses {used}", path.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn architecture_names_the_order_that_is_checked() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let order = ORDER[..21].join(" < ");
    assert!(text.contains(&order), "ARCHITECTURE.md does not say: {order}");
}

#[test]
fn unsafe_code_stands_only_where_it_is_declared() {
    for (path, text) in sources() {
        let allowed = [
            "container/bytes.rs",
            "engine/cuda/driver.rs",
            "engine/cuda/driver/timer.rs",
            "engine/cuda/launch.rs",
            "engine/cuda/launch/encode.rs",
            "engine/cuda/symbols.rs",
            "gauges/nvml/memory.rs",
            "src/memory.rs",
            "tensor/lookup.rs",
            "tensor/nearest/avx2.rs",
            "tensor/nearest/avx512.rs",
        ];
        let allowed = allowed.iter().any(|file| path.ends_with(file));
        let uses = text.lines().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        assert!(allowed || !uses, "{}: unsafe code", path.display());
    }
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{}: no opening doc", path.display());
    }
}
