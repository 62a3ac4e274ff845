//! Board: an alignment as people read it: the gate, what does not fit worst first, what fits folded by kind.
//!
//! `ckpt align` prints it, the workbench shows it.

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use super::align::{Aligned, Alignment, Repair, State};
use super::names::split;
use crate::units;

/// An alignment in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Modules that PEFT applies as they stand.
    pub aligned: usize,
    /// All modules.
    pub total: usize,
    /// Those that a repair puts right.
    pub repairable: usize,
    /// Those that no repair helps.
    pub hopeless: usize,
    /// Those that change nothing: a factor is all zero.
    pub without_effect: usize,
    /// Tensors that are not used.
    pub unused: usize,
}

impl Gate {
    /// Counts an alignment.
    #[must_use]
    pub fn of(alignment: &Alignment) -> Self {
        let is_hopeless = |module: &&Aligned| matches!(module.repair, Repair::No(_));
        Self {
            aligned: alignment.aligned(),
            total: alignment.modules.len(),
            repairable: alignment.repairable(),
            hopeless: alignment.modules.iter().filter(is_hopeless).count(),
            without_effect: alignment.zero_deltas(),
            unused: alignment.unused.len(),
        }
    }

    /// Returns what is to be said beside how many are aligned: counts and their words, without those of none.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let counts = [
            (self.repairable, "can be repaired"),
            (self.hopeless, "can not"),
            (self.without_effect, "without effect"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let mut notes: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        if self.unused > 0 {
            notes.push(format!("{} unused", units::plural(self.unused, "key")));
        }
        notes
    }
}

/// Modules that differ by their layer's number only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What they are, without the number: `layers`, and `self_attn.q_proj`; a path and nothing where there is none.
    pub kind: (String, String),
    /// Their layers' numbers, in the order of the modules.
    pub numbers: Vec<u64>,
    /// Their places in the alignment.
    pub modules: Vec<u32>,
}

/// Returns true if PEFT applies a module and nothing is to be said of it.
#[must_use]
pub fn is_fine(module: &Aligned) -> bool {
    module.is_applied && matches!(module.state, State::Aligned | State::Saved)
}

/// Returns the modules that are not fine, by their places in the alignment: worst first.
#[must_use]
pub fn odd(alignment: &Alignment) -> Vec<u32> {
    let mut odd: Vec<u32> =
        (0..alignment.modules.len() as u32).filter(|&at| !is_fine(&alignment.modules[at as usize])).collect();
    odd.sort_by_key(|&at| {
        let module = &alignment.modules[at as usize];
        (module.is_applied, module.state)
    });
    odd
}

/// Returns the modules that are fine, alike ones together.
#[must_use]
pub fn folds(alignment: &Alignment) -> Vec<Fold> {
    let mut folds: Vec<Fold> = Vec::new();
    let mut known = FxHashMap::default();
    for (at, module) in alignment.modules.iter().enumerate().filter(|(_, module)| is_fine(module)) {
        let (kind, number) = kind(&module.path);
        let like = (kind.clone(), module.rank, module.delta, module.state == State::Saved);
        let fold = *known.entry(like).or_insert_with(|| {
            folds.push(Fold { kind, numbers: Vec::new(), modules: Vec::new() });
            folds.len() - 1
        });
        folds[fold].numbers.extend(number);
        folds[fold].modules.push(at as u32);
    }
    folds
}

/// Splits a path at the number of its layer: what stands before and after, and the number.
fn kind(path: &str) -> ((String, String), Option<u64>) {
    let (_, rest) = split(path);
    let mut parts = rest.splitn(3, '.');
    let (stack, number, tail) =
        (parts.next(), parts.next().and_then(|n| n.parse::<u64>().ok()), parts.next());
    match (stack, number, tail) {
        (Some(stack), Some(number), Some(tail)) => ((stack.to_owned(), tail.to_owned()), Some(number)),
        _ => ((path.to_owned(), String::new()), None),
    }
}

/// Returns the glyph of what a repair could do.
#[must_use]
pub fn mark(module: &Aligned) -> &'static str {
    match module.repair {
        Repair::No(_) => "✗",
        Repair::Rename | Repair::Config => "≈",
        Repair::Nothing => "✓",
    }
}

/// Returns numbers as `0-4 6-27`.
#[must_use]
pub fn ranges(numbers: &[u64]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let mut text = String::new();
    let mut at = 0;
    while at < numbers.len() {
        let start = at;
        while at + 1 < numbers.len() && numbers[at + 1] == numbers[at].saturating_add(1) {
            at += 1;
        }
        let blank = if text.is_empty() { "" } else { " " };
        let _ = if start == at {
            write!(text, "{blank}{}", numbers[at])
        } else {
            write!(text, "{blank}{}-{}", numbers[start], numbers[at])
        };
        at += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{kind, ranges};

    #[test]
    fn numbers_are_said_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 4, 6, 7, u64::MAX]), format!("0-2 4 6-7 {}", u64::MAX));
    }

    #[test]
    fn a_path_is_split_at_the_number_of_its_layer() {
        let split = |path| {
            let ((stack, tail), number) = kind(path);
            (stack, number, tail)
        };
        assert_eq!(split("model.layers.3.mlp.up"), ("layers".into(), Some(3), "mlp.up".into()));
        assert_eq!(split("lm_head"), ("lm_head".into(), None, String::new()));
    }
}
