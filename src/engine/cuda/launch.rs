//! Starting kernels: one function a kind of kernel, which checks that all it reads and writes is there.
#![expect(unsafe_code, reason = "a kernel's parameters are untyped; each launch says why they are right")]

mod encode;

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;

use super::driver::{Bytes, Context, Fault, Function, Queue};
use super::module::Kernels;
use crate::quant::kernel::{Kernel, NUMBERS, TABLES, dtype_number};
use crate::tensor::Dtype;

/// Threads of a block; all kernels are compiled for so many.
pub(super) const THREADS: u32 = 256;
/// Values that a thread of a decoder makes at a time.
const VALUES_OF_THREAD: u64 = 8;
/// Values of a tile of a product, which a block makes at a time.
const VALUES_OF_TILE: u64 = 128 * 64;
/// Blocks that are started for each multiprocessor at most; each then takes several pieces.
const BLOCKS_OF_MULTIPROCESSOR: u64 = 16;

/// `Layer` of kernels/values.cuh.
#[repr(C)]
struct Layer {
    table: [u64; TABLES],
    number: [u64; NUMBERS],
}

/// A kernel's arrays on the device.
pub(super) struct Uploaded {
    kernel: Kernel,
    tables: Vec<Bytes>,
}

impl Uploaded {
    /// Takes memory of the device for a kernel's arrays.
    pub(super) fn new(context: &Arc<Context>, kernel: Kernel) -> Result<Self, Fault> {
        assert!(kernel.tables.len() <= TABLES && kernel.numbers.len() <= NUMBERS, "{}", kernel.name);
        let tables = kernel.tables.iter().map(|table| Bytes::of_layer(context, table.len()));
        let tables = tables.collect::<Result<_, _>>()?;
        Ok(Self { kernel, tables })
    }

    /// Has the arrays copied to the device; returns their bytes.
    pub(super) fn copy(&self, queue: &Queue) -> Result<u64, Fault> {
        let copies = self.kernel.tables.iter().zip(&self.tables);
        copies.map(|(table, to)| queue.copy_in(table, to).map(|()| table.len() as u64)).sum()
    }

    /// The device has the arrays: what is kept here is the kernel's name and numbers.
    pub(super) fn is_there(&mut self) {
        self.kernel.tables = Vec::new();
    }

    fn layer(&self) -> Layer {
        // An array of nothing is none.
        let at = |at: usize| self.tables.get(at).filter(|table| table.len() > 0).map_or(0, Bytes::at);
        let number = |at: usize| self.kernel.numbers.get(at).copied().unwrap_or(0);
        Layer { table: std::array::from_fn(at), number: std::array::from_fn(number) }
    }
}

/// Copies bytes to new memory of the device.
pub(super) fn uploaded(context: &Arc<Context>, queue: &Queue, from: &[u8]) -> Result<Bytes, Fault> {
    let to = Bytes::new(context, from.len())?;
    queue.copy_in(from, &to)?;
    Ok(to)
}

/// Where launches go.
#[derive(Clone, Copy)]
pub(super) struct Launcher<'a> {
    pub(super) kernels: &'a Kernels,
    pub(super) queue: &'a Queue,
    pub(super) multiprocessors: u32,
    /// Two counters that kernels add to: finite values that became infinite, and NaN.
    pub(super) seen: &'a Bytes,
}

/// Values on the device, `count` of a dtype.
#[derive(Clone, Copy)]
pub(super) struct Array<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) dtype: Dtype,
}

/// Elements of a weight: from `first` on, in rows of `columns`.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) columns: u64,
}

