//! K023 unreadable-file: a file could not be read at all.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A weight file that the system does not open or read: no permission, a link to nowhere, a \
                fault of the disk.",
    why: "The name is there and the bytes are not. In a cache of the Hub that is a link whose target was \
          deleted; elsewhere a file of another user, or a disk that fails.",
    messages: &[
        message("PermissionError: [Errno 13] Permission denied: '{file}'", "Python"),
        message("OSError: [Errno 5] Input/output error", "Python"),
        message("No such file or directory: \"{file}\"", "safetensors"),
        message(
            "Error no file named model.safetensors, or pytorch_model.bin, found in directory {any}",
            "transformers 5, links to nowhere",
        ),
    ],
    outside: "A container that mounts the cache without its `blobs` folder has links to nowhere.",
    remedy: "Make the file readable, or download it again where its target is gone.",
    sources: "measured with transformers 5.23",
    ..Rule::new(&kind::UNREADABLE_FILE)
};
