//! Laws of comparing.

use std::sync::Mutex;

use super::super::tests::{Folder, Quiet, numbers};
use super::super::{Of, Options, Part, Source};
use super::{Compared, compare};
use crate::error::{Error, ErrorKind, Result};
use crate::stats::Watch;
use crate::tensor::{Dtype, values};

/// Holds the values of two folders against each other, with any number of threads; all have to agree.
fn between(a: &Folder, b: &Folder) -> Compared {
    let [a, b] = [a, b].map(Folder::checkpoint);
    let [a, b] = [&a, &b].map(|of| Source::open(of, Of::Tensor(0), Part::Weights).expect("plain values"));
    let with = |threads| {
        compare(&a, &b, &Options { threads, ..Options::default() }, &Quiet).expect("nobody cancels")
    };
    let one = with(1);
    let uncounted = super::figures(&a, &b, &Options::default(), &Quiet).expect("nobody cancels");
    assert_eq!(figures(&one), figures(&uncounted), "without counts");
    assert!([&uncounted.a, &uncounted.b, &uncounted.error].iter().all(|counts| counts.buckets().is_empty()));
    for threads in [3, 16] {
        let many = with(threads);
        assert_eq!(figures(&one), figures(&many), "{threads} threads");
        assert_eq!(one.error.buckets(), many.error.buckets(), "{threads} threads");
        assert_eq!(one.a.buckets(), many.a.buckets(), "{threads} threads");
    }
    one
}

/// All figures, bit by bit.
fn figures(of: &Compared) -> (Vec<Option<u64>>, Vec<u64>) {
    let floats = [of.mean_abs, of.relative_l2, of.cosine, of.max_abs.map(|most| most.value)];
    let norms = [of.norms[0], of.norms[1], of.distance].map(Some);
    let counts = [of.count, of.changed, of.left_out, of.nan[0], of.nan[1], of.infinite[0], of.infinite[1]];
    let at = of.max_abs.map(|most| most.at);
    let bits = floats.into_iter().chain(norms).map(|float| float.map(f64::to_bits)).chain([at]);
    (bits.collect(), counts.to_vec())
}

fn bytes(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).expect("whole bytes") as usize];
    assert!(values::from_f32(dtype, values, &mut bytes));
    bytes
}

fn folder(name: &str, dtype: Dtype, shape: &[u64], values: &[f32]) -> Folder {
    Folder::with(&format!("compare-{name}"), dtype.name(), shape, &bytes(dtype, values))
}

/// Figures by the plainest way: relative L2, cosine, mean and largest distance, how many differ.
fn plainly(a: &[f64], b: &[f64]) -> (f64, f64, f64, (f64, u64), u64) {
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(*a, *b)).sum::<f64>();
    let (aa, bb, ab) = (sum(&|a, _| a * a), sum(&|_, b| b * b), sum(&|a, b| a * b));
    let squares = sum(&|a, b| (a - b) * (a - b));
    let most = a.iter().zip(b).map(|(a, b)| (a - b).abs()).zip(0..);
    let most = most.fold((0.0, 0), |most, (far, at)| if far > most.0 { (far, at) } else { most });
    let changed = a.iter().zip(b).filter(|(a, b)| a != b).count() as u64;
    let mean = sum(&|a, b| (a - b).abs()) / a.len() as f64;
    ((squares / bb).sqrt(), ab / (aa * bb).sqrt(), mean, most, changed)
}

fn near(is: Option<f64>, should: f64) {
    let is = is.expect("a figure");
    assert!((is - should).abs() <= 1e-12 * should.abs(), "{is}, {should}");
}

#[test]
fn what_is_the_same_is_equal() {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        let values = numbers(700 * 300, 3);
        let a = folder(&format!("same-a-{dtype}"), dtype, &[700, 300], &values);
        let of = between(&a, &a);
        assert!(of.is_equal());
        assert_eq!((of.count, of.changed, of.left_out, of.max_abs), (210_000, 0, 0, None));
        assert_eq!((of.mean_abs, of.relative_l2, of.cosine), (Some(0.0), Some(0.0), Some(1.0)));
        let [zero] = &of.error.buckets()[..] else { panic!("one bucket") };
        assert_eq!((zero.key, zero.count), (0, 210_000));
        assert_eq!(of.a.buckets(), of.b.buckets());
        assert_eq!(of.a.buckets().iter().map(|bucket| bucket.count).sum::<u64>(), 210_000);
    }
}

