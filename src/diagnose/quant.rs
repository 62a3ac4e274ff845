//! Rules about quantized checkpoints: what the tensors are, what the config says, and who takes them.

pub(super) mod already_quantized;
