//! Folders that tests build with the files that the kernel has.

use std::path::PathBuf;

/// A root folder that is removed at the end of its test.
pub(super) struct Root(pub(super) PathBuf);

impl Root {
    /// Returns a root with these files in a folder below it, each with its text.
    pub(super) fn new(name: &str, below: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("ckpt-gauges-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = root.join(below).join(file);
            let folder = path.parent().expect("a file below the root is in a folder");
            std::fs::create_dir_all(folder).expect("a folder for temporary files can be made");
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let mut file = file.expect("a file in a folder of ours can be made");
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("a few bytes fit on the disk");
        }
        Self(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