#[test]
fn one_changed_value_is_found_where_it_is() {
    let mut values = vec![1.0f32; 50 * 4096];
    let a = folder("one-a", Dtype::BF16, &[50, 4096], &values);
    let at = 33 * 4096 + 77;
    values[at] = -2.0;
    let b = folder("one-b", Dtype::BF16, &[50, 4096], &values);
    let of = between(&a, &b);
    let count = values.len() as f64;
    assert_eq!((of.changed, of.changed_share()), (1, 1.0 / count));
    let most = of.max_abs.expect("one lies apart");
    assert_eq!((most.value, of.place(most.at)), (3.0, [33, 77]));
    assert_eq!((of.mean_abs, of.distance), (Some(3.0 / count), 3.0));
    // ‖B‖² = count - 1 + 4, and A · B = count - 1 - 2.
    near(of.relative_l2, 3.0 / (count + 3.0).sqrt());
    near(of.cosine, (count - 3.0) / count.sqrt() / (count + 3.0).sqrt());
    let errors: Vec<(f64, u64)> = of.error.buckets().iter().map(|of| (of.low, of.count)).collect();
    assert_eq!(errors, [(0.0, values.len() as u64 - 1), (3.0, 1)]);
}

#[test]
fn twice_as_much_is_as_far_as_it_is_long() {
    let values = numbers(300 * 500, 9);
    let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
    let a = folder("twice-a", Dtype::F32, &[300, 500], &doubled);
    let b = folder("twice-b", Dtype::F32, &[300, 500], &values);
    near(between(&a, &b).relative_l2, 1.0);
    near(between(&b, &a).relative_l2, 0.5);
    near(between(&a, &b).cosine, 1.0);
    let negated: Vec<f32> = values.iter().map(|value| -value).collect();
    let c = folder("twice-c", Dtype::F32, &[300, 500], &negated);
    near(between(&c, &b).cosine, -1.0);
    near(between(&c, &b).relative_l2, 2.0);
}

#[test]
fn figures_are_those_of_the_plainest_way_across_dtypes() {
    let all = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64, Dtype::F8E4M3];
    for (rows, columns) in [(3, 7), (30, 4097)] {
        for (dtype_a, dtype_b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
            let make = |side: &str, dtype: Dtype, seed: u64| {
                let mut values = numbers(rows * columns, seed);
                let name = format!("plain-{side}-{dtype_a}-{dtype_b}-{rows}-{columns}");
                let shape = [rows as u64, columns as u64];
                if dtype == Dtype::F64 {
                    // With more bits than f32 has.
                    let wide: Vec<f64> = values.iter().map(|value| f64::from(*value) / 3.0).collect();
                    let bytes: Vec<u8> = wide.iter().flat_map(|value| value.to_le_bytes()).collect();
                    return (Folder::with(&format!("compare-{name}"), "F64", &shape, &bytes), wide);
                }
                let stored = if dtype == Dtype::F8E4M3 {
                    // Any patterns but those of NaN.
                    values.iter().map(|value| (value * 300.0) as i8 as u8).map(|v| v & !1).collect()
                } else {
                    bytes(dtype, &values)
                };
                let folder = Folder::with(&format!("compare-{name}"), dtype.name(), &shape, &stored);
                assert!(values::to_f32(dtype, &stored, &mut values));
                (folder, values.iter().map(|value| f64::from(*value)).collect())
            };
            let ((a, values_a), (b, values_b)) = (make("a", dtype_a, 5), make("b", dtype_b, 6));
            let of = between(&a, &b);
            let (far, cosine, mean, most, changed) = plainly(&values_a, &values_b);
            near(of.relative_l2, far);
            near(of.cosine, cosine);
            near(of.mean_abs, mean);
            assert_eq!((of.max_abs.map(|most| (most.value, most.at)), of.changed), (Some(most), changed));
            assert_eq!(of.dtypes, [dtype_a, dtype_b]);
            let counted = |counts: &super::Counts| counts.buckets().iter().map(|of| of.count).sum::<u64>();
            assert_eq!([&of.a, &of.b, &of.error].map(counted), [of.count; 3]);
        }
    }
}

