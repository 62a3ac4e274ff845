//! Rules about `config.json` against the tensors, and about the other configs of a folder.
