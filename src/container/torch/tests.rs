//! Tests of the PyTorch reader over the samples, over hand-written pickles, and over damaged files.

use std::path::{Path, PathBuf};

use super::*;

fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(path)
}

fn read_path(path: &Path) -> Header {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Torch.read_header(&SourceFile::open(path, name).unwrap())
}

#[test]
fn show() {
    for dir in ["bin-malicious", "bin-variants"] {
        let mut paths: Vec<_> = std::fs::read_dir(sample(dir)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        for p in paths {
            if p.is_dir() { continue }
            let t = std::time::Instant::now();
            let h = read_path(&p);
            println!("== {p:?} {:?}", t.elapsed());
            for (i, e) in h.entries().iter().enumerate() {
                println!("  {} {} {:?} {}..{} {:?}", h.name(e), e.dtype, h.shape(e), e.begin, e.end, h.views.get(&(i as u32)));
            }
            for m in &h.metadata { println!("  meta {m:?}"); }
            for m in &h.problems { println!("  {} {}", m.kind.code, m.message); }
        }
    }
}