#[test]
fn counts_of_either_side_are_those_of_its_own_dtype() {
    let values = numbers(40 * 50, 2);
    let narrow = folder("own-a", Dtype::F32, &[40, 50], &values);
    let wide: Vec<u8> = values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
    let wide = Folder::with("compare-own-b", "F64", &[40, 50], &wide);
    let of = between(&narrow, &wide);
    assert!(of.is_equal());
    assert_eq!(of.a.buckets(), narrow.summary(&Options::default()).counts.buckets());
    assert_eq!(of.b.buckets(), wide.summary(&Options::default()).counts.buckets());
}

#[test]
fn what_is_not_finite_is_counted_and_left_out() {
    let mut a = numbers(30 * 100, 4);
    let mut b = a.clone();
    // Equal: NaN in both, the same infinity in both. Changed: the others. Left out: all.
    let pairs = [
        (f32::NAN, f32::NAN),
        (f32::INFINITY, f32::INFINITY),
        (f32::NAN, 1.0),
        (2.0, f32::NAN),
        (f32::INFINITY, f32::NEG_INFINITY),
        (3.0, f32::NEG_INFINITY),
    ];
    for (at, pair) in pairs.iter().enumerate() {
        (a[at * 400 + 7], b[at * 400 + 7]) = *pair;
    }
    b[2999] = a[2999] + 0.25;
    (a[0], b[0]) = (0.0, -0.0);
    for dtype in [Dtype::F32, Dtype::BF16] {
        let of = between(
            &folder(&format!("odd-a-{dtype}"), dtype, &[30, 100], &a),
            &folder(&format!("odd-b-{dtype}"), dtype, &[30, 100], &b),
        );
        assert_eq!((of.nan, of.infinite, of.left_out, of.changed), ([2, 2], [2, 3], 6, 5));
        assert!(!of.is_equal());
        assert_eq!(of.max_abs.map(|most| most.at), Some(2999));
        assert_eq!(of.error.buckets().iter().map(|bucket| bucket.count).sum::<u64>(), 3000 - 6);
        let stored = |values: &[f32]| {
            let (bytes, mut out) = (bytes(dtype, values), vec![0f32; values.len()]);
            assert!(values::to_f32(dtype, &bytes, &mut out));
            out.into_iter().map(f64::from).collect::<Vec<f64>>()
        };
        let (a, b): (Vec<f64>, Vec<f64>) =
            stored(&a).into_iter().zip(stored(&b)).filter(|(a, b)| a.is_finite() && b.is_finite()).unzip();
        let (far, cosine, mean, ..) = plainly(&a, &b);
        near(of.relative_l2, far);
        near(of.cosine, cosine);
        near(of.mean_abs, mean);
    }
    let nan = folder("nan", Dtype::F32, &[2, 3], &[f32::NAN; 6]);
    let of = between(&nan, &nan);
    assert!(of.is_equal());
    assert_eq!((of.left_out, of.mean_abs, of.relative_l2, of.cosine), (6, None, None, None));
}

#[test]
fn nothing_and_zeros_have_no_ratio_and_no_angle() {
    let none = folder("none", Dtype::F32, &[0, 4], &[]);
    let of = between(&none, &none);
    assert_eq!((of.is_equal(), of.count, of.mean_abs, of.relative_l2), (true, 0, None, None));
    let zeros = folder("zeros", Dtype::F32, &[2, 2], &[0.0; 4]);
    let ones = folder("ones", Dtype::F32, &[2, 2], &[1.0; 4]);
    let of = between(&zeros, &zeros);
    assert_eq!((of.relative_l2, of.cosine, of.mean_abs), (Some(0.0), None, Some(0.0)));
    let of = between(&ones, &zeros);
    assert_eq!((of.relative_l2, of.cosine, of.mean_abs), (None, None, Some(1.0)));
    let of = between(&zeros, &ones);
    assert_eq!((of.relative_l2, of.cosine, of.mean_abs), (Some(1.0), None, Some(1.0)));
}

#[test]
fn the_largest_doubles_are_told_without_a_ratio() {
    let make = |name: &str, value: f64| {
        let bytes: Vec<u8> = [value; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        Folder::with(&format!("compare-{name}"), "F64", &[4], &bytes)
    };
    let of = between(&make("huge-a", 1e300), &make("huge-b", -1e300));
    assert_eq!((of.changed, of.relative_l2), (4, None));
    assert_eq!(of.max_abs.map(|most| most.value), Some(2e300));
    // A difference that f32 does not hold counts as the largest that it does.
    assert_eq!(of.error.buckets().len(), 1);
}

/// Cancels when it has seen once what there is so far.
struct Once(Mutex<Vec<Compared>>);
impl Watch for Once {
    fn check(&self) -> Result<()> {
        let seen = self.0.lock().expect("nobody panics");
        if seen.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "cancelled")) }
    }

    fn wants_looks(&self) -> bool {
        true
    }

    fn look_compared(&self, so_far: Compared) {
        self.0.lock().expect("nobody panics").push(so_far);
    }
}

