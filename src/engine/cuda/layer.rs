//! A layer on the devices: what all its rows share, uploaded when the first piece of it comes to a device.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::columns;
use super::driver::{Bytes, Context, Fault, Marks, Queue};
use super::launch::{Array, Launcher, Product, Span, Uploaded, low_rank};
use super::module::is_there;
use crate::quant::decode::DecodeRows;
use crate::quant::kernel::{Kernel, Program, Step, dtype_number};
use crate::tensor::Dtype;

/// How the values of a layer are made: operations that kernels do, each rounded once.
pub(super) struct Recipe {
    pub(super) program: Program,
    /// What decoded values are rounded to.
    pub(super) decoded: Dtype,
    /// What values are rounded to after each step that is no rounding itself.
    rounded: Vec<Dtype>,
    /// What values are rounded to one after the other behind that, before they are encoded.
    then: Vec<Dtype>,
    /// The encoder of its values.
    pub(super) encoder: Option<Kernel>,
    /// What leaves blocks as they are stored whose values do not change.
    pub(super) keeper: Option<Kernel>,
    /// What decodes the stored codes as numbers, where they have a say.
    pub(super) held: Option<Kernel>,
}

impl Recipe {
    /// Returns how a program's values, rounded to `native` at last, are made in `dtype`; `None` if no kernels do that.
    pub(super) fn new(program: Program, native: Dtype, dtype: Dtype) -> Option<Self> {
        dtype_number(dtype)?;
        let last = if native == dtype { Dtype::F32 } else { native };
        let (mut decoded, mut after) = (Dtype::F32, Vec::new());
        for step in program.steps.iter().chain(&[Step::Round(last)]) {
            match step {
                Step::Round(dtype) => {
                    let rounded = after.last_mut().unwrap_or(&mut decoded);
                    *rounded = both(*rounded, *dtype)?;
                }
                Step::LowRank { .. } => after.push(Dtype::F32),
                Step::Edit { kernel, .. } if is_there(kernel.name) => after.push(Dtype::F32),
                Step::Edit { .. } => return None,
            }
        }
        let name = program.decode.name;
        let is_known = [Dtype::F32, Dtype::F16, Dtype::BF16]
            .iter()
            .all(|dtype| is_there(&format!("{name}_{}", super::launch::ending(*dtype))));
        let is_known = is_known && (program.turned.is_none() || columns::is_there());
        (is_known && dtype_number(decoded).is_some()).then_some(Self {
            program,
            decoded,
            rounded: after,
            then: Vec::new(),
            encoder: None,
            keeper: None,
            held: None,
        })
    }

    /// Has values rounded once more: at once with their last operation, if that is the same.
    pub(super) fn round(&mut self, dtype: Dtype) {
        let last = self.rounded.last_mut().unwrap_or(&mut self.decoded);
        match both(*last, dtype).filter(|_| self.then.is_empty()) {
            Some(both) => *last = both,
            None => self.then.push(dtype),
        }
    }

    /// Returns true if this program makes the values from which the recipe's begins.
    pub(super) fn begins_with(&self, stored: &Program) -> bool {
        stored.steps.is_empty()
            && stored.turned == self.program.turned
            && stored.decode == self.program.decode
    }

    /// Returns the dtype of stored values that need no decoding.
    fn plain(&self) -> Option<Dtype> {
        let stored = [Dtype::F32, Dtype::F16, Dtype::BF16];
        let is = |dtype: &&Dtype| {
            let number = dtype_number(**dtype).map(u64::from);
            let decode = &self.program.decode;
            self.program.turned.is_none()
                && decode.name == "plain"
                && decode.numbers.first().copied() == number
        };
        let stored = *stored.iter().find(is)?;
        (both(stored, self.decoded) == Some(stored)).then_some(stored)
    }
}

/// Returns what rounding to one dtype and then to another is, if that is rounding once.
fn both(first: Dtype, second: Dtype) -> Option<Dtype> {
    match (first, second) {
        (Dtype::F32, other) | (other, Dtype::F32) => Some(other),
        (first, second) if first == second => Some(first),
        _ => None,
    }
}

/// A step on one device.
enum Change {
    /// A product is added.
    Product(Product),
    /// A kernel changes values in place, of some rows only where they are named.
    Edit(Uploaded, Option<Range<u64>>),
}

/// Codes of a piece on a device.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) bytes: &'a Bytes,
    /// The decoder of columns, where it is these that are stored.
    pub(super) columns: Option<&'a dyn DecodeRows>,
    /// Memory in which nothing is before there is a result.
    pub(super) spare: &'a Bytes,
}

