//! Files built byte by byte: each fault with the problem that it must give, and good ones without any.

use std::path::PathBuf;

use super::*;
use crate::container::Value;
use crate::tensor::Dtype;

/// A file in the system's temporary folder, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    #[expect(clippy::disallowed_methods, reason = "tests build their own inputs")]
    fn new(bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ckpt-st-{}-{id}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn open(&self) -> SourceFile {
        SourceFile::open(&self.0, "m.safetensors").unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file of `json` with a true length field and `data` bytes of data.
fn file(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + data, 7);
    bytes
}

fn header(bytes: &[u8]) -> Header {
    Safetensors.read_header(&Scratch::new(bytes).open())
}

/// Our own names of the faults, without the judge's.
fn own(header: &Header) -> Vec<&'static str> {
    header.problems.iter().map(|p| p.kind.name).filter(|name| *name != kind::STRICT_READER.name).collect()
}

fn verdict(header: &Header) -> Option<&str> {
    let said = header.problems.iter().find(|p| p.kind == &kind::STRICT_READER)?;
    said.message.strip_prefix("m.safetensors: the reference reader rejects this file: ")
}

/// Reads `bytes` and compares our faults, the judge's words (a part of them, or none), and how many
/// tensors are listed.
#[track_caller]
fn check(bytes: &[u8], faults: &[&str], judge: Option<&str>, tensors: usize) -> Header {
    let header = header(bytes);
    assert_eq!(own(&header), faults, "{:?}", header.problems);
    match judge {
        Some(words) => assert!(verdict(&header).is_some_and(|v| v.contains(words)), "{:?}", header.problems),
        None => assert_eq!(verdict(&header), None),
    }
    assert_eq!(header.entries().len(), tensors);
    for problem in &header.problems {
        assert!(problem.message.starts_with("m.safetensors: "), "{}", problem.message);
        assert!(!problem.message.contains('\n'), "{}", problem.message);
    }
    header
}

const A: &str = r#""a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#;

