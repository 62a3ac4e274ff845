//! Edits as data: which tensors of an adapter change a weight, and how. A plan holds these; the engine reads
//! the tensors when it comes to the weight.

use std::ops::Range;
use std::sync::Arc;

use super::combine::Rounded;
use super::conv;
use super::matrix::Matrix;
use super::{
    Combination, Dora, Edit, Factors, Hadamard, Kronecker, LowRank, Oft, Projection, Recipe, Reordered,
    Rotation, RowOrder, Rows, Scale, Stack, Within,
};
use crate::tensor::Dtype;
use crate::units;

/// How an adapter changes a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// `lora_A` `[r, in]`, `lora_B` `[out, r]`; with `lora_magnitude_vector` DoRA.
    Lora,
    /// `lora_embedding_A` `[r, vocab]`, `lora_embedding_B` `[dim, r]`; with magnitudes DoRA, by columns.
    Embedding,
    /// `lora_A` `[r E, in]`, `lora_B` `[out, r E]`: of `E` experts; the expert is slowest in A, fastest in B.
    Experts,
    /// `lora_A` `[r, in]`, `lora_B` `[out, r]`, `lora_E` `[r, 1]`.
    AdaLora,
    /// `hada_w1_a` `[out, r]`, `hada_w1_b` `[r, in]`, `hada_w2_a`, `hada_w2_b`.
    LoHa,
    /// `lokr_w1` or its factors `lokr_w1_a`, `lokr_w1_b`; `lokr_w2` likewise.
    LoKr,
    /// `ia3_l` `[out, 1]` or `[1, in]`.
    Ia3,
    /// `oft_R` `[blocks, n (n - 1) / 2]`; or one block for all.
    Oft(Oft),
    /// `vera_lambda_b` `[out]`, `vera_lambda_d` `[r]`, and the shared `vera_A` `[r, ≥ in]`, `vera_B` `[≥ out, r]`.
    Vera,
    /// The same, with `vera_A` and `vera_B` drawn anew.
    VeraDrawn(Projection),
    /// `trainable_tokens_delta` `[n, dim]`: the rows themselves.
    Tokens,
    /// `lora_B.bias` `[out]`, added to a bias.
    Bias,
}

/// One adapter's change of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct EditSpec {
    /// Which adapter, in the order in which they are merged.
    pub adapter: usize,
    /// The module of the adapter, as in its keys.
    pub module: String,
    /// How.
    pub method: Method,
    /// The adapter's tensors, by part.
    pub parts: Vec<(&'static str, u32)>,
    /// What the adapter's own config multiplies the delta by.
    pub scaling: f64,
    /// What the user multiplies it by.
    pub weight: f64,
    /// True where the weight is `[in, out]` (`Conv1D`, experts stored the other way around).
    pub transposed: bool,
    /// Where values are rounded.
    pub recipe: Recipe,
    /// Matrices of a stack; 1 for a plain weight.
    pub experts: u64,
    /// Rows of trained tokens.
    pub tokens: Vec<u64>,
    /// The outputs of the factors that go to the weight: some where the weight is a part of what they are for.
    pub outputs: Option<Range<u64>>,
    /// The expert of the factors that goes to the weight, which is no stack of all.
    pub expert: Option<u64>,
    /// The rows of the weight that change: some where what the factors are for is a part of the weight.
    pub rows: Option<Range<u64>>,
    /// The order of the weight's rows, where it is not that of the factors.
    pub order: Option<RowOrder>,
    /// True for a convolution: the weight `[out, in, …]` is taken as `[out, in · …]`, and so are the factors.
    pub is_flat: bool,
    /// The factors of several adapters that become one delta, instead of `parts`, `scaling` and `weight`.
    pub combination: Option<Combination>,
}

/// Values of a tensor and its shape.
pub type Values = (Vec<f32>, Vec<u64>);

/// Rows of a base, some at a time: what norms over all rows need.
pub type BaseRows<'a> = dyn FnMut(Range<u64>, &mut [f32]) -> Result<(), String> + 'a;

/// Reads a tensor of an adapter: number of the adapter, tensor.
pub type Read<'a> = dyn FnMut(usize, u32) -> Result<Arc<Values>, String> + 'a;

