"""`gptq-*`: GPTQModel's quantizer without calibration (round to nearest), packed by its `TorchLinear`.

Options come from `case.json`; act-order takes a permutation of
the inputs drawn from the seed. Run: `python samples/make/case_gptq.py gptq-w4-g128-sym-v1-A OUT`.
"""

import json
import pathlib
import re
import sys

import torch
from common import SAMPLES, SEED, case, dense, linears, model, save, save_config


def options_of(facts, config, name):
    """Returns bits and group size of a layer: `dynamic` rules come before the global ones."""
    for rule, own in config.get("dynamic", {}).items():
        if re.search(rule.removeprefix("+:"), name):
            return own["bits"], own["group_size"]
    return facts["bits"], facts["group_size"]


def pack(linear, name, facts, config, g):
    """Returns the tensors of one layer."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.quantization.quantizer import Quantizer
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    bits, group = options_of(facts, config, name)
    weight = linear.weight.data.float()
    out, inp = weight.shape
    group = inp if group == -1 else group
    order = torch.randperm(inp, generator=g) if facts["desc_act"] else torch.arange(inp)
    g_idx = torch.empty(inp, dtype=torch.int32)
    g_idx[order] = (torch.arange(inp) // group).int()
    scales, zeros = [], []
    settings = QuantizeConfig(bits=bits, group_size=group, sym=facts["sym"], desc_act=facts["desc_act"])
    for start in range(0, inp, group):
        quantizer = Quantizer(settings)
        quantizer.configure(perchannel=True)
        columns = order[start:start + group]
        quantizer.find_params(weight[:, columns], weight=True)
        scales.append(quantizer.scale)
        zeros.append(quantizer.zero)
    layer = TorchLinear(bits=bits, group_size=group, sym=facts["sym"], desc_act=facts["desc_act"],
                        in_features=inp, out_features=out, bias=linear.bias is not None)
    pack_with = layer.pack if out % 32 == 0 and inp % 32 == 0 else layer.pack_original
    pack_with(linear, torch.cat(scales, 1), torch.cat(zeros, 1), g_idx)
    if config.get("checkpoint_format", "gptq") == "gptq":
        convert_gptq_v2_to_v1_format_module(layer, settings)
    return {f"{name}.{key}": value for key, value in layer.state_dict().items()}


def main(id, out):
    facts = case(id)
    config = json.loads((SAMPLES / id / "model" / "quantize_config.json").read_text())
    made = model(id[-1] if id[-1] in "AB" else "A", "float16", layers=facts["layers"])
    g = torch.Generator().manual_seed(SEED)
    tensors = dense(made, "float16")
    for name, linear in linears(made).items():
        tensors |= pack(linear, name, facts, config, g)
    is_legacy = id == "gptq-legacy-autogptq-layout"
    save(tensors, out / "model", "gptq_model-4bit-128g.safetensors" if is_legacy else "model.safetensors")
    before, after = dict(list(config.items())[:5]), dict(list(config.items())[5:])
    quantization = before | {"quant_method": "gptq"} | after
    save_config(made, out / "model", None if is_legacy else quantization)
    (out / "model" / "quantize_config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
