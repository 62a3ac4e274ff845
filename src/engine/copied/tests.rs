//! Tests of `copied`.

use super::*;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test builds its own input")]
fn any_range_is_copied_to_any_place() {
    let folder = std::env::temp_dir().join(format!("ckpt-range-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (one, two) = (folder.join("one"), folder.join("two"));
    let content: Vec<u8> = (0..50_000u32).map(|at| (at * 7 % 251) as u8).collect();
    std::fs::write(&one, &content).unwrap();
    let from = File::open(&one).unwrap();
    for (start, end, at) in [(0, 50_000, 0), (5, 4096, 11), (4096, 8192, 0), (4000, 30_001, 4000), (9, 9, 3)]
    {
        let to = File::options().create(true).write(true).read(true).truncate(true).open(&two).unwrap();
        let progress = Progress::default();
        range((&from, &one), start..end, (&to, &two), at, &progress).unwrap();
        let is = std::fs::read(&two).unwrap();
        let wanted = &content[start as usize..end as usize];
        assert_eq!(is.get(at as usize..).unwrap_or_default(), wanted, "{start}..{end} at {at}");
        assert_eq!(progress.written.load(Ordering::Relaxed), end - start);
    }
    let to = File::create(&two).unwrap();
    let shorter = range((&from, &one), 49_000..51_000, (&to, &two), 0, &Progress::default());
    assert!(shorter.unwrap_err().message.contains("shorter"));
    let progress = Progress::default();
    progress.cancel.store(true, Ordering::Relaxed);
    assert!(range((&from, &one), 0..10, (&to, &two), 0, &progress).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
