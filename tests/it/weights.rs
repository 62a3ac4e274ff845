//! Weights of many kinds, on which encoders are held against their bounds and against each other.

/// Returns values of many kinds, each with its name.
pub(crate) fn kinds(count: usize) -> Vec<(&'static str, Vec<f32>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 0.05
    };
    let strewn: Vec<f32> = (0..count).map(|_| random()).collect();
    let with = |change: fn(usize, f32) -> f32| -> Vec<f32> {
        strewn.iter().enumerate().map(|(at, &value)| change(at, value)).collect()
    };
    vec![
        ("strewn", strewn.clone()),
        ("zeros", vec![0.0; count]),
        ("all equal", vec![0.03; count]),
        ("all equal below 0", vec![-0.03; count]),
        ("negative zeros", vec![-0.0; count]),
        ("zeros of both signs", with(|at, value| if at % 3 == 0 { 0.0f32.copysign(value) } else { value })),
        ("groups of zeros", with(|at, value| if at / 64 % 2 == 0 { 0.0 } else { value })),
        ("outliers", with(|at, value| if at % 97 == 13 { value * 4000.0 } else { value })),
        ("on one side", with(|_, value| value.abs() + 0.1)),
        ("on the other side", with(|_, value| -value.abs() - 0.1)),
        ("tiny", with(|_, value| value * 1e-6)),
        ("subnormal", with(|at, value| if at / 32 % 2 == 0 { value * 1e-37 } else { value * 1e-39 })),
        ("of all sizes", with(|at, value| value * 10f32.powi((at % 60) as i32 / 8 - 5))),
        ("powers of two", with(|at, value| 2f32.powi(at as i32 * 7 % 23 - 14).copysign(value))),
        ("steps of eighths", with(|_, value| (value * 800.0).round() / 8.0)),
        ("one value", with(|at, _| if at == 0 { -1.5 } else { 0.0 })),
    ]
}
