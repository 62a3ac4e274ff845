//! Bit packing: fields of a few bits in a little-endian stream.
//!
//! | packing | field `k` of `b` bits                                                                   |
//! |---------|-----------------------------------------------------------------------------------------|
//! | dense   | bits `k*b ..` of the stream; fields may straddle words (3 bits: 32 codes in 3 words)     |
//! | padded  | `32 / b` whole fields a word of 32 bits, the bits above them wasted                      |
//! | planar  | per 32 codes, `b` words: planes of 3→2+1, 5→4+1, 6→4+2, 7→4+2+1 bits, low plane first   |
//!
//! Sources: AutoGPTQ `qlinear_cuda.py`; GPTQModel's `gptq_p`; compressed-tensors to 0.15 (padded).

use multiversion::multiversion;

/// How fields lie in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Dense,
    Padded,
    Planar,
}

/// Codes that a set of planes holds; as many dense codes end with a word.
const PLANE_CODES: usize = 32;

impl Packing {
    /// Returns how many whole fields of `bits` a stream of so many bytes holds.
    pub(super) fn fields(self, bytes: usize, bits: u32) -> usize {
        match self {
            Self::Dense => bytes.saturating_mul(8) / bits.max(1) as usize,
            Self::Padded => bytes / 4 * (32 / bits.max(1) as usize),
            Self::Planar => bytes / (4 * bits.max(1) as usize) * PLANE_CODES,
        }
    }

    /// Returns a field; what lies beyond the stream reads as zeros.
    pub(super) fn field(self, stream: &[u8], index: usize, bits: u32) -> u32 {
        match self {
            Self::Dense => bits_at(stream, index * bits as usize, bits),
            Self::Padded => {
                let each = 32 / bits.max(1) as usize;
                bits_at(stream, index / each * 32 + index % each * bits as usize, bits)
            }
            Self::Planar => {
                let first = index / PLANE_CODES * bits as usize * 32;
                let (mut code, mut low, mut start) = (0, 0, first);
                for &width in planes(bits) {
                    let at = start + index % PLANE_CODES * width as usize;
                    code |= bits_at(stream, at, width) << low;
                    low += width;
                    start += PLANE_CODES * width as usize;
                }
                code
            }
        }
    }
}

impl Packing {
    /// Returns the words of 32 bits that hold so many fields of `bits`; `None` if it overflows.
    pub(super) fn words(self, fields: u64, bits: u32) -> Option<u64> {
        let bits = u64::from(bits.max(1));
        match self {
            Self::Dense => fields.checked_mul(bits).map(|bits| bits.div_ceil(32)),
            Self::Padded => Some(fields.div_ceil((32 / bits).max(1))),
            Self::Planar => fields.div_ceil(32).checked_mul(bits),
        }
    }

    /// Returns the planes that sets of 32 fields lie in, as kernels take them: the bits of each in four bits, the low
    /// plane first; one plane where fields follow each other. `None` where a set has gaps.
    pub(super) fn planes(self, bits: u32) -> Option<u64> {
        let planes = match self {
            Self::Dense => std::slice::from_ref(&bits),
            Self::Planar => planes(bits),
            Self::Padded => return None,
        };
        Some(planes.iter().rev().fold(0, |all, &bits| all << 4 | u64::from(bits)))
    }

    /// Unpacks the first fields of a stream of words, as numbers. Fields beyond the stream read as zeros.
    pub(super) fn unpack(self, words: &[[u8; 4]], bits: u32, out: &mut [f32]) {
        match (self, bits) {
            (Self::Dense | Self::Padded, 1) => whole::<1, 32>(words, out),
            (Self::Dense | Self::Padded | Self::Planar, 2) => whole::<2, 16>(words, out),
            (Self::Dense | Self::Padded | Self::Planar, 4) => whole::<4, 8>(words, out),
            (Self::Dense | Self::Padded | Self::Planar, 8) => whole::<8, 4>(words, out),
            (Self::Padded, 3) => whole::<3, 10>(words, out),
            (Self::Padded, 5) => whole::<5, 6>(words, out),
            (Self::Padded, 6) => whole::<6, 5>(words, out),
            (Self::Padded, 7) => whole::<7, 4>(words, out),
            (Self::Dense, 3) => by_32::<3>(words, out, dense_32),
            (Self::Dense, 5) => by_32::<5>(words, out, dense_32),
            (Self::Dense, 6) => by_32::<6>(words, out, dense_32),
            (Self::Dense, 7) => by_32::<7>(words, out, dense_32),
            (Self::Planar, 3) => by_32::<3>(words, out, planar_32),
            (Self::Planar, 5) => by_32::<5>(words, out, planar_32),
            (Self::Planar, 6) => by_32::<6>(words, out, planar_32),
            (Self::Planar, 7) => by_32::<7>(words, out, planar_32),
            _ => out.fill(0.0),
        }
    }
}

