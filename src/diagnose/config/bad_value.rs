//! C006 config-bad-value: a config value is of the wrong type.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Numbers of a config that are text, fractions or negative where a count is meant.",
    why: "Loaders compute shapes with the number and stop where it is none. Mostly a tool wrote it as text, \
          or an edit changed it.",
    messages: &[
        message("StrictDataclassFieldValidationError: Validation error for field '{any}'", "transformers 5"),
        message("TypeError: unsupported operand type(s) for {any}: 'str' and 'int'", "Python"),
    ],
    outside: "A TypeError of Python has many causes; it is this one where the traceback ends in a config or \
              in building a layer.",
    remedy: "Write a whole number there.",
    sources: "measured with transformers 5.23",
    ..Rule::new(&kind::CONFIG_VALUE)
};
