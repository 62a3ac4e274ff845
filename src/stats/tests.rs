//! Figures held against the plainest way to compute them.

use std::path::PathBuf;

use super::summary::QUANTILES;
use super::{Of, Options, Part, Source, Summary, Watch, scan};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dtype;

/// A folder with one tensor `w`, removed when it goes.
pub(super) struct Folder(PathBuf);

impl Folder {
    #[expect(clippy::disallowed_methods, reason = "a file to read, in the temporary folder")]
    pub(super) fn with(name: &str, dtype: &str, shape: &[u64], bytes: &[u8]) -> Self {
        let folder = std::env::temp_dir().join(format!("ckpt-stats-{name}-{}", std::process::id()));
        let header =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[0,{}]}}}}"#, bytes.len());
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(bytes);
        std::fs::create_dir_all(&folder).expect("a folder in the temporary one");
        std::fs::write(folder.join("model.safetensors"), file).expect("a file in a folder of ours");
        Self(folder)
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open_examined(&self.0.display().to_string()).expect("it was just made")
    }

    pub(super) fn summary(&self, options: &Options) -> Summary {
        let checkpoint = self.checkpoint();
        let source = Source::open(&checkpoint, Of::Tensor(0), Part::Weights).expect("plain values");
        scan(&source, options, &Quiet).expect("nobody cancels")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Quiet;

impl Watch for Quiet {}

/// Numbers without a pattern, about normal.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (next() + next() + next() + next()) * 0.1).collect()
}

/// What the values are by the plainest way.
fn hold(summary: &Summary, values: &[f64], columns: usize, what: &str) {
    let mut finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    assert_eq!(summary.count, values.len() as u64, "{what}");
    assert_eq!(summary.nan, values.iter().filter(|value| value.is_nan()).count() as u64, "{what}");
    assert_eq!(summary.infinite, values.iter().filter(|value| value.is_infinite()).count() as u64, "{what}");
    assert_eq!(summary.zeros, finite.iter().filter(|value| **value == 0.0).count() as u64, "{what}");
    let place = |wanted: f64| values.iter().position(|value| *value == wanted).map(|at| at as u64);
    let (min, max) = finite.iter().fold((f64::MAX, f64::MIN), |(a, b), &value| (a.min(value), b.max(value)));
    let extremes = summary.min.zip(summary.max).expect("some are finite");
    assert_eq!((extremes.0.value, Some(extremes.0.at)), (min, place(min)), "{what}");
    assert_eq!((extremes.1.value, Some(extremes.1.at)), (max, place(max)), "{what}");
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let std = (finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
    assert!((summary.mean.expect("a mean") - mean).abs() <= 1e-12 * std, "{what}: mean");
    assert!((summary.std.expect("a deviation") - std).abs() <= 1e-12 * std, "{what}: deviation");
    let mut by_size: Vec<(f64, u64)> = values
        .iter()
        .zip(0..)
        .filter(|(value, _)| value.is_finite())
        .map(|(value, at)| (*value, at))
        .collect();
    by_size.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    by_size.retain(|(value, _)| *value != 0.0);
    by_size.truncate(8);
    let outliers: Vec<(f64, u64)> = summary.outliers.iter().map(|of| (of.value, of.at)).collect();
    assert_eq!(outliers, by_size, "{what}");
    let rows: Vec<&[f64]> = values.chunks(columns).collect();
    let is_zero = |row: &&&[f64]| row.iter().all(|value| *value == 0.0);
    assert_eq!(summary.rows_zero, Some(rows.iter().filter(is_zero).count() as u64), "{what}");
    finite.sort_by(f64::total_cmp);
    for (quantile, is) in QUANTILES.iter().zip(&summary.quantiles) {
        let at = quantile * (finite.len() - 1) as f64;
        let (a, b) = (finite[at.floor() as usize], finite[at.ceil() as usize]);
        let should = a + (b - a) * at.fract();
        assert!((is - should).abs() <= 1e-15 * (a.abs() + b.abs()), "{what}: {quantile}: {is}, {should}");
    }
    let histogram = summary.histogram.as_ref().expect("bins");
    assert_eq!(histogram.counts.iter().sum::<u64>(), finite.len() as u64, "{what}");
    for (bin, count) in histogram.counts.iter().enumerate() {
        let (low, high) = (histogram.edges[bin], histogram.edges[bin + 1]);
        let is_last = bin + 1 == histogram.counts.len();
        let inside =
            finite.iter().filter(|value| **value >= low && (**value < high || is_last && **value == high));
        assert_eq!(*count, inside.count() as u64, "{what}: bin {bin}");
    }
    let Some(sides) = &summary.sides else { return };
    let norm = |values: &mut dyn Iterator<Item = f64>| {
        values.filter(|value| value.is_finite()).map(|value| value * value).sum::<f64>().sqrt()
    };
    for (at, (is, row)) in sides.rows.iter().zip(&rows).enumerate() {
        let should = norm(&mut row.iter().copied());
        assert!((is - should).abs() <= 1e-12 * should, "{what}: row {at}");
    }
    for (at, is) in sides.columns.iter().enumerate() {
        let should = norm(&mut rows.iter().map(|row| row[at]));
        assert!((is - should).abs() <= 1e-12 * should, "{what}: column {at}");
    }
    let cells = &sides.map;
    let mut should = vec![0f32; cells.rows * cells.columns];
    for (row, values) in rows.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            let at = row * cells.rows / rows.len() * cells.columns + column * cells.columns / columns;
            let magnitude = if value.is_finite() { value.abs() as f32 } else { f32::INFINITY };
            should[at] = should[at].max(magnitude);
        }
    }
    assert_eq!((sides.rows.len(), &cells.cells), (rows.len(), &should), "{what}");
}