impl Packing {
    /// Packs codes of `bits` bits, 1 to 8, into words of 32 bits, the reverse of `unpack`; bits behind the last code are
    /// 0. `codes`: one a byte, of which the low `bits` count.
    pub(super) fn pack(self, codes: &[u8], bits: u32, out: &mut Vec<u8>) {
        let bits = bits.clamp(1, 8);
        match (self, bits) {
            (Self::Dense | Self::Padded, 8) => pack_whole::<8, 4>(codes, out),
            (Self::Dense | Self::Padded, 4) => pack_whole::<4, 8>(codes, out),
            (Self::Dense | Self::Padded, 2) => pack_whole::<2, 16>(codes, out),
            (Self::Dense | Self::Padded, 1) => pack_whole::<1, 32>(codes, out),
            (Self::Padded, 3) => pack_whole::<3, 10>(codes, out),
            (Self::Padded, 5) => pack_whole::<5, 6>(codes, out),
            (Self::Padded, 6) => pack_whole::<6, 5>(codes, out),
            (Self::Padded, _) => pack_whole::<7, 4>(codes, out),
            (Self::Dense, _) => pack_dense(codes, bits, out),
            (Self::Planar, _) => pack_planar(codes, bits, out),
        }
    }
}

/// Packs `EACH` whole fields of `BITS` a word.
#[multiversion(targets("x86_64+avx2"))]
fn pack_whole<const BITS: u32, const EACH: usize>(codes: &[u8], out: &mut Vec<u8>) {
    let mask = (1 << BITS) - 1;
    let word = |codes: &[u8]| {
        let fields = codes.iter().zip(0u32..);
        fields.fold(0, |word, (&code, at)| word | (u32::from(code) & mask) << (at * BITS))
    };
    let (whole, last) = codes.as_chunks::<EACH>();
    out.reserve(codes.len().div_ceil(EACH) * 4);
    out.extend(whole.iter().flat_map(|codes| word(codes).to_le_bytes()));
    if !last.is_empty() {
        out.extend_from_slice(&word(last).to_le_bytes());
    }
}

/// Packs fields one after another; a set of 32 ends with a word.
fn pack_dense(codes: &[u8], bits: u32, out: &mut Vec<u8>) {
    let mask = (1 << bits) - 1;
    for codes in codes.chunks(PLANE_CODES) {
        let (mut pending, mut count) = (0u64, 0);
        for &code in codes {
            pending |= (u64::from(code) & mask) << count;
            count += bits;
            if count >= 32 {
                out.extend_from_slice(&(pending as u32).to_le_bytes());
                (pending, count) = (pending >> 32, count - 32);
            }
        }
        if count > 0 {
            out.extend_from_slice(&(pending as u32).to_le_bytes());
        }
    }
}

/// Packs sets of 32 fields in planes.
fn pack_planar(codes: &[u8], bits: u32, out: &mut Vec<u8>) {
    for codes in codes.chunks(PLANE_CODES) {
        let mut low = 0;
        for &width in planes(bits) {
            let mut plane = [0u8; PLANE_CODES];
            plane.iter_mut().zip(codes).for_each(|(part, code)| *part = code >> low);
            match width {
                8 => pack_whole::<8, 4>(&plane, out),
                4 => pack_whole::<4, 8>(&plane, out),
                2 => pack_whole::<2, 16>(&plane, out),
                _ => pack_whole::<1, 32>(&plane, out),
            }
            low += width;
        }
    }
}

