//! Headers of all weight files of one checkpoint, read on a few threads.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::files::{SHARDS_MAX, Shard};
use super::{Progress, joined};
use crate::container::bytes::SourceFile;
use crate::container::{CONTAINERS, Container, Header, SNIFF_BYTES, explain_foreign};
use crate::problem::{Problem, kind};

/// Threads that read headers. They wait for the disk more than they compute: more than the cores.
const HEADER_THREADS: usize = 8;

/// Bytes of each file that are asked for at once: nearly all headers are shorter.
const HEAD_BYTES: u64 = 64 << 10;

/// What reading the headers gave.
pub(super) struct Read {
    pub(super) shards: Vec<Shard>,
    pub(super) headers: Vec<Header>,
    pub(super) kinds: Vec<&'static dyn Container>,
    pub(super) problems: Vec<Problem>,
}

impl Read {
    /// Returns the kind that the files really have: by name, unless their content says otherwise.
    pub(super) fn container(&self, by_name: &'static dyn Container) -> &'static dyn Container {
        let readable = self.shards.iter().zip(&self.headers).zip(&self.kinds);
        readable
            .filter(|((_, header), _)| !header.unreadable)
            .map(|(_, kind)| *kind)
            .next()
            .unwrap_or(by_name)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Shard) -> bool) {
        let mask: Vec<bool> = self.shards.iter().map(&keep).collect();
        let mut at = mask.iter();
        self.shards.retain(|_| at.next().copied().unwrap_or(true));
        let mut at = mask.iter();
        self.headers.retain(|_| at.next().copied().unwrap_or(true));
        let mut at = mask.iter();
        self.kinds.retain(|_| at.next().copied().unwrap_or(true));
    }
}

/// Reads the headers of all weight files, on a few threads.
pub(super) fn read_headers(
    home: &Path,
    names: &[String],
    by_name: &'static dyn Container,
    progress: &Progress,
) -> Read {
    let mut problems = Vec::new();
    if names.len() > SHARDS_MAX {
        problems.push(Problem::new(
            &kind::OVER_LIMIT,
            format!("{} weight files, the first {SHARDS_MAX} are opened", names.len()),
        ));
    }
    let names = &names[..names.len().min(SHARDS_MAX)];
    progress.total.store(names.len(), Ordering::Relaxed);
    let next = AtomicUsize::new(0);
    let mut found: Vec<(usize, Shard, Header, &'static dyn Container)> = std::thread::scope(|scope| {
        let worker = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = names.get(at) else { return mine };
                let (shard, header, container) = read_header(home, name, by_name);
                progress.done.fetch_add(1, Ordering::Relaxed);
                mine.push((at, shard, header, container));
            }
        };
        let threads: Vec<_> = (1..HEADER_THREADS.min(names.len())).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        for thread in threads {
            all.extend(joined(thread));
        }
        all
    });
    found.sort_by_key(|(at, ..)| *at);
    let mut read = Read { shards: Vec::new(), headers: Vec::new(), kinds: Vec::new(), problems };
    for (_, shard, mut header, container) in found {
        read.problems.append(&mut header.problems);
        read.shards.push(shard);
        read.headers.push(header);
        read.kinds.push(container);
    }
    read
}

/// Reads one header: by the content's own kind where it shows, else by what the name promises.
fn read_header(
    home: &Path,
    name: &str,
    by_name: &'static dyn Container,
) -> (Shard, Header, &'static dyn Container) {
    let path = home.join(name);
    let mut shard = Shard {
        name: name.to_owned(),
        path: path.clone(),
        bytes: 0,
        tensors: 0,
        metadata: Vec::new(),
        unreadable: false,
    };
    let failed =
        |message: String| Header::unreadable(Problem::new(&kind::UNREADABLE_FILE, message).file(name));
    let file = match SourceFile::open(&path, name) {
        Ok(file) => file,
        Err(error) => return (shard, failed(error.message), by_name),
    };
    shard.bytes = file.len();
    file.expect(0, HEAD_BYTES);
    let head = match file.head(SNIFF_BYTES) {
        Ok(head) => head,
        Err(error) => return (shard, failed(error.message), by_name),
    };
    // The promised kind first: a safetensors header is told by a plausible length alone.
    let by_content = || CONTAINERS.iter().find(|c| c.sniff(&head)).copied();
    let container = if by_name.sniff(&head) { Some(by_name) } else { by_content() };
    let foreign = explain_foreign(&file, &head);
    if container.is_none() && foreign.kind != &kind::NOT_A_CONTAINER {
        return (shard, Header::unreadable(foreign), by_name);
    }
    let container = container.unwrap_or(by_name);
    let mut header = container.read_header(&file);
    if container.name() != by_name.name() {
        let message =
            format!("{name}: a {} file by its content, {} by its name", container.name(), by_name.name());
        header.problems.push(Problem::new(&kind::ODD_HEADER, message).file(name));
    }
    (shard, header, container)
}
