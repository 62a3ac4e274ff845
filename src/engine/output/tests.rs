//! Tests of `output`.

use super::*;

#[test]
fn a_partial_folder_belongs_to_whoever_locks_it_first() {
    let folder = std::env::temp_dir().join(format!("ckpt-hold-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let lock = folder.join(LOCK);
    // A run that has made the folder and not yet its lock is one that writes there, or is refused itself.
    let first = hold(&folder, &lock).unwrap();
    let second = hold(&folder, &lock).unwrap_err();
    assert!(second.message.contains("another run is writing there"), "{}", second.message);
    let third = take_partial(&folder, "", false, &mut Vec::new()).map(|_| ()).unwrap_err();
    assert!(third.message.contains("another run is writing there"), "{}", third.message);
    assert!(lock.exists(), "what another run holds is not removed");
    drop(first);
    assert!(take_partial(&folder, "", false, &mut Vec::new()).is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(hold(&folder, &lock).is_err(), "the folder is gone");
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let folder = std::env::temp_dir().join(format!("ckpt-hold-link-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let lock = folder.join(LOCK);
    std::os::unix::fs::symlink(folder.join("elsewhere"), &lock).unwrap();
    assert!(hold(&folder, &lock).is_err());
    assert!(!folder.join("elsewhere").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
