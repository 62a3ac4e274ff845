"""`story-*`: the tensors of two other samples under the names of the users' models, with what stands beside them.

`story-0-minicpmv-awq` is `awq-gemm-g128-A` under `llm.`, and `story-1-qwenvl-autogptq` is
`gptq-legacy-autogptq-layout` with the names of Qwen-VL, in three shards. The 16-bit vision towers are random, the
Python files of their remote code are stand-ins. Run: `python samples/make/case_stories.py ID OUT`.
"""

import json
import pathlib
import sys

import torch
from common import SAMPLES, SEED, model, save, save_config, save_shards
from safetensors.torch import load_file

# Names of Qwen-VL (the first Qwen), which keeps gate and up as w2 and w1.
QWEN = {"self_attn.o_proj": "attn.c_proj", "self_attn.": "attn.", "mlp.gate_proj": "mlp.w2", "mlp.up_proj": "mlp.w1",
        "mlp.down_proj": "mlp.c_proj", "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2",
        "model.layers.": "transformer.h.", "model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f"}
WIDTH, INNER = 48, 96
SIGLIP = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
          "self_attn.out_proj": (WIDTH, WIDTH), "mlp.fc1": (INNER, WIDTH), "mlp.fc2": (WIDTH, INNER)}
CLIP = {"attn.in_proj.weight": (3 * WIDTH, WIDTH), "attn.in_proj.bias": (3 * WIDTH,),
        "attn.out_proj.weight": (WIDTH, WIDTH), "mlp.c_fc.weight": (INNER, WIDTH),
        "mlp.c_proj.weight": (WIDTH, INNER), "ln_1.weight": (WIDTH,)}
MINICPMV = {
    "architectures": ["MiniCPMV"], "model_type": "minicpmv", "version": 2.6,
    "auto_map": {"AutoConfig": "configuration_minicpm.MiniCPMVConfig", "AutoModel": "modeling_minicpmv.MiniCPMV",
                 "AutoModelForCausalLM": "modeling_minicpmv.MiniCPMV"},
    "vision_config": {"hidden_size": WIDTH, "model_type": "siglip", "num_hidden_layers": 2, "patch_size": 14},
    "query_num": 16,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True,
                            "version": "gemm", "modules_to_not_convert": ["vpm", "resampler"]},
}
AUTOGPTQ = {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": True, "sym": True, "true_sequential": True,
            "model_name_or_path": None}
QWENVL = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen",
    "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig",
                 "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
    "visual": {"width": WIDTH, "layers": 2, "heads": 4, "patch_size": 14, "output_dim": 128}, "fp16": True,
    "quantization_config": AUTOGPTQ | {"model_file_base_name": "model", "quant_method": "gptq"},
}
REMOTE = "# remote code\n"


def towers():
    """Returns the vision tensors of both stories: one generator draws the first's, then the second's."""
    first, second = {}, {}
    for at in range(2):
        for name, (outputs, inputs) in SIGLIP.items():
            first[f"vpm.encoder.layers.{at}.{name}.weight"] = (outputs, inputs)
            first[f"vpm.encoder.layers.{at}.{name}.bias"] = (outputs,)
        second |= {f"transformer.visual.transformer.resblocks.{at}.{name}": shape for name, shape in CLIP.items()}
    first |= {
        "vpm.embeddings.patch_embedding.weight": (WIDTH, 3, 14, 14),
        "vpm.embeddings.position_embedding.weight": (64, WIDTH), "resampler.query": (16, 128),
        "resampler.kv_proj.weight": (128, WIDTH), "resampler.attn.in_proj_weight": (384, 128),
        "resampler.proj": (128, 128),
    }
    second |= {"transformer.visual.conv1.weight": (WIDTH, 3, 14, 14),
               "transformer.visual.positional_embedding": (64, WIDTH), "transformer.visual.proj": (128, 128)}
    g = torch.Generator().manual_seed(SEED)
    return [{name: (torch.randn(shape, generator=g) * 0.03).half() for name, shape in each.items()}
            for each in (first, second)]


def renamed(name):
    for old, new in QWEN.items():
        name = name.replace(old, new)
    return name


def save_story_config(folder, layers, own):
    """Writes the config of model A with the story's own keys at its end."""
    save_config(model("A", "float16", layers), folder)
    config = json.loads((folder / "config.json").read_text()) | {"torch_dtype": "float16"}
    config = {key: value for key, value in config.items() if key not in own} | own
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def minicpmv(folder, tower):
    tensors = load_file(SAMPLES / "awq-gemm-g128-A" / "model" / "model.safetensors")
    save({f"llm.{name}": tensor for name, tensor in tensors.items()} | tower, folder)
    save_story_config(folder, 2, MINICPMV)
    return {"configuration_minicpm.py": REMOTE, "modeling_minicpmv.py": REMOTE,
            "preprocessor_config.json": "{}\n", "tokenizer_config.json": "{}\n"}


def qwenvl(folder, tower):
    file = "gptq_model-4bit-128g.safetensors"
    tensors = load_file(SAMPLES / "gptq-legacy-autogptq-layout" / "model" / file)
    tensors = {renamed(name): tensor for name, tensor in tensors.items()} | tower
    names = list(tensors)
    each = -(-len(names) // 3)
    parts = [names[start:start + each] for start in range(0, len(names), each)]
    save_shards([{name: tensors[name] for name in part} for part in parts], folder)
    save_story_config(folder, 1, QWENVL)
    old = AUTOGPTQ | {"model_file_base_name": file.removesuffix(".safetensors")}
    return {"configuration_qwen.py": REMOTE, "modeling_qwen.py": REMOTE, "visual.py": REMOTE,
            "qwen.tiktoken": "IQ== 0\n", "quantize_config.json": json.dumps(old, indent=1)}


def main(id, out):
    first, second = towers()
    folder = out / "model"
    beside = minicpmv(folder, first) if id == "story-0-minicpmv-awq" else qwenvl(folder, second)
    for name, text in beside.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
