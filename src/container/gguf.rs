//! Gguf.
use super::bytes::SourceFile;
use super::{Container, Header};

/// The gguf container.
#[derive(Debug)]
pub struct Gguf;

impl Container for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn sniff(&self, _head: &[u8]) -> bool {
        false
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["gguf"]
    }

    fn read_header(&self, _file: &SourceFile) -> Header {
        Header::default()
    }
}
