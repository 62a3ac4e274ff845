//! K012 shape-size: shape times dtype is not the count of bytes.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A tensor whose shape and dtype need another number of bytes than its offsets give.",
    why: "The shape or the dtype in the header was changed and the data was not, or the data was cut. The \
          values cannot be read as either, and the loader refuses the file.",
    messages: &[
        message("Error while deserializing header: TensorInvalidInfo", "safetensors before 0.6"),
        message(
            "Error while deserializing header: invalid shape, data type, or offset for tensor",
            "safetensors since 0.6",
        ),
        message("Error while deserializing header: ValidationOverflow", "safetensors before 0.6"),
        message(
            "Error while deserializing header: overflow computing buffer size from shape and/or element type",
            "safetensors since 0.6",
        ),
        message("does not end up at a byte boundary, this is invalid", "safetensors since 0.6"),
    ],
    remedy: "Save the file again with the library that made it, or download it again.",
    sources: "safetensors source; measured with safetensors 0.8",
    fixes: download_again,
    ..Rule::new(&kind::SHAPE_SIZE)
};
