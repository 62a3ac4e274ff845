//! Keys of every family, taken apart.

use super::*;

/// Checks what a key says: module, part (or saved tensor), adapter name, family.
fn check(key: &str, module: &str, part: &str, name: Option<&str>, family: Option<Family>) {
    let found = Key::parse(key);
    assert_eq!((found.module, found.name), (module, name), "{key}");
    match found.tensor {
        Tensor::Part(mark) => assert_eq!((mark.part, Some(mark.family)), (part, family), "{key}"),
        Tensor::Saved(saved) => assert_eq!((saved, None), (part, family), "{key}"),
    }
}

#[test]
fn peft_keys_of_all_versions_are_taken_apart() {
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let peft = Some(Family::Peft);
    for (tail, part, name) in [
        ("lora_A.weight", "lora_A", None),
        ("lora_B.weight", "lora_B", None),
        ("lora_A", "lora_A", None),
        ("lora_A.default.weight", "lora_A", Some("default")),
        ("lora_A.ref_controller.weight", "lora_A", Some("ref_controller")),
        ("lora_B.bias", "lora_B.bias", None),
        ("lora_B.default.bias", "lora_B.bias", Some("default")),
        ("lora_embedding_A", "lora_embedding_A", None),
        ("lora_embedding_B.default", "lora_embedding_B", Some("default")),
        ("lora_magnitude_vector", "lora_magnitude_vector", None),
        ("lora_magnitude_vector.weight", "lora_magnitude_vector", None),
        ("lora_magnitude_vector.default", "lora_magnitude_vector", Some("default")),
        ("lora_magnitude_vector.default.weight", "lora_magnitude_vector", Some("default")),
        ("lora_E", "lora_E", None),
        ("hada_w1_a", "hada_w1_a", None),
        ("lokr_w2", "lokr_w2", None),
        ("lokr_w2_a", "lokr_w2_a", None),
        ("oft_R.weight", "oft_R", None),
        ("oft_r", "oft_r", None),
        ("osf_svd_params.U_low", "osf_svd_params.U_low", None),
        ("psoft_R.weight", "psoft_R", None),
        ("psoft_R.vector_a", "psoft_R.vector_a", None),
        ("glora_C.zeros", "glora_C.zeros", None),
        ("poly_router.module_logits", "poly_router.module_logits", None),
        ("vblora_logits_A_topk_weights", "vblora_logits_A_topk_weights", None),
        ("ln_tuning_layers.weight", "ln_tuning_layers", None),
        ("token_adapter.trainable_tokens_delta", "trainable_tokens_delta", None),
        ("trainable_tokens_delta", "trainable_tokens_delta", None),
    ] {
        check(&format!("{q}.{tail}"), q, part, name, peft);
    }
    check("base_model.vera_A", "base_model", "vera_A", None, peft);
    check("base_model.tinylora_v.3", "base_model", "tinylora_v", None, peft);
    check("base_model.frod_V.mlp_down_proj", "base_model", "frod_V", None, peft);
    check("prompt_embeddings", "", "prompt_embeddings", None, peft);
}

#[test]
fn other_spellings_are_taken_apart() {
    for (key, module, part, family) in [
        ("lora_unet_mid_block_ff.lora_down.weight", "lora_unet_mid_block_ff", "lora_A", ComfyOrKohya),
        ("lora_te1_text_q_proj.lora_up.weight", "lora_te1_text_q_proj", "lora_B", ComfyOrKohya),
        ("lora_te1_text_q_proj.alpha", "lora_te1_text_q_proj", "alpha", ComfyOrKohya),
        ("lora_unet_x.dora_scale", "lora_unet_x", "lora_magnitude_vector", Lycoris),
        ("lora_unet_x.diff_b", "lora_unet_x", "diff_b", Lycoris),
        ("unet.mid.attn1.to_q_lora.down.weight", "unet.mid.attn1.to_q", "lora_A", Diffusers),
        ("text_encoder.q_proj.lora_linear_layer.up.weight", "text_encoder.q_proj", "lora_B", Diffusers),
        ("unet.to_k.lora.down.weight", "unet.to_k", "lora_A", Diffusers),
        ("transformer.blocks.0.to_q.lora_A.weight", "transformer.blocks.0.to_q", "lora_A", Peft),
        ("diffusion_model.blocks.0.q.lora_down.weight", "diffusion_model.blocks.0.q", "lora_A", ComfyOrKohya),
        ("blk.0.attn_q.weight.lora_a", "blk.0.attn_q", "lora_A", Gguf),
        ("model.layers.3.mlp.up_proj.lora_b", "model.layers.3.mlp.up_proj", "lora_B", Mlx),
        ("model.layers.3.mlp.up_proj.m", "model.layers.3.mlp.up_proj", "lora_magnitude_vector", Mlx),
        ("layers.3.attn.q_proj.lora_a.weight", "layers.3.attn.q_proj", "lora_A", Torchtune),
        ("layers.3.attn.q_proj.magnitude", "layers.3.attn.q_proj", "lora_magnitude_vector", Torchtune),
        (
            "decoder.layers.0.self_attention.linear_qkv.adapter.linear_in.weight",
            "decoder.layers.0.self_attention.linear_qkv",
            "lora_A",
            Nemo,
        ),
        ("m.experts.gate_up_projs.3.lora_A.weight", "m.experts.gate_up_projs.3", "lora_A", Peft),
    ] {
        check(key, module, part, None, Some(family));
    }
}

#[test]
fn what_has_no_mark_is_saved() {
    check("base_model.model.lm_head.weight", "base_model.model.lm_head", "weight", None, None);
    check("m.q_proj.base_layer.bias", "m.q_proj.base_layer", "bias", None, None);
    check("m.head.modules_to_save.default.weight", "m.head", "weight", Some("default"), None);
    check("m.q_proj.base_layer.weight.absmax", "m.q_proj.base_layer.weight.absmax", "", None, None);
    check("lora_A", "", "lora_A", None, Some(Family::Peft));
    for odd in ["", ".", "..", "....", ".lora_A.", "lora_A..weight", ".weight", "\u{202e}.lora_B.bias", "é.m"]
    {
        let _ = Key::parse(odd);
    }
}

#[test]
fn every_mark_finds_itself() {
    for mark in MARKS {
        let key = match mark.form {
            Joined => format!("p.x{}", mark.text),
            Weight => format!("p.x.{}.weight", mark.text),
            Bias => format!("p.x.{}.bias", mark.text),
            _ => format!("p.x.{}", mark.text),
        };
        let found = Key::parse(&key);
        assert_eq!(found.module, "p.x", "{key}");
        assert!(matches!(found.tensor, Tensor::Part(found) if found.part == mark.part), "{key}");
    }
}
