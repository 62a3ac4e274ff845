//! Rules about single files: damage, and what stands in the place of weights.

pub(super) mod lfs_pointer;
