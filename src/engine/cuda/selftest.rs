//! What a self-test finds of one card: whether kernels and processor agree to the bit, and how fast the card is.

/// What a card did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tested {
    /// What was computed on the card and on the processor.
    pub checks: Vec<Check>,
    /// What was measured.
    pub rates: Vec<Rate>,
}

/// The same values computed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was computed: `bnb-nf4 to bf16`.
    pub name: String,
    /// How many values were compared.
    pub values: u64,
    /// How many of them differ in any bit.
    pub differing: u64,
}

/// A speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// What was measured: `host to device, pinned`.
    pub name: String,
    /// Bytes a second.
    pub bytes_per_second: f64,
}

impl Tested {
    /// Returns true if anything was compared and nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.values > 0 && check.differing == 0)
    }
}
