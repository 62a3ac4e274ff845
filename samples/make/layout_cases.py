"""The cases of `layouts.py`: which format, in which folder, described by which config files."""

import layout_parts as make
from container import codes, fill
from layout_parts import DOWN, K, LLAMA, Q, SHAPES

LAYER = "model.layers.0."
HEAD = ["lm_head"]


def case(maker, format, variant, bits, group_size, quantization=None, dtype="float16", only=(Q, K, DOWN), **more):
    """Returns a case of the Llama, its quantization described in `config.json`."""
    layers = {LAYER + name: SHAPES[name] for name in only}
    config = dict(LLAMA, dtype=dtype)
    if quantization is not None:
        config[more.pop("key", "quantization_config")] = quantization
    plain = "F16" if dtype == "float16" else "BF16"
    return {"make": maker, "format": format, "variant": variant, "bits": bits, "group_size": group_size,
            "layers": layers, "configs": {"config.json": config} | more.pop("configs", {}),
            "more": {LAYER + "input_layernorm.weight": fill(1.0, plain, 128)}} | more


def vptq_layer(out, inp):
    return {"bias": False, "enable_norm": True, "enable_perm": True, "group_num": 1, "group_size": inp,
            "in_features": inp, "out_features": out, "indices_as_float": False, "is_indice_packed": True,
            "num_centroids": [-1, 256], "num_res_centroids": [-1, 256], "outlier_size": 0, "vector_lens": [-1, 8]}


def spqr_shapes(name, out, inp):
    sizes = {"dense_weights": out * inp // 16, "row_offsets": out + 1, "col_vals": out, "in_perm": inp // 2}
    return {f"{name}.{part}.shape": size for part, size in sizes.items()}


def stored(name, out, inp):
    parts = make.exl3(name, out, inp)
    kinds = {"I16": "torch.int16", "F16": "torch.float16", "I32": "torch.int32"}
    return {"stored_tensors": {part: {"shape": shape, "n_bytes": len(data), "dtype": kinds[dtype]}
                               for part, (dtype, shape, data) in parts.items()},
            "quant_format": "exl3", "bits_per_weight": 3}


def modelopt(algorithm, **more):
    return {"producer": {"name": "modelopt", "version": "0.47.0"},
            "quantization": {"quant_algo": algorithm, "kv_cache_quant_algo": None, "exclude_modules": HEAD} | more}


ALL = {LAYER + name: shape for name, shape in SHAPES.items()}
WIDE = {name: shape for name, shape in ALL.items() if shape[0] % 128 == 0}
EXL3 = {"quant_method": "exl3", "version": "0.0.1", "bits": 3.0, "head_bits": 6, "out_scales": "auto",
        "calibration": {"rows": 100, "cols": 2048}, "codebook": "mcg"}
GPTQ = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True, "lm_head": False, "quant_method": "gptq",
        "checkpoint_format": "marlin", "is_marlin_format": True}