/// Makes a tensor of values in a dtype, and holds what is scanned against them.
fn check(name: &str, dtype: Dtype, rows: usize, columns: usize, change: fn(usize, f32) -> f32) {
    let mut values: Vec<f32> = numbers(rows * columns, 7 + rows as u64)
        .into_iter()
        .enumerate()
        .map(|(at, v)| change(at, v))
        .collect();
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).expect("whole bytes") as usize];
    assert!(crate::tensor::values::from_f32(dtype, &values, &mut bytes));
    assert!(crate::tensor::values::to_f32(dtype, &bytes, &mut values));
    let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    let folder = Folder::with(name, dtype.name(), &[rows as u64, columns as u64], &bytes);
    let mut first: Option<Summary> = None;
    for threads in [1, 3] {
        let summary = folder.summary(&Options { threads, with_sides: true, bins: 31 });
        hold(&summary, &wide, columns, &format!("{name} {dtype} {rows} x {columns}"));
        if let Some(first) = &first {
            assert_eq!(first.mean.map(f64::to_bits), summary.mean.map(f64::to_bits), "{name}: threads");
            let columns = |summary: &Summary| summary.sides.as_ref().map(|sides| sides.columns.clone());
            assert_eq!(columns(first), columns(&summary), "{name}: threads");
        }
        first = Some(summary);
    }
}

#[test]
fn figures_are_those_of_the_plainest_way() {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        for (rows, columns) in [(1, 1), (3, 7), (50, 4097), (700, 300), (2, 9000)] {
            check(&format!("plain-{dtype}-{rows}"), dtype, rows, columns, |_, value| value);
        }
        check(&format!("shifted-{dtype}"), dtype, 90, 1000, |_, value| value + 3.0);
        check(
            &format!("zeros-{dtype}"),
            dtype,
            90,
            1000,
            |at, value| if at / 1000 % 3 == 0 { 0.0 } else { value },
        );
        let broken = |at: usize, value: f32| match at % 1009 {
            17 => f32::NAN,
            18 => f32::INFINITY,
            19 => f32::NEG_INFINITY,
            20 => -0.0,
            _ if at < 500 => 0.0,
            _ => value,
        };
        check(&format!("broken-{dtype}"), dtype, 40, 500, broken);
    }
}

