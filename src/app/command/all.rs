//! All: the tables of commands as one, put together at compile time.

use super::{Command, TABLE, compare};

/// How many there are.
const COUNT: usize = compare::TABLE.len() + TABLE.len();

/// The commands, in the order of help and footer.
pub static COMMANDS: &[Command] = &joined();

const fn joined() -> [Command; COUNT] {
    let first = compare::TABLE;
    let mut all = [TABLE[0]; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = if at < first.len() { first[at] } else { TABLE[at - first.len()] };
        at += 1;
    }
    all
}
