//! Edits against themselves: any cut, f64, one chain an element.

use super::*;

/// Numbers without a pattern, around zero.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

const CAYLEY: Oft = Oft { series: None, longest: None };

fn factors(rows: u64, columns: u64, rank: u64, seed: u64) -> Factors {
    let (left, right) = (noise((rows * rank) as usize, seed), noise((rank * columns) as usize, seed + 7));
    Factors::new(left, right, [rows, columns]).unwrap()
}

/// Applies to all rows, some at a time, and returns the largest distance to `exact`.
fn applied(edit: &dyn Edit, [rows, columns]: [u64; 2], at_once: u64) -> (Vec<f32>, f64) {
    let base = noise((rows * columns) as usize, 99);
    let (mut values, mut exact) = (base.clone(), base.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    edit.exact(0..rows, &mut exact);
    for start in (0..rows).step_by(at_once as usize) {
        let rows = start..rows.min(start + at_once);
        edit.apply(rows.clone(), &mut values[(rows.start * columns) as usize..(rows.end * columns) as usize]);
    }
    let distance = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
    let far = values.iter().zip(&exact).map(distance).fold(0.0, f64::max);
    (values, far)
}

fn edits(rows: u64, columns: u64) -> Vec<(&'static str, Box<dyn Edit>)> {
    let shape = [rows, columns];
    let low = |seed| LowRank::new(factors(rows, columns, 5, seed), 0.37, None);
    let magnitudes = |count: u64| noise(count as usize, 3).iter().map(|v| v.abs() + 0.5).collect::<Vec<_>>();
    let base = noise((rows * columns) as usize, 99);
    let read = |rows: Range<u64>, out: &mut [f32]| -> Result<(), ()> {
        out.copy_from_slice(&base[(rows.start * columns) as usize..(rows.end * columns) as usize]);
        Ok(())
    };
    let by_columns = Dora::by_columns(low(2), &magnitudes(columns), rows, read).unwrap().unwrap();
    let hadamard =
        Hadamard::new(factors(rows, columns, 3, 5), factors(rows, columns, 4, 6), 0.5, None).unwrap();
    let kronecker = Kronecker::new(
        (noise((rows / 3 * (columns / 4)) as usize, 8), [rows / 3, columns / 4]),
        (noise(12, 9), [3, 4]),
        shape,
        0.25,
        None,
    );
    let triangles: Vec<f32> = noise((columns / 4 * 6) as usize, 10).iter().map(|v| v * 0.1).collect();
    let turned =
        |series, longest| Rotation::new(&triangles, columns / 4, columns, Oft { series, longest }).unwrap();
    vec![
        ("lora", Box::new(low(1))),
        ("dora", Box::new(Dora::by_rows(low(2), magnitudes(rows), rows).unwrap())),
        ("dora of columns", Box::new(by_columns)),
        ("loha", Box::new(hadamard)),
        ("lokr", Box::new(kronecker.unwrap())),
        ("ia3 rows", Box::new(Scale::new(magnitudes(rows), true, shape).unwrap())),
        ("ia3 columns", Box::new(Scale::new(magnitudes(columns), false, shape).unwrap())),
        ("tokens", Box::new(Rows::new(&[4, 1], noise(2 * columns as usize, 4), shape).unwrap())),
        ("oft", Box::new(turned(Some(5), None))),
        ("oft cayley", Box::new(turned(None, None))),
        ("oft constrained", Box::new(turned(Some(7), Some(0.1)))),
        (
            "stack",
            Box::new(Stack::new(
                (0..rows / 3)
                    .map(|e| -> Box<dyn Edit> {
                        Box::new(LowRank::new(factors(3, columns, 2, e), 1.0, None))
                    })
                    .collect(),
                [3, columns],
            )),
        ),
    ]
}

#[test]
fn every_edit_gives_the_same_bits_in_any_cut_and_agrees_with_f64() {
    let shape = [9, 44];
    for (name, edit) in edits(shape[0], shape[1]) {
        let (whole, far) = applied(&*edit, shape, 9);
        assert!(far < 2e-6, "{name}: {far}");
        assert_ne!(whole, noise(9 * 44, 99), "{name} changes nothing");
        for at_once in [1, 2, 4, 5] {
            let (cut, _) = applied(&*edit, shape, at_once);
            assert!(
                whole.iter().zip(&cut).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{name}, {at_once} rows"
            );
        }
    }
}

#[test]
fn each_element_is_one_chain_in_ascending_order() {
    let (rows, columns, rank) = (6, 70, 9);
    let (left, right) = (noise(rows * rank, 1), noise(rank * columns, 8));
    let factors = Factors::new(left.clone(), right.clone(), [rows as u64, columns as u64]).unwrap();
    let mut out = vec![0.0; rows * columns];
    factors.rows(0..rows as u64, &mut out);
    for (at, value) in out.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let chain =
            (0..rank).fold(0f32, |sum, r| left[row * rank + r].mul_add(right[r * columns + column], sum));
        assert_eq!(value.to_bits(), chain.to_bits(), "{row} {column}");
    }
}

