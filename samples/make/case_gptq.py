"""`gptq-*`: GPTQModel's quantizer without calibration (round to nearest), packed by its `TorchLinear`.

Scales are rounded to f16 first, as they are stored. Options come from `case.json`; act-order takes a permutation of
the inputs drawn from the seed. Run: `python samples/make/case_gptq.py gptq-w4-g128-sym-v1-A OUT`.
"""

import json
import pathlib
import re
import sys

import torch
from common import SAMPLES, SEED, case, dense, linears, model, save, save_config, save_shards


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
    if "-wrap-" in facts["id"]:
        # No negative value in a group: its zero point is 0.
        linear.weight.data[::3, : inp // 2] = weight[::3, : inp // 2].abs_()
    group = inp if group == -1 else group
    order = torch.randperm(inp, generator=g) if facts["desc_act"] else torch.arange(inp)
    g_idx = (order // group).int()
    scales, zeros = [], []
    settings = QuantizeConfig(bits=bits, group_size=group, sym=facts["sym"], desc_act=facts["desc_act"])
    for number in range(-(-inp // group)):
        quantizer = Quantizer(settings)
        quantizer.configure(perchannel=True)
        quantizer.find_params(weight[:, g_idx == number], weight=True)
        # As they are stored: the codes are those nearest with the rounded scale.
        scales.append(quantizer.scale.half().float())
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
    g = torch.Generator().manual_seed(SEED + 5)
    others = dense(made, "float16")
    packed = {name: pack(linear, name, facts, config, g) for name, linear in linears(made).items()}
    is_legacy = id == "gptq-legacy-autogptq-layout"
    if id == "gptq-w4-sharded":
        parts = [others, {}, {}]
        for name, tensors in packed.items():
            parts[1 + (".layers.1." in name)] |= tensors
        save_shards(parts, out / "model")
    else:
        tensors = others | {key: value for layer in packed.values() for key, value in layer.items()}
        save(tensors, out / "model", "gptq_model-4bit-128g.safetensors" if is_legacy else "model.safetensors")
    before, after = dict(list(config.items())[:5]), dict(list(config.items())[5:])
    quantization = before | {"quant_method": "gptq"} | after
    save_config(made, out / "model", None if is_legacy else quantization)
    (out / "model" / "quantize_config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
