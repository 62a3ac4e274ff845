//! The side tensors of a GPTQ layer: zero points and group indices, looked at within bounds.

use super::{Numbers, Version};
use crate::quant::pack::Packing;
use crate::quant::side::{NumberRead, integers, matrix};
use crate::quant::{Parts, Side};

/// Bytes of one layer's zero points that are looked at: all those of a 4096 x 11008 weight in groups
/// of 128 at 4 bits.
const ZEROS_BYTES_MAX: u64 = 256 << 10;
/// Entries of `g_idx` that are looked at; no linear has more inputs.
const INDEX_MAX: usize = 1 << 18;

/// What reading a side tensor gave.
pub(super) enum Read<T> {
    Pending,
    /// Nothing to read, or why it cannot be read.
    Nothing(String),
    Found(T),
}

/// Zero points as stored.
pub(super) struct Zeros {
    pub(super) looked: u64,
    pub(super) min: u32,
    pub(super) max: u32,
    /// How many are the largest that the bits hold.
    pub(super) at_top: u64,
    bits: u32,
}

impl Zeros {
    pub(super) fn read(parts: &Parts<'_>, numbers: &Numbers) -> Read<Self> {
        let Some(part) = parts.get("qzeros") else { return Read::Nothing("missing".into()) };
        let bytes = match parts.read(part, ZEROS_BYTES_MAX) {
            Side::Pending => return Read::Pending,
            Side::Unreadable(why) => return Read::Nothing(why),
            Side::Bytes(bytes) => bytes,
        };
        let words = matrix(part).map_or(0, |[_, words]| words);
        let row = words.saturating_mul(part.dtype.bits().unwrap_or(32.0) as u64 / 8) as usize;
        if row == 0 || bytes.is_empty() {
            return Read::Nothing("empty".into());
        }
        let zeros = Self::of(&bytes, row, numbers.outputs, (numbers.packing, numbers.bits));
        if zeros.looked == 0 { Read::Nothing("too short".into()) } else { Read::Found(zeros) }
    }

    fn of(bytes: &[u8], row: usize, outputs: u64, (packing, bits): (Packing, u32)) -> Self {
        let mut zeros = Self { looked: 0, min: u32::MAX, max: 0, at_top: 0, bits };
        for row in bytes.chunks(row) {
            let fields = packing.fields(row.len(), bits).min(outputs as usize);
            for value in (0..fields).map(|i| packing.field(row, i, bits)) {
                zeros.looked += 1;
                zeros.min = zeros.min.min(value);
                zeros.max = zeros.max.max(value);
                zeros.at_top += u64::from(value == zeros.top());
            }
        }
        zeros
    }

    /// Returns the largest value that the bits hold.
    pub(super) fn top(&self) -> u32 {
        (1 << self.bits) - 1
    }

    /// Returns the version in which these zero points are all the middle, as in symmetric layers.
    pub(super) fn fingerprint(&self) -> Option<Version> {
        let middle = 1 << (self.bits - 1);
        match (self.min == self.max, self.min) {
            (true, value) if value == middle - 1 => Some(Version::V1),
            (true, value) if value == middle => Some(Version::V2),
            _ => None,
        }
    }

    /// Returns `all 7`, or `0 … 14`.
    pub(super) fn describe(&self) -> String {
        if self.min == self.max {
            format!("all {}", self.min)
        } else {
            format!("{} … {}", self.min, self.max)
        }
    }
}

/// The group of each input.
pub(super) struct Index {
    pub(super) looked: usize,
    pub(super) outside: usize,
    pub(super) negative: usize,
    /// Input and entry of the first one outside the groups, and of the first negative one inside.
    pub(super) first_outside: Option<(usize, i64)>,
    pub(super) first_negative: Option<(usize, i64)>,
    /// True if some input's group is not `i / group`.
    pub(super) permuted: bool,
    first: Vec<i64>,
    last: Vec<i64>,
}

impl Index {
    pub(super) fn read(parts: &Parts<'_>, numbers: &Numbers) -> Read<Self> {
        let Some(groups) = numbers.groups.filter(|&g| g > 0) else {
            return Read::Nothing("no groups".into());
        };
        match integers(parts, "g_idx", INDEX_MAX) {
            NumberRead::Pending => Read::Pending,
            NumberRead::Numbers(list) if !list.is_empty() => {
                let size = numbers.grouping.size.unwrap_or(numbers.inputs).max(1);
                Read::Found(Self::of(&list, groups as i64, size))
            }
            NumberRead::Numbers(_) => Read::Nothing("empty".into()),
            NumberRead::Absent => Read::Nothing("not there, or not read".into()),
        }
    }

    fn of(list: &[i64], groups: i64, size: u64) -> Self {
        let shown = list.len().min(3);
        let mut index = Self {
            looked: list.len(),
            outside: 0,
            negative: 0,
            first_outside: None,
            first_negative: None,
            permuted: false,
            first: list[..shown].to_vec(),
            last: list[list.len() - shown..].to_vec(),
        };
        for (at, &value) in list.iter().enumerate() {
            let group = if value < 0 { value + groups } else { value };
            if !(0..groups).contains(&group) {
                index.outside += 1;
                index.first_outside.get_or_insert((at, value));
            } else if value < 0 {
                index.negative += 1;
                index.first_negative.get_or_insert((at, value));
            }
            index.permuted |= group != (at as u64 / size) as i64;
        }
        index
    }

    /// Returns `0 0 0 … 11 11 11`.
    pub(super) fn describe(&self) -> String {
        let join = |list: &[i64]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if self.looked <= 6 {
            join(&self.first)
        } else {
            format!("{} … {}", join(&self.first), join(&self.last))
        }
    }
}
