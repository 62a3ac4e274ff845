//! Tensor infos of a GGUF header: `name string, dims u32, u64 each, type u32, offset u64`.
//!
//! Read until one cannot be; what was read before stays listed. Shapes are turned to row-major here.

use std::collections::BTreeMap;

use super::check_count;
use super::faults::Faults;
use super::reader::{Fault, Reader};
use super::types::{self, Standing};
use crate::name::escape;
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units::{self, plural};

/// Tensors that are read: the largest real files have some ten thousand.
const TENSORS_MAX: u64 = 1 << 18;
/// Smallest tensor info: an empty name, no dimension, a type, an offset.
const INFO_BYTES_MIN: u64 = 8 + 4 + 4 + 8;
/// Longest tensor name that is read; llama.cpp takes `NAME_BYTES_STRICT`.
const NAME_BYTES_MAX: u64 = 1 << 16;
/// `GGML_MAX_NAME`: llama.cpp refuses names of this length and over.
const NAME_BYTES_STRICT: usize = 64;
/// Dimensions that are read; llama.cpp takes `DIMS_STRICT`.
const DIMS_MAX: u32 = 8;
/// `GGML_MAX_DIMS`.
const DIMS_STRICT: usize = 4;

/// One tensor as the header lists it.
pub(super) struct Info {
    pub(super) name: String,
    is_utf8: bool,
    type_id: u32,
    pub(super) dtype: Dtype,
    /// Row-major: the reverse of the file's order.
    pub(super) shape: Vec<u64>,
    /// From the start of the data.
    pub(super) offset: u64,
    /// Size in bytes, where type and shape tell it.
    pub(super) bytes: Option<u64>,
}

/// Reads the tensor infos. Returns them and whether they were read to their end.
pub(super) fn read(reader: &mut Reader<'_>, count: u64, faults: &mut Faults<'_>) -> (Vec<Info>, bool) {
    let mut infos = Vec::new();
    let bounds = (TENSORS_MAX, INFO_BYTES_MIN, reader.left());
    let sane = check_count(count, "tensor", bounds).map_err(|fault| faults.add(fault.kind, fault.message));
    let is_sane = sane.is_ok();
    for index in 0..count.min(TENSORS_MAX) {
        match read_info(reader) {
            // With a count that cannot be true, the list ends where it no longer makes sense.
            Ok(info) if !is_sane && types::classify(info.type_id).1 == Standing::Unknown => break,
            Ok(info) => infos.push(info),
            Err(fault) => {
                if is_sane {
                    let fault = fault.within(&format!("tensor {} of {count}", index + 1));
                    faults.add(fault.kind, fault.message);
                }
                return (infos, false);
            }
        }
    }
    (infos, is_sane)
}

