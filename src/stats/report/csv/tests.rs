//! Cells that need quotes.

use super::quoted;

#[test]
fn cells_are_quoted_as_rfc_4180_has_it() {
    for (cell, want) in [
        ("plain.name", "plain.name"),
        ("", ""),
        ("a,b", "\"a,b\""),
        ("say \"so\"", "\"say \"\"so\"\"\""),
        ("two\nlines", "\"two\nlines\""),
        ("[1:2] 0.5", "[1:2] 0.5"),
    ] {
        assert_eq!(quoted(cell), want);
    }
}
