"""The tensors of one layer in each format of `layouts.py`, `[out, in]` given.

Sources of the layouts: EETQ, AQLM, VPTQ and SpQR inference code, transformers 5.23 `integrations/`,
exllamav2 and exllamav3, mlx, quark 0.13 `utils/pack.py`, modelopt 0.47 `torch/export`, DeepSeek-V4 and
openai/gpt-oss inference code, vLLM's loader of Mistral's own files, AutoGPTQ and AutoAWQ marlin, auto-round.
"""

from container import codes, fill, whole

Q, K, DOWN = "self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"
SHAPES = {Q: (128, 128), K: (64, 128), DOWN: (128, 256)}
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 160,
    "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": False, "max_position_embeddings": 128,
}


def eetq(p, out, inp):
    return {f"{p}.weight": codes(p, "I8", inp, out), f"{p}.weight_scales": fill(0.01, "F16", out)}


def aqlm(p, out, inp):
    return {f"{p}.codes": codes(p, "I8", out, inp // 8, 2),
            f"{p}.codebooks": codes(p + "c", "F16", 2, 256, 1, 8),
            f"{p}.scales": fill(1.0, "F16", out, 1, 1, 1)}


EXL2_BITS = (5, 4, 3, 3)


def exl2(p, out, inp):
    """Four groups of `inp / 4` inputs, of 5, 4, 3 and 3 bits: 3.75 on the mean."""
    rows = [inp // 4 * bits // 32 for bits in EXL2_BITS]
    groups = [n for g, bits in enumerate(EXL2_BITS) for n in (bits, sum(rows[:g]))]
    return {f"{p}.q_weight": codes(p, "I32", sum(rows), out),
            f"{p}.q_scale": codes(p + "s", "I32", 4, out // 8),
            f"{p}.q_scale_max": fill(0.01, "F16", 4),
            f"{p}.q_groups": whole(groups, "I16", 8),
            f"{p}.q_invperm": whole(reversed(range(inp)), "I32", inp)}


def exl3(p, out, inp):
    return {f"{p}.trellis": codes(p, "I16", inp // 16, out // 16, 16 * 3), f"{p}.suh": fill(1.0, "F16", inp),
            f"{p}.svh": fill(0.01, "F16", out), f"{p}.mcg": fill(0x4BAC1FED, "I32")}


def bitnet(p, out, inp):
    return {f"{p}.weight": codes(p, "U8", out // 4, inp), f"{p}.weight_scale": fill(0.5, "BF16", 1)}


def mlx(p, out, inp):
    return {f"{p}.weight": codes(p, "U32", out, inp // 8), f"{p}.scales": fill(0.0078125, "BF16", out, inp // 64),
            f"{p}.biases": fill(-0.0625, "BF16", out, inp // 64)}


def mlx_mxfp4(p, out, inp):
    return {f"{p}.weight": codes(p, "U32", out, inp // 8), f"{p}.scales": fill(120, "U8", out, inp // 32)}


def vptq(p, out, inp):
    """Vectors of 8 outputs, 256 centroids and 256 residual ones: 16 bits for 8 weights."""
    return {f"{p}.indices": codes(p, "I32", 1, out // 8, inp * 16 // 32),
            f"{p}.centroids.weight": codes(p + "c", "F16", 1, 256 * 8),
            f"{p}.res_centroids.weight": codes(p + "r", "F16", 1, 256 * 8),
            f"{p}.perm": whole(reversed(range(inp)), "I16", inp),
            f"{p}.weight_scale": fill(1.0, "F16", inp), f"{p}.weight_bias": fill(0.0, "F16", inp)}


def spqr(p, out, inp):
    """Tiles of 16 rows and 16 columns, a 64-bit word a row of a tile; one outlier in each output row."""
    return {f"{p}.dense_weights": codes(p, "I64", out * inp // 16),
            f"{p}.row_offsets": whole(range(out + 1), "I32", out + 1),
            f"{p}.col_vals": whole((0x3C00 << 16 | row % inp for row in range(out)), "I32", out),
            f"{p}.in_perm": whole((c + 1 << 16 | c for c in range(0, inp, 2)), "I32", inp // 2)}


def higgs(p, out, inp):
    return {f"{p}.weight": codes(p, "I16", out * 4 // 16, inp), f"{p}.scales": fill(0.01, "F16", out, inp // 64),
            f"{p}.tables": codes(p + "t", "F16", 16), f"{p}.tables2": codes(p + "u", "F16", 16, 16, 2)}


def quark(p, out, inp):
    """Transposed with its scales, as quark does for 4-bit integers in groups."""
    return {f"{p}.weight": codes(p, "I32", inp, out // 8), f"{p}.weight_scale": fill(0.01, "F16", inp // 128, out),
            f"{p}.weight_zero_point": codes(p + "z", "I32", inp // 128, out // 8)}


def fp8_tensor(p, out, inp):
    return {f"{p}.weight": codes(p, "F8_E4M3", out, inp), f"{p}.weight_scale": fill(0.001, "F32"),
            f"{p}.input_scale": fill(0.02, "F32")}


def fp8_rows(p, out, inp):
    return {f"{p}.weight": codes(p, "F8_E4M3", out, inp), f"{p}.weight_scale": fill(0.001, "F32", out, 1)}


def mxfp8(p, out, inp):
    return {f"{p}.weight": codes(p, "F8_E4M3", out, inp), f"{p}.weight_scale_inv": fill(118, "U8", out, inp // 32)}


def ue8m0(p, out, inp):
    grid = (-(-out // 128), -(-inp // 128))
    return {f"{p}.weight": codes(p, "F8_E4M3", out, inp), f"{p}.scale": fill(118, "F8_E8M0", *grid)}


def qscale(p, out, inp):
    return {f"{p}.weight": codes(p, "F8_E4M3", out, inp), f"{p}.qscale_weight": fill(0.001, "F32"),
            f"{p}.qscale_act": fill(0.02, "F32")}


def nvfp4(p, out, inp):
    return {f"{p}.weight": codes(p, "U8", out, inp // 2), f"{p}.weight_scale": fill(0x70, "F8_E4M3", out, inp // 16),
            f"{p}.weight_scale_2": fill(0.0001, "F32"), f"{p}.input_scale": fill(0.02, "F32")}


def int4_awq(p, out, inp):
    return {f"{p}.weight": codes(p, "U8", out // 2, inp), f"{p}.weight_scale": fill(0.01, "BF16", out, inp // 128),
            f"{p}.pre_quant_scale": fill(1.0, "BF16", inp)}


def gptq_marlin(p, out, inp):
    return {f"{p}.B": codes(p, "I32", inp // 16, out * 2), f"{p}.s": fill(0.01, "F16", inp // 128, out)}


def awq_marlin(p, out, inp):
    return {f"{p}.qweight": codes(p, "I32", inp // 16, out * 2), f"{p}.scales": fill(0.01, "F16", inp // 128, out)}


def autoround(p, out, inp):
    """GPTQ of version 1, symmetric, without `g_idx`."""
    return {f"{p}.qweight": codes(p, "I32", inp // 8, out), f"{p}.scales": fill(0.01, "F16", inp // 128, out),
            f"{p}.qzeros": fill(0x77777777, "I32", inp // 128, out // 8)}
