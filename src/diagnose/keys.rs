//! Rules about the names of a model's tensors: prefixes, renames, leftovers of wrappers and of distributed training.
