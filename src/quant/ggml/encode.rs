//! Encoding to ggml's block types: a row becomes its blocks, one after the other, and no block hangs on another.
//!
//! | types                           | how a block is coded                              | file         |
//! |---------------------------------|---------------------------------------------------|--------------|
//! | `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`    | by the range of its values                        | `legacy.rs`  |
//! | `Q2_K`, `Q3_K`, `Q4_K`, `Q5_K`, `Q6_K`    | searched for, then coded with what is stored      | `k.rs`, `search.rs` |
//! | `IQ4_NL`, `IQ4_XS`                  | searched for, on a curved table                   | `iq4.rs`     |
//! | `TQ1_0`, `TQ2_0`, MXFP4             | by the largest magnitude                          | `small.rs`   |
//!
//! The bytes are those of ggml's C reference without an importance matrix, built without fused multiply-add: every
//! sum keeps its order. The other types of ggml need an importance matrix, or search through large grids.
//! Source: ggml 0.26, `ggml-quants.c`.

#![expect(
    clippy::inline_always,
    reason = "what is called in a loop takes the instructions that it is compiled for"
)]

mod iq4;
mod k;
mod legacy;
mod search;
mod small;
#[cfg(test)]
mod tests;

use half::f16;
use multiversion::multiversion;

use crate::quant::Part;
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::tensor::{Dtype, GgmlType};

/// Encodes whole blocks.
type Blocks = fn(&[f32], &mut [u8]);

/// Makes the loop over the blocks of a type, compiled for the vectors of each processor.
macro_rules! blocks {
    ($block:path) => {{
        #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
        fn blocks(values: &[f32], out: &mut [u8]) {
            for (values, out) in values.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                $block(values, out);
            }
        }
        blocks
    }};
}

/// A type that is written.
struct Type {
    name: &'static str,
    encode: Blocks,
    /// Where a block has numbers in F16: they must be finite.
    halves: &'static [usize],
    /// Its kernel in `kernels/ggml_encode*.cu`.
    kernel: &'static str,
}

const TYPES: [Type; 15] = [
    Type { name: "Q8_0", encode: blocks!(legacy::q8_0), halves: &[0], kernel: "q8_0_encode" },
    Type { name: "Q4_0", encode: blocks!(legacy::q4_0), halves: &[0], kernel: "q4_0_encode" },
    Type { name: "Q4_1", encode: blocks!(legacy::q4_1), halves: &[0, 2], kernel: "q4_1_encode" },
    Type { name: "Q5_0", encode: blocks!(legacy::q5_0), halves: &[0], kernel: "q5_0_encode" },
    Type { name: "Q5_1", encode: blocks!(legacy::q5_1), halves: &[0, 2], kernel: "q5_1_encode" },
    Type { name: "Q2_K", encode: blocks!(k::q2_k), halves: &[80, 82], kernel: "q2_k_encode" },
    Type { name: "Q3_K", encode: blocks!(k::q3_k), halves: &[108], kernel: "q3_k_encode" },
    Type { name: "Q4_K", encode: blocks!(k::q4_k), halves: &[0, 2], kernel: "q4_k_encode" },
    Type { name: "Q5_K", encode: blocks!(k::q5_k), halves: &[0, 2], kernel: "q5_k_encode" },
    Type { name: "Q6_K", encode: blocks!(k::q6_k), halves: &[208], kernel: "q6_k_encode" },
    Type { name: "IQ4_NL", encode: blocks!(iq4::iq4_nl), halves: &[0], kernel: "iq4_nl_encode" },
    Type { name: "IQ4_XS", encode: blocks!(iq4::iq4_xs), halves: &[0], kernel: "iq4_xs_encode" },
    Type { name: "TQ1_0", encode: blocks!(small::tq1_0), halves: &[52], kernel: "tq1_0_encode" },
    Type { name: "TQ2_0", encode: blocks!(small::tq2_0), halves: &[64], kernel: "tq2_0_encode" },
    Type { name: "MXFP4", encode: blocks!(small::mxfp4), halves: &[], kernel: "mxfp4_encode" },
];

