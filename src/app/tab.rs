//! Tabs: what can be looked at.

/// A tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// The row under the cursor.
    Detail,
    /// The values of that row.
    Values,
    /// What is wrong, and what helps.
    Findings,
    /// The adapter.
    Adapter,
    /// What tasks need, against free memory.
    Memory,
    /// What was started, and how far it is.
    Jobs,
    /// The GPUs: their memory, who holds it, how busy they are.
    Gpu,
}

impl Tab {
    /// The tabs with their digits.
    pub const ALL: [(char, Self, &'static str); 7] = [
        ('1', Self::Detail, "Detail"),
        ('2', Self::Values, "Values"),
        ('3', Self::Findings, "Findings"),
        ('4', Self::Adapter, "Adapter"),
        ('5', Self::Memory, "Memory"),
        ('6', Self::Jobs, "Jobs"),
        ('7', Self::Gpu, "GPU"),
    ];

    /// Returns true for tabs that are about no checkpoint: they show whatever is open.
    #[must_use]
    pub fn is_of_all(self) -> bool {
        matches!(self, Self::Jobs | Self::Gpu)
    }

    /// Returns true for tabs that follow the row under the cursor: the tree stands beside them.
    #[must_use]
    pub fn is_beside_tree(self) -> bool {
        matches!(self, Self::Detail | Self::Values)
    }
}
