//! The header of a GGUF that is made of another: its key-values as they lie in the file, and new tensor infos.
//!
//! | part         | comes from                                                                          |
//! |--------------|-------------------------------------------------------------------------------------|
//! | start        | `GGUF`, version 3, counts                                                           |
//! | key-values   | the bytes of the other file, but for those that are set anew and those left out      |
//! | tensor infos | the tensors, each aligned                                                           |
//! | zeros        | to the alignment                                                                    |
//!
//! Vocabularies are tens of megabytes: what is kept is known by its bytes in the file, and copied from there when
//! it is written. A value that is set stands where the old one stood, or at the end.
//! Sources: ggml's docs/gguf.md, gguf.cpp (`gguf_write_to_buf`), llama.cpp's `llama-quant.cpp` for the keys.

use std::ops::Range;

use super::reader::{Fault, Reader};
use super::values::{self, TYPES};
use super::{
    ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, PAIR_BYTES_MIN, PAIRS_MAX, SourceFile, check_count, start,
};
use crate::container::Value;
use crate::problem::kind;
use crate::tensor::Dtype;

/// The version that is written.
const VERSION: u32 = 3;
/// Alignments over this are not written: each tensor would be followed by up to that many zeros.
const ALIGNMENT_MAX: u64 = 1 << 16;
/// Bytes that are copied at a time.
const COPIED_BYTES: u64 = 1 << 20;

/// A tensor of the new file.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape, row-major.
    pub shape: &'a [u64],
    /// Its bytes, without the zeros behind it.
    pub bytes: u64,
}

/// A header that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pieces: Vec<Piece>,
    /// What each tensor's bytes are filled up to.
    pub alignment: u64,
    /// Its bytes, with the zeros at its end.
    pub bytes: u64,
}

/// A part of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    /// Bytes of the other file.
    Of(Range<u64>),
}

/// A key-value, by its bytes in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// From the length of the key to the end of the value.
    pub bytes: Range<u64>,
}

/// What is changed of the key-values.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// Keys with the numbers they have now, as u32.
    pub set: &'a [(&'a str, u32)],
    /// Keys that are left out.
    pub left_out: &'a [&'a str],
}

/// Returns the key-values of a file in their order.
///
/// # Errors
/// The header cannot be read to their end, or is big-endian; in words, without the name of the file.
pub fn pairs(file: &SourceFile) -> Result<Vec<Pair>, String> {
    walk(file).map(|(pairs, _)| pairs).map_err(|fault| fault.message)
}

/// Returns the key-values, and the alignment that they say, by the rule of the reader.
fn walk(file: &SourceFile) -> Result<(Vec<Pair>, u64), Fault> {
    let mut reader = start(file)?;
    if reader.big_endian {
        return Err(Fault::new(
            &kind::BIG_ENDIAN,
            "it is big-endian, and only little-endian files are written",
        ));
    }
    let _tensors = reader.u64()?;
    let count = reader.u64()?;
    check_count(count, "key-value", (PAIRS_MAX, PAIR_BYTES_MIN, reader.left()))?;
    let (mut pairs, mut alignment) = (Vec::new(), None);
    for _ in 0..count {
        let begin = reader.position();
        let key = values::read_key(&mut reader)?.text;
        if key == ALIGNMENT_KEY && alignment.is_none() {
            alignment = Some(aligned_by(&mut reader)?);
        } else {
            values::skip_value(&mut reader)?;
        }
        pairs.push(Pair { key, bytes: begin..reader.position() });
    }
    Ok((pairs, alignment.unwrap_or(ALIGNMENT_DEFAULT)))
}

/// Reads the value of the alignment's key.
fn aligned_by(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let read = values::read_value(reader)?;
    let alignment = match read.value {
        Value::Int(_) | Value::Unsigned(_) => read.value.as_u64(),
        _ => None,
    };
    Ok(alignment.filter(|alignment| alignment.is_power_of_two()).unwrap_or(ALIGNMENT_DEFAULT))
}

