//! Laws of what is encoded in tiles, for adversarial weights: any cut gives the same bytes, decoded values are as near
//! as the format can be, and what was decoded is encoded to what it was.

use crate::quant::encode::{Around, Encoding, Place};
use crate::quant::target::{Aim, Candidate, GroupSize, Model, Search, Target, Wishes};
use crate::quant::testing::Literal;
use crate::quant::{FormatId, trial};
use crate::tensor::{Dtype, elements, values};

const LAYER: &str = "model.layers.0.mlp.experts.down_proj";
const DTYPES: [Dtype; 3] = [Dtype::BF16, Dtype::F16, Dtype::F32];

/// How far a format may be from a value, in shares: of the largest magnitude of its tile, of the value, of the largest
/// magnitude of the layer; by what the document of its encoder says.
#[derive(Clone, Copy)]
struct Near {
    tile: f64,
    value: f64,
    layer: f64,
}

/// A target, its tiles, how near it comes, and whether codes of equal values are equal.
struct Case {
    aim: Aim,
    tile: [usize; 2],
    near: Near,
    is_exact: bool,
}

fn case(name: &str, scheme: &str, tile: [usize; 2], near: [f64; 3]) -> Case {
    let scheme = (!scheme.is_empty()).then(|| scheme.to_owned());
    let group_size = if tile[1] == usize::MAX { Some(GroupSize::Row) } else { None };
    let takes_groups = scheme.as_deref().is_some_and(|scheme| scheme.contains("a16") && scheme != "nvfp4a16");
    let wishes = Wishes { scheme, group_size: group_size.filter(|_| takes_groups), ..Wishes::default() };
    let [of_tile, of_value, of_layer] = near;
    let near = Near { tile: of_tile, value: of_value, layer: of_layer };
    Case { aim: Aim { name: name.into(), wishes }, tile, near, is_exact: true }
}

fn cases() -> Vec<Case> {
    const ALL: usize = usize::MAX;
    let ct = "compressed-tensors";
    // Half a step of a range of 2^bits - 1 steps; a whole one and the rounding of zero points where these are.
    let ints = |bits: i32, tile| {
        case(ct, &format!("w{bits}a16"), [1, tile], [1.0 / (2f64.powi(bits) - 1.0), 0.0, 0.0])
    };
    let asym = |bits: i32, tile| {
        let near = [2.5 / (2f64.powi(bits) - 1.0), 0.0, 0.0];
        // Two codes may have the same value.
        Case { is_exact: bits < 8, ..case(ct, &format!("w{bits}a16-asym"), [1, tile], near) }
    };
    // Three bits behind the first, and 1 of 448 · 1024 where these are too few.
    let float = |name: &str, scheme: &str, tile| case(name, scheme, tile, [1.0 / 400_000.0, 1.0 / 16.0, 0.0]);
    // Of scales that are powers of two, twice as large at most.
    let power = |name: &str, scheme: &str, tile| case(name, scheme, tile, [1.0 / 200_000.0, 1.0 / 16.0, 0.0]);
    vec![
        ints(4, 128),
        ints(4, ALL),
        ints(3, 128),
        ints(2, ALL),
        ints(8, ALL),
        asym(4, 128),
        asym(5, ALL),
        asym(8, ALL),
        case(ct, "w8a8", [1, ALL], [1.0 / 255.0, 0.0, 0.0]),
        float(ct, "fp8-channel", [1, ALL]),
        float(ct, "fp8-tensor", [ALL, ALL]),
        float(ct, "fp8-block", [128, 128]),
        float("fp8", "", [128, 128]),
        power("fp8", "ue8m0", [128, 128]),
        // Between 4 and 6 codes are 2 apart, at a scale of a sixth that rounds up by a sixteenth; scales below the
        // smallest E4M3 are lost.
        case("nvfp4", "", [1, 16], [0.178, 0.0, 3e-6]),
        // The scale is 2 of 7 at least.
        case(ct, "mxfp4", [1, 32], [0.286, 0.0, 0.0]),
        power(ct, "mxfp8", [1, 32]),
    ]
}

