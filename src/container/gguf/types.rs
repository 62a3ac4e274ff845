//! Element types by their ids in GGUF files: those of ggml, those it removed, those of its forks.
//!
//! Sources: ggml.h of llama.cpp (ids up to 42), ggml.h and gguf-py of `ik_llama.cpp` (ids from 97),
//! ggml.h of Microsoft's BitNet fork (36) and of the Prism fork (142, 143).

use crate::tensor::{Dtype, GgmlType};

/// Id 36: `I2_S` of Microsoft's BitNet fork, which has real files, and once `IQ4_NL_4_4`, which was only
/// ever made in memory.
const I2_S: u32 = 36;
/// Bytes that an `I2_S` tensor has after its codes: its scale, padded (`ggml_nbytes` of the fork).
const I2_S_TAIL_BYTES: u64 = 32;

/// Types that ggml had once: no reader takes them now.
const REMOVED: [(u32, &str); 7] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// Types of forks that llama.cpp does not know.
const FORKS: [(u32, &str); 57] = [
    (97, "Q8_0_X4"),
    (98, "Q8_1_X4"),
    (99, "Q8_2_X4"),
    (133, "Q6_0"),
    (134, "IQ1_BN"),
    (135, "IQ2_BN"),
    (136, "Q8_K64"),
    (137, "IQ2_K"),
    (138, "IQ3_K"),
    (139, "IQ4_K"),
    (140, "IQ5_K"),
    (141, "IQ6_K"),
    (142, "PQ2_0"),
    (143, "PTQ1_0"),
    (144, "IQ4_KS"),
    (145, "IQ2_KS"),
    (146, "IQ4_KSS"),
    (147, "Q8_K16"),
    (148, "Q8_K32"),
    (149, "Q8_KR8"),
    (150, "Q8_K128"),
    (151, "Q8_KV"),
    (152, "IQ5_KS"),
    (153, "IQ2_KT"),
    (154, "IQ3_KT"),
    (155, "IQ4_KT"),
    (156, "IQ3_KS"),
    (157, "IQ2_KL"),
    (158, "IQ1_KT"),
    (202, "Q4_0_R8"),
    (206, "Q5_0_R4"),
    (208, "Q8_0_R8"),
    (210, "Q2_K_R4"),
    (211, "Q3_K_R4"),
    (212, "Q4_K_R4"),
    (213, "Q5_K_R4"),
    (214, "Q6_K_R4"),
    (216, "IQ2_XXS_R4"),
    (217, "IQ2_XS_R4"),
    (218, "IQ3_XXS_R4"),
    (219, "IQ1_S_R4"),
    (220, "IQ4_NL_R4"),
    (221, "IQ3_S_R4"),
    (222, "IQ2_S_R4"),
    (223, "IQ4_XS_R8"),
    (229, "IQ1_M_R4"),
    (230, "BF16_R16"),
    (233, "Q6_0_R4"),
    (335, "IQ2_BN_R4"),
    (337, "IQ2_K_R4"),
    (338, "IQ3_K_R4"),
    (339, "IQ4_K_R4"),
    (340, "IQ5_K_R4"),
    (344, "IQ4_KS_R4"),
    (352, "IQ5_KS_R4"),
    (398, "Q8_KV_R8"),
    (399, "Q8_K_R8"),
];

/// Whether readers take a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// llama.cpp reads it.
    Current,
    /// llama.cpp read it once.
    Removed,
    /// Only a fork reads it.
    Fork,
    /// No reader that we know of has it.
    Unknown,
}

/// The plain types of ggml by their ids.
const PLAIN: [(u32, Dtype); 8] = [
    (0, Dtype::F32),
    (1, Dtype::F16),
    (24, Dtype::I8),
    (25, Dtype::I16),
    (26, Dtype::I32),
    (27, Dtype::I64),
    (28, Dtype::F64),
    (30, Dtype::BF16),
];

/// Returns the type id of a dtype; `None` for one that is none of ggml's.
pub(super) fn id(dtype: Dtype) -> Option<u32> {
    match dtype {
        Dtype::Ggml(block) => Some(block.id()),
        _ => PLAIN.iter().find(|(_, known)| *known == dtype).map(|(id, _)| *id),
    }
}

/// Returns the dtype of a type id, and whether readers take it. The size of a dtype whose standing is not
/// `Current` is unknown (`I2_S` apart).
pub(super) fn classify(id: u32) -> (Dtype, Standing) {
    match PLAIN.iter().find(|(known, _)| *known == id) {
        Some(&(_, dtype)) => (dtype, Standing::Current),
        None => classify_block(id),
    }
}