/// Reads the parts of an adapter's module.
struct Parts<'a> {
    adapter: usize,
    list: &'a [(&'static str, u32)],
    read: &'a mut Read<'a>,
    /// The dtype to which factors are rounded.
    rounded: Option<Dtype>,
    /// True if factors of more than two dimensions are taken as matrices.
    is_flat: bool,
}

impl Parts<'_> {
    fn has(&self, part: &str) -> bool {
        self.list.iter().any(|(name, _)| *name == part)
    }

    fn values(&mut self, part: &str) -> Result<Values, String> {
        let (mut values, shape) = Arc::unwrap_or_clone(self.stored(part)?);
        self.round(&mut values);
        Ok((values, shape))
    }

    /// Returns values as they are stored, shared with others.
    fn stored(&mut self, part: &str) -> Result<Arc<Values>, String> {
        let found = self.list.iter().find(|(name, _)| *name == part);
        (self.read)(self.adapter, found.ok_or_else(|| format!("no {part}"))?.1)
    }

    fn round(&self, values: &mut [f32]) {
        if let Some(dtype) = self.rounded {
            crate::tensor::values::round_all(dtype, values);
        }
    }

    /// Returns two factors, of a convolution with what lies between them.
    fn pair(&mut self, [core, left, right]: [&str; 3]) -> Result<(Matrix, Matrix), String> {
        let (left, right) = (self.matrix(left)?, self.matrix(right)?);
        if self.has(core) { conv::factors(&self.values(core)?, &left, &right) } else { Ok((left, right)) }
    }

    fn matrix(&mut self, part: &str) -> Result<Matrix, String> {
        let (values, mut shape) = self.values(part)?;
        if self.is_flat && shape.len() > 2 {
            let rest = crate::tensor::elements(&shape[1..]).ok_or("its shape overflows")?;
            shape = vec![shape[0], rest];
        }
        match shape[..] {
            [rows, columns] if rows.checked_mul(columns) == Some(values.len() as u64) => {
                Ok(Matrix { values, rows: rows as usize, columns: columns as usize })
            }
            _ => Err(format!("{part} is {}, not a matrix", units::shape(&shape))),
        }
    }
}

impl EditSpec {
    /// Returns true if the sum is normalized by magnitudes.
    #[must_use]
    pub fn is_dora(&self) -> bool {
        self.parts.iter().any(|(part, _)| *part == "lora_magnitude_vector")
    }

