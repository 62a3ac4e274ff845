//! Decoding EXL2: `(code - 2^(bits-1)) * scale` in F16, groups of inputs of 2 to 8 bits.
//!
//! `q_weight` has a column an output; down a column, each group's codes follow one another, low bits first.
//! A group's scale is `(s + 1)^2 * (q_scale_max / 256)`, each product rounded to F16, with a 4-bit `s` for
//! each output. Code `k` is of input `q_perm[k]`, which is the inverse of `q_invperm`.
//! Source: exllamav2 0.3.2, `ext.py`, `q_matrix.cu`, `quant/qdq_util.cuh`.

use std::ops::Range;

use crate::quant::decode::{Beside, DecodeRows, Decoding, floats, words};
use crate::quant::kernel::{Kernel, Program};
use crate::quant::side::{NumberRead, integers, matrix};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;
use crate::tensor::values::round;
use crate::units;

/// Groups that are read: each has at least a word row of 32 bits.
const GROUPS_MAX: usize = 1 << 16;
/// Inputs of a layer that can be decoded: the order of all is held.
const INPUTS_MAX: u64 = 1 << 24;

/// A group of inputs.
struct Group {
    bits: u32,
    /// The first word row.
    first: usize,
    /// Codes down a column.
    codes: usize,
    /// `q_scale_max / 256`.
    scale: f32,
}

impl Group {
    /// Returns the scale of outputs whose code of 4 bits is `code - 1`.
    fn scale_of(&self, code: f32) -> f32 {
        round(Dtype::F16, code * code * self.scale)
    }
}

/// Rows of an EXL2 weight.
struct Rows {
    groups: Vec<Group>,
    /// 4-bit scales, eight a word, row by group.
    scales: Vec<u32>,
    /// The input of each code.
    order: Vec<usize>,
    outputs: usize,
    bytes: u64,
}

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = parts.get("q_weight").filter(|w| w.dtype == Dtype::I32).ok_or("q_weight is not I32")?;
    let [word_rows, outputs] = matrix(weight).ok_or("q_weight is no matrix")?;
    let [rows, inputs] = layer.shape[..] else { return Err("its shape is not known".into()) };
    let stored = word_rows.checked_mul(outputs).and_then(|n| n.checked_mul(4));
    if rows != outputs || outputs == 0 || inputs == 0 || stored != Some(weight.bytes) {
        return Err(format!(
            "q_weight is {}, the layer {}",
            units::shape(weight.shape),
            units::shape(&layer.shape)
        ));
    }
    if inputs > INPUTS_MAX {
        return Err(format!("{inputs} inputs"));
    }
    let groups = groups(parts, word_rows, inputs)?;
    let scales = words(parts, "q_scale")?;
    if outputs % 8 != 0 || scales.len() as u64 != groups.len() as u64 * (outputs / 8) {
        return Err(format!("q_scale has {} words for {} groups of {outputs}", scales.len(), groups.len()));
    }
    let order = order(parts, inputs)?;
    let rows = Rows { groups, scales, order, outputs: outputs as usize, bytes: weight.bytes };
    let decoding = Decoding::weight(parts, weight, &layer.shape, Some(Dtype::F16), rows);
    let caution = Some("written from the format's source; not compared with its own library");
    Ok(Decoding { caution, ..decoding })
}

/// Returns the groups, which must cover `inputs` codes within `word_rows` rows.
fn groups(parts: &Parts<'_>, word_rows: u64, inputs: u64) -> Result<Vec<Group>, String> {
    let NumberRead::Numbers(numbers) = integers(parts, "q_groups", 2 * GROUPS_MAX) else {
        return Err("q_groups cannot be read".into());
    };
    let scales = floats(parts, "q_scale_max")?;
    if numbers.len() != 2 * scales.len() {
        return Err(format!("q_groups has {} numbers for {} groups", numbers.len(), scales.len()));
    }
    let count = scales.len();
    let mut left = inputs;
    let mut groups = Vec::with_capacity(count);
    for (at, &scale) in scales.iter().enumerate() {
        // Rows are stored as 16-bit numbers, whose upper half reads negative.
        let [bits, first] = [numbers[2 * at], numbers[2 * at + 1]].map(|n| (n & 0xffff) as u64);
        let next = numbers.get(2 * at + 3).map_or(word_rows, |n| (n & 0xffff) as u64);
        let rows = next.checked_sub(first).filter(|_| next <= word_rows && matches!(bits, 2..=6 | 8));
        let rows =
            rows.ok_or_else(|| format!("group {at}: {bits} bits in rows {first} to {next} of {word_rows}"))?;
        // The last group takes what is left, as the kernel has it.
        let holds = rows * 32 / bits;
        let codes = if at + 1 == count { left } else { holds };
        if codes > left || codes > holds {
            return Err(format!("group {at}: {codes} codes in {rows} rows, {left} inputs are left"));
        }
        left -= codes;
        let scale = round(Dtype::F16, scale / 256.0);
        groups.push(Group { bits: bits as u32, first: first as usize, codes: codes as usize, scale });
    }
    if left > 0 {
        return Err(format!("q_groups leave {left} of {inputs} inputs without codes"));
    }
    Ok(groups)
}