/// Weights with what breaks quantizers.
fn matrices([rows, columns]: [usize; 2], dtype: Dtype) -> Vec<(&'static str, Vec<f32>)> {
    let count = rows * columns;
    let mut state = 0x9e37_79b9u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
    };
    let noise: Vec<f32> = (0..count).map(|_| random()).collect();
    let changed = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        noise.iter().enumerate().map(|(at, &value)| change(at, value)).collect()
    };
    let mut list = vec![
        ("noise", noise.clone()),
        ("zeros", vec![0.0; count]),
        ("negative zeros", changed(&|at, value| if at % 3 == 0 { -0.0 } else { value })),
        ("all equal", vec![0.07; count]),
        ("outliers", changed(&|at, value| if at % 97 == 5 { value * 3000.0 } else { value })),
        ("a row of zeros", changed(&|at, value| if at < columns { 0.0 } else { value })),
        ("positive", changed(&|_, value| value.abs() + 0.3)),
        ("large", changed(&|_, value| value * 4e4)),
        ("tiny", changed(&|_, value| value * 1e-3)),
    ];
    for (_, values) in &mut list {
        values::round_all(dtype, values);
    }
    list
}

/// Returns the largest magnitude of the tile of each value.
fn tiles(values: &[f32], columns: usize, [high, wide]: [usize; 2]) -> Vec<f32> {
    let (high, wide) = (high.min(values.len() / columns), wide.min(columns));
    let width = columns.div_ceil(wide);
    let tile = |at: usize| at / columns / high * width + at % columns / wide;
    let mut most = vec![0f32; (values.len() / columns).div_ceil(high) * width];
    for (at, value) in values.iter().enumerate() {
        most[tile(at)] = most[tile(at)].max(value.abs());
    }
    (0..values.len()).map(|at| most[tile(at)]).collect()
}

/// Shapes that are tried: single rows, few rows, and tiles that are not whole where they have many rows.
fn shapes(case: &Case) -> Vec<[usize; 2]> {
    let mut shapes = vec![[1, 128], [3, 256], [2, 96]];
    if case.tile[0] == 128 {
        shapes.push([129, 136]);
    }
    shapes
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// Encodes all values, in cuts of `cut` times the rows that belong together.
fn encoded(encoding: &Encoding, values: &[f32], row_len: usize, cut: usize) -> Vec<Vec<u8>> {
    let encoder = &encoding.encoder;
    let most = if encoder.wants_largest() { largest(values) } else { 0.0 };
    let rows = encoder.rows_apart() as usize * cut;
    let mut strands: Vec<Vec<u8>> = Vec::new();
    for (number, values) in values.chunks(rows * row_len).enumerate() {
        let at = Around { first_row: (number * rows) as u64, largest: most };
        let made = encoder.rows(values, at).unwrap();
        strands.resize(strands.len().max(made.len()), Vec::new());
        strands.iter_mut().zip(made).for_each(|(strand, made)| strand.extend(made));
    }
    encoder.finish(strands, most)
}

fn decoded(target: &dyn Target, dtype: Dtype, encoding: &Encoding, tensors: &[Vec<u8>]) -> Vec<f32> {
    let decoding = trial::decoding(target, (LAYER, dtype), encoding, tensors).unwrap();
    let mut out = vec![f32::NAN; elements(&decoding.shape).unwrap() as usize];
    decoding.rows.decode(0..decoding.row_count(), &tensors[decoding.codes as usize], &mut out);
    values::round_all(decoding.dtype.unwrap_or(dtype), &mut out);
    out
}

/// The layer as a file would hold it.
fn written(target: &dyn Target, dtype: Dtype, encoding: &Encoding, tensors: &[Vec<u8>]) -> Literal {
    let packed = [LAYER.to_owned()];
    let model = Model { packed: &packed, plain: &[], kept: &[], also: &[], config: None, dtype };
    let block = target.block(&model);
    let method = block["quant_method"].as_str().map(str::to_owned);
    let layer = Literal::new(LAYER).block(method.as_deref(), block);
    encoding.tensors.iter().zip(tensors).fold(layer, |layer, (tensor, bytes)| {
        let Place::New(suffix) = tensor.place else { panic!("a tensor takes the place of another") };
        layer.part(suffix, tensor.dtype, &tensor.shape, bytes.clone())
    })
}

/// Encodes values on the grid of a layer. Returns its tensors, each in the place of the one that it replaces.
fn again(
    target: &dyn Target,
    layer: &Literal,
    tensors: &[Vec<u8>],
    values: &[f32],
    row_len: usize,
) -> Vec<Vec<u8>> {
    layer.with(|parts| {
        let format = FormatId::find(target.format()).unwrap().get();
        let spec = format.recognize(parts).unwrap().spec;
        let encoding = format.encode(parts, &spec).unwrap();
        let made = encoded(&encoding, values, row_len, 1);
        for cut in [2, 1000] {
            assert!(made == encoded(&encoding, values, row_len, cut), "cuts of {cut}");
        }
        let mut all = tensors.to_vec();
        for (tensor, bytes) in encoding.tensors.iter().zip(made) {
            let Place::Of(number) = tensor.place else { panic!("a new tensor") };
            assert_eq!(bytes.len(), all[number as usize].len());
            all[number as usize] = bytes;
        }
        all
    })
}

/// Returns how far a value may be from what it was, besides roundings to the dtype.
fn far(near: Near, tile: f32, value: f32, whole: f32, dtype: Dtype) -> f64 {
    let rounding = match dtype {
        Dtype::BF16 => 2f64.powi(-8),
        Dtype::F16 => 2f64.powi(-11),
        _ => 2f64.powi(-24),
    };
    let smallest = if dtype == Dtype::F16 { 2f64.powi(-14) } else { 1e-37 };
    let tile = f64::from(tile);
    let of_value = near.value * f64::from(value.abs());
    tile * (near.tile + 5.0 * rounding) + of_value + near.layer * f64::from(whole) + smallest
}

/// A layer of a case, and what it is packed as.
struct Trial<'a> {
    case: &'a Case,
    target: &'a dyn Target,
    dtype: Dtype,
    columns: usize,
    encoding: &'a Encoding,
    values: &'a [f32],
    what: String,
}

