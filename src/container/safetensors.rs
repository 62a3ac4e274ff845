//! Safetensors.
use super::bytes::SourceFile;
use super::{Container, Header};

/// The safetensors container.
#[derive(Debug)]
pub struct Safetensors;

impl Container for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn sniff(&self, _head: &[u8]) -> bool {
        false
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["safetensors"]
    }

    fn read_header(&self, _file: &SourceFile) -> Header {
        Header::default()
    }
}