QUARK = {
    "quant_method": "quark", "algo_config": None, "exclude": HEAD, "layer_quant_config": {},
    "layer_type_quant_config": {}, "quant_mode": "eager_mode",
    "export": {"kv_cache_group": [], "pack_method": "reorder", "weight_format": "real_quantized"},
    "global_quant_config": {"bias": None, "input_tensors": None, "output_tensors": None, "weight": {
        "dtype": "uint4", "ch_axis": -1, "group_size": 128, "is_dynamic": False, "qscheme": "per_group",
        "symmetric": False, "round_method": "half_even", "scale_type": "float"}},
}
MISTRAL = {"dim": 128, "n_layers": 1, "head_dim": 32, "hidden_dim": 256, "n_heads": 4, "n_kv_heads": 2,
           "norm_eps": 1e-05, "vocab_size": 160, "rope_theta": 1000000.0,
           "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}
GPT_OSS = {"num_hidden_layers": 1, "num_experts": 2, "experts_per_token": 1, "vocab_size": 160, "hidden_size": 128,
           "intermediate_size": 64, "swiglu_limit": 7.0, "head_dim": 32, "num_attention_heads": 4,
           "num_key_value_heads": 2, "sliding_window": 128, "initial_context_length": 4096, "rope_theta": 150000,
           "rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32}


def experts(name, rows, columns):
    """OpenAI's own names; the bias stands beside the weight, not under it."""
    return {f"{name}.blocks": codes(name, "U8", 2, rows, columns // 32, 16),
            f"{name}.scales": fill(120, "U8", 2, rows, columns // 32),
            name.replace("_weight", "_bias"): fill(0.0, "BF16", 2, rows)}


MLP = {"block.0.mlp.mlp1_weight": (128, 128), "block.0.mlp.mlp2_weight": (128, 64)}

CASES = {
    "layout-eetq": case(make.eetq, "eetq", "", 8, None, {"quant_method": "eetq", "weights": "int8"}),
    "layout-aqlm-2x8": case(make.aqlm, "aqlm", "2x8", 2, 8, {
        "quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 2,
        "nbits_per_codebook": 8, "linear_weights_not_to_quantize": ["lm_head.weight"]}),
    "layout-exl2": case(make.exl2, "exl2", "", 3.75, None, {
        "quant_method": "exl2", "version": "0.2.9", "bits": 3.75, "head_bits": 6,
        "calibration": {"rows": 115, "length": 2048, "dataset": "(default)"}}, file="output.safetensors"),
    "layout-exl3": case(make.exl3, "exl3", "mcg", 3, None, EXL3, only=(Q, DOWN), configs={
        "quantization_config.json": EXL3 | {"tensor_storage": {n: stored(n, *s) for n, s in WIDE.items()}}}),
    "layout-bitnet": case(make.bitnet, "bitnet", "autobitlinear", 2, None, {
        "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}, "bfloat16"),
    "layout-mlx-4bit": case(make.mlx, "mlx", "affine", 4, 64, {"group_size": 64, "bits": 4, "mode": "affine"},
                            "bfloat16", key="quantization", metadata={"format": "mlx"}),
    "layout-mlx-mxfp4": case(make.mlx_mxfp4, "mlx", "mxfp4", 4, 32, {"group_size": 32, "bits": 4, "mode": "mxfp4"},
                             "bfloat16", key="quantization", metadata={"format": "mlx"}),
    "layout-vptq": case(make.vptq, "vptq", "", 2, None, {
        "quant_method": "vptq", "config_for_layers": {n: vptq_layer(*s) for n, s in ALL.items()},
        "shared_layer_config": {}, "modules_to_not_convert": HEAD}),
    "layout-spqr": case(make.spqr, "spqr", "", 3, 16, {
        "quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16, "modules_to_not_convert": HEAD,
        "shapes": {k: v for n, s in ALL.items() for k, v in spqr_shapes(n, *s).items()}}),
    "layout-higgs": case(make.higgs, "higgs", "", 4, 64, {
        "quant_method": "higgs", "bits": 4, "p": 2, "group_size": 64, "hadamard_size": 128,
        "modules_to_not_convert": HEAD, "tune_metadata": {}}),
    "layout-quark-int4": case(make.quark, "quark", "int4", 4, 128, QUARK),
    "layout-modelopt-fp8": case(make.fp8_tensor, "modelopt", "fp8", 8, None, dtype="bfloat16",
                                configs={"hf_quant_config.json": modelopt("FP8")}),
    "layout-modelopt-nvfp4": case(make.nvfp4, "modelopt", "nvfp4", 4, 16, dtype="bfloat16",
                                  configs={"hf_quant_config.json": modelopt("NVFP4", group_size=16)}),
    "layout-modelopt-int4-awq": case(make.int4_awq, "modelopt", "int4", 4, 128, dtype="bfloat16", configs={
        "hf_quant_config.json": modelopt("W4A16_AWQ", group_size=128, has_zero_point=False, pre_quant_scale=True)}),
    "layout-fbgemm-fp8": case(make.fp8_rows, "fp8", "fbgemm", 8, None, {
        "quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": HEAD}, "bfloat16"),
    "layout-fp8-tensor": case(make.fp8_tensor, "fp8", "tensor", 8, None, {
        "quant_method": "fp8", "activation_scheme": "static", "ignored_layers": HEAD}, "bfloat16"),
    "layout-mxfp8": case(make.mxfp8, "fp8", "mx", 8, 32, {
        "quant_method": "mxfp8", "modules_to_not_convert": HEAD}, "bfloat16"),
    "layout-deepseek-ue8m0": case(make.ue8m0, "fp8", "block", 8, 128, {
        "quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "activation_scheme": "dynamic",
        "weight_block_size": [128, 128]}, "bfloat16"),
    "layout-gptq-marlin": case(make.gptq_marlin, "gptq", "marlin", 4, 128, GPTQ,
                               configs={"quantize_config.json": GPTQ}),
    "layout-awq-marlin": case(make.awq_marlin, "awq", "marlin", 4, 128, {
        "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": False, "version": "marlin",
        "modules_to_not_convert": None}),
    "layout-autoround-gptq": case(make.autoround, "gptq", "v1", 4, 128, {
        "quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4, "group_size": 128,
        "sym": True, "data_type": "int", "autoround_version": "0.16.1", "iters": 200, "low_gpu_mem_usage": True}),
    "layout-mistral-consolidated": {
        "make": make.qscale, "format": "fp8", "variant": "tensor", "bits": 8, "group_size": None,
        "layers": {"layers.0.attention.wq": (128, 128), "layers.0.attention.wk": (64, 128),
                   "layers.0.feed_forward.w2": (128, 256)},
        "file": "consolidated.safetensors", "configs": {"params.json": MISTRAL},
        "more": {"layers.0.attention_norm.weight": fill(1.0, "BF16", 128)}},
    "layout-gpt-oss-original": {
        "make": experts, "format": "mxfp4", "variant": "gpt-oss", "bits": 4, "group_size": 32, "layers": MLP,
        # As the dense parameter has them: experts, in, out.
        "shapes": {name: (2, inp, out) for name, (out, inp) in MLP.items()}, "configs": {"config.json": GPT_OSS},
        "more": {"block.0.mlp.norm.scale": fill(1.0, "BF16", 128), "block.0.attn.sinks": fill(0.0, "BF16", 4),
                 "block.0.mlp.gate.weight": codes("gate", "F16", 2, 128)}},
}