/// Unpacks words of `EACH` whole fields of `BITS`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn whole<const BITS: u32, const EACH: usize>(words: &[[u8; 4]], out: &mut [f32]) {
    let mask = (1 << BITS) - 1;
    let one = |word: [u8; 4], out: &mut [f32; EACH]| {
        let word = u32::from_le_bytes(word);
        for (k, value) in out.iter_mut().enumerate() {
            *value = (word >> (k as u32 * BITS) & mask) as i32 as f32;
        }
    };
    by_chunks(words, out, |[word]: &[_; 1], out| one(*word, out));
}

/// Unpacks sets of `BITS` words, which hold 32 fields, each by `unpack`.
fn by_32<const BITS: usize>(
    words: &[[u8; 4]],
    out: &mut [f32],
    unpack: impl Fn(&[u32; BITS], &mut [f32; PLANE_CODES]),
) {
    by_chunks(words, out, |words: &[_; BITS], out| unpack(&words.map(u32::from_le_bytes), out));
}

/// Unpacks sets of `WORDS` words into `FIELDS` values each; the last may lack words or be wanted in part.
#[inline]
fn by_chunks<const WORDS: usize, const FIELDS: usize>(
    words: &[[u8; 4]],
    out: &mut [f32],
    unpack: impl Fn(&[[u8; 4]; WORDS], &mut [f32; FIELDS]),
) {
    let (sets, _) = words.as_chunks::<WORDS>();
    let (values, _) = out.as_chunks_mut::<FIELDS>();
    let done = sets.len().min(values.len());
    for (set, values) in sets.iter().zip(values) {
        unpack(set, values);
    }
    let mut words = words[done * WORDS..].chunks(WORDS);
    for out in out[done * FIELDS..].chunks_mut(FIELDS) {
        let (mut set, mut values) = ([[0; 4]; WORDS], [0.0; FIELDS]);
        let last = words.next().unwrap_or(&[]);
        set[..last.len()].copy_from_slice(last);
        unpack(&set, &mut values);
        out.copy_from_slice(&values[..out.len()]);
    }
}

/// Unpacks 32 fields that lie one after another.
fn dense_32<const BITS: usize>(words: &[u32; BITS], out: &mut [f32; PLANE_CODES]) {
    for (k, value) in out.iter_mut().enumerate() {
        let (word, shift) = (k * BITS / 32, k * BITS % 32);
        let above = words.get(word + 1).copied().unwrap_or(0);
        let both = u64::from(words[word]) | u64::from(above) << 32;
        *value = ((both >> shift) as u32 & ((1 << BITS) - 1)) as i32 as f32;
    }
}

/// Unpacks 32 fields that lie in planes.
fn planar_32<const BITS: usize>(words: &[u32; BITS], out: &mut [f32; PLANE_CODES]) {
    let mut codes = [0u32; PLANE_CODES];
    let mut low = 0;
    for &width in planes(BITS as u32) {
        // A plane has as many words as bits; the planes before it took `low` of each.
        let each = 32 / width as usize;
        for (k, code) in codes.iter_mut().enumerate() {
            let word = words[low as usize + k / each];
            *code |= (word >> (k % each * width as usize) & ((1 << width) - 1)) << low;
        }
        low += width;
    }
    for (value, code) in out.iter_mut().zip(codes) {
        *value = code as i32 as f32;
    }
}

fn planes(bits: u32) -> &'static [u32] {
    match bits {
        3 => &[2, 1],
        5 => &[4, 1],
        6 => &[4, 2],
        7 => &[4, 2, 1],
        2 => &[2],
        8 => &[8],
        _ => &[4],
    }
}

/// Returns at most 8 bits from a bit position.
fn bits_at(stream: &[u8], at: usize, bits: u32) -> u32 {
    let byte = |i: usize| u32::from(stream.get(i).copied().unwrap_or(0));
    let pair = byte(at / 8) | byte(at / 8 + 1) << 8;
    pair >> (at % 8) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests;
