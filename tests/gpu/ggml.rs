//! Blocks of random bits of every type of ggml, decoded by kernels and by the processor.

use ckpt::quant::in_memory::InMemory;
use ckpt::quant::noise::BLOCKS;
use ckpt::tensor::{Dtype, GgmlType};
use libtest_mimic::Trial;

use super::layers::{self, Random};
use super::trial;

/// A type of ggml, and the bytes of a block at which halves lie that scale it.
type Type = (&'static str, &'static [usize]);

fn kind(name: &str) -> GgmlType {
    (0..255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap()
}

/// Random bits; scales that are finite, down to the smallest and up to the largest.
fn blocks((name, halves): Type, shape: &[u64]) -> Vec<u8> {
    let kind = kind(name);
    let seed =
        name.bytes().fold(0x9e37_79b9 + shape[0], |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut bytes = Random::new(seed).bytes(Dtype::Ggml(kind).bytes_of(shape.iter().product()).unwrap());
    for block in bytes.chunks_mut(kind.block_bytes() as usize) {
        for at in halves {
            if name == "IQ1_M" || block[at + 1] & 0x7c == 0x7c {
                block[at + 1] &= !0x40;
            }
        }
    }
    bytes
}

/// A tensor in blocks, and the scales beside it if there are any.
fn layer((name, _): Type, shape: &[u64], blocks: Vec<u8>, scales: &[f32]) -> InMemory<'static> {
    let layer = InMemory::default().part("weight", Dtype::Ggml(kind(name)), shape, blocks);
    if scales.is_empty() {
        return layer;
    }
    let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    layer.part("scale", Dtype::F32, &[scales.len() as u64], bytes)
}

fn every_shape(of: Type) {
    let block = u64::from(kind(of.0).block_elements());
    for shape in [&[1, block][..], &[7, 3 * block], &[33, 5 * block], &[130, block], &[block * 2]] {
        // Rounding twice is the same for all shapes.
        let natives = if shape[0] == 7 { &[Dtype::F16, Dtype::F32][..] } else { &[] };
        layers::check(&format!("{shape:?}"), &layer(of, shape, blocks(of, shape), &[]), "ggml", natives);
    }
    let experts = [3, 5, 2 * block];
    for scales in [&[0.37f32][..], &[1.5, -0.1, 3e-39]] {
        let layer = layer(of, &experts, blocks(of, &experts), scales);
        layers::check(&format!("scales {scales:?}"), &layer, "ggml", &[]);
    }
}

/// Pieces with NaN are made by the processor; so are all where a scale is infinite and some codes are 0.
fn nans(of: Type) {
    let shape = [5, 4 * u64::from(kind(of.0).block_elements())];
    let (mut bytes, mut scales) = (blocks(of, &shape), &[][..]);
    if let Some(at) = of.1.first() {
        for (scale, at) in [(0x7c00u16, *at), (0x7e01, at + kind(of.0).block_bytes() as usize)] {
            bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            if of.0 == "Q8_K" {
                bytes[at..at + 2].copy_from_slice(&0x7fc0u16.to_le_bytes());
            }
            if of.0 == "IQ1_M" {
                bytes[at + 1] |= 0x70;
                bytes[at - 1] |= 0xf0;
            }
        }
    } else {
        scales = &[f32::INFINITY];
        bytes[..64].fill(0);
    }
    let notes = layers::compare("scales that are not finite", &layer(of, &shape, bytes, scales), "ggml", &[]);
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
