//! Tests of the GGUF reader on bytes made here.
