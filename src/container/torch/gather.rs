//! Reads one tensor's elements into row-major order, whatever its strides: for conversion and for showing
//! values.
//!
//! The view's span is read in one piece (inflated, if its storage is compressed) and the elements are
//! gathered from it. Both the span and the result are bounded by the caller.

use super::place::is_contiguous;
use super::zip::{Directory, inflate};
use crate::container::bytes::SourceFile;
use crate::container::{Header, View};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::tensor::{Dtype, elements};

/// A tensor as a header or a checkpoint knows it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [u64],
    /// First byte, and the byte after the last, in the file or in its compressed entry.
    pub range: (u64, u64),
    /// How its elements lie, if not in one run.
    pub view: Option<&'a View>,
}

impl<'a> Stored<'a> {
    /// Returns tensor `index` of a header.
    #[must_use]
    pub fn of(header: &'a Header, index: u32) -> Option<Self> {
        let entry = header.entries().get(index as usize)?;
        Some(Self {
            name: header.name(entry),
            dtype: entry.dtype,
            shape: header.shape(entry),
            range: (entry.begin, entry.end),
            view: header.views.get(&index),
        })
    }
}

/// Returns the bytes of a tensor in row-major order, as stored (little-endian).
///
/// # Errors
/// The range is outside the file; the tensor or the bytes that its view spans are more than `bytes_max`;
/// its element size is unknown; its compressed storage is damaged.
pub fn read_contiguous(file: &SourceFile, tensor: &Stored<'_>, bytes_max: u64) -> Result<Vec<u8>> {
    let Stored { name, dtype, shape, range: (begin, end), view } = *tensor;
    let fail = |kind: ErrorKind, what: String| {
        let message = format!("read {}: tensor {}: {what}", escape(file.name()), escape(name));
        Error { kind, message, file: Some(file.path().to_path_buf()), tensor: Some(name.to_owned()) }
    };
    let Some(wanted) = elements(shape).and_then(|count| dtype.bytes_of(count)) else {
        return Err(fail(ErrorKind::Unsupported, format!("size unknown ({dtype} {shape:?})")));
    };
    let Some(span) = end.checked_sub(begin) else {
        return Err(fail(ErrorKind::Input, format!("range {begin}..{end} is reversed")));
    };
    let most = wanted.max(span);
    if most > bytes_max {
        return Err(fail(ErrorKind::Limit, format!("{most} bytes, more than {bytes_max} at a time")));
    }
    let compressed = view.and_then(|view| view.compressed_entry.as_deref());
    let bytes = match compressed {
        Some(name) => {
            inflated(file, name, (begin, end), bytes_max).map_err(|what| fail(ErrorKind::Input, what))?
        }
        None => file.read_vec(begin, span as usize)?,
    };
    let Some(view) = view.filter(|view| !is_contiguous(shape, &view.strides)) else {
        return if span == wanted {
            Ok(bytes)
        } else {
            Err(fail(ErrorKind::Input, format!("{span} bytes in the file, {wanted} by its shape")))
        };
    };
    gathered(&bytes, shape, &view.strides, wanted)
        .ok_or_else(|| fail(ErrorKind::Input, "its strides leave its bytes".into()))
}

/// Returns the range of `entry` out of the compressed zip entry `name`.
fn inflated(
    file: &SourceFile,
    name: &str,
    (first, end): (u64, u64),
    bytes_max: u64,
) -> std::result::Result<Vec<u8>, String> {
    if end > bytes_max {
        return Err(format!("ends at byte {end} of compressed data, more than {bytes_max} at a time"));
    }
    let directory = Directory::read(file).map_err(|flaw| flaw.1)?;
    let by_name = directory.lookup();
    let zip_entry = by_name.get(name.as_bytes()).ok_or("its zip entry is gone")?;
    let begin = directory.data_offset(file, zip_entry).map_err(|flaw| flaw.1)?;
    let mut bytes = inflate(file, begin, zip_entry.packed, end)?;
    bytes.drain(..first as usize);
    Ok(bytes)
}

/// Returns the elements of a view in row-major order, or `None` if one lies outside `bytes`. `wanted` is
/// the size of the result, which is a whole number of bytes an element.
fn gathered(bytes: &[u8], shape: &[u64], strides: &[u64], wanted: u64) -> Option<Vec<u8>> {
    let count = elements(shape)?;
    if count == 0 || shape.len() != strides.len() {
        return Some(Vec::new());
    }
    let item = wanted / count;
    let mut out = Vec::with_capacity(wanted as usize);
    let mut position = vec![0u64; shape.len()];
    loop {
        let at: Option<u64> = position
            .iter()
            .zip(strides)
            .try_fold(0u64, |sum, (&i, &stride)| sum.checked_add(i.checked_mul(stride)?));
        let begin = usize::try_from(at?.checked_mul(item)?).ok()?;
        out.extend_from_slice(bytes.get(begin..begin.checked_add(item as usize)?)?);
        let mut dim = shape.len();
        loop {
            if dim == 0 {
                return Some(out);
            }
            dim -= 1;
            position[dim] += 1;
            if position[dim] < shape[dim] {
                break;
            }
            position[dim] = 0;
        }
    }
}
