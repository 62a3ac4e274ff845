//! GGUF, versions 2 and 3: key-values, tensor infos, aligned data. Little-endian.
//!
//! | bytes        | holds                                                                    |
//! |--------------|---------------------------------------------------------------------------|
//! | 4            | `GGUF`                                                                    |
//! | u32          | version (2 and 3 alike; low 16 bits zero: the file is big-endian)         |
//! | i64, i64     | tensors, key-values                                                       |
//! | key-values   | key (u64 length, UTF-8), type u32, value                                  |
//! | tensor infos | name, dimensions u32, u64 each, type u32, offset u64 from the data's start|
//! | padding      | to `general.alignment` (default 32)                                       |
//! | data         | each tensor padded to the alignment                                       |
//!
//! The first dimension in the file is the innermost: shapes are reversed here, so that a linear is
//! `[out, in]` as everywhere else. Arrays (vocabularies) are stepped over, not kept: fixed-size elements
//! in one jump, strings by their length fields in a large buffer.
//! Sources: ggml `gguf.cpp`, `ggml.h`; gguf-py `gguf_reader.py`.

mod reader;
mod values;

use rustc_hash::FxHashSet;

use super::bytes::SourceFile;
use super::{Container, Header, Value};
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::tensor::{Dtype, GgmlType, elements};
use crate::units;
use reader::{Cut, Reader};

/// The GGUF container.
#[derive(Debug)]
pub struct Gguf;

const MAGIC: [u8; 4] = *b"GGUF";
/// Dimensions a tensor may have: `GGML_MAX_DIMS`.
const DIMS_MAX: u32 = 4;
/// Bytes of a name that the C reader takes (`GGML_MAX_NAME`); longer ones are read up to `NAME_READ_MAX`.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a name or key that are read at all.
const NAME_READ_MAX: u64 = 64 << 10;
/// Default alignment of the data, `GGUF_DEFAULT_ALIGNMENT`.
const ALIGNMENT: u64 = 32;
/// Bytes that a tensor info takes at least: empty name, one dimension.
const INFO_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;
/// Bytes that a key-value takes at least: empty key, a one-byte value.
const PAIR_BYTES_MIN: u64 = 8 + 4 + 1;
/// How many faults of one file are kept apart.
const FAULTS_MAX: usize = 50;

impl Container for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn sniff(&self, head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["gguf"]
    }

    fn read_header(&self, file: &SourceFile) -> Header {
        let mut parse = Parse { file, header: Header::default(), faults: 0 };
        match parse.run() {
            Ok(()) => {}
            Err(Cut::Ended { at, wanted }) => {
                let message = format!(
                    "the file ends after {} bytes, inside its header: {wanted} at byte {at}; {} were read before it",
                    file.len(),
                    units::plural(parse.header.entries().len(), "tensor")
                );
                parse.fault(&kind::TRUNCATED, None, &message);
                parse.header.unreadable = parse.header.entries().is_empty();
            }
            Err(Cut::Faulty) => parse.header.unreadable = parse.header.entries().is_empty(),
            Err(Cut::Io(message)) => {
                parse.fault(&kind::UNREADABLE_FILE, None, &message);
                parse.header.unreadable = true;
            }
        }
        parse.header
    }
}

/// One file being read.
struct Parse<'a> {
    file: &'a SourceFile,
    header: Header,
    faults: usize,
}

/// A tensor info, before it is known where the data start.
struct Info {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    offset: u64,
    bytes: Option<u64>,
}

