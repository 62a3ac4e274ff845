"""`awq-*`: AutoAWQ's `pseudo_quantize_tensor` without the activation search, packed by `WQLinear_*.from_linear`.

Run: `python samples/make/case_awq.py awq-gemm-g128-A OUT`.
"""

import json
import pathlib
import sys

from common import SAMPLES, case, dense, linears, model, save, save_config


def main(id, out):
    from awq.modules.linear import WQLinear_GEMM, WQLinear_GEMV, WQLinear_GEMVFast
    from awq.quantize.quantizer import AwqQuantizer

    facts = case(id)
    version = facts["format"].removeprefix("awq ")
    kinds = {"gemm": WQLinear_GEMM, "gemv": WQLinear_GEMV, "gemv_fast": WQLinear_GEMVFast}
    # Only its arithmetic is wanted: the constructor would load a model.
    quantizer = AwqQuantizer.__new__(AwqQuantizer)
    quantizer.w_bit, quantizer.group_size, quantizer.zero_point = 4, facts["group_size"], True
    made = model("A", "float16", layers=facts["layers"])
    tensors = dense(made, "float16")
    for name, linear in linears(made).items():
        if any(part in name for part in facts["skipped"]):
            tensors[f"{name}.weight"] = linear.weight.data
            continue
        linear.weight.data, scales, zeros = quantizer.pseudo_quantize_tensor(linear.weight.data)
        if version == "gemm":
            scales, zeros = scales.t().contiguous(), zeros.t().contiguous()
        layer = kinds[version].from_linear(linear, 4, facts["group_size"], False, scales, zeros)
        tensors |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    save(tensors, out / "model")
    config = json.loads((SAMPLES / id / "model" / "config.json").read_text())["quantization_config"]
    save_config(made, out / "model", config)
    old = {"zero_point": True, "q_group_size": facts["group_size"], "w_bit": 4, "version": version.upper()}
    (out / "model" / "quant_config.json").write_text(json.dumps(old))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
