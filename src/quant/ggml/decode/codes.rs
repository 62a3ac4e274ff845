//! Codes of the block types as they are stored, where each weight has its own; those of grids have none.

use super::{iq, k, legacy, small};

/// Unpacks the codes of whole blocks.
type Unpack = fn(&[u8], &mut [u16]);

/// How the codes of a type are unpacked.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    /// Bits of a code.
    pub(super) bits: u32,
    pub(super) unpack: Unpack,
}

/// Returns how the codes of a type are unpacked; `None` where several weights have one code together.
pub(super) fn of(name: &str) -> Option<Stored> {
    let (bits, unpack): (u32, Unpack) = match name {
        "Q4_0" => (4, |codes, out| each(codes, out, legacy::q4_0)),
        "Q4_1" => (4, |codes, out| each(codes, out, legacy::q4_1)),
        "Q5_0" => (5, |codes, out| each(codes, out, legacy::q5_0)),
        "Q5_1" => (5, |codes, out| each(codes, out, legacy::q5_1)),
        "Q8_0" => (8, |codes, out| each(codes, out, legacy::q8_0)),
        "Q8_1" => (8, |codes, out| each(codes, out, legacy::q8_1)),
        "Q8_K" => (8, |codes, out| each(codes, out, legacy::q8_k)),
        "Q1_0" => (1, |codes, out| each(codes, out, legacy::q1_0)),
        "Q2_0" => (2, |codes, out| each(codes, out, legacy::q2_0)),
        "Q2_K" => (2, |codes, out| each(codes, out, k::q2_k)),
        "Q3_K" => (3, |codes, out| each(codes, out, k::q3_k)),
        "Q4_K" => (4, |codes, out| each(codes, out, k::q4_k)),
        "Q5_K" => (5, |codes, out| each(codes, out, k::q5_k)),
        "Q6_K" => (6, |codes, out| each(codes, out, k::q6_k)),
        "IQ4_NL" => (4, |codes, out| each(codes, out, iq::iq4_nl)),
        "IQ4_XS" => (4, |codes, out| each(codes, out, iq::iq4_xs)),
        // Digits to base 3.
        "TQ1_0" => (2, |codes, out| each(codes, out, small::tq1_0)),
        "TQ2_0" => (2, |codes, out| each(codes, out, small::tq2_0)),
        "MXFP4" => (4, |codes, out| each(codes, out, small::mxfp4)),
        "NVFP4" => (4, |codes, out| each(codes, out, small::nvfp4)),
        _ => return None,
    };
    Some(Stored { bits, unpack })
}

fn each<const BYTES: usize, const CODES: usize>(
    codes: &[u8],
    out: &mut [u16],
    block: impl Fn(&[u8; BYTES], &mut [u16; CODES]),
) {
    for (codes, out) in codes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(codes, out);
    }
}
