//! Rules about values: NaN, infinities, names that no one can read.

pub(super) mod infinite;
pub(super) mod name_control;
pub(super) mod name_deep;
pub(super) mod name_long;
pub(super) mod nan;
pub(super) mod unread;