    /// Returns the tensors that are read for it: number of the adapter, tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let own = self.parts.iter().map(|(_, tensor)| (self.adapter, *tensor));
        let terms = self.combination.iter().flat_map(|combination| &combination.terms);
        own.chain(terms.flat_map(|term| term.parts.iter().map(|(_, tensor)| (term.adapter, *tensor))))
    }

    /// Returns what the delta is multiplied by.
    fn scale(&self) -> f32 {
        (self.scaling * self.weight) as f32
    }

    /// Reads the tensors and returns the edit of a weight of this shape and dtype.
    ///
    /// # Errors
    /// A part is missing, cannot be read, or does not fit the weight; in words with the numbers.
    pub fn edit(
        &self,
        shape: &[u64],
        dtype: Dtype,
        read: &mut Read<'_>,
        base: &mut BaseRows<'_>,
    ) -> Result<Box<dyn Edit>, String> {
        let rounded = self.recipe.factors(dtype);
        let mut parts =
            Parts { adapter: self.adapter, list: &self.parts, read, rounded, is_flat: self.is_flat };
        // Of embeddings and parameters PEFT rounds the delta whatever the recipe.
        let is_rounded = matches!(self.method, Method::Embedding | Method::Experts);
        let delta = self.recipe.delta(dtype).or(is_rounded.then_some(dtype));
        let matrix = match (shape, &self.rows) {
            (&[count], None) if matches!(self.method, Method::Bias | Method::Ia3) => [1, count],
            (&[.., columns], Some(rows)) => [rows.end.saturating_sub(rows.start), columns],
            (&[rows, columns], None) => [rows, columns],
            (&[experts, rows, columns], None) if experts == self.experts => [rows, columns],
            _ => return Err(format!("the base is {}", units::shape(shape))),
        };
        let whole = [shape.iter().rev().skip(1).copied().fold(1, u64::saturating_mul), matrix[1]];
        let edit: Box<dyn Edit> = match self.method {
            Method::Lora | Method::Embedding => self.low_rank(&mut parts, matrix, (dtype, delta), base)?,
            Method::Experts => self.stack(&mut parts, matrix, delta)?,
            Method::AdaLora => self.ada(&mut parts, matrix, delta)?,
            Method::LoHa => {
                let mut product = |[core, a, b]: [&str; 3]| -> Result<Factors, String> {
                    let (left, right) = parts.pair([core, a, b])?;
                    self.factors(left, right, matrix)
                };
                let first = product(["hada_t1", "hada_w1_a", "hada_w1_b"])?;
                let second = product(["hada_t2", "hada_w2_a", "hada_w2_b"])?;
                Box::new(Hadamard::new(first, second, self.scale(), delta)?)
            }
            Method::LoKr => {
                // The factors of what is turned are turned themselves.
                let [rows, columns] = matrix;
                let of_factors = if self.transposed { [columns, rows] } else { matrix };
                let mut factor = |names: [&str; 4]| {
                    let factor = kron_factor(&mut parts, names, of_factors)?;
                    let factor = if self.transposed { factor.transposed() } else { factor };
                    Ok::<_, String>((factor.values, [factor.rows, factor.columns].map(|size| size as u64)))
                };
                let first = factor(["lokr_w1", "lokr_t1", "lokr_w1_a", "lokr_w1_b"])?;
                let second = factor(["lokr_w2", "lokr_t2", "lokr_w2_a", "lokr_w2_b"])?;
                Box::new(Kronecker::new(first, second, matrix, self.scale(), delta)?)
            }
            Method::Ia3 => {
                let factors = parts.matrix("ia3_l")?;
                // [out, 1], or [1, in]; the weight may lie the other way around.
                let is_column = factors.columns == 1 && (factors.rows != 1 || matrix[0] == 1);
                let by_rows = shape.len() != 1 && is_column != self.transposed;
                Box::new(Scale::new(factors.values, by_rows, matrix)?)
            }
            Method::Oft(oft) => {
                if self.transposed {
                    return Err("the weight is [in, out], and OFT turns [out, in]".into());
                }
                let angles = parts.matrix("oft_R")?;
                Box::new(Rotation::new(&angles.values, angles.rows as u64, matrix[1], oft)?)
            }
            Method::Vera | Method::VeraDrawn(_) => {
                let (b, d) = (parts.values("vera_lambda_b")?.0, parts.values("vera_lambda_d")?.0);
                let (down, up) = match self.method {
                    Method::VeraDrawn(Projection { rank, .. }) if rank != d.len() as u64 => {
                        return Err(format!("vera_lambda_d has {} values for r {rank}", d.len()));
                    }
                    Method::VeraDrawn(projection) => projection.make(dtype),
                    _ => (parts.matrix("vera_A")?, parts.matrix("vera_B")?),
                };
                self.vera((b, d), (&down, &up), matrix, delta)?
            }
            Method::Tokens => {
                let rows = parts.matrix("trainable_tokens_delta")?;
                Box::new(Rows::new(&self.tokens, rows.values, whole)?)
            }
            Method::Bias => {
                let (bias, _) = parts.values("lora_B.bias")?;
                let factors = Factors::new(vec![1.0], bias, matrix)?;
                // PEFT adds it in f32 whatever the recipe.
                Box::new(LowRank::new(factors, self.scale(), None))
            }
        };
        let edit = self.within(edit, whole)?;
        Ok(match self.order {
            Some(order) => Box::new(Reordered::new(edit, order, shape)?),
            None => edit,
        })
    }

    /// Returns an edit of the rows that change.
    fn within(&self, edit: Box<dyn Edit>, whole: [u64; 2]) -> Result<Box<dyn Edit>, String> {
        Ok(match &self.rows {
            Some(rows) if rows.end <= whole[0] => Box::new(Within::new(edit, rows.clone(), whole[1])),
            Some(rows) => return Err(format!("rows to {} of {}", rows.end, whole[0])),
            None => edit,
        })
    }

    /// Returns `left` `[out, r]` and `right` `[r, in]` as the factors of a weight, the other way around if it is
    /// `[in, out]`.
    fn factors(&self, left: Matrix, right: Matrix, matrix: [u64; 2]) -> Result<Factors, String> {
        if left.columns != right.rows {
            return Err(format!("ranks {} and {}", left.columns, right.rows));
        }
        let left = match &self.outputs {
            Some(outputs) => left.rows(outputs.clone())?,
            None => left,
        };
        let (left, right) =
            if self.transposed { (right.transposed(), left.transposed()) } else { (left, right) };
        if (left.rows as u64, right.columns as u64) != (matrix[0], matrix[1]) {
            let [rows, columns] = matrix;
            return Err(format!("delta is {} × {}, the base {rows} × {columns}", left.rows, right.columns));
        }
        Factors::new(left.values, right.values, matrix)
    }

    fn low_rank(
        &self,
        parts: &mut Parts<'_>,
        matrix: [u64; 2],
        (dtype, delta): (Dtype, Option<Dtype>),
        base: &mut BaseRows<'_>,
    ) -> Result<Box<dyn Edit>, String> {
        let is_embedding = self.method == Method::Embedding;
        let names =
            if is_embedding { ["lora_embedding_A", "lora_embedding_B"] } else { ["lora_A", "lora_B"] };
        let (down, up) = match &self.combination {
            None => (parts.matrix(names[0])?, parts.matrix(names[1])?),
            Some(combination) => combination.read(parts, names, Rounded::of(self.recipe, dtype))?,
        };
        // `A` is `[r, in]` and `B` `[out, r]`; of embeddings, which are `[vocab, dim]`, the delta is `(B A)ᵀ`.
        let (left, right) = if is_embedding { (down.transposed(), up.transposed()) } else { (up, down) };
        let factors = self.factors(left, right, matrix)?;
        if self.combination.is_some() {
            // Weights and scalings are in the factors.
            return Ok(Box::new(LowRank::new(factors, 1.0, delta)));
        }
        if !parts.has("lora_magnitude_vector") {
            return Ok(Box::new(LowRank::new(factors, self.scale(), delta)));
        }
        // The sum is normalized before anything is rounded.
        let low = LowRank::new(factors, self.scale(), None);
        let (magnitudes, _) = parts.values("lora_magnitude_vector")?;
        if is_embedding || self.transposed {
            return Ok(Box::new(Dora::by_columns(low, &magnitudes, matrix[0], base)??));
        }
        Ok(Box::new(Dora::by_rows(low, magnitudes, matrix[0])?))
    }

    fn stack(
        &self,
        parts: &mut Parts<'_>,
        matrix: [u64; 2],
        delta: Option<Dtype>,
    ) -> Result<Box<dyn Edit>, String> {
        let (down, up) = (parts.stored("lora_A")?, parts.stored("lora_B")?);
        let ((down, [total, inputs]), (up, [outputs, columns])) = (matrix_of(&down)?, matrix_of(&up)?);
        let experts = self.experts.max(1) as usize;
        let rank = total / experts;
        if rank * experts != total || columns != total {
            return Err(format!("ranks {total} and {columns} of {experts} experts"));
        }
        let one = |expert: usize| -> Result<Box<dyn Edit>, String> {
            let mut right = down[expert * rank * inputs..][..rank * inputs].to_vec();
            let lines = up.chunks_exact(columns);
            let mut left: Vec<f32> =
                lines.flat_map(|line| (0..rank).map(move |r| line[r * experts + expert])).collect();
            parts.round(&mut left);
            parts.round(&mut right);
            let left = Matrix { values: left, rows: outputs, columns: rank };
            let right = Matrix { values: right, rows: rank, columns: inputs };
            Ok(Box::new(LowRank::new(self.factors(left, right, matrix)?, self.scale(), delta)))
        };
        match self.expert {
            Some(expert) if expert < experts as u64 => one(expert as usize),
            Some(expert) => Err(format!("expert {expert} of {experts}")),
            None => {
                let edits: Result<Vec<_>, String> = (0..experts).map(one).collect();
                Ok(Box::new(Stack::new(edits?, matrix)))
            }
        }
    }

    fn ada(
        &self,
        parts: &mut Parts<'_>,
        matrix: [u64; 2],
        delta: Option<Dtype>,
    ) -> Result<Box<dyn Edit>, String> {
        let (mut down, up) = (parts.matrix("lora_A")?, parts.matrix("lora_B")?);
        let (values, _) = parts.values("lora_E")?;
        if values.len() != down.rows {
            return Err(format!("lora_E has {} values for rank {}", values.len(), down.rows));
        }
        for (line, factor) in down.values.chunks_mut(down.columns.max(1)).zip(values) {
            for value in line {
                *value *= factor;
            }
        }
        Ok(Box::new(LowRank::new(self.factors(up, down, matrix)?, self.scale(), delta)))
    }

    fn vera(
        &self,
        (b, d): (Vec<f32>, Vec<f32>),
        (down, up): (&Matrix, &Matrix),
        matrix: [u64; 2],
        delta: Option<Dtype>,
    ) -> Result<Box<dyn Edit>, String> {
        let (outputs, inputs) = if self.transposed { (matrix[1], matrix[0]) } else { (matrix[0], matrix[1]) };
        let (outputs, inputs) = (outputs as usize, inputs as usize);
        let fits = b.len() == outputs && d.len() == down.rows && up.columns == down.rows;
        if !fits || up.rows < outputs || down.columns < inputs {
            return Err(format!(
                "vera_A is {} × {}, vera_B {} × {}, with {} and {} factors for {outputs} × {inputs}",
                down.rows,
                down.columns,
                up.rows,
                up.columns,
                d.len(),
                b.len()
            ));
        }
        let up_lines = up.values.chunks_exact(up.columns.max(1));
        let left = up_lines.zip(&b).flat_map(|(line, b)| line.iter().map(move |value| b * value)).collect();
        let down_lines = down.values.chunks_exact(down.columns.max(1));
        let right = down_lines
            .zip(&d)
            .flat_map(|(line, d)| line[..inputs].iter().map(move |value| d * value))
            .collect();
        let left = Matrix { values: left, rows: outputs, columns: up.columns };
        let right = Matrix { values: right, rows: down.rows, columns: inputs };
        Ok(Box::new(LowRank::new(self.factors(left, right, matrix)?, self.scale(), delta)))
    }
}

