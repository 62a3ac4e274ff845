//! A005 adapter-config: nothing says what the adapter is: no `adapter_config.json`, or none with a type.

use super::views;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "A folder of adapter weights without `adapter_config.json`, or one without `peft_type`.",
    why: "PEFT reads the method, the rank, alpha and the targets from this file and stops without it. The tensors \
          tell the method and the rank; nothing but the config tells alpha.",
    messages: &[
        message("Can't find 'adapter_config.json' at '{file}'", "PEFT, all versions"),
        message("KeyError: 'peft_type'", "PEFT, all versions"),
    ],
    outside: "A wrong path, or the folder above the one that holds the adapter (`checkpoint-500/`, `default/`).",
    remedy: "Copy adapter_config.json from the run that trained it. Without it `ckpt align --repair --alpha N` writes \
             one from the tensors, if you know alpha.",
    sources: "PEFT `config.py`; measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2",
    fixes: views::repair,
    ..Rule::new(&kind::ADAPTER_CONFIG)
};
