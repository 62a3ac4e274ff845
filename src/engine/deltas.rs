//! Deltas: how much adapters change each weight, beside the weight itself; nothing is written.
//!
//! Of a product of two thin matrices (LoRA and its like) norm and singular values come of the Gram matrices of the
//! factors, in f64: `‖s L R‖² = s² tr(LᵀL · RRᵀ)`, and the eigenvalues of that product are the squares of the singular
//! values. What other methods change is taken from rows, as f32 after minus f32 before: each value is then off by half a
//! unit in the last place of the weight's, so that a norm below a ten-millionth of the weight's says nothing but zero.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::cpu::Cpu;
use super::inputs::{Inputs, codes_of};
use super::{Options, Progress, Run};
use crate::adapter::delta::{Edit, Factors, symmetric};
use crate::adapter::held::Held;
use crate::checkpoint::joined;
use crate::error::{Error, Result};
use crate::plan::{Attached, Merge, Merging, Order, Plan, Source, Values};
use crate::quant::decode::Decoding;
use crate::tensor::values;

/// Values that are looked at together, about.
const VALUES_AT_ONCE: u64 = 256 << 10;
/// Singular values are not computed beyond this rank.
const RANK_MAX: usize = 512;

/// What adapters change of a weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delta {
    /// The layer that it makes.
    pub name: String,
    /// The modules of the adapters that change it.
    pub modules: Vec<String>,
    /// The Frobenius norm of the change.
    pub norm: f64,
    /// The Frobenius norm of the weight before it.
    pub base_norm: f64,
    /// The rank of the factors; `None` where the change is no product of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// `exp` of the entropy of the singular values as shares of their sum (Roy, Vetterli 2007): how many directions
    /// the change really has. `None` where the change is no product, or is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_rank: Option<f64>,
    /// True if nothing is changed at all.
    pub is_zero: bool,
}

impl Delta {
    /// Returns the norm of the change over that of the weight; `None` of a weight that is zero.
    #[must_use]
    pub fn relative(&self) -> Option<f64> {
        (self.base_norm > 0.0).then(|| self.norm / self.base_norm)
    }
}

/// What an adapter changes of a base.
pub struct Weighed {
    /// What it changes of each weight.
    pub deltas: Vec<Delta>,
    /// Modules that are not merged and were not looked at, and why.
    pub left: Vec<String>,
}

/// Looks at what an adapter changes of the base that it was held against; modules that do not fit are left out.
///
/// # Errors
/// Nothing of it can be merged, a weight or the adapter cannot be read or decoded, or it was cancelled.
pub fn of_adapter(held: &Held, progress: &Progress, on_done: &(dyn Fn(usize) + Sync)) -> Result<Weighed> {
    let adapter = held.adapter.files.path.display().to_string();
    let mut order = Order::new(&held.base.files.path.display().to_string(), Path::new(""));
    order.merging =
        Some(Merging { adapters: vec![(adapter, 1.0)], allow_partial: true, ..Merging::default() });
    let plan = Plan::merge(&held.base, order, &[Attached::new(held, 1.0)])?;
    let options = Options::default();
    let run = Run {
        checkpoint: &held.base,
        adapters: &[&held.adapter],
        plan: &plan,
        options: &options,
        device: &Cpu,
        progress,
    };
    let deltas = deltas(&run, on_done)?;
    let left = plan.coverage.as_ref().map_or_else(Vec::new, |coverage| coverage.left.clone());
    Ok(Weighed { deltas, left })
}

/// Looks at what the merges of a plan change, in their order, on as many threads as the run's options say. `on_done` is
/// told how many are done.
///
/// # Errors
/// The plan merges nothing, a weight or an adapter cannot be read or decoded, or it was cancelled.
pub fn deltas(run: &Run<'_>, on_done: &(dyn Fn(usize) + Sync)) -> Result<Vec<Delta>> {
    let merges = &run.plan.merges;
    if merges.is_empty() {
        return Err(Error::input("the adapters change no weight of this base"));
    }
    let (inputs, names) = (Inputs::open(run)?, names(run.plan));
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Delta)>> {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(merge) = merges.get(at) else { return Ok(found) };
            run.progress.check()?;
            found.push((at, delta(run, &inputs, (at as u32, merge), names[at].clone())?));
            on_done(run.progress.tensors.fetch_add(1, Ordering::Relaxed) as usize + 1);
        }
    };
    let mut found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..run.options.threads.max(1)).map(|_| scope.spawn(work)).collect();
        // All are waited for, also after one that failed.
        let parts: Vec<Result<Vec<(usize, Delta)>>> = threads.into_iter().map(joined).collect();
        parts.into_iter().collect::<Result<Vec<_>>>()
    })?
    .concat();
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, delta)| delta).collect())
}