#[test]
fn a_rotation_keeps_lengths() {
    let triangles = noise(2 * 28, 3);
    let edit = Rotation::new(&triangles, 2, 16, CAYLEY).unwrap();
    let mut row: Vec<f32> = noise(16, 5);
    let length = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>();
    let before = length(&row);
    edit.apply(0..1, &mut row);
    assert!((length(&row) - before).abs() < 1e-5);
}

/// Returns an edit of a weight by a method, of tensors by their parts; `transposed`: the weight is `[in, out]`.
fn edit_of(
    method: Method,
    tensors: &[(&'static str, [u64; 2])],
    shape: [u64; 2],
    transposed: bool,
) -> Box<dyn Edit> {
    let parts = (0..).zip(tensors).map(|(at, (part, _))| (*part, at)).collect();
    let spec = EditSpec {
        adapter: 0,
        module: "module".into(),
        method,
        parts,
        scaling: 0.5,
        weight: 1.0,
        transposed,
        recipe: Recipe::Peft,
        experts: 1,
        tokens: Vec::new(),
        outputs: None,
        expert: None,
        rows: None,
        order: None,
        is_flat: false,
        combination: None,
    };
    let mut read = |_, tensor: u32| {
        let shape = tensors[tensor as usize].1;
        let values = noise((shape[0] * shape[1]) as usize, u64::from(tensor) + 20);
        Ok(std::sync::Arc::new((values, shape.to_vec())))
    };
    let mut base = |_: Range<u64>, _: &mut [f32]| panic!("no norms are asked for");
    spec.edit(&shape, Dtype::F32, &mut read, &mut base).unwrap()
}

#[test]
fn what_is_done_to_a_turned_weight_is_what_is_done_to_it() {
    let [out, inputs] = [6, 20];
    let loha = [("hada_w1_a", [6, 2]), ("hada_w1_b", [2, 20]), ("hada_w2_a", [6, 3]), ("hada_w2_b", [3, 20])];
    let whole = [("lokr_w1", [2, 5]), ("lokr_w2", [3, 4])];
    let split = [("lokr_w1", [3, 10]), ("lokr_w2_a", [2, 4]), ("lokr_w2_b", [4, 2])];
    let turned = |values: &[f32], columns: usize| -> Vec<f32> {
        (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
    };
    for (method, tensors) in [
        (Method::Lora, &[("lora_A", [3, 20]), ("lora_B", [6, 3])][..]),
        (Method::LoHa, &loha),
        (Method::LoKr, &whole),
        (Method::LoKr, &split),
        (Method::Ia3, &[("ia3_l", [6, 1])]),
        (Method::Ia3, &[("ia3_l", [1, 20])]),
    ] {
        let base = noise(120, 77);
        let (mut values, mut other) = (base.clone(), turned(&base, 20));
        edit_of(method, tensors, [out, inputs], false).apply(0..out, &mut values);
        edit_of(method, tensors, [inputs, out], true).apply(0..inputs, &mut other);
        assert_ne!(values, base, "{method:?} changes nothing");
        assert_eq!(turned(&values, 20), other, "{method:?}");
    }
}

#[test]
fn a_delta_is_rounded_before_it_is_added_where_that_is_asked() {
    let low = |rounded| {
        LowRank::new(Factors::new(vec![1.0], vec![1.0 + 1.0 / 512.0], [1, 1]).unwrap(), 1.0, rounded)
    };
    let mut value = [1.0];
    low(None).apply(0..1, &mut value);
    assert_eq!(value, [2.0 + 1.0 / 512.0]);
    value = [1.0];
    low(Some(Dtype::BF16)).apply(0..1, &mut value);
    assert_eq!(value, [2.0]);
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    assert!(Factors::new(vec![0.0; 6], vec![0.0; 7], [3, 4]).unwrap_err().contains("6 and 7"));
    assert!(Factors::new(vec![], vec![], [0, 0]).is_err());
    assert!(Scale::new(vec![1.0; 3], true, [4, 3]).err().unwrap().contains("3 factors for 4 rows"));
    assert!(Rows::new(&[4], vec![0.0; 2], [4, 2]).err().unwrap().contains("row 4 of 4"));
    assert!(Rows::new(&[1, 1], vec![0.0; 4], [4, 2]).err().unwrap().contains("twice"));
    let kron = |a, b| Kronecker::new((vec![0.0; 4], a), (vec![0.0; 4], b), [4, 4], 1.0, None);
    assert!(kron([2, 2], [2, 2]).is_ok() && kron([2, 2], [4, 1]).is_err() && kron([1, 4], [4, 1]).is_ok());
    let turned = |angles: &[f32], blocks, columns| Rotation::new(angles, blocks, columns, CAYLEY).is_err();
    assert!(turned(&[0.0; 5], 1, 4) && turned(&[0.0; 6], 1, 6));
    assert!(turned(&[f32::NAN; 6], 1, 4) && turned(&[], 0, 4));
}
