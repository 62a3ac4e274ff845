//! Combinations: the factors of several LoRA adapters as those of one.
//!
//! | way    | `lora_A`                        | `lora_B`             | delta                                |
//! |--------|---------------------------------|----------------------|--------------------------------------|
//! | cat    | rows of all `A · w · s`         | columns of all `B`   | `Σ w s B A`, one chain, one rounding |
//! | linear | `Σ sign(w s) √abs(w s) · A`     | `Σ √abs(w s) · B`    | with products of one's B and other's A |
//!
//! Each element is multiplied and added in f32 in the order of the adapters, as torch does it.
//! Source: PEFT 0.21, `tuners/lora/model.py` (`add_weighted_adapter`) and `utils/merge_utils.py`.

use serde::{Deserialize, Serialize};

use super::Recipe;
use super::matrix::Matrix;
use crate::tensor::{Dtype, values};

/// How several adapters become what is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// One after the other, each rounding in turn.
    #[default]
    Sequential,
    /// Their factors one after the other: the weighted sum of the deltas, rounded once.
    Cat,
    /// The weighted sums of their factors, of the same rank.
    Linear,
}

/// One adapter's share of a combination.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Which adapter, in the order in which they are given.
    pub adapter: usize,
    /// Its tensors, by part.
    pub parts: Vec<(&'static str, u32)>,
    /// What the user multiplies its delta by.
    pub weight: f64,
    /// What its own config multiplies it by: `alpha / r`.
    pub scaling: f64,
}

/// Several adapters' changes of one tensor that become one.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// How: not `Sequential`.
    pub how: Combine,
    /// What each adapter brings, in their order.
    pub terms: Vec<Term>,
}

/// Where the factors of a combination are rounded, if at all.
///
/// PEFT makes the adapter of a combination in the base's dtype. Into that `cat` writes its factors, which rounds
/// them; `linear` puts its own in their place, in the dtype of those that it sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounded {
    /// After each product, of factors that are held in this dtype.
    pub(super) each: Option<Dtype>,
    /// Those of `cat`, in the end.
    pub(super) end: Option<Dtype>,
}

impl Rounded {
    /// Returns the roundings of a recipe on a base of this dtype. The plain one rounds nothing but the result.
    pub(super) fn of(recipe: Recipe, base: Dtype) -> Self {
        Self { each: recipe.factors(base), end: recipe.delta(base) }
    }
}

impl Combination {
    /// Returns the factors `A` `[r, in]` and `B` `[out, r]` of the combination, from those of each term.
    ///
    /// `rounded` says where they are rounded on the way.
    ///
    /// # Errors
    /// The factors have not the same shapes where they must have, in words.
    pub(super) fn factors(
        &self,
        list: Vec<(Matrix, Matrix)>,
        rounded: Rounded,
    ) -> Result<(Matrix, Matrix), String> {
        let mut all = list.into_iter().zip(&self.terms);
        let Some(((mut down, mut up), first)) = all.next() else { return Err("no factors".into()) };
        if self.how == Combine::Linear {
            let (a, b) = first.roots();
            down.multiply(a, None);
            up.multiply(b, None);
            for ((mut more_down, mut more_up), term) in all {
                let (a, b) = term.roots();
                more_down.multiply(a, None);
                more_up.multiply(b, None);
                down.add(&more_down)?;
                up.add(&more_up)?;
            }
            down.multiply(1.0, rounded.each);
            up.multiply(1.0, rounded.each);
            return Ok((down, up));
        }
        down.weigh(first, rounded.each);
        for ((mut more_down, more_up), term) in all {
            more_down.weigh(term, rounded.each);
            down = down.above(more_down)?;
            up = up.beside(&more_up)?;
        }
        down.multiply(1.0, rounded.end);
        up.multiply(1.0, rounded.end);
        Ok((down, up))
    }
}

impl Term {
    /// Returns what `A` and `B` are multiplied by in a linear combination: the sign goes to one of them.
    fn roots(&self) -> (f32, f32) {
        let factor = self.weight * self.scaling;
        let root = factor.abs().sqrt();
        ((if factor >= 0.0 { root } else { -root }) as f32, root as f32)
    }
}

impl Matrix {
    /// Multiplies by the term's weight, then by its scaling.
    fn weigh(&mut self, term: &Term, rounded: Option<Dtype>) {
        self.multiply(term.weight as f32, rounded);
        self.multiply(term.scaling as f32, rounded);
    }

    fn multiply(&mut self, factor: f32, rounded: Option<Dtype>) {
        for value in &mut self.values {
            *value *= factor;
            if let Some(dtype) = rounded {
                *value = values::round(dtype, *value);
            }
        }
    }

    fn add(&mut self, other: &Self) -> Result<(), String> {
        if (self.rows, self.columns) != (other.rows, other.columns) {
            return Err(format!(
                "factors of {} × {} and {} × {} have no sum: a linear combination needs the same rank",
                self.rows, self.columns, other.rows, other.columns
            ));
        }
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value += other;
        }
        Ok(())
    }

    /// Puts rows below.
    fn above(mut self, other: Self) -> Result<Self, String> {
        if self.columns != other.columns {
            return Err(format!("factors of {} and {} inputs", self.columns, other.columns));
        }
        self.values.extend(other.values);
        self.rows += other.rows;
        Ok(self)
    }

    /// Puts columns to the right.
    fn beside(self, other: &Self) -> Result<Self, String> {
        if self.rows != other.rows {
            return Err(format!("factors of {} and {} outputs", self.rows, other.rows));
        }
        let columns = self.columns + other.columns;
        let mut values = Vec::with_capacity(self.rows * columns);
        for row in 0..self.rows {
            values.extend_from_slice(&self.values[row * self.columns..][..self.columns]);
            values.extend_from_slice(&other.values[row * other.columns..][..other.columns]);
        }
        Ok(Self { values, rows: self.rows, columns })
    }
}