fn classify_block(id: u32) -> (Dtype, Standing) {
    let named =
        |table: &[(u32, &str)]| table.iter().find(|row| row.0 == id).map(|&(_, name)| Dtype::parse(name));
    if let Some(block) = GgmlType::from_id(id) {
        (Dtype::Ggml(block), if id == I2_S { Standing::Fork } else { Standing::Current })
    } else if let Some(dtype) = named(&REMOVED) {
        (dtype, Standing::Removed)
    } else if let Some(dtype) = named(&FORKS) {
        (dtype, Standing::Fork)
    } else {
        (Dtype::parse(&format!("ggml type {id}")), Standing::Unknown)
    }
}

/// Returns elements per block: what the innermost dimension must be a multiple of. 1 for plain types.
pub(super) fn block_elements(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::Ggml(block) => u64::from(block.block_elements()),
        _ => 1,
    }
}

/// Returns the bytes that a tensor of `elements` takes, or `None` if its type's size is unknown or the
/// blocks are not whole.
pub(super) fn tensor_bytes(dtype: Dtype, elements: u64) -> Option<u64> {
    let bytes = dtype.bytes_of(elements)?;
    match dtype {
        Dtype::Ggml(block) if block.id() == I2_S => bytes.checked_add(I2_S_TAIL_BYTES),
        _ => Some(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_ggml_has_its_name_and_size() {
        // From gguf-py's constants (GGML_QUANT_SIZES) and ggml-common.h; Q8_1 is 36 bytes in C.
        let rows = [
            (0, "F32", 1, 4),
            (1, "F16", 1, 2),
            (2, "Q4_0", 32, 18),
            (3, "Q4_1", 32, 20),
            (6, "Q5_0", 32, 22),
            (7, "Q5_1", 32, 24),
            (8, "Q8_0", 32, 34),
            (9, "Q8_1", 32, 36),
            (10, "Q2_K", 256, 84),
            (11, "Q3_K", 256, 110),
            (12, "Q4_K", 256, 144),
            (13, "Q5_K", 256, 176),
            (14, "Q6_K", 256, 210),
            (15, "Q8_K", 256, 292),
            (16, "IQ2_XXS", 256, 66),
            (17, "IQ2_XS", 256, 74),
            (18, "IQ3_XXS", 256, 98),
            (19, "IQ1_S", 256, 50),
            (20, "IQ4_NL", 32, 18),
            (21, "IQ3_S", 256, 110),
            (22, "IQ2_S", 256, 82),
            (23, "IQ4_XS", 256, 136),
            (24, "I8", 1, 1),
            (25, "I16", 1, 2),
            (26, "I32", 1, 4),
            (27, "I64", 1, 8),
            (28, "F64", 1, 8),
            (29, "IQ1_M", 256, 56),
            (30, "BF16", 1, 2),
            (34, "TQ1_0", 256, 54),
            (35, "TQ2_0", 256, 66),
            (39, "MXFP4", 32, 17),
            (40, "NVFP4", 64, 36),
            (41, "Q1_0", 128, 18),
            (42, "Q2_0", 64, 18),
        ];
        for (id, name, elements, bytes) in rows {
            let (dtype, standing) = classify(id);
            assert_eq!((dtype.name(), standing), (name, Standing::Current));
            assert_eq!(super::id(dtype), Some(id));
            assert_eq!(block_elements(dtype), elements, "{name}");
            assert_eq!(tensor_bytes(dtype, elements), Some(bytes), "{name}");
        }
        let current = (0..1000).filter(|&id| classify(id).1 == Standing::Current).count();
        assert_eq!(current, rows.len());
    }

    #[test]
    fn removed_and_fork_types_keep_their_names_and_have_no_size() {
        for (id, name, standing) in [
            (4, "Q4_2", Standing::Removed),
            (33, "Q4_0_8_8", Standing::Removed),
            (38, "IQ4_NL_8_8", Standing::Removed),
            (144, "IQ4_KS", Standing::Fork),
            (230, "BF16_R16", Standing::Fork),
            (43, "ggml type 43", Standing::Unknown),
            (255, "ggml type 255", Standing::Unknown),
        ] {
            let (dtype, found) = classify(id);
            assert_eq!((dtype.name(), found), (name, standing));
            assert_eq!(tensor_bytes(dtype, 256), None);
        }
        let (bitnet, standing) = classify(36);
        assert_eq!((bitnet.name(), standing), ("I2_S", Standing::Fork));
        assert_eq!(tensor_bytes(bitnet, 256), Some(64 + 32));
    }
}