#[test]
fn what_f32_does_not_hold_is_looked_at_in_f64() {
    let values: Vec<i64> = (0..5000).map(|at: i64| (at * 7919 % 5003 - 2500) * 1_000_003).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = Folder::with("i64", "I64", &[50, 100], &bytes);
    let wide: Vec<f64> = values.iter().map(|value| *value as f64).collect();
    hold(&folder.summary(&Options { bins: 10, ..Options::default() }), &wide, 100, "I64");
    let values: Vec<f64> = numbers(3000, 3).into_iter().map(|value| f64::from(value) * 1e-100).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = Folder::with("f64", "F64", &[3000], &bytes);
    hold(&folder.summary(&Options::default()), &values, 3000, "F64");
}

#[test]
fn a_double_beyond_all_floats_is_not_marked_as_one_that_is_not_finite() {
    let values = [1e300, 2.0, f64::NAN, -3.0];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = Folder::with("huge", "F64", &[2, 2], &bytes);
    let summary = folder.summary(&Options { with_sides: true, ..Options::default() });
    let wanted = vec![f32::MAX, 2.0, f32::INFINITY, 3.0];
    assert_eq!(summary.sides.expect("rows and columns").map.cells, wanted);
    let checkpoint = folder.checkpoint();
    let source = Source::open(&checkpoint, Of::Tensor(0), Part::Weights).expect("plain values");
    let ends = [0, 1, 2];
    assert_eq!(super::region::pooled(&source, &ends, &ends, &Quiet).expect("it is there").cells, wanted);
}

#[test]
fn nothing_and_nothing_finite_have_no_figures() {
    let folder = Folder::with("none", "F32", &[0, 4], &[]);
    let summary = folder.summary(&Options::default());
    assert_eq!((summary.count, summary.mean, summary.min, summary.quantiles.len()), (0, None, None, 0));
    let nan: Vec<u8> = [f32::NAN; 6].iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = Folder::with("nan", "F32", &[2, 3], &nan);
    let summary = folder.summary(&Options { with_sides: true, ..Options::default() });
    assert_eq!((summary.count, summary.nan, summary.mean, summary.max), (6, 6, None, None));
    assert_eq!(summary.histogram, None);
}

#[test]
fn a_scan_ends_when_it_is_cancelled_and_shows_what_there_is_so_far() {
    struct Once(std::sync::Mutex<Vec<Summary>>);
    impl Watch for Once {
        fn check(&self) -> Result<()> {
            let seen = self.0.lock().expect("nobody panics");
            if seen.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "cancelled")) }
        }

        fn wants_looks(&self) -> bool {
            true
        }

        fn look(&self, so_far: Summary) {
            self.0.lock().expect("nobody panics").push(so_far);
        }
    }
    let count = 17 << 20;
    let folder = Folder::with("large", "BF16", &[1 << 10, count >> 10], &vec![0x3f; count as usize * 2]);
    let checkpoint = Checkpoint::open_examined(&folder.0.display().to_string()).expect("it was just made");
    let source = Source::open(&checkpoint, Of::Tensor(0), Part::Weights).expect("plain values");
    let watch = Once(std::sync::Mutex::default());
    let error = scan(&source, &Options::default(), &watch).expect_err("it was cancelled");
    assert_eq!(error.kind, ErrorKind::Cancelled);
    let seen = watch.0.into_inner().expect("nobody panics");
    assert!(seen[0].count > 500_000 && seen[0].count < count / 10, "{}", seen[0].count);
    assert_eq!((seen[0].mean, seen[0].std), (Some(0.746_093_75), Some(0.0)));
}
