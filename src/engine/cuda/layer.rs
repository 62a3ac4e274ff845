//! A layer on the devices: what all its rows share, uploaded when the first piece of it comes to a device.

use std::sync::{Arc, Mutex, PoisonError};

use super::driver::{Bytes, Context, Fault, Queue};
use super::launch::{Array, Launcher, Product, Span, Uploaded, low_rank, uploaded};
use super::module::is_there;
use crate::quant::kernel::{Kernel, Program, Step, dtype_number};
use crate::tensor::Dtype;

/// How the values of a layer are made: operations that kernels do, each rounded once.
pub(super) struct Recipe {
    program: Program,
    /// What decoded values are rounded to.
    decoded: Dtype,
    /// The products that are added, and what each sum is rounded to.
    sums: Vec<Dtype>,
    /// What values are rounded to one after the other behind that, before they are encoded.
    then: Vec<Dtype>,
    /// The encoder of its values.
    pub(super) encoder: Option<Kernel>,
}

impl Recipe {
    /// Returns how a program's values, rounded to `native` at last, are made in `dtype`; `None` if no kernels do that.
    pub(super) fn new(program: Program, native: Dtype, dtype: Dtype) -> Option<Self> {
        dtype_number(dtype)?;
        let last = if native == dtype { Dtype::F32 } else { native };
        let (mut decoded, mut sums) = (Dtype::F32, Vec::new());
        for step in program.steps.iter().chain(&[Step::Round(last)]) {
            match step {
                Step::Round(dtype) => {
                    let rounded = sums.last_mut().unwrap_or(&mut decoded);
                    *rounded = both(*rounded, *dtype)?;
                }
                Step::LowRank { .. } => sums.push(Dtype::F32),
            }
        }
        let name = program.decode.name;
        let is_known = [Dtype::F32, Dtype::F16, Dtype::BF16]
            .iter()
            .all(|dtype| is_there(&format!("{name}_{}", super::launch::ending(*dtype))));
        (is_known && dtype_number(decoded).is_some()).then_some(Self {
            program,
            decoded,
            sums,
            then: Vec::new(),
            encoder: None,
        })
    }

    /// Has values rounded once more: at once with their last operation, if that is the same.
    pub(super) fn round(&mut self, dtype: Dtype) {
        let last = self.sums.last_mut().unwrap_or(&mut self.decoded);
        match both(*last, dtype).filter(|_| self.then.is_empty()) {
            Some(both) => *last = both,
            None => self.then.push(dtype),
        }
    }

    /// Returns the dtype of stored values that need no decoding.
    fn plain(&self) -> Option<Dtype> {
        let stored = [Dtype::F32, Dtype::F16, Dtype::BF16];
        let is = |dtype: &&Dtype| {
            let number = dtype_number(**dtype).map(u64::from);
            self.program.decode.name == "plain" && self.program.decode.numbers.first().copied() == number
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

/// A layer on one device.
pub(super) struct OnCard {
    decode: Uploaded,
    products: Vec<Product>,
    /// Copies values in f32, rounded.
    rounder: Option<Uploaded>,
    pub(super) encoder: Option<Uploaded>,
    /// All its codes, where every row needs all of them.
    pub(super) codes: Option<Bytes>,
}

impl OnCard {
    fn upload(
        context: &Arc<Context>,
        queue: &Queue,
        recipe: &Recipe,
        whole: Option<&[u8]>,
    ) -> Result<Self, Fault> {
        let mut products = Vec::new();
        for step in &recipe.program.steps {
            let Step::LowRank { left, right, rank, scale, rounded } = step else { continue };
            let floats =
                |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
            let (left, right) = (floats(left), floats(right));
            products.push(Product {
                left: uploaded(context, queue, &left)?,
                right: uploaded(context, queue, &right)?,
                rank: *rank as u64,
                scale: *scale,
                rounded: rounded.unwrap_or(Dtype::F32),
            });
            queue.wait()?;
        }
        let codes = whole.map(|codes| uploaded(context, queue, codes)).transpose()?;
        let decode = Uploaded::new(context, queue, recipe.program.decode.clone())?;
        let encoder = recipe.encoder.clone().map(|kernel| Uploaded::new(context, queue, kernel));
        let plain = || Uploaded::new(context, queue, Kernel::new("plain").numbers([0]));
        let rounder = if recipe.then.is_empty() { None } else { Some(plain()?) };
        Ok(Self { decode, products, rounder, encoder: encoder.transpose()?, codes })
    }

    /// Rounds values in f32, in place, as the recipe says for what is encoded.
    pub(super) fn round(
        &self,
        recipe: &Recipe,
        launcher: Launcher<'_>,
        span: Span,
        values: Array<'_>,
    ) -> Result<(), Fault> {
        let Some(rounder) = &self.rounder else { return Ok(()) };
        recipe.then.iter().try_for_each(|&dtype| launcher.decode(rounder, values.bytes, span, dtype, values))
    }

    /// Makes the values of rows from `codes` in `out`, by way of `values` in f32.
    pub(super) fn run(
        &self,
        recipe: &Recipe,
        launcher: Launcher<'_>,
        codes: &Bytes,
        span: Span,
        (values, out): (&Bytes, Array<'_>),
    ) -> Result<(), Fault> {
        let in_f32 = Array { bytes: values, dtype: Dtype::F32 };
        let count = self.products.len();
        if count == 0 {
            return launcher.decode(&self.decode, codes, span, recipe.decoded, out);
        }
        let plain = recipe.plain().filter(|&dtype| count == 1 && is_there(&low_rank(dtype, out.dtype)));
        let mut from = if let Some(dtype) = plain {
            Array { bytes: codes, dtype }
        } else {
            launcher.decode(&self.decode, codes, span, recipe.decoded, in_f32)?;
            in_f32
        };
        for (at, (product, &sum)) in self.products.iter().zip(&recipe.sums).enumerate() {
            let to = if at + 1 == count { out } else { in_f32 };
            launcher.low_rank(from, to, span, product, sum)?;
            from = to;
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

    /// Returns the layer on a device, uploaded by the first that asks.
    pub(super) fn on(
        &self,
        card: usize,
        (context, queue): (&Arc<Context>, &Queue),
        recipe: &Recipe,
        whole: Option<&[u8]>,
    ) -> Result<Arc<OnCard>, Fault> {
        let mut held = self.cards[card].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref() {
            return Ok(Arc::clone(held));
        }
        Ok(Arc::clone(held.insert(Arc::new(OnCard::upload(context, queue, recipe, whole)?))))
    }
}
