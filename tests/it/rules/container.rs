//! Cases of the rules in `diagnose/container`.

use super::Case;

pub(super) const CASES: &[Case] = &[Case {
    code: "K002",
    hit: |folder| {
        let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 4976698672\n";
        folder.shards.clear();
        folder.raw.insert("model.safetensors".into(), text.into());
    },
    miss: |folder| {
        folder.raw.insert("README.md".into(), "version https://git-lfs.github.com/spec/v1\n".into());
    },
}];