/// Returns the input of each code: the inverse of `q_invperm`, else `q_perm`, else none is moved.
fn order(parts: &Parts<'_>, inputs: u64) -> Result<Vec<usize>, String> {
    let (suffix, is_inverse) = if parts.has("q_invperm") { ("q_invperm", true) } else { ("q_perm", false) };
    if !parts.has(suffix) {
        return Ok((0..inputs as usize).collect());
    }
    let part = parts.get(suffix).ok_or("missing")?;
    let short = matches!(part.dtype, Dtype::I16 | Dtype::U16);
    let NumberRead::Numbers(numbers) = integers(parts, suffix, inputs as usize) else {
        return Err(format!("{suffix} cannot be read"));
    };
    let mut order = vec![usize::MAX; numbers.len()];
    for (at, &number) in numbers.iter().enumerate() {
        let number = if short { number & 0xffff } else { number };
        let (from, to) = if is_inverse { (number, at) } else { (at as i64, number as usize) };
        let place = usize::try_from(from).ok().and_then(|from| order.get_mut(from));
        let place = place.filter(|place| **place == usize::MAX && to < numbers.len());
        *place.ok_or_else(|| format!("{suffix} is no permutation: {number} at {at}"))? = to;
    }
    let mut seen = vec![false; order.len()];
    for &input in &order {
        seen[input] = true;
    }
    if order.len() as u64 != inputs || seen.contains(&false) {
        return Err(format!("{suffix} is no permutation of {inputs} inputs"));
    }
    Ok(order)
}

impl Rows {
    /// Returns the groups, each with its number and the inputs of its codes.
    fn groups(&self) -> impl Iterator<Item = (usize, &Group, &[usize])> {
        let mut left = self.order.as_slice();
        self.groups.iter().enumerate().map(move |(index, group)| {
            let (order, rest) = left.split_at(group.codes);
            left = rest;
            (index, group, order)
        })
    }

    /// Returns the scale of an output in a group.
    fn scale(&self, index: usize, group: &Group, output: usize) -> f32 {
        let word = self.scales[index * (self.outputs / 8) + output / 8];
        group.scale_of((word >> (4 * (output % 8)) & 15) as f32 + 1.0)
    }

    /// Gives the codes of a group: the row among these, the input and the code of each.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        (group, order): (&Group, &[usize]),
        mut found: impl FnMut(usize, usize, u64),
    ) {
        let words = codes.as_chunks::<4>().0;
        let (first, count) = (rows.start as usize, (rows.end - rows.start) as usize);
        let mask = (1u64 << group.bits) - 1;
        for (code, &input) in order.iter().enumerate() {
            let bit = code as u64 * u64::from(group.bits);
            let (row, shift) = (group.first + (bit / 32) as usize, bit % 32);
            let straddles = shift + u64::from(group.bits) > 32;
            let low = &words[row * self.outputs + first..][..count];
            // Where the code does not straddle, what stands above it is masked off.
            let high = if straddles { &words[(row + 1) * self.outputs + first..][..count] } else { low };
            for (row, (low, high)) in low.iter().zip(high).enumerate() {
                let [low, high] = [low, high].map(|word| u64::from(u32::from_le_bytes(*word)));
                found(row, input, (high << 32 | low) >> shift & mask);
            }
        }
    }
}

impl DecodeRows for Rows {
    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        0..self.bytes
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let inputs = self.order.len();
        let first = rows.start as usize;
        let mut scales = vec![0.0; out.len() / inputs];
        for (index, group, order) in self.groups() {
            for (output, scale) in (first..).zip(&mut scales) {
                *scale = self.scale(index, group, output);
            }
            let middle = (1u32 << (group.bits - 1)) as f32;
            self.unpack(&rows, codes, (group, order), |row, input, code| {
                out[row * inputs + input] = (code as f32 - middle) * scales[row];
            });
        }
    }

    fn program(&self) -> Option<Program> {
        let (inputs, outputs) =
            (self.order.len(), u64::from(i32::try_from(self.outputs).ok()?.cast_unsigned()));
        let (mut starts, mut kinds) = (vec![0; inputs], vec![0; inputs]);
        let mut scales = Vec::new();
        let mut order = self.order.iter();
        for (group, index) in self.groups.iter().zip(0u32..) {
            let codes = (0..group.codes as u64).map(|code| code * u64::from(group.bits));
            for (bit, &input) in codes.zip(&mut order) {
                starts[input] = u32::try_from(group.first as u64 + bit / 32).ok()?;
                kinds[input] = (bit % 32) as u32 | group.bits << 8 | index << 16;
            }
            scales.extend((0..16u8).map(|code| group.scale_of(f32::from(code) + 1.0)));
        }
        let kernel = Kernel::new("exl2").words(&starts).words(&kinds).floats(&scales).words(&self.scales);
        Some(kernel.numbers([inputs as u64, outputs]).into())
    }

    fn code_bits(&self) -> Option<u32> {
        self.groups.iter().map(|group| group.bits).max()
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        let inputs = self.order.len();
        for (_, group, order) in self.groups() {
            self.unpack(&rows, codes, (group, order), |row, input, code| {
                out[row * inputs + input] = code as u16;
            });
        }
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        let of_group =
            |(index, group, _)| (0..self.outputs).map(move |output| self.scale(index, group, output));
        (which == Beside::Scales).then(|| self.groups().flat_map(of_group).collect())
    }
}