impl Head {
    /// Returns the header of `tensors`, in the order of their data, with the key-values of `file`.
    ///
    /// # Errors
    /// The key-values cannot be read, the alignment is over a bound, or a dtype is none of ggml's; in words.
    pub fn new(file: &SourceFile, tensors: &[Listed<'_>], changed: Changed<'_>) -> Result<Self, String> {
        let (pairs, alignment) = walk(file).map_err(|fault| fault.message)?;
        if alignment > ALIGNMENT_MAX {
            return Err(format!(
                "its tensors are aligned to {alignment} bytes, files of at most {ALIGNMENT_MAX} are written"
            ));
        }
        let kept: Vec<Pair> =
            pairs.into_iter().filter(|pair| !changed.left_out.contains(&pair.key.as_str())).collect();
        let has = |key: &str| kept.iter().any(|pair| pair.key == key);
        let added: Vec<(&str, u32)> = changed.set.iter().copied().filter(|(key, _)| !has(key)).collect();
        let count = (kept.len() + added.len()) as u64;
        let mut pieces = vec![Piece::Bytes(beginning(tensors.len() as u64, count))];
        for pair in kept {
            match changed.set.iter().find(|(key, _)| *key == pair.key) {
                Some(&(key, number)) => pieces.push(Piece::Bytes(number_pair(key, number))),
                None => pieces.push(Piece::Of(pair.bytes)),
            }
        }
        pieces.extend(added.into_iter().map(|(key, number)| Piece::Bytes(number_pair(key, number))));
        pieces.push(Piece::Bytes(infos(tensors, alignment)?));
        let bytes = pieces.iter().map(Piece::bytes).fold(0, u64::saturating_add);
        let padding = padding(bytes, alignment);
        pieces.push(Piece::Bytes(vec![0; padding as usize]));
        Ok(Self { pieces, alignment, bytes: bytes + padding })
    }

    /// Hands the header's bytes out, in order; `file`: the file of the key-values.
    ///
    /// # Errors
    /// The file cannot be read, or `write` fails.
    pub fn write<E: From<crate::error::Error>>(
        &self,
        file: &SourceFile,
        write: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => write(bytes)?,
                Piece::Of(range) => {
                    let mut at = range.start;
                    while at < range.end {
                        let count = (range.end - at).min(COPIED_BYTES);
                        write(&file.read_vec(at, count as usize)?)?;
                        at += count;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns how many zeros follow a tensor of so many bytes.
    #[must_use]
    pub fn padding(&self, bytes: u64) -> u64 {
        padding(bytes, self.alignment)
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Of(range) => range.end - range.start,
        }
    }
}

fn padding(bytes: u64, alignment: u64) -> u64 {
    (alignment - bytes % alignment) % alignment
}

fn beginning(tensors: u64, pairs: u64) -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn number_pair(key: &str, number: u32) -> Vec<u8> {
    let id = TYPES.iter().position(|name| *name == "u32").unwrap_or_default() as u32;
    [text(key), id.to_le_bytes().to_vec(), number.to_le_bytes().to_vec()].concat()
}

fn infos(tensors: &[Listed<'_>], alignment: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut offset = 0u64;
    for tensor in tensors {
        let id = super::types::id(tensor.dtype)
            .ok_or_else(|| format!("{} is {}, which no GGUF can hold", tensor.name, tensor.dtype))?;
        bytes.extend(text(tensor.name));
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        bytes.extend(tensor.shape.iter().rev().flat_map(|size| size.to_le_bytes()));
        bytes.extend(id.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        let end = offset.checked_add(tensor.bytes).and_then(|end| end.checked_next_multiple_of(alignment));
        offset = end.ok_or_else(|| format!("{}: the file would be too large", tensor.name))?;
    }
    Ok(bytes)
}
