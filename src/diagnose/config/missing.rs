//! C001 config-missing: the folder has no `config.json`.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Weight files under the names of transformers, and no config.json beside them.",
    why: "config.json says which architecture the weights belong to, and how many layers and heads it has. \
          Without it loaders cannot build the model; names and shapes of tensors alone do not tell heads or \
          rotary base.",
    messages: &[
        message(
            "Unrecognized model in {any}. Should have a `model_type` key in its config.json",
            "transformers",
        ),
        message("does not appear to have a file named config.json", "transformers"),
        message("Can't load the configuration of '{any}'", "transformers 4"),
    ],
    outside: "The path may be wrong: the folder above or below the model, or a Hub name that is taken for a \
              folder.",
    remedy: "Copy config.json from the base or the source of the weights; for a merge that of its base.",
    sources: "measured with transformers 4.37 to 5.23",
    ..Rule::new(&kind::CONFIG_MISSING)
};
