//! Rules about the set of files: shards, index, what lies beside them.