/// Returns true if ggml calls a type by this name that can be written.
#[must_use]
pub fn is_written(name: &str) -> bool {
    TYPES.iter().any(|row| row.name == name)
}

/// Returns the type that ggml calls by this name, if it can be written.
#[must_use]
pub fn kind(name: &str) -> Option<GgmlType> {
    if !is_written(name) {
        return None;
    }
    (0..=u32::from(u8::MAX)).filter_map(GgmlType::from_id).find(|kind| kind.name() == name)
}

/// Returns how a tensor of this shape is encoded: to one tensor of the same shape, its innermost dimension in blocks.
///
/// # Errors
/// The type cannot be written, or its rows are not whole blocks; in words.
pub fn encoding(kind: GgmlType, shape: &[u64]) -> Result<Encoding, String> {
    let name = kind.name();
    let row = TYPES.iter().find(|row| row.name == name);
    let row =
        row.ok_or_else(|| format!("{name} needs an importance matrix or a search that is not done here"))?;
    let inputs = shape.last().copied().filter(|&inputs| inputs > 0).ok_or("it has no values")?;
    if !inputs.is_multiple_of(kind.block_elements().into()) {
        return Err(format!("rows of {inputs} are not whole blocks of {} {name}", kind.block_elements()));
    }
    let tensor = Encoded::new("weight", Dtype::Ggml(kind), shape)?;
    Ok(Encoding { tensors: vec![tensor], encoder: Box::new(Rows { kind, row, inputs, keeps: false }) })
}

/// Returns how a stored tensor is encoded as what it is: a block whose values do not change keeps its bytes.
///
/// # Errors
/// As `encoding`.
pub fn as_stored(kind: GgmlType, part: &Part<'_>) -> Result<Encoding, String> {
    let mut encoding = encoding(kind, part.shape)?;
    let inputs = part.shape.last().copied().unwrap_or(0);
    let row = TYPES.iter().find(|row| row.name == kind.name()).ok_or("its type cannot be written")?;
    encoding.tensors = vec![Encoded::like(part)];
    encoding.encoder = Box::new(Rows { kind, row, inputs, keeps: true });
    Ok(encoding)
}

/// Encodes rows; one strand: their blocks.
struct Rows {
    kind: GgmlType,
    row: &'static Type,
    /// Values of a row.
    inputs: u64,
    /// True if blocks that do not change keep their bytes.
    keeps: bool,
}

impl Encode for Rows {
    fn rows_apart(&self) -> u64 {
        1
    }

    fn rows(&self, values: &[f32], _at: Around) -> Result<Vec<Vec<u8>>, String> {
        let (elements, bytes) = (self.kind.block_elements() as usize, self.kind.block_bytes() as usize);
        let mut out = vec![0; values.len() / elements * bytes];
        (self.row.encode)(values, &mut out);
        let half = |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        let is_finite = |block: &[u8]| self.row.halves.iter().all(|&at| half(block, at).is_finite());
        let broken = out.chunks_exact(bytes).filter(|block| !is_finite(block)).count();
        if broken > 0 {
            let blocks = crate::units::plural(broken, "block");
            let name = self.row.name;
            return Err(format!(
                "{blocks} of a piece of it have a scale beyond F16, in which {name} stores it"
            ));
        }
        Ok(vec![out])
    }

    fn piece_bytes(&self) -> Option<u64> {
        Some(self.inputs / u64::from(self.kind.block_elements()) * u64::from(self.kind.block_bytes()))
    }

    fn kept_block(&self) -> Option<[usize; 2]> {
        self.keeps.then(|| [self.kind.block_elements() as usize, self.kind.block_bytes() as usize])
    }

    fn finish(&self, strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        strands
    }

    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        let kernel = Kernel::new(self.row.kernel);
        Some(match self.row.name {
            "IQ4_NL" | "IQ4_XS" => kernel.floats(&iq4::table()),
            "MXFP4" => kernel.bytes(&small::rounded_up()),
            _ => kernel,
        })
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.piece_bytes().map(|bytes| rows * bytes).into_iter().collect()
    }
}
