//! Tests of the PyTorch reader over the samples, over hand-written pickles, and over damaged files.

mod build;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::*;
use build::*;

fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(path)
}

fn open(path: &Path) -> SourceFile {
    SourceFile::open(path, path.file_name().unwrap().to_string_lossy()).unwrap()
}

fn header_of(bytes: &[u8]) -> Header {
    Torch.read_header(&Scratch::new(bytes).source())
}

fn names(header: &Header) -> Vec<&str> {
    header.entries().iter().map(|entry| header.name(entry)).collect()
}

/// The errors of a header as `code message`; the warning about pickles is on every file with tensors.
fn faults(header: &Header) -> String {
    let others = header.problems.iter().filter(|p| p.kind != &kind::PICKLE_WEIGHTS);
    others.fold(String::new(), |mut all, p| {
        let _ = writeln!(all, "{} {}", p.kind.code, p.message);
        all
    })
}

fn assert_fault(header: &Header, wanted: &ProblemKind, words: &str) {
    assert!(
        header.problems.iter().any(|p| p.kind == wanted && p.message.contains(words)),
        "no {} with {words:?} in:\n{}",
        wanted.code,
        faults(header)
    );
}

// The samples.

#[test]
fn samples_hold_the_golden_tensors_byte_for_byte() {
    let golden = std::fs::read(sample("bin-variants/golden/tensors.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    for name in ["zip.bin", "legacy.bin", "nested.pt"] {
        let file = open(&sample("bin-variants").join(name));
        let header = Torch.read_header(&file);
        assert_eq!(faults(&header), "", "{name}");
        assert_eq!(header.entries().len(), 12, "{name}");
        assert_eq!(golden.len(), 12);
        for (index, entry) in header.entries().iter().enumerate() {
            let want = golden.tensor(header.name(entry)).unwrap();
            let shape: Vec<u64> = want.shape().iter().map(|&size| size as u64).collect();
            assert_eq!(header.shape(entry), shape, "{name} {}", header.name(entry));
            assert_eq!(entry.dtype, Dtype::parse(&want.dtype().to_string()));
            let bytes = read_contiguous(&file, &Stored::of(&header, index as u32).unwrap(), 1 << 20).unwrap();
            assert_eq!(bytes, want.data(), "{name} {}", header.name(entry));
        }
    }
}

#[test]
fn tied_tensors_show_the_same_storage() {
    let header = Torch.read_header(&open(&sample("bin-variants/zip.bin")));
    let view = |name: &str| {
        let index = names(&header).iter().position(|&n| n == name).unwrap();
        header.views.get(&(index as u32)).cloned()
    };
    assert_eq!(view("h.shared1").unwrap().storage, view("i.shared2").unwrap().storage);
    assert_eq!(view("b.transposed").unwrap().strides, [1, 30]);
    assert_eq!(view("c.f16"), None);
}

#[test]
fn a_training_checkpoint_lists_its_values_beside_the_state_dict() {
    let header = Torch.read_header(&open(&sample("bin-variants/nested.pt")));
    assert_eq!(header.meta("pytorch.state_dict"), Some(&Value::Text("state_dict".into())));
    assert_eq!(header.meta("epoch"), Some(&Value::Int(3)));
}

#[test]
fn harmful_samples_are_named_and_run_nothing() {
    let rows: [(&str, &ProblemKind, &str, usize); 13] = [
        ("deep-nesting.bin", &kind::OVER_LIMIT, "more objects", 0),
        ("eval.bin", &kind::UNSAFE_PICKLE, "__builtin__.eval at byte 173: refused, nothing was run", 1),
        ("getattr.bin", &kind::UNSAFE_PICKLE, "__builtin__.getattr at byte 173", 1),
        ("huge-len.bin", &kind::PICKLE_DAMAGED, "claims 1152921504606846976 bytes", 0),
        ("legacy-os-system.bin", &kind::UNSAFE_PICKLE, "posix.system at byte 324", 1),
        ("memo-bomb.bin", &kind::NOT_A_CONTAINER, "bare Python pickle", 0),
        ("opcode-inst.bin", &kind::UNSAFE_PICKLE, "os.system (INST)", 0),
        ("os-system.bin", &kind::UNSAFE_PICKLE, "posix.system at byte 173", 1),
        ("raw-pickle.bin", &kind::UNSAFE_PICKLE, "posix.system", 0),
        ("stack-global.bin", &kind::UNSAFE_PICKLE, "posix.system", 0),
        ("stride-out-of-storage.bin", &kind::BAD_OFFSETS, "tensor w spans bytes 0 to 2524", 1),
        ("truncated-zip.bin", &kind::TRUNCATED, "1 of 1 storages are whole", 1),
        ("zip-traversal.bin", &kind::PICKLE_DAMAGED, "points outside the archive", 0),
    ];
    for (name, wanted, words, tensors) in rows {
        let header = Torch.read_header(&open(&sample("bin-malicious").join(name)));
        assert_fault(&header, wanted, words);
        assert_eq!(header.entries().len(), tensors, "{name}");
    }
    let bomb = Torch.read_header(&open(&sample("bin-malicious/zip-deflated-bomb.bin")));
    assert_fault(&bomb, &kind::ODD_HEADER, "67108864 bytes");
}

// What a pickle may hold.

#[test]
fn recognized_classes_are_explained_and_the_tensors_after_them_listed() {
    let namespace =
        [global("argparse", "Namespace"), b")\x81".to_vec(), dict(&[("lr", int(1))]), b"b".to_vec()];
    let object = dict(&[("args", namespace.concat()), ("model", dict(&[("w", square())]))]);
    let header = header_of(&archive(&object));
    assert_eq!(names(&header), ["w"]);
    assert_fault(&header, &kind::UNSAFE_PICKLE, "argparse.Namespace at byte 13: recognized and not built");
    assert_eq!(header.meta("args"), Some(&Value::Text("argparse.Namespace, not built".into())));
}

#[test]
fn a_module_saved_whole_lists_its_tensors_under_their_state_dict_names() {
    let class = |name: &str| [global("torch.nn.modules.x", name), b")\x81".to_vec()].concat();
    let inner = [class("Linear"), dict(&[("_parameters", dict(&[("weight", square())]))]), b"b".to_vec()];
    let outer = [class("Model"), dict(&[("_modules", dict(&[("fc", inner.concat())]))]), b"b".to_vec()];
    let header = header_of(&archive(&outer.concat()));
    assert_eq!(names(&header), ["fc.weight"]);
    assert_fault(&header, &kind::UNSAFE_PICKLE, "whole module");
}

#[test]
fn optimizer_tensors_keep_their_path_beside_the_model() {
    let optimizer =
        dict(&[("state", [b"}".to_vec(), int(0), dict(&[("m", square())]), b"s".to_vec()].concat())]);
    let object = dict(&[("optimizer", optimizer), ("model", dict(&[("w", square())])), ("epoch", int(7))]);
    let header = header_of(&archive(&object));
    assert_eq!(names(&header), ["optimizer.state.0.m", "w"]);
    assert_eq!(header.meta("epoch"), Some(&Value::Int(7)));
    assert_eq!(header.meta("pytorch.storages"), Some(&Value::Int(1)));
}

#[test]
fn what_stood_before_a_refused_name_is_listed() {
    let bad = [global("os", "system"), tuple(&[text("true")]), b"R".to_vec()].concat();
    let model = [b"}(".to_vec(), text("w"), square(), text("x"), bad].concat();
    let object = [b"}(".to_vec(), text("model"), model].concat();
    for bytes in [archive(&object), legacy_file(&object)] {
        let header = header_of(&bytes);
        assert_eq!(names(&header), ["w"]);
        assert_fault(&header, &kind::UNSAFE_PICKLE, "names the global os.system at byte");
    }
}

#[test]
fn every_protocol_is_read() {
    let state = |w: &[u8]| [b"}(X\x01\0\0\0w".as_slice(), w, b"u"].concat();
    let protocol0 = [b"(dp0\nVw\np1\n".as_slice(), &square(), b"s"].concat();
    let framed = [b"\x95\x10\0\0\0\0\0\0\0".as_slice(), &state(&square())].concat();
    let stack_global = square().strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n").unwrap().to_vec();
    let protocol4 =
        [b"\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94".as_slice(), &stack_global];
    for object in [protocol0, framed, state(&protocol4.concat())] {
        let header = header_of(&archive(&object));
        assert_eq!((names(&header), faults(&header).as_str()), (vec!["w"], ""));
    }
    let data = [
        b"I01\nI42\nL5L\nF1.5\nS'a'\nVb\n".as_slice(),
        b"K\x01M\x01\0J\x01\0\0\0\x8b\x01\0\0\0\x05G\0\0\0\0\0\0\0\0",
        b"U\x01aT\x01\0\0\0a\x8c\x01aB\x01\0\0\0aC\x01a\x8e\x01\0\0\0\0\0\0\0a\x96\x01\0\0\0\0\0\0\0a",
        b"N\x88\x89)\x8f(K\x01\x90(K\x01\x91(K\x01K\x02d(K\x01l20(1",
    ];
    let many = [b"](".as_slice(), &data.concat(), b"e"].concat();
    let header = header_of(&archive(&dict(&[("w", square()), ("many", many)])));
    assert_eq!((names(&header), faults(&header).as_str()), (vec!["w"], ""));
}

#[test]
fn float8_comes_from_an_untyped_storage() {
    let untyped = [
        tuple(&[text("storage"), global("torch.storage", "UntypedStorage"), text("0"), text("cpu"), int(16)]),
        b"Q".to_vec(),
    ];
    let arguments = tuple(&[
        untyped.concat(),
        int(0),
        ints(&[4, 4]),
        ints(&[4, 1]),
        b"\x89".to_vec(),
        b"}".to_vec(),
        global("torch", "float8_e4m3fn"),
    ]);
    let w = [global("torch._utils", "_rebuild_tensor_v3"), arguments, b"R".to_vec()].concat();
    let header = header_of(&archive(&dict(&[("w", w)])));
    assert_eq!(faults(&header), "");
    assert_eq!(header.entries()[0].dtype, Dtype::F8E4M3);
    assert_eq!(header.entries()[0].end - header.entries()[0].begin, 16);
}

// Hostile input.

#[test]
fn impossible_tensors_are_listed_with_their_fault() {
    let rows: [(Vec<u8>, &ProblemKind, &str); 7] = [
        (tensor(four(), 0, &[-2, 2], &[2, 1]), &kind::SHAPE_SIZE, "negative"),
        (tensor(four(), -1, &[2], &[1]), &kind::BAD_OFFSETS, "spans bytes -4"),
        (tensor(four(), 0, &[2, 2], &[1]), &kind::PICKLE_DAMAGED, "2 sizes and 1 strides"),
        (tensor(four(), 0, &[1 << 62, 1 << 62], &[1, 1]), &kind::SHAPE_SIZE, "overflows"),
        (tensor(four(), i64::MAX, &[i64::MAX; 64], &[i64::MAX; 64]), &kind::BAD_OFFSETS, "spans"),
        (tensor(four(), 0, &[5], &[1]), &kind::BAD_OFFSETS, "which has 16"),
        (tensor(storage("FloatStorage", "9", 4), 0, &[4], &[1]), &kind::PICKLE_DAMAGED, "storage 9 is not"),
    ];
    for (w, wanted, words) in rows {
        let header = header_of(&archive(&dict(&[("w", w)])));
        assert_fault(&header, wanted, words);
        assert_eq!(names(&header), ["w"]);
    }
}

#[test]
fn storages_that_lie_about_their_size_are_reported() {
    for (numel, words) in [(5, "says 20 bytes"), (-1, "-1 elements"), (i64::MAX, "overflows")] {
        let w = tensor(storage("FloatStorage", "0", numel), 0, &[2], &[1]);
        let header = header_of(&archive(&dict(&[("w", w.clone())])));
        assert_fault(&header, &kind::SHAPE_SIZE, words);
        assert_fault(&header_of(&legacy_file(&dict(&[("w", w)]))), &kind::SHAPE_SIZE, "has 4 elements");
    }
}

#[test]
fn pickles_over_a_bound_stop_early() {
    let rows: [(Vec<u8>, &ProblemKind, &str); 9] = [
        (vec![b']'; 4 << 20], &kind::OVER_LIMIT, "more objects"),
        (vec![b'('; 1 << 20], &kind::OVER_LIMIT, "marks"),
        (vec![b'N'; 1 << 20], &kind::OVER_LIMIT, "wait on the stack"),
        ([b"]".to_vec(), vec![b'2'; 1 << 20]].concat(), &kind::OVER_LIMIT, "wait on the stack"),
        (b"]r\0\0\0\x80".to_vec(), &kind::OVER_LIMIT, "memo entry 2147483648"),
        (b"]p99999999999999999999\n".to_vec(), &kind::PICKLE_DAMAGED, "no number"),
        (b"]h\x05".to_vec(), &kind::PICKLE_DAMAGED, "never stored"),
        (b"\x82\x01".to_vec(), &kind::UNSAFE_PICKLE, "extension"),
        (b"(cos\nsystem\no".to_vec(), &kind::UNSAFE_PICKLE, "os.system"),
    ];
    for (object, wanted, words) in rows {
        assert_fault(&header_of(&archive(&object)), wanted, words);
    }
}

#[test]
fn shared_and_cyclic_containers_end() {
    // Forty lists, each twice in the next, over one tensor; and a list in itself.
    let mut bomb = [b"(](".to_vec(), square(), b"eq\0".to_vec()].concat();
    for i in 0..40u8 {
        bomb.extend_from_slice(&[b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1]);
    }
    bomb.push(b't');
    let header = header_of(&archive(&dict(&[("bomb", bomb), ("w", square())])));
    assert_eq!((names(&header), faults(&header).as_str()), (vec!["bomb.0.0", "w"], ""));
    let cycle = b"]q\0h\0a".to_vec();
    assert_eq!(names(&header_of(&archive(&dict(&[("c", cycle), ("w", square())])))), ["w"]);
    let mut deep = square();
    for _ in 0..200 {
        deep = dict(&[("k", deep)]);
    }
    assert_fault(&header_of(&archive(&deep)), &kind::OVER_LIMIT, "nest deeper than 64");
}

#[test]
fn names_are_bounded_and_need_not_be_utf8() {
    let long = "n".repeat(1 << 20);
    let header = header_of(&archive(&dict(&[(long.as_str(), square())])));
    assert_eq!(header.name(&header.entries()[0]).len(), 4096);
    assert_fault(&header, &kind::OVER_LIMIT, "longer than 4096 bytes");
    let raw = [b"}(X\x02\0\0\0\xff\x1b".as_slice(), &square(), b"X\x01\0\0\0b", &square(), b"u"].concat();
    assert_eq!(names(&header_of(&archive(&raw))), ["\u{fffd}\u{1b}", "b"]);
    let evil = global("os\x1b[31m", &"x".repeat(300));
    let header = header_of(&archive(&evil));
    assert!(header.problems.iter().all(|p| !p.message.contains('\x1b') && p.message.len() < 400));
}

#[test]
fn archives_that_lie_are_reported() {
    let pickle = pickled(&dict(&[("w", square())]));
    let data = floats(&[1.0; 4]);
    let twice = zip(&[stored("m/data.pkl", &pickle), stored("m/data/0", &data), stored("m/data/0", &data)]);
    assert_fault(&header_of(&twice), &kind::DUPLICATE_NAME, "m/data/0 stands twice");

    let two =
        pickled(&dict(&[("a", square()), ("b", tensor(storage("FloatStorage", "1", 4), 0, &[4], &[1]))]));
    let mut same = zip(&[stored("m/data.pkl", &two), stored("m/data/0", &data), stored("m/data/0", &data)]);
    let last = same.windows(8).rposition(|w| w == b"m/data/0").unwrap();
    same[last + 7] = b'1';
    assert_fault(&header_of(&same), &kind::PICKLE_DAMAGED, "another name");

    let mut far = archive(&dict(&[("w", square())]));
    let at = far.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    far[at + 42..at + 46].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    assert_fault(&header_of(&far), &kind::PICKLE_DAMAGED, "lies outside the file");

    let mut many = archive(&dict(&[("w", square())]));
    let end = many.len() - 22;
    many[end + 10..end + 12].copy_from_slice(&0xfff0u16.to_le_bytes());
    assert_fault(&header_of(&many), &kind::PICKLE_DAMAGED, "names 65520 entries and ends after 2");
    many[end + 12..end + 16].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert_fault(&header_of(&many), &kind::PICKLE_DAMAGED, "claims 2147483647 bytes");

    let locked = Packed { method: 99, ..stored("m/data.pkl", &pickle) };
    assert_fault(&header_of(&zip(&[locked])), &kind::UNSUPPORTED_CONTAINER, "compression method 99");
    let foreign = header_of(&zip(&[stored("word/document.xml", b"x")]));
    assert!(foreign.unreadable);
    assert_fault(&foreign, &kind::NOT_A_CONTAINER, "without data.pkl");
}

#[test]
fn storages_that_share_bytes_are_reported() {
    let two =
        pickled(&dict(&[("a", square()), ("b", tensor(storage("FloatStorage", "1", 4), 0, &[4], &[1]))]));
    // The data of storage 0 hold a whole local header and data of storage 1.
    let inner = zip(&[stored("m/data/1", &floats(&[1.0; 4]))]);
    let inner = &inner[..LOCAL_AND_DATA];
    let outer = Packed { size: inner.len() as u32, ..stored("m/data/0", inner) };
    let mut bytes = zip(&[stored("m/data.pkl", &two), outer, stored("m/data/1", &floats(&[1.0; 4]))]);
    let inside = bytes.windows(8).position(|w| w == b"m/data/1").unwrap() - 30;
    let at = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[at + 42..at + 46].copy_from_slice(&(inside as u32).to_le_bytes());
    assert_fault(&header_of(&bytes), &kind::OVERLAP, "storages 0 and 1 share bytes");
}

/// A local header with the name `m/data/1` and 16 bytes.
const LOCAL_AND_DATA: usize = 30 + 8 + 16;

#[test]
fn compressed_archives_are_read_under_a_bound() {
    let pickle = pickled(&dict(&[("w", tensor(four(), 1, &[2], &[2]))]));
    let bytes = zip(&[deflated("m/data.pkl", &pickle), deflated("m/data/0", &floats(&[1.0, 2.0, 3.0, 4.0]))]);
    let scratch = Scratch::new(&bytes);
    let header = Torch.read_header(&scratch.source());
    assert_eq!((names(&header), faults(&header).as_str()), (vec!["w"], ""));
    assert_eq!(header.views[&0].compressed_entry.as_deref(), Some("m/data/0"));
    assert_eq!(
        read_contiguous(&scratch.source(), &Stored::of(&header, 0).unwrap(), 1024).unwrap(),
        floats(&[2.0, 4.0])
    );
    assert!(read_contiguous(&scratch.source(), &Stored::of(&header, 0).unwrap(), 8).is_err());

    let bomb = header_of(&zip(&[deflated("m/data.pkl", &vec![b']'; 8 << 20])]));
    assert_fault(&bomb, &kind::OVER_LIMIT, "over the limit of");
    let mut short = deflated("m/data.pkl", &pickle);
    short.size += 1;
    assert_fault(&header_of(&zip(&[short])), &kind::PICKLE_DAMAGED, "inflates to");
}

#[test]
fn other_kinds_of_archive_are_named() {
    let pickle = pickled(&dict(&[("w", square())]));
    let data = floats(&[1.0; 4]);
    let with = |name, content: &[u8]| {
        header_of(&zip(&[stored("m/data.pkl", &pickle), stored("m/data/0", &data), stored(name, content)]))
    };
    assert_fault(&with("m/byteorder", b"big"), &kind::BIG_ENDIAN, "byteorder is big");
    assert_fault(&with("m/constants.pkl", b"."), &kind::UNSUPPORTED_CONTAINER, "TorchScript");
    assert_fault(&with("m/code/x.py", b""), &kind::UNSUPPORTED_CONTAINER, "TorchScript");
    assert_fault(&header_of(b""), &kind::EMPTY_FILE, "0 byte");
    let tar = [vec![0; 257], b"ustar".to_vec(), vec![0; 250]].concat();
    assert_fault(&header_of(&tar), &kind::UNSUPPORTED_CONTAINER, "tar archive");
}

#[test]
fn heads_are_told_apart() {
    let rows: [(&[u8], bool); 11] = [
        (b"PK\x03\x04", true),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", true),
        (b"\x80\x05\x95\0\0\0\0\0\0\0\0.", true),
        (b"(S'true'\nios\nsystem\n.", true),
        (b"cposix\nsystem\n(S'x'\ntR.", true),
        // A safetensors header of 640 bytes.
        (b"\x80\x02\0\0\0\0\0\0{\"w\":", false),
        (b"\x93NUMPY\x01\0", false),
        (b"GGUF\x03\0\0\0", false),
        (b"(c) 2020 somebody", false),
        (b"config = 1\n", false),
        (b"", false),
    ];
    for (head, wanted) in rows {
        assert_eq!(Torch.sniff(head), wanted, "{head:?}");
    }
}

#[test]
fn cut_archives_show_the_tensors_that_are_whole() {
    let two =
        pickled(&dict(&[("a", square()), ("b", tensor(storage("FloatStorage", "1", 4), 0, &[4], &[1]))]));
    let data = floats(&[1.0; 4]);
    let bytes = zip(&[stored("m/data.pkl", &two), stored("m/data/0", &data), stored("m/data/1", &data)]);
    let directory = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let header = header_of(&bytes[..directory - 4]);
    assert_eq!(names(&header), ["a", "b"]);
    assert_fault(&header, &kind::TRUNCATED, "1 of 2 storages are whole");
}

#[test]
fn damaged_files_never_panic() {
    let object = dict(&[("model", dict(&[("w", square()), ("t", tensor(four(), 0, &[2, 2], &[1, 2]))]))]);
    let mut count = 0;
    for whole in [archive(&object), legacy_file(&object)] {
        assert_eq!(names(&header_of(&whole)), ["w", "t"]);
        for cut in 0..whole.len() {
            header_of(&whole[..cut]);
            count += 1;
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, b'.', b'(', b'R', whole[at] ^ 1, whole[at].wrapping_add(1)]
            {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let scratch = Scratch::new(&bytes);
                let file = scratch.source();
                let header = Torch.read_header(&file);
                for index in 0..header.entries().len() {
                    let _ = read_contiguous(&file, &Stored::of(&header, index as u32).unwrap(), 1 << 16);
                }
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "{count} damaged files");
}
