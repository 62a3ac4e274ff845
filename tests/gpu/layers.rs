//! Layers of random bits, whose rows a device makes as the processor does: all of them, and some from anywhere.

use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Resident, Scratch, Tally, Work};
use ckpt::quant::decode::Decoding;
use ckpt::quant::{FormatId, Module, Part, Parts, QuantBlock, QuantConfig, Side, SideData};
use ckpt::tensor::Dtype;
use serde_json::Value;

use super::samples::cards;

/// Numbers without a pattern, the same ones each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 20) % count.max(1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count as usize).collect()
    }

    /// Finite values of either sign around 0.01, some 0, and where `has_large` some so large that F16 cannot hold products.
    pub(crate) fn scales(&mut self, dtype: Dtype, count: u64, has_large: bool) -> Vec<u8> {
        let mut value = || match self.below(40) {
            0 => 0.0,
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

/// A tensor in memory.
struct Tensor {
    suffix: &'static str,
    dtype: Dtype,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// The tensors of one layer, and what a config says of it.
#[derive(Default)]
pub(crate) struct Layer {
    tensors: Vec<Tensor>,
    config: QuantConfig,
}

impl SideData for Layer {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let bytes = &self.tensors[tensor as usize].bytes;
        let start = bytes.len().min(offset as usize);
        Side::Bytes(bytes[start..bytes.len().min(start + count as usize)].to_vec())
    }
}

impl Layer {
    pub(crate) fn part(mut self, suffix: &'static str, dtype: Dtype, shape: &[u64], bytes: Vec<u8>) -> Self {
        let wanted = dtype.bytes_of(shape.iter().product());
        assert_eq!(Some(bytes.len() as u64), wanted, "{suffix} {shape:?}");
        self.tensors.push(Tensor { suffix, dtype, shape: shape.to_vec(), bytes });
        self
    }

    pub(crate) fn block(mut self, file: &str, method: &str, value: Value) -> Self {
        let (file, key, method) = (file.into(), "quantization_config".into(), Some(method.into()));
        self.config.blocks.push(QuantBlock { file, key, method, value });
        self
    }

    /// Returns how the layer is decoded.
    fn decoding(&self, format: &str) -> Decoding {
        let mut list = Vec::new();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let Tensor { suffix, dtype, shape, bytes } = tensor;
            let (bytes, tensor) = (bytes.len() as u64, index as u32);
            list.push(Part { suffix, dtype: *dtype, shape, bytes, tensor });
        }
        let spell = || "layer".to_owned();
        let module = Module::new(&spell);
        let parts = Parts { module: &module, list: &list, config: &self.config, data: self };
        let format = FormatId::find(format).unwrap().get();
        let spec = format.recognize(&parts).unwrap().spec;
        format.decode(&parts, &spec).unwrap()
    }

    /// Makes rows on the simulated GPU and on the processor, in each dtype: all rows, then ranges of them. Where the
    /// result's dtype is free it is BF16.
    pub(crate) fn check(&self, format: &str, random: &mut Random, what: &str) {
        let decoding = self.decoding(format);
        assert!(decoding.rows.program().is_some(), "{what}: no kernel");
        let rows = decoding.row_count();
        let cuda = Cuda::open(&cards(1), 1).unwrap();
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let (on_gpu, on_cpu) = (Resident::default(), Resident::default());
            for at in 0..5 {
                let (start, end) = (random.below(rows), random.below(rows));
                let range = match at {
                    0 => 0..rows,
                    1 => start..start + 1,
                    _ => start.min(end)..start.max(end) + 1,
                };
                let made = |device: &dyn Device, resident: &Resident| {
                    let mut out = vec![
                        0xa5;
                        dtype.bytes_of((range.end - range.start) * decoding.row_len()).unwrap()
                            as usize
                    ];
                    let tally = self.decode(&decoding, device, (range.clone(), dtype), resident, &mut out);
                    (tally, out)
                };
                let (is, should) = (made(&cuda, &on_gpu), made(&Cpu, &on_cpu));
                assert_eq!(is.0, should.0, "{what}: rows {range:?} in {dtype}");
                let differs = is.1.iter().zip(&should.1).position(|(is, should)| is != should);
                let size = dtype.bytes_of(1).unwrap() * decoding.row_len();
                let place =
                    differs.map(|at| (at as u64 / size, at as u64 % size / dtype.bytes_of(1).unwrap()));
                assert_eq!(place, None, "{what}: rows {range:?} in {dtype}: row and input that differ");
            }
        }
        assert_eq!(cuda.notes(), Vec::<String>::new(), "{what}");
    }

    fn decode(
        &self,
        decoding: &Decoding,
        device: &dyn Device,
        (rows, dtype): (std::ops::Range<u64>, Dtype),
        resident: &Resident,
        out: &mut [u8],
    ) -> Tally {
        let all = &self.tensors[decoding.codes as usize].bytes;
        let range = decoding.rows.codes(rows.clone());
        // Codes are strewn where one row needs all of several rows.
        let is_whole = decoding.row_count() > 1 && decoding.rows.codes(0..1) == (0..all.len() as u64);
        let codes = if is_whole { all } else { &all[range.start as usize..range.end as usize] };
        let codes_start = if is_whole { 0 } else { range.start };
        let native = decoding.dtype.unwrap_or(Dtype::BF16);
        let work = Work { decoding, rows, codes, is_whole, codes_start, native, dtype, resident };
        device.decode(&work, &mut Scratch::default(), out).unwrap()
    }
}
