//! torch's random numbers on the CPU, for projections that an adapter does not save.
//!
//! PEFT makes `vera_A` and `vera_B` with `torch.Generator("cpu")`, seeded by `projection_prng_key`: first A, then B,
//! each by `uniform_(-b, b)` with `b = √3 · √2 / √fan_in`. The generator is MT19937; a value in f32 takes the low
//! 24 bits of one draw as a fraction `x`, and is `x · (b − −b) + −b`, of which torch's kernels for x86 with AVX2 (all
//! since 2013) round once, by a fused multiply-add.
//! Sources: PEFT 0.21, `tuners/vera/model.py`; torch 2.15, `ATen/core/MT19937RNGEngine.h`,
//! `ATen/core/TransformationHelper.h`.

use super::matrix::Matrix;
use crate::tensor::{Dtype, values};

/// Projections that all modules of a `VeRA` adapter share, as PEFT makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// What the generator is seeded with.
    pub key: u64,
    /// The rank.
    pub rank: u64,
    /// Inputs of the widest module.
    pub inputs: u64,
    /// Outputs of the highest module.
    pub outputs: u64,
}

impl Projection {
    /// Returns `vera_A` `[rank, inputs]` and `vera_B` `[outputs, rank]`, row by row, rounded to the dtype of the base:
    /// PEFT moves them to the base layer's device and dtype.
    pub(super) fn make(self, base: Dtype) -> (Matrix, Matrix) {
        let mut generator = Mt19937::new(self.key);
        let mut draw = |rows: u64, columns: u64| {
            let mut matrix = generator.matrix(rows as usize, columns as usize);
            values::round_all(base, &mut matrix.values);
            matrix
        };
        (draw(self.rank, self.inputs), draw(self.outputs, self.rank))
    }
}

/// Numbers of the state, and how far the one lies that is mixed into another.
const COUNT: usize = 624;
const MIDDLE: usize = 397;

/// The Mersenne Twister of 32 bits.
struct Mt19937 {
    state: [u32; COUNT],
    next: usize,
}

impl Mt19937 {
    /// Seeds it as torch does, with the low 32 bits.
    fn new(seed: u64) -> Self {
        let mut state = [0u32; COUNT];
        state[0] = seed as u32;
        for at in 1..COUNT {
            let before = state[at - 1];
            state[at] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(at as u32);
        }
        Self { state, next: COUNT }
    }

    fn turn(&mut self) {
        for at in 0..COUNT {
            let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % COUNT] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + MIDDLE) % COUNT] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn draw(&mut self) -> u32 {
        if self.next == COUNT {
            self.turn();
        }
        let mut value = self.state[self.next];
        self.next += 1;
        value ^= value >> 11;
        value ^= (value << 7) & 0x9d2c_5680;
        value ^= (value << 15) & 0xefc6_0000;
        value ^ (value >> 18)
    }

    /// Returns a matrix of values as Kaiming's uniform initialization draws them.
    fn matrix(&mut self, rows: usize, columns: usize) -> Matrix {
        let bound = 3f64.sqrt() * (2f64.sqrt() / (columns as f64).sqrt());
        let (from, to) = (-bound as f32, bound as f32);
        let fraction = |draw: u32| (draw & 0x00ff_ffff) as f32 / (1u32 << 24) as f32;
        let values = (0..rows * columns).map(|_| fraction(self.draw()).mul_add(to - from, from)).collect();
        Matrix { values, rows, columns }
    }
}

#[cfg(test)]
mod tests;
