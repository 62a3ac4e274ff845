//! Beside each other: what is seen of two blocks of values, in loops that are compiled for the vectors of each processor.

use multiversion::multiversion;

use super::block::Value;

/// A float in which two blocks are held against each other.
pub(super) trait Beside: Value {
    /// Returns what is seen of two blocks of one length, and writes the upper 16 bits of each difference, as f32, to
    /// `errors`.
    fn against(a: &[Self], b: &[Self], errors: &mut [u16]) -> Against;
    /// Writes each difference `a - b` to `apart`.
    fn apart(a: &[Self], b: &[Self], apart: &mut [Self]);
}

/// What is seen of two blocks. If some values are not finite, only that says something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Against {
    /// Sums of `a²`, `b²`, `ab`, `|a - b|` and `(a - b)²`, in this order.
    pub(super) sums: [f64; 5],
    /// The largest `|a - b|`.
    pub(super) most: f64,
    /// How many are not equal.
    pub(super) changed: u64,
    pub(super) is_finite: bool,
}

/// Sums that run beside each other: their order is fixed, and so is the last bit of what comes of it.
const LANES: usize = 8;

macro_rules! against {
    ($name:ident, $value:ty, $bits:ty, $exponent:expr) => {
        mod $name {
            use super::{Against, LANES, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn against(a: &[$value], b: &[$value], errors: &mut [u16]) -> Against {
                const MAGNITUDE: $bits = <$bits>::MAX >> 1;
                let mut sums = [[0f64; LANES]; 5];
                let mut most = [0f64; LANES];
                let mut bits: [$bits; LANES] = [0; LANES];
                let mut changed = [0u32; LANES];
                let mut one = |lane: usize, a: $value, b: $value, error: &mut u16| {
                    let larger = (a.to_bits() & MAGNITUDE).max(b.to_bits() & MAGNITUDE);
                    bits[lane] = bits[lane].max(larger);
                    changed[lane] += u32::from(a != b);
                    let (a, b) = (f64::from(a), f64::from(b));
                    let far = a - b;
                    let distance = far.abs();
                    most[lane] = if distance > most[lane] { distance } else { most[lane] };
                    sums[0][lane] += a * a;
                    sums[1][lane] += b * b;
                    sums[2][lane] += a * b;
                    sums[3][lane] += distance;
                    sums[4][lane] += far * far;
                    let far = far.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
                    *error = (far.to_bits() >> 16) as u16;
                };
                let (a, a_rest) = a.as_chunks::<LANES>();
                let (b, b_rest) = b.as_chunks::<LANES>();
                let (errors, errors_rest) = errors.as_chunks_mut::<LANES>();
                for ((a, b), errors) in a.iter().zip(b).zip(errors) {
                    for lane in 0..LANES {
                        one(lane, a[lane], b[lane], &mut errors[lane]);
                    }
                }
                for ((a, b), error) in a_rest.iter().zip(b_rest).zip(errors_rest) {
                    one(0, *a, *b, error);
                }
                Against {
                    sums: sums.map(|lanes| lanes.iter().sum()),
                    most: most.iter().fold(0.0, |most, &other| most.max(other)),
                    changed: changed.iter().map(|&lane| u64::from(lane)).sum(),
                    is_finite: bits.iter().all(|&bits| bits < $exponent),
                }
            }
        }

        impl Beside for $value {
            fn against(a: &[Self], b: &[Self], errors: &mut [u16]) -> Against {
                $name::against(a, b, errors)
            }

            fn apart(a: &[Self], b: &[Self], apart: &mut [Self]) {
                for ((a, b), apart) in a.iter().zip(b).zip(apart) {
                    *apart = a - b;
                }
            }
        }
    };
}

against!(single, f32, u32, 0x7f80_0000);
against!(double, f64, u64, 0x7ff0_0000_0000_0000);
