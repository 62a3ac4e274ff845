//! Tests of `matrix`.

use super::*;
use crate::quant::FORMATS;

#[test]
fn every_format_and_method_has_one_row_at_most() {
    for (at, row) in ROWS.iter().enumerate() {
        for other in &ROWS[at + 1..] {
            assert!(!row.formats.iter().any(|format| other.formats.contains(format)), "{}", row.format);
            assert!(!row.methods.iter().any(|method| other.methods.contains(method)), "{}", row.format);
        }
    }
}

#[test]
fn rows_name_formats_that_exist_and_only_known_ones_have_none() {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    for format in ROWS.iter().flat_map(|row| row.formats) {
        assert!(names.contains(format), "{format}");
    }
    let has_row = |name: &&&str| ROWS.iter().any(|row| row.formats.contains(*name));
    let without: Vec<&str> = names.iter().filter(|name| !has_row(name)).copied().collect();
    assert_eq!(without, ["exl2", "exl3", "mlx", "unknown"]);
}

#[test]
fn a_cell_begins_with_what_it_says() {
    let begins = |cell: &str| ["yes", "no", "partly", "unknown"].iter().any(|word| cell.starts_with(word));
    assert!(ROWS.iter().all(|row| row.trains.iter().all(|cell| begins(cell))));
    let gptq = ROWS.iter().find(|row| row.format == "GPTQ").unwrap();
    assert!(gptq.trains_now() && !gptq.refuses_now());
    let oss = ROWS.iter().find(|row| row.format.starts_with("MXFP4")).unwrap();
    assert!(!oss.trains_now() && oss.refuses_now());
}
