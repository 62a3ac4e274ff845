//! Tests of the GGUF reader on bytes made here.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::tensor::{Dtype, GgmlType};

const F32: u32 = 0;
const Q4_0: u32 = 2;
const U32: u32 = 4;
const STR: u32 = 8;
const ARR: u32 = 9;

/// Writes GGUF bytes, right ones unless told otherwise.
#[derive(Clone)]
struct Writer {
    version: u32,
    big_endian: bool,
    alignment: u64,
    pairs: (u64, Vec<u8>),
    infos: (u64, Vec<u8>),
    data_bytes: u64,
}

impl Writer {
    fn new() -> Self {
        let empty = (0, Vec::new());
        Self {
            version: 3,
            big_endian: false,
            alignment: 32,
            pairs: empty.clone(),
            infos: empty,
            data_bytes: 0,
        }
    }

    fn n32(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn n64(&self, number: u64) -> [u8; 8] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn string(&self, text: &[u8]) -> Vec<u8> {
        [&self.n64(text.len() as u64), text].concat()
    }

    fn pair(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        let bytes = [&self.string(key.as_bytes()), &self.n32(type_id)[..], value].concat();
        self.pairs.0 += 1;
        self.pairs.1.extend(bytes);
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        let value = self.string(text.as_bytes());
        self.pair(key, STR, &value)
    }

    fn array(self, key: &str, type_id: u32, len: u64, elements: &[u8]) -> Self {
        let value = [&self.n32(type_id)[..], &self.n64(len), elements].concat();
        self.pair(key, ARR, &value)
    }

    fn strings(self, key: &str, texts: &[&str]) -> Self {
        let elements: Vec<u8> = texts.iter().flat_map(|text| self.string(text.as_bytes())).collect();
        self.array(key, STR, texts.len() as u64, &elements)
    }

    /// Adds a tensor of `bytes` bytes behind the last one; `dims` innermost first.
    fn tensor(mut self, name: &str, dims: &[u64], type_id: u32, bytes: u64) -> Self {
        let offset = self.data_bytes.next_multiple_of(self.alignment);
        self.data_bytes = offset + bytes;
        self.tensor_at(name.as_bytes(), dims, type_id, offset)
    }

    fn tensor_at(mut self, name: &[u8], dims: &[u64], type_id: u32, offset: u64) -> Self {
        let mut info = self.string(name);
        info.extend(self.n32(dims.len() as u32));
        for &dim in dims {
            info.extend(self.n64(dim));
        }
        info.extend(self.n32(type_id));
        info.extend(self.n64(offset));
        self.infos.0 += 1;
        self.infos.1.extend(info);
        self
    }

    fn build(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.n32(self.version));
        out.extend(self.n64(self.infos.0));
        out.extend(self.n64(self.pairs.0));
        out.extend(&self.pairs.1);
        out.extend(&self.infos.1);
        let data = out.len().next_multiple_of(self.alignment as usize);
        out.resize(data + self.data_bytes as usize, 0);
        out
    }

    fn read(&self) -> Header {
        Scratch::new().read(&self.build())
    }
}

/// A file that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ckpt-gguf-{}-{next}", std::process::id())))
    }

    fn read(&self, bytes: &[u8]) -> Header {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.0).unwrap();
        file.write_all(bytes).unwrap();
        Gguf.read_header(&SourceFile::open(&self.0, "model.gguf").unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the names of the problems.
fn problems(header: &Header) -> Vec<&'static str> {
    header.problems.iter().map(|problem| problem.kind.name).collect()
}

fn names(header: &Header) -> Vec<&str> {
    header.entries().iter().map(|entry| header.name(entry)).collect()
}

/// A small right file with everything in it.
fn small() -> Writer {
    Writer::new()
        .text("general.architecture", "llama")
        .pair("llama.block_count", U32, &2u32.to_le_bytes())
        .pair("llama.eps", 6, &1e-5f32.to_le_bytes())
        .strings("tokenizer.ggml.tokens", &["a", "", "ccc"])
        .array("tokenizer.ggml.token_type", 5, 3, &[1; 12])
        .tensor("blk.0.attn_q.weight", &[64, 2], Q4_0, 72)
        .tensor("output_norm.weight", &[64], F32, 256)
}

