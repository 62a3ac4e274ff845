//! Numbers: which values are shown one by one. Those of a matrix stand around the cursor of its map; a vector, which has
//! no map, is walked along its indices, so many a line.

use std::ops::Range;

/// Returns `room` of so many values around one.
pub(super) fn around(at: u64, all: u64, room: u64) -> Range<u64> {
    let room = room.max(1);
    let first = at.saturating_sub((room - 1) / 2).min(all.saturating_sub(room));
    first..all.min(first.saturating_add(room))
}

/// Returns the values of whole lines of a vector around one.
pub(super) fn lines_around(at: u64, all: u64, [lines, columns]: [u64; 2]) -> Range<u64> {
    let columns = columns.max(1);
    let lines = around(at / columns, all.div_ceil(columns), lines);
    lines.start * columns..all.min(lines.end.saturating_mul(columns))
}

/// Returns where a cursor comes to that goes by lines down and by numbers to the right; at the ends it stays.
pub(super) fn walked(at: u64, all: u64, columns: u64, [down, right]: [isize; 2]) -> u64 {
    let columns = i128::from(columns.max(1));
    let to = i128::from(at) + down as i128 * columns + right as i128;
    let last = i128::from(all.saturating_sub(1));
    // A step of a line from the first or last one stays in its column.
    let is_beyond = !(0..=last).contains(&to);
    if right == 0 && down.unsigned_abs() == 1 && is_beyond {
        return at;
    }
    to.clamp(0, last) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_shows_wherever_it_is() {
        for all in [1, 5, 64, 1000, u64::MAX] {
            for (lines, columns) in [(1, 1), (3, 4), (40, 9), (0, 0)] {
                for at in [0, 1, all / 2, all - 1].map(|at| at.min(all - 1)) {
                    let row = around(at, all, columns);
                    assert!(row.contains(&at) && row.end <= all, "{at} of {all}: {row:?}");
                    let shown = lines_around(at, all, [lines, columns]);
                    assert!(shown.contains(&at) && shown.end <= all, "{at} of {all}: {shown:?}");
                    assert!(shown.start.is_multiple_of(columns.max(1)));
                    let most = lines.max(1).saturating_mul(columns.max(1));
                    assert!(shown.end - shown.start <= most, "{shown:?}");
                }
            }
        }
    }

    #[test]
    fn a_walk_ends_at_the_ends() {
        let cases = [
            (0, [0, 1], 1),
            (0, [0, -1], 0),
            (0, [-1, 0], 0),
            (3, [1, 0], 13),
            (97, [1, 0], 97),
            (93, [1, 0], 93),
            (93, [-1, 0], 83),
            (93, [5, 0], 99),
            (40, [isize::MAX, 0], 99),
            (40, [-isize::MAX, 0], 0),
        ];
        for (at, by, want) in cases {
            assert_eq!(walked(at, 100, 10, by), want, "{at} by {by:?}");
        }
    }
}
