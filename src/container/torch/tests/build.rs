//! Writes pickles, archives and files for the tests.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::container::bytes::SourceFile;

/// A file of the given bytes that goes when it is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ckpt-torch-{}-{count}.bin", std::process::id()));
        let mut file = std::fs::File::options().write(true).create_new(true).open(&path);
        let file = file.as_mut().expect("a new name in the folder for temporary files can be made");
        file.write_all(bytes).expect("a few bytes fit on the disk");
        Self(path)
    }

    pub(super) fn source(&self) -> SourceFile {
        SourceFile::open(&self.0, "x.bin").expect("the file was just written")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

pub(super) fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &value.to_le_bytes()].concat()
}

pub(super) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

pub(super) fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>())
}

pub(super) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub(super) fn storage(class: &str, key: &str, numel: i64) -> Vec<u8> {
    let id = [text("storage"), global("torch", class), text(key), text("cpu"), int(numel)];
    [tuple(&id), b"Q".to_vec()].concat()
}

pub(super) fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = [global("collections", "OrderedDict"), b")R".to_vec()].concat();
    let arguments = tuple(&[storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks]);
    [global("torch._utils", "_rebuild_tensor_v2"), arguments, b"R".to_vec()].concat()
}

pub(super) fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(".as_slice(), &pairs, b"u"].concat()
}

pub(super) fn pickled(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// An entry of a test archive.
pub(super) struct Packed<'a> {
    pub(super) name: &'a str,
    pub(super) data: Vec<u8>,
    pub(super) method: u16,
    pub(super) size: u32,
}

pub(super) fn stored<'a>(name: &'a str, data: &[u8]) -> Packed<'a> {
    Packed { name, data: data.to_vec(), method: 0, size: data.len() as u32 }
}

pub(super) fn deflated<'a>(name: &'a str, data: &[u8]) -> Packed<'a> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).expect("a vector takes all bytes");
    let deflated = encoder.finish().expect("a vector takes all bytes");
    Packed { name, data: deflated, method: 8, size: data.len() as u32 }
}

pub(super) fn zip(entries: &[Packed<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = out.len() as u32;
        let mut both = Vec::new();
        both.extend_from_slice(&[0; 2]);
        both.extend_from_slice(&entry.method.to_le_bytes());
        both.extend_from_slice(&[0; 8]);
        both.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        both.extend_from_slice(&entry.size.to_le_bytes());
        both.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
        both.extend_from_slice(&[0; 2]);
        out.extend_from_slice(b"PK\x03\x04\x14\x00");
        out.extend_from_slice(&both);
        out.extend_from_slice(entry.name.as_bytes());
        out.extend_from_slice(&entry.data);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00\x14\x00");
        directory.extend_from_slice(&both);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(entry.name.as_bytes());
    }
    let begin = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&begin.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// An archive with this object and one F32 storage `0` of four elements.
pub(super) fn archive(object: &[u8]) -> Vec<u8> {
    zip(&[stored("m/data.pkl", &pickled(object)), stored("m/data/0", &floats(&[1.0, 2.0, 3.0, 4.0]))])
}

pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn four() -> Vec<u8> {
    storage("FloatStorage", "0", 4)
}

pub(super) fn square() -> Vec<u8> {
    tensor(four(), 0, &[2, 2], &[2, 1])
}

pub(super) fn legacy_file(object: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let keys = [b"](".as_slice(), &text("0"), b"e"].concat();
    let system = dict(&[("little_endian", b"\x88".to_vec())]);
    let mut out = magic.to_vec();
    for part in [b"M\xe9\x03".to_vec(), system, object.to_vec(), keys] {
        out.extend_from_slice(&pickled(&part));
    }
    out.extend_from_slice(&4i64.to_le_bytes());
    out.extend_from_slice(&floats(&[1.0, 2.0, 3.0, 4.0]));
    out
}