/// A second tensor, with these offsets.
fn b(begin: u64, end: u64) -> String {
    format!(r#""b":{{"dtype":"F32","shape":[2,2],"data_offsets":[{begin},{end}]}}"#)
}

/// A file of one tensor `a` with these fields.
fn one(dtype: &str, shape: &str, offsets: &str, data: usize) -> Vec<u8> {
    file(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#), data)
}

#[test]
fn a_sound_file_is_clean_and_its_ranges_are_absolute() {
    let json = format!(r#"{{"__metadata__":{{"format":"pt"}},{A},{}}}  "#, b(16, 32));
    let header = check(&file(&json, 32), &[], None, 2);
    let second = header.entries()[1];
    let start = 8 + json.len() as u64;
    assert_eq!((header.name(&second), header.shape(&second), second.dtype), ("b", &[2, 2][..], Dtype::F32));
    assert_eq!((second.begin, second.end, header.header_bytes), (start + 16, start + 32, start));
    assert_eq!(header.meta("format").and_then(Value::as_str), Some("pt"));
    assert!(!header.unreadable);
}

#[test]
fn legal_oddities_are_clean() {
    check(&file("{}", 0), &[], None, 0);
    check(&file("{}          ", 0), &[], None, 0);
    check(&file(r#"{"__metadata__":null}"#, 0), &[], None, 0);
    check(&one("F32", "[]", "[0,4]", 4), &[], None, 1);
    check(&one("F32", "[0,5]", "[0,0]", 0), &[], None, 1);
    check(&one("F4", "[4,2]", "[0,4]", 4), &[], None, 1);
    check(&one("F6_E2M3", "[4]", "[0,3]", 3), &[], None, 1);
    check(&file(&format!("{{{},{A}}}", b(16, 32)), 32), &[], None, 2);
    check(&file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"new":[[{}]]}}"#, 1), &[], None, 1);
    let header =
        check(&file(r#"{"a\u001b\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1), &[], None, 1);
    assert_eq!(header.name(&header.entries()[0]), "a\x1b\n");
}

#[test]
fn every_dtype_of_the_format_is_read() {
    let dtypes = "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 \
                  BF16 I32 U32 F32 C64 F64 I64 U64";
    for dtype in dtypes.split_whitespace() {
        let bits = Dtype::parse(dtype).bits().unwrap() as usize;
        let header = check(&one(dtype, "[8]", &format!("[0,{bits}]"), bits), &[], None, 1);
        assert_eq!(header.entries()[0].dtype.name(), dtype);
    }
}

#[test]
fn a_length_that_cannot_be_true_is_told() {
    check(b"", &["empty-file"], None, 0);
    check(b"1234567", &["header-length"], Some("header too small"), 0);
    check(&0u64.to_le_bytes(), &["header-length"], Some("EOF while parsing"), 0);
    for claimed in [100_000_001, 1 << 63, u64::MAX] {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        check(&bytes, &["header-length"], Some("header too large"), 0);
    }
    let mut bytes = file(&format!("{{{A}}}"), 16);
    bytes[..8].copy_from_slice(&5000u64.to_le_bytes());
    let header = check(&bytes, &["header-length", "header-damaged"], Some("invalid header length"), 1);
    assert_eq!(header.name(&header.entries()[0]), "a");
    assert!(!header.unreadable);
}

#[test]
fn what_is_no_safetensors_file_is_named_for_what_it_is() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab12\nsize 4976698672\n";
    check(pointer, &["lfs-pointer"], None, 0);
    check(b"<!DOCTYPE html><html><body>Access denied</body></html>", &["html-page"], None, 0);
    check(&[0xff; 64], &["not-a-container"], None, 0);
}

#[test]
fn a_header_that_is_no_object_is_damaged() {
    check(&file("[]", 0), &["header-damaged"], Some("invalid type: sequence"), 0);
    check(&file("   ", 0), &["header-damaged"], Some("EOF"), 0);
    check(&file("{not json}      ", 16), &["header-damaged"], Some("key must be a string"), 0);
    let mut bytes = file(r#"{"??":1}"#, 16);
    bytes[10..12].copy_from_slice(&[0xff, 0xfe]);
    let header = check(&bytes, &["header-damaged"], Some("invalid UTF-8"), 0);
    assert!(header.unreadable);
}

#[test]
fn deep_json_exhausts_no_stack() {
    let deep = "[".repeat(200_000);
    check(&file(&deep, 0), &["header-damaged"], Some("invalid JSON"), 0);
    check(&file(&format!(r#"{{{A},"b":{deep}"#), 0), &["header-damaged"], Some("invalid JSON"), 1);
    let closed = format!("{deep}{}", "]".repeat(200_000));
    let json = format!(r#"{{{A},"b":{closed},"c":{{"dtype":{closed},"shape":[{closed}]}}}}"#);
    let header = header(&file(&json, 16));
    assert!(own(&header).contains(&"header-damaged") && header.entries().len() >= 2);
    let objects =
        format!(r#"{{"__metadata__":{{"x":{}1{}}},{A}}}"#, r#"{"k":"#.repeat(50_000), "}".repeat(50_000));
    check(&file(&objects, 16), &["bad-metadata", "metadata-format"], Some("invalid JSON"), 1);
}

#[test]
fn tensors_before_a_break_are_kept() {
    let whole = format!("{{{A},{}}}", b(16, 32));
    let cut = &whole[..whole.len() - 20];
    let header = check(&file(cut, 32), &["header-damaged"], Some("invalid JSON"), 1);
    assert!(header.problems[0].message.contains("after 1 tensor, the last is a: "), "{:?}", header.problems);
    assert!(header.problems[0].message.contains("entry of b"), "{:?}", header.problems);
}

#[test]
fn blanks_before_the_brace_are_a_warning() {
    let header = check(&file(&format!("  {{{A}}}"), 16), &["odd-header"], None, 1);
    assert!(!header.problems[0].is_error());
}

#[test]
fn data_that_does_not_fit_the_file_is_told() {
    let json = format!("{{{A},{}}}", b(16, 32));
    let header = check(&file(&json, 17), &["truncated"], Some("not fully covered"), 2);
    assert!(header.problems[0].message.contains("15 byte missing, 1 tensor cut off from b on"));
    check(&file(&json, 40), &["trailing-bytes"], Some("not fully covered"), 2);
    check(
        &one("F32", "[274877906944]", "[0,1099511627776]", 16),
        &["truncated"],
        Some("not fully covered"),
        1,
    );
    check(&one("F32", "[2,2]", "[0,99]", 16), &["shape-size", "bad-offsets"], Some("invalid shape"), 1);
}

#[test]
fn holes_and_overlaps_name_both_tensors() {
    let hole =
        check(&file(&format!("{{{A},{}}}", b(20, 36)), 36), &["hole"], Some("offset for tensor `b`"), 2);
    assert!(hole.problems[0].message.contains("b: 4 bytes belong to no tensor between a and this one"));
    let overlap = check(&file(&format!("{{{A},{}}}", b(8, 24)), 24), &["overlap"], Some("tensor `b`"), 2);
    assert!(overlap.problems[0].message.contains("b: data_offsets [8, 24] overlap a at [0, 16]"));
    let first = one("U8", "[1]", "[3,4]", 4);
    check(&first, &["hole"], Some("tensor `a`"), 1);
}

#[test]
fn offsets_and_shapes_that_disagree_are_told() {
    let reversed = check(&one("F32", "[2,2]", "[16,0]", 16), &["bad-offsets"], Some("tensor `a`"), 1);
    assert!(reversed.entries()[0].begin > reversed.entries()[0].end);
    check(&one("F32", "[3,3]", "[0,16]", 16), &["shape-size"], Some("invalid shape"), 1);
    check(&one("F32", "[4294967296,4294967296,4]", "[0,16]", 16), &["shape-size"], Some("overflow"), 1);
    check(&one("F32", "[4294967296,4294967296,0]", "[0,0]", 0), &["shape-size"], Some("overflow"), 1);
    check(&one("F4", "[3]", "[0,2]", 2), &["shape-size"], Some("byte boundary"), 1);
    check(
        &one("U8", "[1]", "[18446744073709551614,18446744073709551615]", 1),
        &["bad-offsets"],
        Some("`a`"),
        1,
    );
}

#[test]
fn fields_of_the_wrong_type_cost_only_their_tensor() {
    let good = b(0, 16);
    for (fields, judge, what) in [
        (
            r#"{"dtype":"F32","shape":[-2,2],"data_offsets":[0,16]}"#,
            "integer `-2`",
            "shape holds the number -2",
        ),
        (r#"{"dtype":"F32","shape":[1.5],"data_offsets":[0,16]}"#, "1.5", "shape holds the number 1.5"),
        (
            r#"{"dtype":"F32","shape":4,"data_offsets":[0,16]}"#,
            "integer `4`",
            "shape is the number 4 and no array",
        ),
        (r#"{"dtype":"F32","shape":[2,2]}"#, "missing field", "no `data_offsets`"),
        (r#"{"dtype":"F32","shape":[2,2],"data_offsets":[0]}"#, "", "1 numbers and not 2"),
        (r#"{"shape":[2,2],"data_offsets":[0,16]}"#, "missing field", "no `dtype`"),
        (r#"{"dtype":3,"shape":[2,2],"data_offsets":[0,16]}"#, "", "dtype is the number 3"),
        (
            r#"{"dtype":"F32","dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#,
            "duplicate field",
            "`dtype` twice",
        ),
        ("7", "integer `7`", "the entry is the number 7 and no object"),
        (r#""x""#, "string", "the entry is a text and no object"),
    ] {
        let json = format!(r#"{{"a":{fields},{good}}}"#);
        let header = check(&file(&json, 16), &["header-damaged"], Some(judge), 2);
        assert!(header.problems[0].message.contains(what), "{}", header.problems[0].message);
        assert_eq!(header.problems[0].tensor.as_deref(), Some("a"));
    }
}

#[test]
fn an_unknown_dtype_keeps_its_tensor() {
    let header =
        check(&one("Q4_X", "[2,2]", "[0,16]", 16), &["unknown-dtype"], Some("unknown variant `Q4_X`"), 1);
    assert_eq!(header.entries()[0].dtype.name(), "Q4_X");
}

#[test]
fn a_name_given_twice_is_told_though_the_judge_accepts_it() {
    let header = check(&file(&format!("{{{A},{A}}}"), 16), &["duplicate-name"], None, 2);
    assert_eq!(header.problems[0].tensor.as_deref(), Some("a"));
}

#[test]
fn metadata_is_kept_and_its_faults_told() {
    let number = check(
        &file(&format!(r#"{{"__metadata__":{{"format":"pt","x":3}},{A}}}"#), 16),
        &["bad-metadata"],
        Some("expected a string"),
        1,
    );
    assert_eq!(number.meta("x"), Some(&Value::Int(3)));
    check(&file(&format!(r#"{{"__metadata__":[],{A}}}"#), 16), &["bad-metadata"], Some("sequence"), 1);
    check(&file(&format!(r#"{{"__metadata__":{{"a":"b"}},{A}}}"#), 16), &["metadata-format"], None, 1);
    let long = "x".repeat(2 << 20);
    let json = format!(r#"{{"__metadata__":{{"format":"pt","layout":"{long}"}},{A}}}"#);
    let header = check(&file(&json, 16), &[], None, 1);
    assert_eq!(header.meta("layout").and_then(Value::as_str), Some(long.as_str()));
}

#[test]
fn many_faults_are_counted_and_not_listed() {
    let entries: Vec<String> =
        (0..3000).map(|i| format!(r#""t{i}":{{"dtype":"Z","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    let header = header(&file(&format!("{{{}}}", entries.join(",")), 0));
    assert_eq!(header.entries().len(), 3000);
    assert_eq!(own(&header).len(), FAULTS_MAX + 1);
    let last = header.problems.iter().rfind(|p| p.kind == &kind::OVER_LIMIT).unwrap();
    assert!(last.message.contains("2000 more faults"), "{}", last.message);
}

#[test]
fn sniffing_wants_a_length_and_a_brace() {
    let sniff = |bytes: &[u8]| Safetensors.sniff(bytes);
    assert!(sniff(&file("{}", 0)) && sniff(&file("  {}", 0)));
    assert!(!sniff(&file("[]", 0)) && !sniff(b"1234567") && !sniff(&0u64.to_le_bytes()));
    assert!(!sniff(b"<!DOCTYPE html>{") && !sniff(b"GGUF\x03\0\0\0{"));
}

#[test]
fn large_clean_headers_leave_the_judge_for_later() {
    // The empty tensor in front of another tensor's middle is the judge's to find only when it runs.
    let entries: Vec<String> = (0..400)
        .map(|i| format!(r#""t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1))
        .collect();
    let bytes = file(&format!("{{{}}}", entries.join(",")), 400);
    assert!(bytes.len() as u64 > STRICT_INLINE_BYTES);
    check(&bytes, &[], None, 400);
    assert!(strict_verdict(&Scratch::new(&bytes).open()).is_none());
    let cut = Scratch::new(&bytes[..bytes.len() - 1]);
    assert_eq!(strict_verdict(&cut.open()).unwrap().kind, &kind::STRICT_READER);
}

/// Our reader has an error exactly when the judge rejects; names given twice are told by us alone.
#[track_caller]
fn agrees(bytes: &[u8]) {
    let (ours, is_ours) = read_lenient(&Scratch::new(bytes).open());
    let judge = SafeTensors::read_metadata(bytes);
    let errors: Vec<_> = ours.problems.iter().filter(|p| p.is_error()).collect();
    let agrees = match &judge {
        Ok(_) => errors.iter().all(|p| p.kind == &kind::DUPLICATE_NAME),
        Err(_) => !errors.is_empty(),
    };
    assert!(agrees, "ours {errors:?}, judge {:?}, {:?}", judge.err(), String::from_utf8_lossy(bytes));
    assert!(is_ours || !errors.is_empty());
}

#[test]
fn every_cut_and_every_changed_byte_is_told_as_the_judge_tells_it() {
    let json = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{A},{},"c\n":{{"dtype":"F4","shape":[],"data_offsets":[32,32]}}}} "#,
        b(16, 32)
    )
    .replace(r#""shape":[],"#, r#""shape":[0],"#);
    let bytes = file(&json, 32);
    agrees(&bytes);
    for end in 0..bytes.len() {
        agrees(&bytes[..end]);
    }
    let header_end = bytes.len() - 32;
    for at in 0..header_end {
        for new in [0, 1, b' ', b'"', b'-', b'.', b'0', b'9', b'{', b'}', b'[', b',', b'\\', b'a', 0x80, 0xff]
        {
            let mut changed = bytes.clone();
            changed[at] = new;
            agrees(&changed);
        }
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        agrees(&flipped);
    }
}
