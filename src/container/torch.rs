//! Torch.
use super::bytes::SourceFile;
use super::{Container, Header};

/// The pytorch container.
#[derive(Debug)]
pub struct Torch;

impl Container for Torch {
    fn name(&self) -> &'static str {
        "pytorch"
    }

    fn sniff(&self, _head: &[u8]) -> bool {
        false
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["pytorch"]
    }

    fn read_header(&self, _file: &SourceFile) -> Header {
        Header::default()
    }
}
