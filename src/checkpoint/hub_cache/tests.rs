//! Caches built in temporary folders: names, refs, revisions, and what is wrong with them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const ONE: &str = "1111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const TWO: &str = "1111bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A cache root in the system's temporary folder, gone when dropped.
struct Cache(PathBuf);

impl Cache {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ckpt-hub-{}-{id}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    #[expect(clippy::disallowed_methods, reason = "tests build their own inputs")]
    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A snapshot of one linked file of 5 bytes.
    fn snapshot(&self, repo: &str, commit: &str) -> &Self {
        self.file(&format!("{repo}/blobs/b{commit}"), "12345");
        let folder = self.0.join(repo).join("snapshots").join(commit);
        fs::create_dir_all(&folder).unwrap();
        let blob = format!("../../blobs/b{commit}");
        std::os::unix::fs::symlink(blob, folder.join("model.safetensors")).unwrap();
        self
    }

    fn resolve(&self, name: &str) -> std::result::Result<Snapshot, String> {
        resolve_in(std::slice::from_ref(&self.0), name, None).map_err(|e| e.message)
    }

    #[track_caller]
    fn finds(&self, name: &str, commit: &str, reference: Option<&str>) {
        let found = self.resolve(name).unwrap();
        assert_eq!((found.commit.as_str(), found.reference.as_deref()), (commit, reference), "{name}");
        assert!(found.path.join("model.safetensors").is_file());
    }

    #[track_caller]
    fn refuses(&self, name: &str, why: &str) {
        let message = self.resolve(name).unwrap_err();
        assert!(message.contains(why), "{message}");
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_name_finds_the_snapshot_of_main() {
    let cache = Cache::new();
    cache.snapshot("models--org--m", ONE).snapshot("models--org--m", TWO);
    cache.file("models--org--m/refs/main", &format!("{TWO}\n"));
    cache.snapshot("models--gpt2", ONE).file("models--gpt2/refs/main", ONE);
    cache.finds("org/m", TWO, Some("main"));
    cache.finds("gpt2", ONE, Some("main"));
}

#[test]
fn refs_and_commits_find_their_snapshot() {
    let cache = Cache::new();
    cache.snapshot("models--org--m", ONE).snapshot("models--org--m", TWO);
    cache.file("models--org--m/refs/refs/pr/1", ONE).file("models--org--m/refs/v1.0", TWO);
    cache.finds("org/m@refs/pr/1", ONE, Some("refs/pr/1"));
    cache.finds("org/m@pr/1", ONE, Some("pr/1"));
    cache.finds("org/m@v1.0", TWO, Some("v1.0"));
    cache.finds(&format!("org/m@{ONE}"), ONE, None);
    cache.finds("org/m@1111B", TWO, None);
    cache.refuses("org/m@1111", "2 commits start with 1111");
    cache.refuses("org/m@111", "revision `111` is not in");
    cache.refuses("org/m", "2 revisions and none is `main`; name one: org/m@1111aaaa, org/m@1111bbbb");
}

#[test]
fn the_only_snapshot_needs_no_ref() {
    let cache = Cache::new();
    cache.snapshot("models--org--m", ONE);
    cache.finds("org/m", ONE, None);
    cache.file("models--org--m/refs/main", TWO);
    cache.finds("org/m", ONE, None);
    cache.refuses("org/m@main", "main is commit 1111bbbb, whose files are not in");
}

#[test]
fn what_is_not_there_says_where_it_was_looked_for() {
    let cache = Cache::new();
    let message = cache.resolve("Qwen/X").unwrap_err();
    let root = cache.0.display();
    assert_eq!(message, format!("Qwen/X is not in the local cache ({root}); nothing is downloaded"));
    cache.file("models--org--m/blobs/x.incomplete", "");
    cache.refuses("org/m", "holds no snapshot");
}

#[test]
fn names_and_refs_lead_nowhere_else() {
    let cache = Cache::new();
    cache.snapshot("models--org--m", ONE);
    cache.file("models--org--m/refs/bad", "../../../../etc").file("secret", ONE);
    for name in ["../m", "a/../b", "/etc", "a//b", "a/b/c", "a--b", "-a", "a.", "x.git", "a b", "", "a/", "ä"]
    {
        cache.refuses(name, "not a name that the Hub allows");
    }
    cache.refuses(&"n".repeat(97), "not a name");
    for revision in ["..", "../../secret", "/etc/passwd", "", "a/../../../secret", "a\x1b"] {
        cache.refuses(&format!("org/m@{revision}"), "is not a revision");
    }
    cache.refuses("org/m@bad", "revision `bad` is not in");
}

#[test]
fn listing_tells_size_revisions_and_what_is_incomplete() {
    let cache = Cache::new();
    cache.snapshot("models--org--m10", ONE).snapshot("models--org--m10", TWO);
    cache.file("models--org--m10/refs/main", TWO);
    cache.file(&format!("models--org--m10/snapshots/{TWO}/original/params.json"), "{}");
    cache.snapshot("models--org--m2", ONE).file("models--org--m2/blobs/half.incomplete", "1");
    cache.file("models--org--m3/blobs/x.incomplete", "");
    cache.snapshot("datasets--org--d", ONE).file("version.txt", "1");
    let found = list_in(std::slice::from_ref(&cache.0));
    let rows: Vec<_> = found.iter().map(|r| (r.name.as_str(), r.revisions, r.incomplete, r.bytes)).collect();
    assert_eq!(rows, [("org/m2", 1, 1, 5), ("org/m3", 0, 1, 0), ("org/m10", 2, 0, 7)]);
    assert_eq!(found[2].snapshot.as_ref().unwrap().commit, TWO);
    assert!(found[1].snapshot.is_none() && found[2].modified.is_some());
}

#[test]
fn a_link_cycle_in_a_snapshot_ends() {
    let cache = Cache::new();
    cache.snapshot("models--org--m", ONE);
    let folder = cache.0.join("models--org--m/snapshots").join(ONE);
    std::os::unix::fs::symlink(".", folder.join("loop")).unwrap();
    assert_eq!(list_in(std::slice::from_ref(&cache.0))[0].bytes, 5);
}

#[test]
fn the_cache_lies_where_the_hub_library_puts_it() {
    let check = |set: &[(&str, &str)], want: &[&str]| {
        let get = |key: &str| set.iter().find(|(k, _)| *k == key).map(|(_, v)| OsString::from(v));
        assert_eq!(roots_from(&get), want.iter().map(PathBuf::from).collect::<Vec<_>>());
    };
    check(&[], &[]);
    check(&[("HOME", "/h"), ("HF_HUB_CACHE", "")], &["/h/.cache/huggingface/hub"]);
    check(&[("HOME", "/h"), ("HF_HOME", "~/hf")], &["/h/hf/hub", "/h/.cache/huggingface/hub"]);
    check(
        &[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new"), ("XDG_CACHE_HOME", "/x")],
        &["/new", "/old", "/x/huggingface/hub"],
    );
}