/// A layer on one device.
pub(super) struct OnCard {
    decode: Uploaded,
    changes: Vec<Change>,
    /// Values in f32 as what is decoded: to another dtype, or rounded.
    cast: Uploaded,
    pub(super) encoder: Option<Uploaded>,
    pub(super) keeper: Option<Uploaded>,
    pub(super) held: Option<Uploaded>,
    /// All its codes, where every row needs all of them.
    pub(super) codes: Option<Bytes>,
}

/// What was copied to a device.
#[derive(Clone, Copy)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    /// The device's time; `None` if it does not say.
    pub(super) seconds: Option<f64>,
}

impl OnCard {
    /// Copies what all rows share to a device, and waits until it is there.
    pub(super) fn upload(
        context: &Arc<Context>,
        (queue, marks): (&Queue, &Marks<1>),
        recipe: &Recipe,
        whole: Option<&[u8]>,
    ) -> Result<(Self, Moved), Fault> {
        let mut on = Self::new(context, recipe, whole)?;
        marks.set(0, queue)?;
        let mut factors = Vec::new();
        let copied = on.copy(queue, recipe, whole, &mut factors);
        // What was started is waited for also where a later start failed: another layer may get the memory.
        let waited = queue.wait();
        let bytes = copied?;
        waited?;
        on.kernels().for_each(Uploaded::is_there);
        let seconds = marks.seconds(queue).ok().map(|[seconds]| seconds);
        Ok((on, Moved { bytes, seconds }))
    }

    /// Takes memory for it.
    fn new(context: &Arc<Context>, recipe: &Recipe, whole: Option<&[u8]>) -> Result<Self, Fault> {
        let mut changes = Vec::new();
        for step in &recipe.program.steps {
            match step {
                Step::Round(_) => {}
                Step::Edit { kernel, rows } => {
                    changes.push(Change::Edit(Uploaded::new(context, kernel.clone())?, rows.clone()));
                }
                Step::LowRank { left, right, rank, scale, rounded } => {
                    changes.push(Change::Product(Product {
                        left: Bytes::of_layer(context, left.len() * 4)?,
                        right: Bytes::of_layer(context, right.len() * 4)?,
                        rank: *rank as u64,
                        scale: *scale,
                        rounded: rounded.unwrap_or(Dtype::F32),
                    }));
                }
            }
        }
        // Kernels read whole words.
        let room = |codes: &[u8]| codes.len().next_multiple_of(columns::ALIGNED as usize);
        let codes = whole.map(|codes| Bytes::of_layer(context, room(codes))).transpose()?;
        let plain = Kernel::new("plain").numbers(dtype_number(Dtype::F32).map(u64::from));
        let cast = Uploaded::new(context, plain)?;
        let decode = Uploaded::new(context, recipe.program.decode.clone())?;
        let uploaded =
            |kernel: &Option<Kernel>| kernel.clone().map(|kernel| Uploaded::new(context, kernel)).transpose();
        let (encoder, keeper) = (uploaded(&recipe.encoder)?, uploaded(&recipe.keeper)?);
        Ok(Self { decode, changes, cast, encoder, keeper, held: uploaded(&recipe.held)?, codes })
    }

    /// Has it copied, by way of `factors`, which is left alone until the queue was waited for; returns how many bytes.
    fn copy(
        &self,
        queue: &Queue,
        recipe: &Recipe,
        whole: Option<&[u8]>,
        factors: &mut Vec<Vec<u8>>,
    ) -> Result<u64, Fault> {
        let mut bytes = 0;
        let steps = recipe.program.steps.iter().filter(|step| !matches!(step, Step::Round(_)));
        for (change, step) in self.changes.iter().zip(steps) {
            match (change, step) {
                (Change::Product(product), Step::LowRank { left, right, .. }) => {
                    for (values, to) in [(left, &product.left), (right, &product.right)] {
                        factors.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
                        let from = factors.last().map_or(&[][..], Vec::as_slice);
                        queue.copy_in(from, to)?;
                        bytes += from.len() as u64;
                    }
                }
                (Change::Edit(kernel, _), _) => bytes += kernel.copy(queue)?,
                (Change::Product(_), _) => return Err(Fault::said("a product without factors")),
            }
        }
        if let (Some(from), Some(to)) = (whole, &self.codes) {
            queue.copy_in(from, to)?;
            bytes += from.len() as u64;
        }
        let beside = [&self.encoder, &self.keeper, &self.held].into_iter().flatten();
        for kernel in [&self.decode, &self.cast].into_iter().chain(beside) {
            bytes += kernel.copy(queue)?;
        }
        Ok(bytes)
    }