impl Launcher<'_> {
    fn function(&self, name: &str) -> Result<Function, Fault> {
        self.kernels.get(name)?.ok_or_else(|| Fault { code: 0, message: format!("no kernel {name}") })
    }

    fn blocks(&self, pieces: u64) -> u32 {
        pieces.clamp(1, u64::from(self.multiprocessors.max(1)) * BLOCKS_OF_MULTIPROCESSOR) as u32
    }

    /// Decodes elements, each rounded to `native` and then to the dtype of `out`. `codes` begins with the bytes that the
    /// format names for these rows.
    pub(super) fn decode(
        &self,
        layer: &Uploaded,
        codes: &Bytes,
        span: Span,
        native: Dtype,
        out: Array<'_>,
    ) -> Result<(), Fault> {
        self.decode_from(layer, (codes, 0), span, native, out)
    }

    /// The same of codes that begin at a byte.
    pub(super) fn decode_from(
        &self,
        layer: &Uploaded,
        (codes, at): (&Bytes, u64),
        span: Span,
        native: Dtype,
        out: Array<'_>,
    ) -> Result<(), Fault> {
        let function = self.function(&format!("{}_{}", layer.kernel.name, ending(out.dtype)))?;
        check_room(span.count, out)?;
        if at > codes.len() as u64 {
            return Err(short([at, 0], [codes.len() as u64, 0]));
        }
        let (mut layer, mut codes, mut first, mut count) =
            (layer.layer(), codes.at() + at, span.first, span.count);
        let mut native = number(native)?;
        let (mut out, mut seen) = (out.bytes.at(), self.seen.at());
        let pieces = count.div_ceil(VALUES_OF_THREAD * u64::from(THREADS));
        let mut arguments = [
            pointer(&mut layer),
            pointer(&mut codes),
            pointer(&mut first),
            pointer(&mut count),
            pointer(&mut native),
            pointer(&mut out),
            pointer(&mut seen),
        ];
        // SAFETY: the parameters of `DECODER_TO` in kernels/values.cuh. What the kernel reads is what the format says of
        // these rows, whose bytes were copied; what it writes has room.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }

    /// Makes the values of rows from `at` on of rows that were decoded to f32, `high` of them: their columns become the
    /// rows, each longer than that.
    pub(super) fn turn(
        &self,
        decoded: &Bytes,
        [high, wide]: [u64; 2],
        (span, at): (Span, u64),
        out: Array<'_>,
    ) -> Result<(), Fault> {
        let function = self.function(&format!("turn_{}", ending(out.dtype)))?;
        check_room(span.count, out)?;
        check_room(high * wide, Array { bytes: decoded, dtype: Dtype::F32 })?;
        let mut length = span.columns.max(1);
        let (mut column, mut columns) = (span.first / length, span.count / length);
        if column + columns > wide || at + high > length {
            return Err(short([column + columns, at + high], [wide, length]));
        }
        let (mut from, mut high, mut wide, mut at) = (decoded.at(), high, wide, at);
        let (mut out, mut seen) = (out.bytes.at(), self.seen.at());
        let pieces = (high * columns).div_ceil(VALUES_OF_THREAD * u64::from(THREADS));
        let mut arguments = [
            pointer(&mut from),
            pointer(&mut high),
            pointer(&mut wide),
            pointer(&mut column),
            pointer(&mut columns),
            pointer(&mut at),
            pointer(&mut length),
            pointer(&mut out),
            pointer(&mut seen),
        ];
        // SAFETY: the parameters of `TURN` in kernels/plain.cu; both arrays hold what the numbers say.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }

    /// Adds `scale · left · right` to values: `left` `[rows, rank]` of the weight, `right` `[rank, columns]`.
    pub(super) fn low_rank(
        &self,
        from: Array<'_>,
        to: Array<'_>,
        span: Span,
        product: &Product,
        sum: Dtype,
    ) -> Result<(), Fault> {
        let function = self.function(&low_rank(from.dtype, to.dtype))?;
        check_room(span.count, from)?;
        check_room(span.count, to)?;
        let columns = span.columns.max(1);
        let (first_row, mut rows) = (span.first / columns, span.count / columns);
        let (mut columns, mut rank) = (columns, product.rank);
        let needed = [(first_row + rows) * rank * 4, rank * columns * 4];
        let held = [product.left.len() as u64, product.right.len() as u64];
        if needed[0] > held[0] || needed[1] > held[1] {
            return Err(short(needed, held));
        }
        let mut left = product.left.at() + first_row * rank * 4;
        let mut right = product.right.at();
        let (mut from, mut to, mut scale) = (from.bytes.at(), to.bytes.at(), product.scale);
        let (mut delta, mut sum) = (number(product.rounded)?, number(sum)?);
        let mut seen = self.seen.at();
        let pieces = span.count.div_ceil(VALUES_OF_TILE);
        let mut arguments = [
            pointer(&mut from),
            pointer(&mut to),
            pointer(&mut left),
            pointer(&mut right),
            pointer(&mut rows),
            pointer(&mut columns),
            pointer(&mut rank),
            pointer(&mut scale),
            pointer(&mut delta),
            pointer(&mut sum),
            pointer(&mut seen),
        ];
        // SAFETY: the parameters of `LOW_RANK` in kernels/merge.cu; all arrays hold what the numbers say.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }

    /// Changes values in f32 in place, where they are of `within`, from whose first row the edit counts.
    pub(super) fn edit(
        &self,
        edit: &Uploaded,
        within: Option<&Range<u64>>,
        values: &Bytes,
        span: Span,
    ) -> Result<(), Fault> {
        let function = self.function(edit.kernel.name)?;
        check_room(span.count, Array { bytes: values, dtype: Dtype::F32 })?;
        let mut columns = span.columns.max(1);
        let (first, count) = (span.first / columns, span.count / columns);
        let within = within.cloned().unwrap_or(0..u64::MAX);
        let (start, end) = (first.max(within.start), (first + count).min(within.end));
        if start >= end {
            return Ok(());
        }
        let (mut from, mut rows) = (start - within.start, end - start);
        let mut layer = edit.layer();
        let mut values = values.at() + (start - first) * columns * 4;
        let pieces = (rows * columns).div_ceil(VALUES_OF_THREAD * u64::from(THREADS));
        let mut arguments = [
            pointer(&mut layer),
            pointer(&mut values),
            pointer(&mut from),
            pointer(&mut rows),
            pointer(&mut columns),
        ];
        // SAFETY: the parameters of `EDIT` in kernels/merge.cu; the values have room, and the edit was made for a weight
        // of so many rows and columns.
        unsafe { self.queue.launch(function, self.blocks(pieces), &mut arguments) }
    }
}

/// Factors on the device, in f32.
pub(super) struct Product {
    pub(super) left: Bytes,
    pub(super) right: Bytes,
    pub(super) rank: u64,
    pub(super) scale: f32,
    pub(super) rounded: Dtype,
}

/// Returns the name of the kernel that adds a product to values of one dtype and writes another.
pub(super) fn low_rank(from: Dtype, to: Dtype) -> String {
    format!("low_rank_{}_{}", ending(from), ending(to))
}

/// Returns how the names of kernels say a dtype.
pub(super) fn ending(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        _ => "f32",
    }
}

fn number(dtype: Dtype) -> Result<u32, Fault> {
    dtype_number(dtype).ok_or_else(|| Fault { code: 0, message: format!("no kernel knows {dtype}") })
}

fn check_room(count: u64, array: Array<'_>) -> Result<(), Fault> {
    let needed = array.dtype.bytes_of(count).unwrap_or(u64::MAX);
    let held = array.bytes.len() as u64;
    if needed <= held { Ok(()) } else { Err(short([needed, 0], [held, 0])) }
}

/// A fault of this program: it is said, and nothing is started.
fn short(needed: [u64; 2], held: [u64; 2]) -> Fault {
    Fault {
        code: 0,
        message: format!("a kernel would need {needed:?} bytes of {held:?}: a fault of this program"),
    }
}

fn pointer<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}
