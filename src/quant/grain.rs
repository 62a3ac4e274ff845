//! Grain: how many weights share a scale, told from the shapes of the weight and its scales.
//!
//! | scales             | weight        | grain                                             |
//! |--------------------|---------------|---------------------------------------------------|
//! | `[]`, `[1]`        | `[out, in]`   | tensor                                            |
//! | `[out]`, `[out, 1]`| `[out, in]`   | channel (group if a config's group covers `in`)   |
//! | `[out, G]`         | `[out, in]`   | groups along the inputs                           |
//! | `[R, C]`           | `[out, in]`   | blocks; `R = ceil(out / bh)`, `C = ceil(in / bw)` |
//!
//! Stacks of experts have one more dimension in front of both. Block sizes come from a config, never from
//! the grid: 192 rows with two scales are 128 and 64 rows, not twice 96.

/// How many weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    Tensor,
    Channel,
    Group(u64),
    Block(u64, u64),
}

/// What a config says about the grain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint {
    /// Group along inputs, if more than zero.
    pub(super) group: Option<u64>,
    /// Block of outputs and inputs.
    pub(super) block: Option<[u64; 2]>,
}

impl Grain {
    /// Returns the grain, or `None` if the shapes do not fit each other.
    pub(super) fn of(scales: &[u64], weight: &[u64], hint: Hint) -> Option<Self> {
        let (&inputs, rest) = weight.split_last()?;
        let (&outputs, stack) = rest.split_last()?;
        // modelopt keeps a block's own dimensions as ones: [R, 1, C, 1].
        if let [rows, 1, columns, 1] = *scales
            && stack.is_empty()
        {
            return Self::of(&[rows, columns], weight, hint);
        }
        if scales.iter().all(|&dim| dim == 1) && scales.len() < 2 {
            return Some(Self::Tensor);
        }
        match *scales.strip_prefix(stack)? {
            [] | [1] => Some(Self::Tensor),
            [rows] => (rows == outputs).then_some(Self::Channel),
            [rows, columns] => Self::of_grid([rows, columns], [outputs, inputs], hint),
            _ => None,
        }
    }

    fn of_grid([rows, columns]: [u64; 2], [outputs, inputs]: [u64; 2], hint: Hint) -> Option<Self> {
        if let Some([high, wide]) = hint.block
            && grid([outputs, inputs], [high, wide]) == Some([rows, columns])
        {
            return Some(Self::Block(high, wide));
        }
        if rows == outputs
            && let Some(group) = hint.group
            && inputs.div_ceil(group.max(1)) == columns
        {
            return Some(Self::Group(group));
        }
        if [rows, columns] == [1, 1] {
            return Some(Self::Tensor);
        }
        match columns {
            _ if rows != outputs => None,
            0 => None,
            1 => Some(Self::Channel),
            _ => inputs.is_multiple_of(columns).then(|| Self::Group(inputs / columns)),
        }
    }

    /// Returns the group or block size along the inputs.
    pub(super) fn along_inputs(self) -> Option<u64> {
        match self {
            Self::Tensor | Self::Channel => None,
            Self::Group(size) | Self::Block(_, size) => Some(size),
        }
    }

    /// Returns the outputs and inputs that share a scale, of a matrix of this size.
    pub(super) fn block(self, [outputs, inputs]: [u64; 2]) -> [u64; 2] {
        let (outputs, inputs) = (outputs.max(1), inputs.max(1));
        match self {
            Self::Tensor => [outputs, inputs],
            Self::Channel => [1, inputs],
            Self::Group(size) => [1, size],
            Self::Block(high, wide) => [high, wide],
        }
    }

    /// Returns the grain in words: `one a row`, `blocks of 128 × 128`.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Tensor => "one for the tensor".into(),
            Self::Channel => "one a row".into(),
            Self::Group(size) => format!("one a row and {size} inputs"),
            Self::Block(high, wide) => format!("one a block of {high} × {wide}"),
        }
    }
}

/// Returns the scales that blocks of a size need; `None` for a block of no size.
pub(super) fn grid([outputs, inputs]: [u64; 2], [high, wide]: [u64; 2]) -> Option<[u64; 2]> {
    (high > 0 && wide > 0).then(|| [outputs.div_ceil(high), inputs.div_ceil(wide)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: Hint = Hint { group: None, block: Some([128, 128]) };
    const NONE: Hint = Hint { group: None, block: None };

    /// Scales, weight, config, grain.
    type Case = (&'static [u64], [u64; 2], Hint, Option<Grain>);

    #[test]
    fn shapes_tell_the_grain() {
        let group = |size| Hint { group: Some(size), block: None };
        let cases: [Case; 13] = [
            (&[], [64, 96], NONE, Some(Grain::Tensor)),
            (&[1], [64, 96], BLOCKS, Some(Grain::Tensor)),
            (&[1, 1], [64, 96], BLOCKS, Some(Grain::Block(128, 128))),
            (&[64], [64, 96], NONE, Some(Grain::Channel)),
            (&[64, 1], [64, 96], NONE, Some(Grain::Channel)),
            (&[64, 1], [64, 96], group(128), Some(Grain::Group(128))),
            (&[64, 3], [64, 96], NONE, Some(Grain::Group(32))),
            (&[64, 2], [64, 176], group(128), Some(Grain::Group(128))),
            (&[5, 2], [576, 192], BLOCKS, Some(Grain::Block(128, 128))),
            (&[5, 2], [576, 192], NONE, None),
            (&[5, 1, 2, 1], [576, 192], BLOCKS, Some(Grain::Block(128, 128))),
            (&[63], [64, 96], NONE, None),
            (&[64, 0], [64, 96], NONE, None),
        ];
        for (scales, weight, hint, want) in cases {
            assert_eq!(Grain::of(scales, &weight, hint), want, "{scales:?} {weight:?} {hint:?}");
        }
        assert_eq!(grid([1, 1], [0, 1]), None);
    }

    #[test]
    fn stacks_of_experts_have_the_grain_of_each() {
        let experts = [8, 64, 96];
        assert_eq!(Grain::of(&[8], &experts, NONE), Some(Grain::Tensor));
        assert_eq!(Grain::of(&[8, 64], &experts, NONE), Some(Grain::Channel));
        assert_eq!(Grain::of(&[8, 1, 1], &experts, BLOCKS), Some(Grain::Block(128, 128)));
        assert_eq!(Grain::of(&[64, 1], &[64], NONE), None);
        assert_eq!(Grain::of(&[7, 64], &experts, NONE), None);
    }
}
