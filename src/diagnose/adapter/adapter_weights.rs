//! A006 adapter-weights: the file of the weights is there, and no value is in it.

use super::views;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "An adapter file without tensors (some hundred bytes), or with tensors of size 0.",
    why: "The weights were partitioned over processes (ZeRO-3, FSDP), or the state dict was swapped, when the adapter \
          was saved; what was written is a header. An empty file loads without an error and changes nothing; tensors \
          of size 0 stop the load.",
    messages: &[
        message(
            "size mismatch for {key}: copying a param with shape torch.Size([0]) from checkpoint, the shape in current \
             model is {shape}",
            "PEFT, all versions",
        ),
        message(
            "LoRA tensor(s) have invalid shape: {any}. A 1-D or zero-sized lora_A / lora_B tensor indicates that \
             DeepSpeed ZeRO-3 / FSDP shards were not gathered before save_pretrained()",
            "PEFT 0.21",
        ),
        message("Found missing adapter keys while loading the checkpoint: {any}", "PEFT since 0.14"),
        message(
            "Can't find weights for {file} in {any} or in the Hugging Face Hub.",
            "PEFT, where no adapter_model file is there",
        ),
    ],
    outside: "A wrong path or Hub name brings `Can't find weights` as well.",
    remedy: "These files hold nothing to recover. Take the adapter of an earlier step, or gather it from the training \
             run's `global_step*` folder with zero_to_fp32.py; save it with `stage3_gather_16bit_weights_on_model_save` \
             or from a gathered state dict next time.",
    sources: "peft#460, peft#1710, peft#2450, alpaca-lora#293, transformers#24551; measured",
    ..Rule::new(&kind::ADAPTER_WEIGHTS)
};