fn read_info(reader: &mut Reader<'_>) -> Result<Info, Fault> {
    let at = reader.position();
    let length = reader.string_length()?;
    if length == 0 {
        return Err(Fault::new(&kind::HEADER_DAMAGED, format!("its name at byte {at} is empty")));
    }
    if length > NAME_BYTES_MAX {
        let message =
            format!("its name at byte {at} has {length} bytes; llama.cpp takes under {NAME_BYTES_STRICT}");
        return Err(Fault::new(&kind::HEADER_LENGTH, message));
    }
    let name = reader.take(length, NAME_BYTES_MAX as u32)?;
    let dims = reader.u32()?;
    if dims > DIMS_MAX {
        let name = String::from_utf8_lossy(&name).into_owned();
        let message = format!("{} has {dims} dimensions; llama.cpp takes {DIMS_STRICT}", escape(&name));
        return Err(Fault::new(&kind::HEADER_DAMAGED, message));
    }
    let mut shape = (0..dims).map(|_| reader.u64()).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let type_id = reader.u32()?;
    let offset = reader.u64()?;
    let (dtype, _) = types::classify(type_id);
    let bytes = tensor_bytes(dtype, &shape);
    let (name, is_utf8) = match String::from_utf8(name) {
        Ok(name) => (name, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    };
    // Nothing here reads swapped values: with a dtype of unknown size nobody tries.
    let dtype = if reader.big_endian { Dtype::parse(&format!("{dtype} big-endian")) } else { dtype };
    Ok(Info { name, is_utf8, type_id, dtype, shape, offset, bytes })
}

/// Returns the bytes of a tensor, or `None` if the type has no size or the shape does not fit it.
fn tensor_bytes(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(types::block_elements(dtype)) {
        return None;
    }
    types::tensor_bytes(dtype, elements(shape).filter(|&count| i64::try_from(count).is_ok())?)
}

/// Reports names, shapes and types that llama.cpp refuses.
pub(super) fn check(infos: &[Info], faults: &mut Faults<'_>) {
    let mut foreign: BTreeMap<u32, (usize, &Info)> = BTreeMap::new();
    for info in infos {
        check_shape(info, faults);
        let name = escape(&info.name);
        if !info.is_utf8 {
            let message = format!("the name of tensor {name} is not UTF-8");
            faults.add_tensor(&kind::HEADER_DAMAGED, &info.name, message);
        }
        if info.name.len() >= NAME_BYTES_STRICT {
            let message = format!(
                "llama.cpp: tensor name {name} is too long: {} >= {NAME_BYTES_STRICT}",
                info.name.len()
            );
            faults.add_tensor(&kind::STRICT_READER, &info.name, message);
        }
        if types::classify(info.type_id).1 != Standing::Current {
            foreign.entry(info.type_id).or_insert((0, info)).0 += 1;
        }
    }
    for (&id, &(count, first)) in &foreign {
        check_type(id, count, first, faults);
    }
    let mut names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if pair[0] == pair[1] {
            let message = format!("tensor {} stands there twice", escape(pair[0]));
            faults.add_tensor(&kind::DUPLICATE_NAME, pair[0], message);
        }
    }
}

/// Reports tensors of a type that llama.cpp does not read.
fn check_type(id: u32, count: usize, first: &Info, faults: &mut Faults<'_>) {
    let (dtype, standing) = types::classify(id);
    let (kind, why) = match standing {
        Standing::Removed => (&kind::UNSUPPORTED_CONTAINER, "llama.cpp removed it"),
        Standing::Fork => (&kind::UNSUPPORTED_CONTAINER, "only a fork of llama.cpp reads it"),
        Standing::Current | Standing::Unknown => (&kind::UNKNOWN_DTYPE, "no reader that we know of has it"),
    };
    let message = format!(
        "{} of type {dtype} (id {id}), first {}: {why}",
        plural(count, "tensor"),
        escape(&first.name)
    );
    faults.add_tensor(kind, &first.name, message);
}

fn check_shape(info: &Info, faults: &mut Faults<'_>) {
    let (name, shape) = (escape(&info.name), units::shape(&info.shape));
    let (dtype, standing) = types::classify(info.type_id);
    let block = types::block_elements(dtype);
    let row = info.shape.last().copied().unwrap_or(1);
    if info.shape.len() > DIMS_STRICT {
        let message =
            format!("tensor {name} has {} dimensions; llama.cpp takes {DIMS_STRICT}", info.shape.len());
        faults.add_tensor(&kind::STRICT_READER, &info.name, message);
    }
    if info.shape.contains(&0) {
        let message = format!("tensor {name} {shape} has no element");
        faults.add_tensor(&kind::ODD_HEADER, &info.name, message);
    } else if !row.is_multiple_of(block) {
        let message = format!("tensor {name} {shape}: {row} inputs are not whole {dtype} blocks of {block}");
        faults.add_tensor(&kind::SHAPE_SIZE, &info.name, message);
    } else if info.bytes.is_none() && standing == Standing::Current {
        let message = format!("tensor {name} {shape} has more elements than a file can hold");
        faults.add_tensor(&kind::SHAPE_SIZE, &info.name, message);
    }
}
