//! RULES: every rule, one row each. Causes stand before consequences: findings of one severity come in this order.

use super::rule::Rule;
use super::{adapter, container, quant};

/// Every rule.
pub static RULES: &[&Rule] = &[
    // Files that are not what they should be.
    &container::lfs_pointer::RULE,
    // Quantized bases.
    &quant::already_quantized::RULE,
    // Adapters: the file itself, what it says it is, where its modules lie, what is left out, what is odd.
    &adapter::adapter_weights::RULE,
    &adapter::adapter_config::RULE,
    &adapter::adapter_kind::RULE,
    &adapter::keys_miss_base::RULE,
    &adapter::modules_beyond_base::RULE,
    &adapter::fused_layer::RULE,
    &adapter::fused_half::RULE,
    &adapter::targets_nothing::RULE,
    &adapter::targets_excluded::RULE,
    &adapter::rank_disagrees::RULE,
    &adapter::half_pair::RULE,
    &adapter::vocabulary::RULE,
    &adapter::padded::RULE,
    &adapter::other_shape::RULE,
    &adapter::saved_missing::RULE,
    &adapter::tokens_missing::RULE,
    &adapter::projection_missing::RULE,
    &adapter::old_oft::RULE,
    &adapter::modules_dropped::RULE,
    &adapter::parts_dropped::RULE,
    &adapter::magnitude_missing::RULE,
    &adapter::saved_name::RULE,
    &adapter::folded_base::RULE,
    &adapter::base_changed::RULE,
    &adapter::layers_replicated::RULE,
    &adapter::tied_embeddings::RULE,
    &adapter::bias_without_base::RULE,
    &adapter::other_base::RULE,
    &adapter::zero_delta::RULE,
    &adapter::name_in_keys::RULE,
    &adapter::untouched_targets::RULE,
    &adapter::unused_keys::RULE,
    &adapter::embeddings_aside::RULE,
    &adapter::field_gone::RULE,
    &adapter::odd_field::RULE,
    &adapter::base_not_here::RULE,
    &adapter::config_newer::RULE,
    &adapter::head_lost::RULE,
    &adapter::outside::RESIZED_TO_TOKENIZER,
    &adapter::outside::NAME_RESERVED,
    &adapter::outside::BASE_OFFLOADED,
    &adapter::outside::BASE_PARTITIONED,
    &adapter::outside::RESUMED_AS_MODEL,
    &adapter::outside::WITHOUT_SPLIT_MODULES,
    &adapter::outside::EMPTY_CONVOLUTION,
];
