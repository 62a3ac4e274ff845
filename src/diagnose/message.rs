//! Message: a pasted error held against the messages that the rules know.