impl Parse<'_> {
    fn run(&mut self) -> Result<(), Cut> {
        let mut reader = Reader::new(self.file);
        let (tensors, pairs) = self.counts(&mut reader)?;
        let mut keys = FxHashSet::default();
        for _ in 0..pairs {
            let key = self.name(&mut reader, "a key")?;
            let value = self.value(&mut reader, &key)?;
            if !keys.insert(key.clone()) {
                self.fault(&kind::DUPLICATE_NAME, None, &format!("key {} stands twice", escape(&key)));
            }
            self.header.metadata.push((key, value));
        }
        let alignment = self.alignment()?;
        let mut infos = Vec::new();
        let read = self.infos(&mut reader, tensors, &mut infos);
        let data = reader.at().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        self.header.header_bytes = data.min(self.file.len());
        self.place(&infos, data, alignment);
        read
    }

    /// Reads magic, version and counts; refuses what no reader takes.
    fn counts(&mut self, reader: &mut Reader<'_>) -> Result<(u64, u64), Cut> {
        if self.file.is_empty() {
            self.fault(&kind::EMPTY_FILE, None, "0 byte, the file is empty");
            return Err(Cut::Faulty);
        }
        let magic = reader.bytes::<4>("the magic")?;
        if magic != MAGIC {
            self.fault(
                &kind::NOT_A_CONTAINER,
                None,
                &format!("starts with bytes {magic:02x?}, not with GGUF"),
            );
            return Err(Cut::Faulty);
        }
        let version = reader.u32("the version")?;
        if version != 0 && version.trailing_zeros() >= 16 {
            let swapped = version.swap_bytes();
            self.fault(
                &kind::BIG_ENDIAN,
                None,
                &format!("version {swapped} in big-endian order: not read here"),
            );
            return Err(Cut::Faulty);
        }
        if !(2..=3).contains(&version) {
            self.fault(&kind::BAD_VERSION, None, &format!("GGUF version {version}: readers take 2 and 3"));
            return Err(Cut::Faulty);
        }
        let (tensors, pairs) = (reader.u64("the tensor count")?, reader.u64("the key-value count")?);
        self.header.metadata.push(("GGUF.version".into(), Value::Int(i64::from(version))));
        let left = self.file.len().saturating_sub(reader.at());
        for (count, least, what) in
            [(tensors, INFO_BYTES_MIN, "tensors"), (pairs, PAIR_BYTES_MIN, "key-values")]
        {
            if count > left / least {
                let message = format!("claims {count} {what}, the {left} bytes left cannot hold them");
                self.fault(&kind::HEADER_LENGTH, None, &message);
                return Err(Cut::Faulty);
            }
        }
        Ok((tensors, pairs))
    }

    fn name(&mut self, reader: &mut Reader<'_>, what: &'static str) -> Result<String, Cut> {
        let len = reader.u64(what)?;
        let at = reader.at();
        if len > NAME_READ_MAX {
            self.fault(&kind::HEADER_DAMAGED, None, &format!("{what} at byte {at} claims {len} bytes"));
            return Err(Cut::Faulty);
        }
        let bytes = reader.take(len as usize, what)?;
        match String::from_utf8(bytes.to_vec()) {
            Ok(name) => Ok(name),
            Err(error) => {
                self.fault(&kind::HEADER_DAMAGED, None, &format!("{what} at byte {at} is not UTF-8"));
                Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }

    fn value(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<Value, Cut> {
        let id = reader.u32("a value's type")?;
        match values::read(reader, id) {
            Ok(value) => Ok(value),
            Err(values::Refused::Cut(cut)) => Err(cut),
            Err(values::Refused::Faulty(what)) => {
                self.fault(&kind::BAD_METADATA, None, &format!("key {}: {what}", escape(key)));
                Err(Cut::Faulty)
            }
        }
    }

    fn alignment(&mut self) -> Result<u64, Cut> {
        let Some(value) = self.header.meta("general.alignment") else { return Ok(ALIGNMENT) };
        match value.as_u64() {
            Some(alignment) if alignment.is_power_of_two() && alignment <= 1 << 32 => Ok(alignment),
            _ => {
                let message =
                    format!("general.alignment is {value:?}, not a power of two: the data cannot be found");
                self.fault(&kind::BAD_METADATA, None, &message);
                Err(Cut::Faulty)
            }
        }
    }

    fn infos(&mut self, reader: &mut Reader<'_>, tensors: u64, infos: &mut Vec<Info>) -> Result<(), Cut> {
        let mut names = FxHashSet::default();
        for _ in 0..tensors {
            let name = self.name(reader, "a tensor's name")?;
            let dims = reader.u32("a tensor's dimensions")?;
            if dims > DIMS_MAX {
                let message = format!(
                    "tensor {} claims {dims} dimensions, at most {DIMS_MAX} are legal",
                    escape(&name)
                );
                self.fault(&kind::HEADER_DAMAGED, Some(&name), &message);
                return Err(Cut::Faulty);
            }
            let mut shape = Vec::with_capacity(dims as usize);
            for _ in 0..dims {
                shape.push(reader.u64("a dimension")?);
            }
            let inner = shape.first().copied();
            shape.reverse();
            let id = reader.u32("a tensor's type")?;
            let offset = reader.u64("a tensor's offset")?;
            if name.len() >= NAME_BYTES_MAX {
                let message =
                    format!("tensor {}: a name of {} bytes, llama.cpp takes 63", escape(&name), name.len());
                self.fault(&kind::ODD_HEADER, Some(&name), &message);
            }
            if !names.insert(name.clone()) {
                self.fault(
                    &kind::DUPLICATE_NAME,
                    Some(&name),
                    &format!("tensor {} stands twice", escape(&name)),
                );
            }
            let dtype = self.dtype(&name, id);
            let bytes = self.size(&name, dtype, &shape, inner);
            infos.push(Info { name, dtype, shape, offset, bytes });
        }
        Ok(())
    }

    fn dtype(&mut self, name: &str, id: u32) -> Dtype {
        let plain = match id {
            0 => Some(Dtype::F32),
            1 => Some(Dtype::F16),
            24 => Some(Dtype::I8),
            25 => Some(Dtype::I16),
            26 => Some(Dtype::I32),
            27 => Some(Dtype::I64),
            28 => Some(Dtype::F64),
            30 => Some(Dtype::BF16),
            _ => None,
        };
        if let Some(dtype) = plain.or_else(|| GgmlType::from_id(id).filter(|_| id != 36).map(Dtype::Ggml)) {
            return dtype;
        }
        let what = match id {
            4 | 5 => "removed from ggml (Q4_2, Q4_3)",
            31..=33 => "removed from ggml (Q4_0 repacked for ARM)",
            36 => "I2_S of the BitNet fork, or IQ4_NL repacked: removed from ggml",
            37 | 38 => "removed from ggml (IQ4_NL repacked)",
            97.. => "of a fork of ggml",
            _ => "not one that ggml defines",
        };
        let message = format!("tensor {}: type {id} is {what}; listed, not readable", escape(name));
        self.fault(&kind::UNSUPPORTED_CONTAINER, Some(name), &message);
        Dtype::parse(&format!("ggml type {id}"))
    }

    /// Returns the bytes of a tensor, or `None` where its shape cannot be true.
    fn size(&mut self, name: &str, dtype: Dtype, shape: &[u64], inner: Option<u64>) -> Option<u64> {
        if let (Dtype::Ggml(block), Some(inner)) = (dtype, inner)
            && !inner.is_multiple_of(u64::from(block.block_elements()))
        {
            let message = format!(
                "tensor {} {}: rows of {inner} are not whole blocks of {} ({})",
                escape(name),
                units::shape(shape),
                block.block_elements(),
                block.name()
            );
            self.fault(&kind::SHAPE_SIZE, Some(name), &message);
            return None;
        }
        let bytes = elements(shape).and_then(|count| dtype.bytes_of(count));
        if bytes.is_none() && !matches!(dtype, Dtype::Other(_)) {
            let message =
                format!("tensor {} {} {dtype}: its size overflows", escape(name), units::shape(shape));
            self.fault(&kind::SHAPE_SIZE, Some(name), &message);
        }
        if shape.contains(&0) {
            let message = format!("tensor {} {}: a dimension of 0", escape(name), units::shape(shape));
            self.fault(&kind::SHAPE_SIZE, Some(name), &message);
        }
        bytes
    }

    /// Places the tensors in the file and checks their ranges against each other and its end.
    fn place(&mut self, infos: &[Info], data: u64, alignment: u64) {
        let mut expected = Some(0u64);
        let mut cut: Option<(String, usize, u64)> = None;
        let mut gaps = 0usize;
        let mut first_gap = None;
        let mut order: Vec<(u64, u64, usize)> = Vec::new();
        for (index, info) in infos.iter().enumerate() {
            let begin = data.saturating_add(info.offset);
            let end = begin.saturating_add(info.bytes.unwrap_or(0));
            self.header.push(&info.name, info.dtype, &info.shape, begin, end);
            if expected.is_some_and(|e| e != info.offset) {
                gaps += 1;
                first_gap.get_or_insert((info.name.clone(), info.offset, expected.unwrap_or(0)));
            }
            expected =
                info.bytes.and_then(|b| info.offset.checked_add(b)?.checked_next_multiple_of(alignment));
            if end > self.file.len() {
                let entry = cut.get_or_insert((info.name.clone(), 0, 0));
                entry.1 += 1;
                entry.2 = entry.2.max(end);
            }
            if end > begin {
                order.push((begin, end, index));
            }
        }
        if let Some((name, count, end)) = cut {
            let message = format!(
                "the tensors reach to byte {end}, the file ends after {}: {} cut off, first {}",
                self.file.len(),
                units::plural(count, "tensor"),
                escape(&name)
            );
            self.fault(&kind::TRUNCATED, Some(&name), &message);
        }
        order.sort_unstable();
        let overlap = order.windows(2).find(|pair| pair[1].0 < pair[0].1);
        if let Some(pair) = overlap {
            let (a, b) = (&infos[pair[0].2].name, &infos[pair[1].2].name);
            let message =
                format!("tensors {} and {} share bytes from {} on", escape(a), escape(b), pair[1].0);
            self.fault(&kind::OVERLAP, Some(b), &message);
        } else if let Some((name, is, expected)) = first_gap {
            let message = format!(
                "{} not where the ones before end (readers of llama.cpp refuse it); first {}: offset {is}, expected {expected}",
                units::plural(gaps, "tensor"),
                escape(&name)
            );
            self.fault(&kind::BAD_OFFSETS, Some(&name), &message);
        }
    }

    fn fault(&mut self, kind: &'static crate::problem::ProblemKind, tensor: Option<&str>, what: &str) {
        self.faults += 1;
        if self.faults > FAULTS_MAX {
            return;
        }
        let mut problem = Problem::new(kind, format!("{}: {what}", self.file.name())).file(self.file.name());
        problem.tensor = tensor.map(str::to_owned);
        self.header.problems.push(problem);
    }
}

#[cfg(test)]
mod tests;
