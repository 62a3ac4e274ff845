//! GGUF files built byte by byte.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;

/// Writes a GGUF file piece by piece.
#[derive(Clone)]
struct Writer {
    pairs: Vec<u8>,
    pair_count: u64,
    infos: Vec<u8>,
    tensors: u64,
    data: Vec<u8>,
    version: u32,
}

impl Writer {
    fn new() -> Self {
        Self { pairs: vec![], pair_count: 0, infos: vec![], tensors: 0, data: vec![], version: 3 }
    }

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        Self::text(&mut self.pairs, key);
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self.pair_count += 1;
        self
    }

    fn text_pair(self, key: &str, text: &str) -> Self {
        let mut value = vec![];
        Self::text(&mut value, text);
        self.pair(key, 8, &value)
    }

    fn info(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        Self::text(&mut self.infos, name);
        self.infos.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| self.infos.extend(d.to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self.tensors += 1;
        self
    }

    fn data(mut self, bytes: usize) -> Self {
        self.data.resize(bytes, 7);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensors.to_le_bytes());
        out.extend(self.pair_count.to_le_bytes());
        out.extend(&self.pairs);
        out.extend(&self.infos);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

fn good() -> Writer {
    Writer::new()
        .text_pair("general.architecture", "llama")
        .pair("llama.block_count", 4, &2u32.to_le_bytes())
        .info("token_embd.weight", &[64, 8], 2, 0)
        .info("output_norm.weight", &[64], 0, 288)
        .data(288 + 256)
}

/// A file that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ckpt-gguf-{}-{number}.gguf", std::process::id()));
        std::fs::File::create_new(&path).unwrap().write_all(bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read(bytes: &[u8]) -> Header {
    let scratch = Scratch::new(bytes);
    Gguf.read_header(&SourceFile::open(&scratch.0, "t.gguf").unwrap())
}

fn codes(header: &Header) -> Vec<&'static str> {
    header.problems.iter().map(|p| p.kind.code).collect()
}

#[test]
fn shapes_are_turned_to_out_in_and_ranges_are_absolute() {
    let bytes = good().bytes();
    let header = read(&bytes);
    assert_eq!(codes(&header), [""; 0]);
    let entries = header.entries();
    assert_eq!(header.name(&entries[0]), "token_embd.weight");
    assert_eq!(header.shape(&entries[0]), [8, 64]);
    assert_eq!(entries[0].dtype.name(), "Q4_0");
    assert_eq!(entries[0].end - entries[0].begin, 16 * 18);
    assert_eq!(entries[1].end, bytes.len() as u64);
    assert_eq!(header.meta("general.architecture").unwrap().as_str(), Some("llama"));
    assert_eq!(header.meta("llama.block_count").unwrap().as_u64(), Some(2));
}

#[test]
fn each_fault_is_named_and_what_was_read_stays() {
    let faults: Vec<(&str, Vec<u8>, &str, usize)> = vec![
        ("empty", vec![], "K001", 0),
        ("version 1", Writer { version: 1, ..good() }.bytes(), "K016", 0),
        ("big-endian", Writer { version: 3 << 24, ..good() }.bytes(), "K024", 0),
        ("tensor count", Writer { tensors: 1 << 62, ..good() }.bytes(), "K005", 0),
        ("pair count", Writer { pair_count: 1 << 62, ..good() }.bytes(), "K005", 0),
        ("key twice", good().text_pair("general.architecture", "x").bytes(), "K014", 2),
        ("name twice", good().info("output_norm.weight", &[64], 0, 544).data(800).bytes(), "K014", 3),
        ("dimensions", good().info("x", &[1, 1, 1, 1, 1], 0, 544).data(576).bytes(), "K006", 2),
        ("odd row", good().info("x", &[33], 2, 544).data(576).bytes(), "K012", 3),
        ("overflow", good().info("x", &[1 << 40, 1 << 40], 0, 544).bytes(), "K012", 3),
        ("fork type", good().info("x", &[256], 139, 544).data(800).bytes(), "K025", 3),
        ("removed type", good().info("x", &[256], 31, 544).data(800).bytes(), "K025", 3),
        ("overlap", good().info("x", &[64], 0, 256).data(800).bytes(), "K010", 3),
        ("gap", good().info("x", &[64], 0, 4096).data(8192).bytes(), "K011", 3),
        ("cut data", good().data(300).bytes(), "K007", 2),
        ("alignment", good().pair("general.alignment", 4, &33u32.to_le_bytes()).bytes(), "K022", 0),
        ("nested array", good().pair("x", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).bytes(), "K022", 0),
        ("huge text", good().pair("x", 8, &u64::MAX.to_le_bytes()).bytes(), "K022", 0),
    ];
    for (name, bytes, code, tensors) in faults {
        let header = read(&bytes);
        assert!(codes(&header).contains(&code), "{name}: {:?}", header.problems);
        assert_eq!(header.entries().len(), tensors, "{name}");
    }
}

#[test]
fn a_large_vocabulary_is_stepped_over() {
    const TOKENS: u64 = 262_144;
    let mut tokens = 8u32.to_le_bytes().to_vec();
    tokens.extend(TOKENS.to_le_bytes());
    (0..TOKENS).for_each(|i| Writer::text(&mut tokens, &format!("token{i}")));
    let mut scores = 6u32.to_le_bytes().to_vec();
    scores.extend(TOKENS.to_le_bytes());
    scores.resize(scores.len() + 4 * TOKENS as usize, 0);
    let writer = good().pair("tokenizer.ggml.tokens", 9, &tokens).pair("tokenizer.ggml.scores", 9, &scores);
    let bytes = writer.bytes();
    let started = Instant::now();
    let header = read(&bytes);
    // gguf-py needs seconds; even a debug build on a busy machine is far below one.
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(codes(&header), [""; 0]);
    assert_eq!(header.entries().len(), 2);
    let Some(Value::Array { element: "string", len: TOKENS, first }) = header.meta("tokenizer.ggml.tokens")
    else {
        panic!("{:?}", header.meta("tokenizer.ggml.tokens"))
    };
    assert_eq!(first[1], Value::Text("token1".into()));
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let bytes = good().bytes();
    for cut in 0..bytes.len() {
        assert!(!read(&bytes[..cut]).problems.is_empty(), "cut at {cut}");
    }
    for at in 0..bytes.len() - 544 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            read(&changed);
        }
    }
}
