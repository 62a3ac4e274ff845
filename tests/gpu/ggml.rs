//! Blocks of random bits of every type of ggml, decoded by kernels and by the processor.

use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::cuda::measure::layers::BLOCKS;
use ckpt::engine::{Device, Resident, Scratch, Tally, Work};
use ckpt::quant::decode::Decoding;
use ckpt::quant::{FormatId, Module, Part, Parts, QuantConfig, Side, SideData};
use ckpt::tensor::{Dtype, GgmlType};
use libtest_mimic::Trial;

use super::samples::cards;
use super::trial;

/// A tensor in blocks, and the scales beside it.
struct Layer {
    kind: GgmlType,
    shape: Vec<u64>,
    bytes: Vec<u8>,
    scales: Vec<f32>,
}

impl SideData for Layer {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let scales: Vec<u8> = self.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let bytes = if tensor == 0 { &self.bytes } else { &scales };
        Side::Bytes(bytes[offset as usize..][..count as usize].to_vec())
    }
}

/// Numbers without a pattern.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }
}

fn kind(name: &str) -> GgmlType {
    (0..255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap()
}

impl Layer {
    /// Random bits; scales that are finite, down to the smallest and up to the largest.
    fn new((name, halves): (&str, &[usize]), shape: &[u64], scales: &[f32]) -> Self {
        let kind = kind(name);
        let size = kind.block_bytes() as usize;
        let blocks = shape.iter().product::<u64>() as usize / kind.block_elements() as usize;
        let seed =
            name.bytes().fold(0x9e37_79b9 + shape[0], |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
        let mut bytes = Noise(seed).bytes(blocks * size);
        for block in bytes.chunks_mut(size) {
            for at in halves {
                if name == "IQ1_M" || block[at + 1] & 0x7c == 0x7c {
                    block[at + 1] &= !0x40;
                }
            }
        }
        Self { kind, shape: shape.to_vec(), bytes, scales: scales.to_vec() }
    }

    fn decoding(&self) -> Decoding {
        let part = |suffix, dtype, shape, bytes, tensor| Part { suffix, dtype, shape, bytes, tensor };
        let beside = [self.scales.len() as u64];
        let mut list =
            vec![part("weight", Dtype::Ggml(self.kind), &self.shape[..], self.bytes.len() as u64, 0)];
        if !self.scales.is_empty() {
            list.push(part("scale", Dtype::F32, &beside, 4 * beside[0], 1));
        }
        let config = QuantConfig::default();
        let spell = || "layer".to_owned();
        let module = Module::new(&spell);
        let parts = Parts { module: &module, list: &list, config: &config, data: self };
        let format = FormatId::find("ggml").unwrap().get();
        let spec = format.recognize(&parts).unwrap().spec;
        format.decode(&parts, &spec).unwrap()
    }
}

/// Decodes a layer whole and in ranges of rows, on the GPU and on the processor; returns what the GPU's notes say.
fn compare(layer: &Layer) -> Vec<String> {
    let (decoding, cuda) = (layer.decoding(), Cuda::open(&cards(1), 1).unwrap());
    let rows = decoding.row_count();
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        // Rounding twice is the same for all shapes.
        let natives = [Dtype::F32, Dtype::BF16, Dtype::F16];
        for native in natives.into_iter().take(if rows == 7 { 3 } else { 1 }) {
            let on_gpu = Resident::default();
            for range in [0..rows, 0..1, rows / 2..rows, rows - 1..rows] {
                let codes = decoding.rows.codes(range.clone());
                let count = (range.end - range.start) * decoding.row_len();
                let decode = |device: &dyn Device, resident: &Resident| -> (Tally, Vec<u8>) {
                    let mut out = vec![0x5a; dtype.bytes_of(count).unwrap() as usize];
                    let work = Work {
                        decoding: &decoding,
                        rows: range.clone(),
                        codes: &layer.bytes[codes.start as usize..codes.end as usize],
                        is_whole: false,
                        codes_start: codes.start,
                        native,
                        dtype,
                        resident,
                    };
                    let tally = device.decode(&work, &mut Scratch::default(), &mut out).unwrap();
                    (tally, out)
                };
                let (is, should) = (decode(&cuda, &on_gpu), decode(&Cpu, &Resident::default()));
                let differing = is.1.iter().zip(&should.1).position(|(is, should)| is != should);
                assert_eq!(differing, None, "{:?} rows {range:?} by {native} to {dtype}", layer.kind);
                assert_eq!(is.0.overflows, should.0.overflows, "{:?} by {native} to {dtype}", layer.kind);
            }
        }
    }
    cuda.notes()
}

fn every_shape(of: (&'static str, &'static [usize])) {
    let block = u64::from(kind(of.0).block_elements());
    for shape in [&[1, block][..], &[7, 3 * block], &[33, 5 * block], &[130, block], &[block * 2]] {
        let layer = Layer::new(of, shape, &[]);
        assert_eq!(compare(&layer), Vec::<String>::new(), "{} {shape:?}", of.0);
    }
    let experts = [3, 5, 2 * block];
    for scales in [&[0.37f32][..], &[1.5, -0.1, 3e-39]] {
        let layer = Layer::new(of, &experts, scales);
        assert_eq!(compare(&layer), Vec::<String>::new(), "{} {scales:?}", of.0);
    }
}

/// Pieces with NaN are made by the processor; so are all where a scale is infinite and some codes are 0.
fn nans(of: (&'static str, &'static [usize])) {
    let block = u64::from(kind(of.0).block_elements());
    let mut layer = Layer::new(of, &[5, 4 * block], &[]);
    if let Some(at) = of.1.first() {
        for (scale, at) in [(0x7c00u16, *at), (0x7e01, at + kind(of.0).block_bytes() as usize)] {
            layer.bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            if of.0 == "Q8_K" {
                layer.bytes[at..at + 2].copy_from_slice(&0x7fc0u16.to_le_bytes());
            }
            if of.0 == "IQ1_M" {
                layer.bytes[at + 1] |= 0x70;
                layer.bytes[at - 1] |= 0xf0;
            }
        }
    } else {
        layer.scales = vec![f32::INFINITY];
        layer.bytes[..64].fill(0);
    }
    let notes = compare(&layer);
    assert!(notes.len() == 1 && notes[0].contains("NaN"), "{}: {notes:?}", of.0);
}

pub(crate) fn trials() -> Vec<Trial> {
    let all = BLOCKS.iter().flat_map(|&of| {
        let name = of.0.to_lowercase();
        [
            trial(format!("ggml::{name}"), move || every_shape(of)),
            trial(format!("ggml::{name}::nan"), move || nans(of)),
        ]
    });
    all.collect()
}
