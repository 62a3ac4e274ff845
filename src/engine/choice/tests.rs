//! What `--device` says, read and written.

use super::*;

#[test]
fn what_is_read_is_written() {
    for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:0,1", "cuda:63"] {
        assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
    }
    for text in ["", "gpu", "cuda:", "cuda:64", "cuda:0,", "cuda:-1", "cuda:99999999999", "CUDA"] {
        assert!(text.parse::<Choice>().is_err(), "{text}");
    }
    assert_eq!("cuda:1,0,1".parse::<Choice>().unwrap().to_string(), "cuda:0,1");
}