fn delta(run: &Run<'_>, inputs: &Inputs<'_>, (number, merge): (u32, &Merge), name: String) -> Result<Delta> {
    let (decoding, edits) = inputs.to_merge(merge)?;
    let product = match &edits[..] {
        [edit] => edit.product(),
        _ => None,
    };
    let mut squares = Squares::default();
    each_piece(run, inputs, (number, merge, &decoding), &mut |rows, values| {
        squares.base += sum_of_squares(values);
        if product.is_none() {
            squares.add_change(&edits, rows, values);
        }
        run.progress.read.fetch_add(4 * values.len() as u64, Ordering::Relaxed);
    })?;
    let spectrum = product.and_then(|(scale, factors)| spectrum(scale, factors));
    let norm = match (product, &spectrum) {
        (None, _) => squares.change.sqrt(),
        (Some(_), Some(spectrum)) => spectrum.iter().map(|value| value * value).sum::<f64>().sqrt(),
        (Some((scale, factors)), None) => norm_of(scale, factors),
    };
    let mut modules: Vec<String> = merge.edits.iter().map(|spec| spec.module.clone()).collect();
    modules.dedup();
    Ok(Delta {
        name,
        modules,
        norm,
        base_norm: squares.base.sqrt(),
        rank: product.map(|(_, factors)| factors.rank()),
        effective_rank: spectrum.as_deref().and_then(effective_rank),
        is_zero: norm == 0.0,
    })
}

/// Sums of squares.
#[derive(Default)]
struct Squares {
    base: f64,
    change: f64,
}

impl Squares {
    fn add_change(&mut self, edits: &[Box<dyn Edit>], rows: std::ops::Range<u64>, values: &[f32]) {
        let mut after = values.to_vec();
        for edit in edits {
            edit.apply(rows.clone(), &mut after);
        }
        let far = |(after, before): (&f32, &f32)| f64::from(*after) - f64::from(*before);
        self.change += after.iter().zip(values).map(far).map(|far| far * far).sum::<f64>();
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// Decodes a weight piece by piece.
fn each_piece(
    run: &Run<'_>,
    inputs: &Inputs<'_>,
    (number, merge, decoding): (u32, &Merge, &Decoding),
    take: &mut dyn FnMut(std::ops::Range<u64>, &[f32]),
) -> Result<()> {
    let (row_len, count) = (decoding.row_len().max(1), decoding.row_count());
    let at_once = (VALUES_AT_ONCE / row_len).next_multiple_of(decoding.rows.rows_at_once().max(1));
    let at_once = at_once.max(decoding.rows.rows_at_once()).max(1);
    let whole = inputs.strewn_codes(Values::Merged(number), decoding)?;
    let (mut codes, mut values) = (Vec::new(), Vec::new());
    for start in (0..count).step_by(at_once as usize) {
        run.progress.check()?;
        let rows = start..count.min(start + at_once);
        let range = decoding.rows.codes(rows.clone());
        values.resize(((rows.end - rows.start) * row_len) as usize, 0.0);
        if let Some(whole) = &whole {
            decoding.rows.decode(rows.clone(), &whole[range.start as usize..range.end as usize], &mut values);
        } else {
            codes.resize((range.end - range.start) as usize, 0);
            inputs.read_into(codes_of(merge.base, decoding), range.start, &mut codes)?;
            decoding.rows.decode(rows.clone(), &codes, &mut values);
        }
        values::round_all(merge.native, &mut values);
        take(rows, &values);
    }
    Ok(())
}

/// Returns `LᵀL` and `RRᵀ`.
fn grams(factors: &Factors) -> [Vec<f64>; 2] {
    let (rank, [left, right]) = (factors.rank(), factors.both());
    let mut grams = [vec![0f64; rank * rank], vec![0f64; rank * rank]];
    for line in left.chunks_exact(rank) {
        for (a, &first) in line.iter().enumerate() {
            for (b, &second) in line[..=a].iter().enumerate() {
                grams[0][a * rank + b] += f64::from(first) * f64::from(second);
            }
        }
    }
    let line = |at: usize| &right[at * factors.columns()..(at + 1) * factors.columns()];
    for a in 0..rank {
        for b in 0..=a {
            let products = line(a).iter().zip(line(b)).map(|(&a, &b)| f64::from(a) * f64::from(b));
            grams[1][a * rank + b] = products.sum();
        }
    }
    for gram in &mut grams {
        for a in 0..rank {
            for b in 0..a {
                gram[b * rank + a] = gram[a * rank + b];
            }
        }
    }
    grams
}

/// Returns the Frobenius norm of a product.
fn norm_of(scale: f32, factors: &Factors) -> f64 {
    let [left, right] = grams(factors);
    let trace: f64 = left.iter().zip(&right).map(|(a, b)| a * b).sum();
    f64::from(scale).abs() * trace.max(0.0).sqrt()
}

/// Returns the singular values of a product; `None` beyond `RANK_MAX`, or if a factor is not finite.
fn spectrum(scale: f32, factors: &Factors) -> Option<Vec<f64>> {
    let rank = factors.rank();
    if rank > RANK_MAX {
        return None;
    }
    let [left, right] = grams(factors);
    let squares = symmetric::product_eigenvalues(&left, &right, rank)?;
    let scale = f64::from(scale).abs();
    Some(squares.into_iter().map(|square| scale * square.max(0.0).sqrt()).collect())
}

fn effective_rank(spectrum: &[f64]) -> Option<f64> {
    let sum: f64 = spectrum.iter().sum();
    let shares = spectrum.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    (sum > 0.0).then(|| shares.map(|share| -share * share.ln()).sum::<f64>().exp())
}

/// Returns the names of what the merges of a plan make, as layers are called.
fn names(plan: &Plan) -> Vec<String> {
    let mut names = vec![String::new(); plan.merges.len()];
    for tensor in plan.shards.iter().flat_map(|shard| &shard.tensors) {
        if let Source::Merged(merge) = tensor.source {
            let name = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
            name.clone_into(&mut names[merge as usize]);
        }
    }
    names
}