#[test]
fn shapes_are_row_major_and_ranges_absolute() {
    for version in [2, 3] {
        let header = Writer { version, ..small() }.read();
        assert_eq!(problems(&header), [""; 0]);
        let [q, norm] = header.entries() else { panic!("two tensors") };
        assert_eq!((header.name(q), header.shape(q)), ("blk.0.attn_q.weight", &[2, 64][..]));
        assert_eq!(q.dtype, Dtype::Ggml(GgmlType::from_id(Q4_0).unwrap()));
        assert_eq!((q.begin, q.end), (header.header_bytes, header.header_bytes + 72));
        assert_eq!((norm.dtype, header.shape(norm)), (Dtype::F32, &[64][..]));
        assert_eq!((norm.begin, norm.end), (header.header_bytes + 96, header.header_bytes + 96 + 256));
        assert_eq!(header.header_bytes % 32, 0);
    }
}

#[test]
fn metadata_keeps_file_order_and_the_first_elements() {
    let many: Vec<String> = (0..1000).map(|n| format!("token{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let header = small()
        .strings("many", &many)
        .pair("big", 10, &u64::MAX.to_le_bytes())
        .pair("low", 11, &(-5i64).to_le_bytes())
        .pair("yes", 7, &[1])
        .read();
    let keys: Vec<&str> = header.metadata.iter().map(|(key, _)| key.as_str()).collect();
    let first_keys = ["general.architecture", "llama.block_count", "llama.eps", "tokenizer.ggml.tokens"];
    assert_eq!(keys[..4], first_keys);
    assert_eq!(header.meta("llama.block_count"), Some(&Value::Int(2)));
    assert_eq!(header.meta("llama.eps"), Some(&Value::Float(1e-5)));
    assert_eq!(header.meta("big"), Some(&Value::Unsigned(u64::MAX)));
    assert_eq!(header.meta("low"), Some(&Value::Int(-5)));
    assert_eq!(header.meta("yes"), Some(&Value::Bool(true)));
    let types = Value::Array { element: "i32", len: 3, first: vec![Value::Int(0x0101_0101); 3] };
    assert_eq!(header.meta("tokenizer.ggml.token_type"), Some(&types));
    let first = (0..8).map(|n| Value::Text(format!("token{n}"))).collect();
    assert_eq!(header.meta("many"), Some(&Value::Array { element: "str", len: 1000, first }));
    assert_eq!(names(&header).len(), 2);
}

#[test]
fn long_texts_are_cut_at_a_whole_character() {
    let template = format!("x{}", "ä".repeat(60_000));
    let header = small().text("tokenizer.chat_template", &template).read();
    let kept = header.meta("tokenizer.chat_template").and_then(Value::as_str).unwrap();
    assert_eq!(kept.len(), (64 << 10) - 1);
    assert!(template.starts_with(kept));
    assert_eq!(problems(&header), [""; 0]);
}

#[test]
fn a_vocabulary_of_a_quarter_million_opens_at_once() {
    const TOKENS: u64 = 262_144;
    let strings = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let tokens: Vec<u8> = (0..TOKENS).flat_map(|n| strings(format!("t{n:x}").as_bytes())).collect();
    let merges: Vec<u8> = (0..2 * TOKENS).flat_map(|n| strings(format!("t{n} e{n}").as_bytes())).collect();
    let bytes = Writer::new()
        .array("tokenizer.ggml.tokens", 8, TOKENS, &tokens)
        .array("tokenizer.ggml.scores", 6, TOKENS, &vec![0; TOKENS as usize * 4])
        .array("tokenizer.ggml.merges", 8, 2 * TOKENS, &merges)
        .tensor("output.weight", &[64], F32, 256)
        .build();
    let scratch = Scratch::new();
    let header = scratch.read(&bytes);
    assert_eq!((problems(&header), names(&header)), (vec![], vec!["output.weight"]));
    let file = SourceFile::open(&scratch.0, "model.gguf").unwrap();
    let started = Instant::now();
    Gguf.read_header(&file);
    // 6 ms optimized, some 40 ms in a test build; the bound leaves room for a loaded machine.
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn alignment_of_the_file_is_taken() {
    let aligned = |value: u32| small().pair(ALIGNMENT_KEY, U32, &value.to_le_bytes());
    let base = Writer { alignment: 64, ..Writer::new() };
    let header = base
        .pair(ALIGNMENT_KEY, U32, &64u32.to_le_bytes())
        .tensor("a", &[1], F32, 4)
        .tensor("b", &[1], F32, 4)
        .read();
    assert_eq!(problems(&header), [""; 0]);
    assert_eq!(header.entries()[1].begin, header.header_bytes + 64);
    assert_eq!(header.header_bytes % 64, 0);
    for wrong in [0, 48] {
        assert_eq!(problems(&aligned(wrong).read()), ["bad-metadata"]);
    }
    let header = small().pair(ALIGNMENT_KEY, 10, &32u64.to_le_bytes()).read();
    assert_eq!(problems(&header), ["strict-reader-rejects"]);
    assert!(header.problems[0].message.ends_with("must be of type u32 but is u64"));
}

#[test]
fn foreign_versions_are_named() {
    for (version, text) in [(1, "no reader takes it any more"), (99, "readers take 2 and 3")] {
        let header = Writer { version, ..small() }.read();
        assert_eq!(problems(&header), ["bad-version"]);
        assert!(header.unreadable && header.problems[0].message.contains(text));
    }
    assert_eq!(problems(&Scratch::new().read(b"GGUX\x03\0\0\0")), ["not-a-container"]);
    assert_eq!(problems(&Scratch::new().read(b"")), ["empty-file"]);
    assert_eq!(problems(&Scratch::new().read(b"<!DOCTYPE html><html>")), ["html-page"]);
}

#[test]
fn big_endian_files_are_listed_without_readable_values() {
    let header = Writer { big_endian: true, ..Writer::new() }
        .text("general.architecture", "llama")
        .pair("n", 2, &7u16.to_be_bytes())
        .tensor("a", &[64, 2], Q4_0, 72)
        .read();
    assert_eq!(problems(&header), ["big-endian"]);
    assert_eq!(header.meta("n"), Some(&Value::Int(7)));
    let a = &header.entries()[0];
    assert_eq!((header.shape(a), a.dtype.name()), (&[2, 64][..], "Q4_0 big-endian"));
    assert_eq!((a.end - a.begin, a.dtype.bytes_of(128)), (72, None));
}

#[test]
fn impossible_counts_allocate_nothing_and_keep_what_is_there() {
    let huge = 1u64 << 62;
    let mut file = small();
    file.infos.0 = huge;
    let header = file.read();
    assert_eq!(problems(&header), ["header-length"]);
    assert_eq!(names(&header), ["blk.0.attn_q.weight", "output_norm.weight"]);
    assert_eq!(header.metadata.len(), 5);
    let mut file = small();
    file.pairs.0 = huge;
    assert_eq!(problems(&file.read()), ["header-length"]);
    let long = small().pair("long", STR, &huge.to_le_bytes()).read();
    assert_eq!((problems(&long), long.metadata.len()), (vec!["header-length"], 5));
    let wide = small().array("wide", U32, huge, &[]).read();
    assert_eq!((problems(&wide), wide.metadata.len()), (vec!["header-length"], 5));
    let cut = small().array("cut", U32, 1 << 29, &[0; 64]).read();
    assert_eq!((problems(&cut), cut.metadata.len()), (vec!["truncated"], 5));
}

#[test]
fn a_fault_in_the_list_keeps_the_tensors_before_it() {
    let header = small().tensor("c", &[1; 9], F32, 4).read();
    assert_eq!(problems(&header), ["header-damaged"]);
    assert_eq!(names(&header), ["blk.0.attn_q.weight", "output_norm.weight"]);
    // Nobody knows where the data begins: no range is made up.
    assert!(header.entries().iter().all(|entry| entry.begin == entry.end));
    let header = small().pair("odd", 13, &[]).read();
    assert_eq!((problems(&header), header.metadata.len()), (vec!["header-damaged"], 5));
}

#[test]
fn cut_files_say_how_much_is_missing() {
    let mut bytes = small().build();
    bytes.truncate(bytes.len() - 100);
    let header = Scratch::new().read(&bytes);
    assert_eq!(problems(&header), ["truncated"]);
    let message = &header.problems[0].message;
    assert!(
        message.contains("(100 missing): 1 tensor of 2 cut, the first is output_norm.weight"),
        "{message}"
    );
    assert_eq!(names(&header).len(), 2);
}

#[test]
fn tensors_in_the_wrong_place_are_named() {
    let place = |offset: u64| {
        Writer { data_bytes: 512, ..Writer::new() }
            .tensor_at(b"a", &[32], F32, 0)
            .tensor_at(b"b", &[32], F32, offset)
            .tensor_at(b"c", &[64], F32, 256)
    };
    assert_eq!(problems(&place(128).read()), [""; 0]);
    assert_eq!(problems(&place(64).read()), ["overlap", "hole"]);
    assert_eq!(problems(&place(1 << 40).read()), ["bad-offsets", "hole"]);
    assert_eq!(problems(&place(u64::MAX).read()), ["bad-offsets", "hole"]);
    let swapped = Writer { data_bytes: 256, ..Writer::new() }
        .tensor_at(b"a", &[32], F32, 128)
        .tensor_at(b"b", &[32], F32, 0)
        .read();
    assert_eq!(problems(&swapped), ["strict-reader-rejects"]);
    let message = &swapped.problems[0].message;
    assert!(message.ends_with("tensor 'a' has offset 128, expected 0"), "{message}");
    let mut trailing = small();
    trailing.data_bytes += 1000;
    assert_eq!(problems(&trailing.read()), ["odd-header"]);
}

#[test]
fn names_and_keys_that_readers_refuse_are_named() {
    let long = "n".repeat(64);
    let cases = [
        (small().text("llama.eps", "again"), "strict-reader-rejects"),
        (small().text("", "no key"), "strict-reader-rejects"),
        (small().array("nested", ARR, 1, &[&U32.to_le_bytes()[..], &[0; 8]].concat()), "bad-metadata"),
        (small().tensor("output_norm.weight", &[1], F32, 4), "duplicate-name"),
        (small().tensor(&long, &[1], F32, 4), "strict-reader-rejects"),
        (small().tensor("five", &[1; 5], F32, 4), "strict-reader-rejects"),
        (small().tensor("none", &[0, 3], F32, 0), "odd-header"),
        (small().tensor("row", &[33, 32], Q4_0, 594), "shape-size"),
        (small().tensor("vast", &[1 << 40, 1 << 40], F32, 4), "shape-size"),
        (small().tensor("gone", &[32], 4, 20), "unsupported-container"),
        (small().tensor("fork", &[256], 144, 140), "unsupported-container"),
        (small().tensor("new", &[256], 4711, 140), "unknown-dtype"),
    ];
    for (file, problem) in cases {
        let header = file.read();
        assert_eq!(problems(&header), [problem]);
        assert!(header.entries().len() + header.metadata.len() == 8, "{problem}: all stays listed");
    }
    let mut file = small();
    file.data_bytes = 384;
    let header = file.tensor_at(b"\xff.weight", &[1], F32, 352).read();
    assert_eq!((problems(&header), names(&header)[2]), (vec!["header-damaged"], "\u{fffd}.weight"));
}

#[test]
fn tensors_of_unknown_size_reach_to_the_next() {
    let header = small().tensor("fork", &[256], 144, 140).tensor("last", &[1], F32, 4).read();
    let [_, _, fork, last] = header.entries() else { panic!("four tensors") };
    assert_eq!((fork.dtype.name(), fork.end), ("IQ4_KS", last.begin));
    assert_eq!(problems(&header), ["unsupported-container"]);
}

#[test]
fn one_problem_for_each_tensor_is_told_in_bounds() {
    let file = (0..100).fold(Writer::new(), |file, n| file.tensor(&format!("t{n}"), &[0], F32, 0));
    let header = file.read();
    assert_eq!(header.problems.len(), 17);
    assert!(header.problems[16].message.contains("84 more problems like this"));
}

#[test]
fn every_cut_of_a_file_is_a_named_problem() {
    let bytes = small().build();
    let scratch = Scratch::new();
    for end in 0..bytes.len() {
        let header = scratch.read(&bytes[..end]);
        assert!(header.problems.iter().any(crate::problem::Problem::is_error), "cut at {end}");
    }
}

#[test]
fn no_changed_byte_panics_or_takes_long() {
    let bytes = small().build();
    let head = bytes.len() - 352;
    let scratch = Scratch::new();
    let started = Instant::now();
    for at in 0..head {
        for value in [0, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x40, bytes[at] ^ 0x80] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let header = scratch.read(&changed);
            assert!(header.entries().len() <= 20 && header.problems.len() <= 40);
        }
    }
    assert!(started.elapsed() < Duration::from_mins(1));
}

/// Reads whole values of a file.
fn whole(bytes: &[u8], keys: &[&str]) -> Result<Vec<(String, Whole)>, String> {
    let scratch = Scratch::new();
    scratch.read(bytes);
    read_whole(&SourceFile::open(&scratch.0, "model.gguf").unwrap(), keys)
}

#[test]
fn arrays_and_texts_are_read_whole_on_demand() {
    let words: Vec<String> = (0..5000).map(|at| format!("word {at}")).collect();
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let long = "x".repeat(200_000);
    let numbers: Vec<u8> = (0..3000i32).flat_map(|at| (at - 5).to_le_bytes()).collect();
    let scores: Vec<u8> = [0.5f32, -1e-5].iter().flat_map(|score| score.to_le_bytes()).collect();
    let bytes = Writer::new()
        .strings("skipped", &texts)
        .strings("tokens", &texts)
        .text("template", &long)
        .array("types", 5, 3000, &numbers)
        .array("scores", 6, 2, &scores)
        .array("flags", 7, 3, &[1, 0, 1])
        .pair("number", U32, &7u32.to_le_bytes())
        .tensor("x", &[4], F32, 16)
        .build();
    let found =
        whole(&bytes, &["number", "tokens", "template", "types", "scores", "flags", "absent"]).unwrap();
    let names: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, ["tokens", "template", "types", "scores", "flags", "number"]);
    assert_eq!(found[0].1, Whole::Texts(words));
    assert_eq!(found[1].1, Whole::One(Value::Text(long)));
    assert_eq!(found[2].1, Whole::Ints((-5..2995).collect()));
    assert_eq!(found[3].1, Whole::Floats(vec![0.5, -0.00001]));
    assert_eq!(found[4].1, Whole::Bools(vec![true, false, true]));
    assert_eq!(found[5].1, Whole::One(Value::Int(7)));
}

#[test]
fn whole_values_that_cannot_be_are_refused_in_words() {
    let refused = |writer: Writer, words: &str| {
        let why = whole(&writer.build(), &["key"]).unwrap_err();
        assert!(why.contains(words), "{why}");
    };
    refused(Writer::new().array("key", STR, 1 << 40, &[]), "the header says");
    refused(Writer::new().array("key", 5, 1000, &[0; 8]), "1000 elements");
    refused(Writer::new().array("key", ARR, 0, &[]), "array of arrays");
    refused(Writer::new().array("key", 10, 1, &u64::MAX.to_le_bytes()), "beyond 63 bits");
    refused(Writer::new().pair("key", STR, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), "not UTF-8 from its byte 0");
    refused(Writer::new().pair("key", 99, &[]), "value type 99");
    // What is not asked for may be anything that can be stepped over.
    let twice = Writer::new().text("key", "first").text("key", "second").build();
    assert_eq!(whole(&twice, &["key"]).unwrap(), [("key".into(), Whole::One(Value::Text("first".into())))]);
    for cut in 0..twice.len() - 1 {
        let _ = whole(&twice[..cut], &["key"]);
    }
}
