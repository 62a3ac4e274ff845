"""`gguf-*`: files by gguf's `GGUFWriter`, quantized by ggml's own C code (`libgguf.quantize_rows`).

q and k are permuted as llama.cpp's converter does. The tensor types are those of `case.json`. Not called after
its library, which it would hide. Run: `python samples/make/case_gguf.py gguf-mixed-K OUT`.
"""

import pathlib
import sys

import gguf
import libgguf
import numpy as np
from common import SAMPLES, SPECS, case, model
from safetensors.numpy import load_file, save_file

HF = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
      "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
      "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
TOP = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}


def source_name(name):
    """Returns the Hugging Face name of a GGUF tensor."""
    parts = name.removesuffix(".weight").split(".")
    return f"{TOP[parts[0]]}.weight" if len(parts) == 1 else f"model.layers.{parts[1]}.{HF[parts[2]]}.weight"


def permute(weight, heads):
    """Rotary halves interleaved, as llama.cpp wants q and k."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def packed(weight, type_name):
    """Returns the blocks of a weight, as bytes in its rows."""
    kind = gguf.GGMLQuantizationType[type_name]
    if type_name in ("F32", "F16", "BF16"):
        return gguf.quants.quantize(weight, kind), kind
    weight = np.ascontiguousarray(weight, dtype=np.float32)
    flat = np.ones(weight.shape[1], np.float32) if libgguf.quantize_requires_imatrix(kind) else None
    return np.asarray(libgguf.quantize_rows(weight, kind, flat)).reshape(weight.shape[0], -1).view(np.uint8), kind


def file(id, out):
    spec = SPECS["K"]
    writer = gguf.GGUFWriter(str(out / "model.gguf"), "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(spec["hidden_size"])
    writer.add_block_count(spec["num_hidden_layers"])
    writer.add_feed_forward_length(spec["intermediate_size"])
    writer.add_head_count(spec["num_attention_heads"])
    writer.add_head_count_kv(spec["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(spec["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{n}" for n in range(spec["vocab_size"])])
    writer.add_token_types([1] * spec["vocab_size"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.strs", ["a", "ü", "日本"])
    writer.add_bool("test.flag", True)
    weights = model("K", "float32").state_dict()
    for name, type_name in case(id)["tensor_types"].items():
        weight = weights[source_name(name)].numpy()
        for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
            if part in name:
                weight = permute(weight, spec[heads])
        data, kind = packed(weight, type_name)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rows(out):
    """Six rows of 512 values in each type, from the source that the sample keeps beside them. Types that need
    an importance matrix take a flat one."""
    sample = load_file(SAMPLES / "gguf-bare-types" / "tensors.safetensors")
    made = {"src": sample["src"]}
    for name in sample:
        if name != "src":
            made[name] = packed(sample["src"], name)[0]
    save_file(made, out / "tensors.safetensors")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    rows(folder) if sys.argv[1] == "gguf-bare-types" else file(sys.argv[1], folder)