/// Packs matrices of all kinds, shapes and dtypes in each case; returns how many.
fn each(check: impl Fn(&Trial<'_>)) -> usize {
    let mut seen = 0;
    for case in cases() {
        let target = case.aim.target(false).unwrap();
        for dtype in DTYPES {
            for shape in shapes(&case) {
                let candidate = [shape[0] as u64, shape[1] as u64];
                let Ok(encoding) = target.encoding(&Candidate { shape: &candidate, dtype }) else { continue };
                for (name, values) in matrices(shape, dtype) {
                    let what = format!("{} {dtype} {shape:?} {name}", case.aim.flags());
                    let (target, columns) = (target.as_ref(), shape[1]);
                    let (case, encoding, values) = (&case, &encoding, values.as_slice());
                    check(&Trial { case, target, dtype, columns, encoding, values, what });
                    seen += 1;
                }
            }
        }
    }
    seen
}

#[test]
fn any_cut_is_the_same_and_as_near_as_the_format_can_be() {
    let seen = each(|trial| {
        let Trial { case, target, dtype, columns, encoding, values, what } = trial;
        let tensors = encoded(encoding, values, *columns, 1000);
        assert!(tensors == encoded(encoding, values, *columns, 1), "{what}: cuts differ");
        for (tensor, bytes) in encoding.tensors.iter().zip(&tensors) {
            assert_eq!(bytes.len() as u64, tensor.bytes, "{what}: {:?}", tensor.place);
        }
        let back = decoded(*target, *dtype, encoding, &tensors);
        let whole = largest(values);
        let tiles = tiles(values, *columns, case.tile);
        for (at, (&value, &tile)) in values.iter().zip(&tiles).enumerate() {
            let error = (f64::from(back[at]) - f64::from(value)).abs();
            let bound = far(case.near, tile, value, whole, *dtype);
            assert!(error <= bound, "{what} at {at}: {value} {} > {bound}", back[at]);
        }
    });
    assert!(seen > 1200, "{seen}");
}

#[test]
fn what_was_decoded_is_encoded_to_what_it_was() {
    let seen = each(|trial| {
        let Trial { case, target, dtype, columns, encoding, values, what } = trial;
        let tensors = encoded(encoding, values, *columns, 1000);
        let back = decoded(*target, *dtype, encoding, &tensors);
        let layer = written(*target, *dtype, encoding, &tensors);
        let same = again(*target, &layer, &tensors, &back, *columns);
        if case.is_exact {
            assert!(same == tensors, "{what}: other bytes");
        }
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let once_more = decoded(*target, *dtype, encoding, &same);
        assert!(bits(&once_more) == bits(&back), "{what}: other values");
    });
    assert!(seen > 1200, "{seen}");
}

#[test]
fn scales_stay_where_they_fit_and_are_new_where_they_do_not() {
    let loss = |values: &[f32], others: &[f32]| -> f64 {
        values.iter().zip(others).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    for case in cases() {
        let target = case.aim.target(false).unwrap();
        let (shape, dtype) = ([8usize, 256usize], Dtype::BF16);
        let candidate = [8, 256];
        let encoding = target.encoding(&Candidate { shape: &candidate, dtype }).unwrap();
        let (_, noise) = matrices(shape, dtype).swap_remove(0);
        let tensors = encoded(&encoding, &noise, shape[1], 1);
        let layer = written(target.as_ref(), dtype, &encoding, &tensors);
        let what = case.aim.flags();
        let changed = |change: &dyn Fn(usize, f32) -> f32| {
            let list = noise.iter().enumerate().map(|(at, &value)| change(at, value));
            let mut list: Vec<f32> = list.collect();
            values::round_all(dtype, &mut list);
            list
        };
        // A small change: codes alone change.
        let nudged = changed(&|at, value| if at % 5 == 0 { value * 0.9 } else { value });
        let same = again(target.as_ref(), &layer, &tensors, &nudged, shape[1]);
        assert!(same[1..] == tensors[1..] && same[0] != tensors[0], "{what}");
        // Values far beyond the scales, and far below.
        for factor in [40.0, 1.0 / 65_536.0] {
            let moved = changed(&|_, value| value * factor);
            let new = again(target.as_ref(), &layer, &tensors, &moved, shape[1]);
            assert!(new[1..] != tensors[1..], "{what} {factor}: the scales stayed");
            let fresh = encoded(&encoding, &moved, shape[1], 1);
            let [new, fresh] =
                [new, fresh].map(|made| loss(&moved, &decoded(target.as_ref(), dtype, &encoding, &made)));
            // A global scale that stays costs a little.
            assert!(new <= fresh * 1.2, "{what} {factor}: {new} {fresh}");
        }
    }
}

#[test]
fn searched_scales_lose_no_more_and_where_outliers_are_less() {
    let loss = |values: &[f32], others: &[f32]| -> f64 {
        values.iter().zip(others).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let (mut seen, mut better) = (0, 0);
    for (scheme, dtype) in [("w4a16", Dtype::BF16), ("w4a16-asym", Dtype::F16), ("w8a8", Dtype::F32)] {
        let shape = [4usize, 256];
        let wishes = Wishes { scheme: Some(scheme.into()), ..Wishes::default() };
        let made = |search, values: &[f32]| {
            let aim = Aim { name: "compressed-tensors".into(), wishes: Wishes { search, ..wishes.clone() } };
            let target = aim.target(false).unwrap();
            assert_eq!(target.without_search().is_some(), search != Search::None);
            let encoding = target.encoding(&Candidate { shape: &[4, 256], dtype }).unwrap();
            let tensors = encoded(&encoding, values, shape[1], 1);
            loss(values, &decoded(target.as_ref(), dtype, &encoding, &tensors))
        };
        for (name, values) in matrices(shape, dtype) {
            let plain = made(Search::None, &values);
            for search in [Search::Mse, Search::Hqq] {
                let searched = made(search, &values);
                // What is left out of the search is the last rounding of the product.
                assert!(searched <= plain * 1.05 + 1e-9, "{scheme} {dtype} {name}: {searched} {plain}");
                better += usize::from(searched < plain * 0.98);
                seen += 1;
            }
        }
    }
    assert!(seen == 54 && better > 12, "{better} of {seen}");
}
