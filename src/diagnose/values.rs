//! Rules about values: NaN, infinities, names that no one can read.
