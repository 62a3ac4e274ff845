//! Groups: alike steps of a plan as one row each, for people.

use super::{Action, Plan};

/// Alike steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What becomes of the layers.
    pub action: Action,
    /// Their format.
    pub from: String,
    /// What they become.
    pub to: String,
    /// How many.
    pub layers: usize,
    /// Bytes of their tensors.
    pub bytes_in: u64,
    /// Bytes of what is written of them.
    pub bytes_out: u64,
    /// Why they stay plain, where layers are packed.
    pub note: Option<String>,
}

impl Plan {
    /// Returns alike steps as one row each, in the order in which they first come.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for step in &self.steps {
            let same = |group: &&mut Group| {
                group.action == step.action
                    && group.from == step.from
                    && group.to == step.to
                    && group.note == step.note
            };
            if let Some(group) = groups.iter_mut().find(same) {
                group.layers += 1;
                group.bytes_in = group.bytes_in.saturating_add(step.bytes_in);
                group.bytes_out = group.bytes_out.saturating_add(step.bytes_out);
            } else {
                groups.push(Group {
                    action: step.action,
                    from: step.from.clone(),
                    to: step.to.clone(),
                    layers: 1,
                    bytes_in: step.bytes_in,
                    bytes_out: step.bytes_out,
                    note: step.note.clone(),
                });
            }
        }
        groups
    }
}

impl Action {
    /// Returns the verb: `copy`, `cast`, `dequantize`, `merge`, `rename`, `leave out`.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Cast => "cast",
            Self::Dequantize => "dequantize",
            Self::Quantize => "quantize",
            Self::Merge => "merge",
            Self::Rename => "rename",
            Self::Drop => "leave out",
        }
    }
}
