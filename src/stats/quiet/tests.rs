//! Blocks that are passed over, beside those that are looked at.

use super::{Quiet, order};
use crate::tensor::{Dtype, values};

#[test]
fn bits_order_as_their_floats_do() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let patterns: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = patterns.iter().flat_map(|pattern| pattern.to_le_bytes()).collect();
        let mut floats = vec![0f32; patterns.len()];
        assert!(values::to_f32(dtype, &bytes, &mut floats));
        let mut ordered: Vec<(i16, f32)> = patterns
            .iter()
            .zip(floats)
            .filter(|(_, float)| !float.is_nan())
            .map(|(&pattern, float)| (order(pattern as i16), float))
            .collect();
        ordered.sort_by_key(|(key, _)| *key);
        for pair in ordered.windows(2) {
            assert_eq!(pair[0].0 == pair[1].0, pair[0].1 == pair[1].1, "{dtype}: {pair:?}");
            assert!(pair[0].1 <= pair[1].1, "{dtype}: {pair:?}");
        }
    }
}

#[test]
fn what_is_new_is_not_passed_over() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let quiet = Quiet::new(dtype, (-1.0, 2.0), 0.5);
        let holds = |value: f32, at: usize| {
            let mut block = vec![0.25f32; 4096];
            block[at] = value;
            let mut bytes = vec![0; 8192];
            assert!(values::from_f32(dtype, &block, &mut bytes));
            quiet.holds(&bytes)
        };
        for at in [0, 77, 4095] {
            for value in [0.0, -0.0, 0.5, -0.5, 1e-30] {
                assert!(holds(value, at), "{dtype}: {value}");
            }
            for value in [0.51, -0.51, 2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
                assert!(!holds(value, at), "{dtype}: {value}");
            }
        }
        // The least is above what is kept: all positive values.
        assert!(!Quiet::new(dtype, (0.25, 0.75), 0.5).holds(&[0, 0]), "{dtype}");
    }
    assert_eq!(Quiet::new(Dtype::F32, (-1.0, 1.0), 1.0), Quiet::NOTHING);
    assert!(!Quiet::NOTHING.holds(&[]));
}