    fn kernels(&mut self) -> impl Iterator<Item = &mut Uploaded> {
        let of_changes = self.changes.iter_mut().filter_map(|change| match change {
            Change::Edit(kernel, _) => Some(kernel),
            Change::Product(_) => None,
        });
        of_changes
            .chain([&mut self.decode, &mut self.cast])
            .chain(self.encoder.as_mut())
            .chain(self.keeper.as_mut())
            .chain(self.held.as_mut())
    }

    /// Rounds values in f32, in place, as the recipe says for what is encoded.
    pub(super) fn round(
        &self,
        recipe: &Recipe,
        launcher: Launcher<'_>,
        span: Span,
        values: Array<'_>,
    ) -> Result<(), Fault> {
        recipe
            .then
            .iter()
            .try_for_each(|&dtype| launcher.decode(&self.cast, values.bytes, span, dtype, values))
    }

    /// Decodes the stored codes of rows as numbers, where they have a say.
    pub(super) fn hold<'a>(
        &self,
        launcher: Launcher<'_>,
        codes: Codes<'_>,
        span: Span,
        held: Array<'a>,
    ) -> Result<Option<Array<'a>>, Fault> {
        let Some(decode) = &self.held else { return Ok(None) };
        launcher.decode(decode, codes.bytes, span, Dtype::F32, held)?;
        Ok(Some(held))
    }

    /// Has the blocks that `codes` begins with, whose values do not stay, replaced by those that were made behind them;
    /// `before` takes the values that they had.
    pub(super) fn keep(
        &self,
        launcher: Launcher<'_>,
        span: Span,
        (values, before): (Array<'_>, Array<'_>),
        (codes, made): (&Bytes, [u64; 2]),
    ) -> Result<(), Fault> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        launcher.decode(&self.decode, codes, span, Dtype::F32, before)?;
        launcher.replace(keeper, (values, before), span, (codes, made))
    }

    /// Makes the values of rows from `codes` in `out`, by way of `values` in f32.
    pub(super) fn run(
        &self,
        recipe: &Recipe,
        launcher: Launcher<'_>,
        codes: Codes<'_>,
        span: Span,
        (values, out): (&Bytes, Array<'_>),
    ) -> Result<(), Fault> {
        let in_f32 = Array { bytes: values, dtype: Dtype::F32 };
        let decode = |to: Array<'_>| {
            if recipe.program.turned.is_none() {
                return launcher.decode(&self.decode, codes.bytes, span, recipe.decoded, to);
            }
            let decoded = if std::ptr::eq(to.bytes, values) { codes.spare } else { values };
            columns::decode(launcher, (recipe, &self.decode), (codes, decoded), span, to)
        };
        let Some((last, _)) = self.changes.split_last() else { return decode(out) };
        let is_product = self.changes.len() == 1 && matches!(last, Change::Product(_));
        let plain = recipe.plain().filter(|&dtype| is_product && is_there(&low_rank(dtype, out.dtype)));
        let mut from = if let Some(dtype) = plain {
            Array { bytes: codes.bytes, dtype }
        } else {
            decode(in_f32)?;
            in_f32
        };
        for (at, (change, &rounded)) in self.changes.iter().zip(&recipe.rounded).enumerate() {
            let is_last = at + 1 == self.changes.len();
            let to = if is_last { out } else { in_f32 };
            match change {
                Change::Product(product) => {
                    launcher.low_rank(from, to, span, product, rounded)?;
                    from = to;
                }
                Change::Edit(edit, rows) => {
                    launcher.edit(edit, rows.as_ref(), values, span)?;
                    if is_last || rounded != Dtype::F32 {
                        launcher.decode(&self.cast, values, span, rounded, to)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A layer on all devices.
pub(super) struct OnDevices {
    /// `None` if no kernels make its values.
    pub(super) recipe: Option<Recipe>,
    cards: Vec<Mutex<Option<Arc<OnCard>>>>,
}

impl OnDevices {
    pub(super) fn new(recipe: Option<Recipe>, cards: usize) -> Self {
        Self { recipe, cards: (0..cards).map(|_| Mutex::default()).collect() }
    }

    /// Returns the layer on a device, uploaded by the first that asks, who is told what that was.
    pub(super) fn on(
        &self,
        card: usize,
        upload: impl FnOnce() -> Result<(OnCard, Moved), Fault>,
    ) -> Result<(Arc<OnCard>, Option<Moved>), Fault> {
        let mut held = self.cards[card].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref() {
            return Ok((Arc::clone(held), None));
        }
        let (on, moved) = upload()?;
        Ok((Arc::clone(held.insert(Arc::new(on))), Some(moved)))
    }
}
