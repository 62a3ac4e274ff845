//! A011 adapter-zero-delta: factors that are all zero: the module changes nothing.

use super::views;
use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Modules of which a factor is zero in every place.",
    why: "lora_B begins as zero, so a product with it is zero: the module was not trained, or its values were lost when \
          the adapter was saved (ZeRO-3 leaves zeros as well). It loads without a word and has no effect.",
    messages: &[],
    remedy: "If it was to be trained, look whether the module got gradients (frozen vision towers get none), or take the \
             adapter of another step. Untrained modules do no harm.",
    sources: "PEFT 0.21 `tuners/lora/layer.py` (reset_lora_parameters); spec of the values in the file",
    ..Rule::new(&kind::ADAPTER_ZERO)
};
