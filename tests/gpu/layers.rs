//! Layers of random bits, whose rows a device makes as the processor does: all of them, and some from anywhere.

use std::ops::Range;

use super::own;
use super::samples::cards;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Resident, Scratch, Tally, Work};
use ckpt::quant::change::Change;
use ckpt::quant::decode::Decoding;
use ckpt::quant::in_memory::InMemory;
use ckpt::tensor::Dtype;

/// Numbers without a pattern, the same ones each time.
pub(crate) struct Random {
    state: u64,
    /// True if some scales are 0.
    has_zeros: bool,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state, has_zeros: state >> 40 & 1 == 0 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 20) % count.max(1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    pub(crate) fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }

    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count as usize).collect()
    }

    /// Finite values of either sign around 0.01, in about every second layer some 0, and where `has_large` some so large that F16 cannot hold products.
    pub(crate) fn scales(&mut self, dtype: Dtype, count: u64, has_large: bool) -> Vec<u8> {
        let has_zeros = self.has_zeros;
        let mut value = || match self.below(40) {
            0 if has_zeros => 0.0,
            1 if has_large => 9000.0,
            2 => 1e-7,
            n => (self.below(20_000) as f32 * 1e-6 + 1e-4) * if n % 2 == 0 { 1.0 } else { -1.0 },
        };
        let values: Vec<f32> = (0..count).map(|_| value()).collect();
        let mut bytes = vec![0; dtype.bytes_of(count).unwrap() as usize];
        assert!(ckpt::tensor::values::from_f32(dtype, &values, &mut bytes));
        bytes
    }
}

/// Returns how a layer is decoded; there is a kernel for it.
fn decoding(what: &str, layer: &InMemory<'_>, format: &str) -> Decoding {
    let decoding = layer.decoding("layer", format).unwrap();
    assert!(decoding.row_count() > 0 && decoding.rows.program().is_some(), "{what}: no kernel");
    decoding
}

/// Makes rows on the simulated GPU and on the processor, from each of these dtypes (that of the format first) to each: all
/// rows, single ones and ranges from anywhere. Nothing is left to the processor. What the format writes is then encoded
/// again, as it is stored: returns true if kernels did that.
pub(crate) fn check(what: &str, layer: &InMemory<'_>, format: &str, natives: &[Dtype]) -> bool {
    assert_eq!(compare(what, layer, format, natives), Vec::<String>::new(), "{what}");
    turned(what, layer, format);
    own::check(what, layer, format)
}

/// The columns of a layer as rows, and those of them as its rows again.
fn turned(what: &str, layer: &InMemory<'_>, format: &str) {
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    for times in 1..=2 {
        let mut decoding = decoding(what, layer, format);
        if decoding.shape.len() != 2 {
            return;
        }
        let codes = layer.bytes(decoding.codes);
        for _ in 0..times {
            decoding = Change::Turned.over(decoding).unwrap();
        }
        assert!(decoding.rows.program().is_some(), "{what} turned {times} times: no kernel");
        let count = decoding.row_count();
        let native = decoding.dtype.unwrap_or(Dtype::BF16);
        let some = count / 3..(count / 3 + 9).min(count);
        for (dtype, rows) in [(Dtype::F32, 0..count), (Dtype::F16, count - 1..count), (Dtype::BF16, some)] {
            let to = (rows.clone(), native, dtype);
            let is = made(&cuda, (&decoding, codes), to.clone(), &Resident::default());
            let should = made(&Cpu, (&decoding, codes), to, &Resident::default());
            assert!(is == should, "{what} turned {times} times, to {dtype}: rows {rows:?} differ");
        }
    }
    assert_eq!(cuda.notes(), Vec::<String>::new(), "{what} turned");
}

/// The same; returns what the GPU's notes say.
pub(crate) fn compare(what: &str, layer: &InMemory<'_>, format: &str, natives: &[Dtype]) -> Vec<String> {
    let decoding = decoding(what, layer, format);
    compare_rows(what, (&decoding, layer.bytes(decoding.codes)), natives)
}

/// The same of rows that are decoded from these codes.
pub(crate) fn compare_rows(
    what: &str,
    (decoding, codes): (&Decoding, &[u8]),
    natives: &[Dtype],
) -> Vec<String> {
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    let own = decoding.dtype.unwrap_or(Dtype::BF16);
    for &native in [own].iter().chain(natives) {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let (on_gpu, on_cpu) = (Resident::default(), Resident::default());
            for rows in ranges(decoding.row_count()) {
                let to = (rows.clone(), native, dtype);
                let is = made(&cuda, (decoding, codes), to.clone(), &on_gpu);
                let should = made(&Cpu, (decoding, codes), to, &on_cpu);
                let what = format!("{what}: rows {rows:?}, {native} to {dtype}");
                assert_eq!(is.0, should.0, "{what}");
                let differs = is.1.iter().zip(&should.1).position(|(is, should)| is != should);
                let place = differs.map(|at| {
                    let value = at as u64 / dtype.bytes_of(1).unwrap();
                    [value / decoding.row_len(), value % decoding.row_len()]
                });
                assert_eq!(place, None, "{what}: row and input that differ");
            }
        }
    }
    cuda.notes()
}

/// Ranges of so many rows: all, the first and the last, parts from the middle and from anywhere.
fn ranges(count: u64) -> Vec<Range<u64>> {
    let mut random = Random::new(count);
    let mut ranges = vec![0..count, 0..1, count - 1..count, count / 2..count];
    ranges.extend([1..count.clamp(1, 4), count / 3..(count / 3 + 5).min(count)]);
    for _ in 0..2 {
        let (a, b) = (random.below(count), random.below(count));
        ranges.push(a.min(b)..a.max(b) + 1);
    }
    ranges.retain(|rows| !rows.is_empty());
    ranges
}

/// Makes rows on a device.
fn made(
    device: &dyn Device,
    (decoding, all): (&Decoding, &[u8]),
    (rows, native, dtype): (Range<u64>, Dtype, Dtype),
    resident: &Resident,
) -> (Tally, Vec<u8>) {
    let values = (rows.end - rows.start) * decoding.row_len();
    let mut out = vec![0xa5; dtype.bytes_of(values).unwrap() as usize];
    let range = decoding.rows.codes(rows.clone());
    // Codes are strewn where one row needs all of several rows.
    let is_whole = decoding.row_count() > 1 && decoding.rows.codes(0..1) == (0..all.len() as u64);
    let codes = if is_whole { all } else { &all[range.start as usize..range.end as usize] };
    let codes_start = if is_whole { 0 } else { range.start };
    let work = Work { decoding, rows, codes, is_whole, codes_start, native, dtype, resident };
    (device.decode(&work, &mut Scratch::default(), &mut out).unwrap(), out)
}