impl Combination {
    /// Reads the factors of all terms and returns those of the combination.
    fn read(
        &self,
        parts: &mut Parts<'_>,
        [down, up]: [&str; 2],
        rounded: Rounded,
    ) -> Result<(Matrix, Matrix), String> {
        let mut list = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let mut parts = Parts {
                adapter: term.adapter,
                list: &term.parts,
                read: &mut *parts.read,
                rounded: parts.rounded,
                is_flat: parts.is_flat,
            };
            list.push((parts.matrix(down)?, parts.matrix(up)?));
        }
        self.factors(list, rounded)
    }
}

/// Returns the values of a matrix of at least one column, and its rows and columns.
fn matrix_of((values, shape): &Values) -> Result<(&[f32], [usize; 2]), String> {
    match shape[..] {
        [rows, columns] if columns > 0 && rows.checked_mul(columns) == Some(values.len() as u64) => {
            Ok((values, [rows as usize, columns as usize]))
        }
        _ => Err(format!("its factors are {}, not a matrix", units::shape(shape))),
    }
}

/// Returns one side of a Kronecker product of so many rows and columns: stored whole, or as two factors.
fn kron_factor(
    parts: &mut Parts<'_>,
    [whole, core, a, b]: [&str; 4],
    [rows, columns]: [u64; 2],
) -> Result<Matrix, String> {
    if parts.has(whole) {
        return parts.matrix(whole);
    }
    let (left, right) = parts.pair([core, a, b])?;
    let shape = [left.rows as u64, right.columns as u64];
    if shape[0] > rows || shape[1] > columns {
        return Err(format!("{whole} is {} × {}, the base {rows} × {columns}", shape[0], shape[1]));
    }
    let (rows, columns) = (left.rows, right.columns);
    let factors = Factors::new(left.values, right.values, shape)?;
    let mut values = vec![0.0; rows * columns];
    factors.rows(0..shape[0], &mut values);
    Ok(Matrix { values, rows, columns })
}