#[test]
fn other_shapes_are_refused_and_a_comparison_can_be_cancelled_and_looked_at() {
    let a = folder("shape-a", Dtype::F32, &[2, 3], &[0.0; 6]);
    let b = folder("shape-b", Dtype::F32, &[3, 2], &[0.0; 6]);
    let (a, b) = (a.checkpoint(), b.checkpoint());
    let [a, b] = [&a, &b].map(|of| Source::open(of, Of::Tensor(0), Part::Weights).expect("plain values"));
    let refused = compare(&a, &b, &Options::default(), &Quiet).expect_err("other shapes");
    assert!(refused.message.contains("[2, 3] in A, [3, 2] in B"), "{}", refused.message);

    let count = 48u64 << 20;
    let large = |name: &str, byte: u8| {
        let shape = [1 << 10, count >> 10];
        Folder::with(&format!("compare-{name}"), "BF16", &shape, &vec![byte; count as usize * 2])
    };
    let (a, b) = (large("large-a", 0x3f), large("large-b", 0x3e));
    let (a, b) = (a.checkpoint(), b.checkpoint());
    let [a, b] = [&a, &b].map(|of| Source::open(of, Of::Tensor(0), Part::Weights).expect("plain values"));
    let watch = Once(Mutex::default());
    let error = compare(&a, &b, &Options::default(), &watch).expect_err("it was cancelled");
    assert_eq!(error.kind, ErrorKind::Cancelled);
    let seen = watch.0.into_inner().expect("nobody panics");
    assert!(seen[0].count > 0 && seen[0].count < count, "{}", seen[0].count);
    assert_eq!(seen[0].changed, seen[0].count);
}

#[test]
fn norms_of_rows_and_columns_are_those_of_the_plainest_way() {
    for (name, shape) in [("wide", [3u64, 40_000]), ("high", [40_000, 3]), ("square", [301, 307])] {
        let count = shape[0] * shape[1];
        let value = |at: u64, by: u64| ((at * by + 13) % 1009) as f32 / 1009.0 - 0.5;
        let (mut a, mut b): (Vec<f32>, Vec<f32>) =
            (0..count).map(|at| (value(at, 31), value(at, 57))).unzip();
        // What is no number on one side counts on neither.
        (a[7], b[count as usize - 2]) = (f32::NAN, f32::INFINITY);
        let folders = [
            folder(&format!("{name}-a"), Dtype::F32, &shape, &a),
            folder(&format!("{name}-b"), Dtype::F32, &shape, &b),
        ];
        let compared = between(&folders[0], &folders[1]);
        let mut sums = [
            [vec![0f64; shape[0] as usize], vec![0f64; shape[1] as usize]],
            [vec![0f64; shape[0] as usize], vec![0f64; shape[1] as usize]],
        ];
        for (at, (a, b)) in a.iter().zip(&b).enumerate().filter(|(_, (a, b))| a.is_finite() && b.is_finite())
        {
            let place = [at / shape[1] as usize, at % shape[1] as usize];
            for (sums, value) in sums.iter_mut().zip([f64::from(a - b), f64::from(*b)]) {
                (0..2).for_each(|side| sums[side][place[side]] += value * value);
            }
        }
        let sides = compared.sides.expect("it has rows and columns");
        for (norms, sums) in sides.iter().zip(&sums) {
            for (norms, sums) in [&norms.rows, &norms.columns].into_iter().zip(sums) {
                assert_eq!(norms.len(), sums.len(), "{name}");
                let is_near = |(norm, sum): (&f64, &f64)| (norm - sum.sqrt()).abs() <= 1e-9 * (1.0 + sum);
                assert!(norms.iter().zip(sums).all(is_near), "{name}");
            }
        }
    }
    let vectors =
        [folder("vector-a", Dtype::F32, &[5], &[1.0; 5]), folder("vector-b", Dtype::F32, &[5], &[2.0; 5])];
    assert!(between(&vectors[0], &vectors[1]).sides.is_none());
}
