//! Building the tree of names: components interned, ranked and sorted on a few threads, then merged.
//!
//! Each thread takes a share of the headers' entries and splits its names into ids of its own labels. The
//! labels of all shares are ranked together; each thread sorts its share by ranks, and one merge of the
//! sorted shares lays the nodes down in preorder.

use std::cmp::Ordering;
use std::thread::{ScopedJoinHandle, scope};

use rustc_hash::FxHashMap;

use super::{DEPTH_MAX, NONE, Names, NodeId, Origin};
use crate::checkpoint::joined;
use crate::container::Header;
use crate::name::natural_cmp;

/// Names that are worth a thread of their own.
const SHARE_MIN: usize = 16_384;
/// Most shares: the merge looks at the head of each.
const SHARES_MAX: usize = 8;

impl Names {
    /// Builds the tree of all names of `headers`, and returns it with the tensors in natural order.
    /// Equal names share a node and stay neighbors, in shard order.
    #[must_use]
    pub fn build(headers: &[Header]) -> (Self, Vec<Origin>) {
        let parts = divide(headers);
        let mut shares: Vec<Share<'_>> = each(parts, |part| Share::of(headers, part));
        let labels = rank(&mut shares);
        // Ranks count from 1.
        let bits = (usize::BITS - labels.len().leading_zeros()).max(1);
        let shares: Vec<Share<'_>> = each(shares, |mut share| {
            share.sort(bits);
            share
        });
        Self::merge(&labels, &shares)
    }

    /// Lays down the nodes of all names, in the order of the sorted shares.
    fn merge(labels: &[&str], shares: &[Share<'_>]) -> (Self, Vec<Origin>) {
        let mut names = Self::with_labels(labels);
        let count = shares.iter().map(|share| share.origins.len()).sum();
        let mut origins: Vec<Origin> = Vec::with_capacity(count);
        let mut path: Vec<NodeId> = Vec::with_capacity(DEPTH_MAX);
        let mut previous: &[u32] = &[];
        let mut heads = vec![0; shares.len()];
        for tensor in 0..count as u32 {
            let Some(least) = least(shares, &heads) else { break };
            let share = &shares[least];
            let name = share.sorted[heads[least]].name;
            heads[least] += 1;
            let key = share.key(name);
            let common = key.iter().zip(previous).take_while(|(a, b)| a == b).count();
            names.close(&mut path, common);
            for &label in &key[common..] {
                let node = names.push(label, path.last().copied().unwrap_or(NONE), path.len());
                path.push(node);
            }
            let node = path.last().copied().unwrap_or(NONE);
            if let Some(first) = names.first_tensor.get_mut(node as usize)
                && *first == NONE
            {
                *first = tensor;
            }
            let (shard, entry) = share.origins[name as usize];
            origins.push(Origin { shard, entry, node });
            previous = key;
        }
        names.close(&mut path, 0);
        for vector in [&mut names.label, &mut names.parent, &mut names.end, &mut names.first_tensor] {
            vector.shrink_to_fit();
        }
        names.depth.shrink_to_fit();
        (names, origins)
    }

    fn with_labels(labels: &[&str]) -> Self {
        let mut names = Self { label_starts: Vec::with_capacity(labels.len() + 1), ..Self::default() };
        names.label_starts.push(0);
        for label in labels {
            names.text.push_str(label);
            names.label_starts.push(names.text.len() as u32);
        }
        names.has_joined = names.text.contains('.');
        names
    }

    fn push(&mut self, label: u32, parent: NodeId, depth: usize) -> NodeId {
        let node = self.label.len() as u32;
        self.label.push(label);
        self.parent.push(parent);
        self.end.push(NONE);
        self.first_tensor.push(NONE);
        self.depth.push(depth as u8);
        node
    }

    fn close(&mut self, path: &mut Vec<NodeId>, keep: usize) {
        let next = self.label.len() as u32;
        for node in path.drain(keep..) {
            self.end[node as usize] = next;
        }
    }
}

/// Returns the share whose next name comes first; of equal names the one of the earlier shard.
fn least(shares: &[Share<'_>], heads: &[usize]) -> Option<usize> {
    let mut least: Option<(usize, &Packed)> = None;
    for (at, share) in shares.iter().enumerate() {
        let Some(head) = share.sorted.get(heads[at]) else { continue };
        least = match least {
            Some((known, first)) if shares[known].compare(first, share, head) != Ordering::Greater => least,
            _ => Some((at, head)),
        };
    }
    least.map(|(at, _)| at)
}

/// Runs `f` on each item, on a thread of its own if there are several. Order stays.
fn each<I: Send, O: Send>(items: Vec<I>, f: impl Fn(I) -> O + Sync) -> Vec<O> {
    let f = &f;
    scope(|scope| {
        let mut items = items.into_iter();
        let Some(first) = items.next() else { return Vec::new() };
        let threads: Vec<ScopedJoinHandle<'_, O>> = items.map(|item| scope.spawn(move || f(item))).collect();
        let mut all = vec![f(first)];
        all.extend(threads.into_iter().map(joined));
        all
    })
}

/// Entries of neighboring headers: header, first entry, entry after the last.
type Slice = (usize, usize, usize);

/// Divides the entries of all headers into shares of about one size, in order.
fn divide(headers: &[Header]) -> Vec<Vec<Slice>> {
    let count: usize = headers.iter().map(|header| header.entries().len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(SHARES_MAX);
    let size = count.div_ceil(cores).max(SHARE_MIN);
    let mut parts = vec![Vec::new()];
    let mut room = size;
    for (header, entries) in headers.iter().map(Header::entries).enumerate() {
        let mut from = 0;
        while from < entries.len() {
            if room == 0 {
                parts.push(Vec::new());
                room = size;
            }
            let to = entries.len().min(from + room);
            if let Some(part) = parts.last_mut() {
                part.push((header, from, to));
            }
            room -= to - from;
            from = to;
        }
    }
    parts
}

/// Some of the names, as sequences of label ids.
#[derive(Default)]
struct Share<'a> {
    /// The distinct labels; after ranking, `rank` holds the rank of each among those of all shares.
    labels: Vec<&'a str>,
    rank: Vec<u32>,
    /// Ids of all names, one name after another; ranks once sorted.
    ids: Vec<u32>,
    starts: Vec<u32>,
    /// Header and entry of each name.
    origins: Vec<(u32, u32)>,
    sorted: Vec<Packed>,
}

/// A name to sort: its first ranks in 128 bits, so that most comparisons look no further.
#[derive(Clone, Copy)]
struct Packed {
    high: u64,
    low: u64,
    name: u32,
    /// True if the 128 bits are not the whole name.
    is_cut: bool,
}

impl<'a> Share<'a> {
    fn of(headers: &'a [Header], slices: Vec<Slice>) -> Self {
        let count: usize = slices.iter().map(|(_, from, to)| to - from).sum();
        let mut share = Share {
            ids: Vec::with_capacity(count * 8),
            starts: Vec::with_capacity(count + 1),
            origins: Vec::with_capacity(count),
            ..Share::default()
        };
        let mut known: FxHashMap<&str, u32> = FxHashMap::default();
        for (shard, from, to) in slices {
            let header = &headers[shard];
            let mut previous: &str = "";
            for (index, entry) in header.entries()[from..to].iter().enumerate() {
                let name = header.name(entry);
                share.starts.push(share.ids.len() as u32);
                share.origins.push((shard as u32, (from + index) as u32));
                for label in share.reuse(previous, name) {
                    let id = *known.entry(label).or_insert_with(|| {
                        share.labels.push(label);
                        share.labels.len() as u32 - 1
                    });
                    share.ids.push(id);
                }
                previous = name;
            }
        }
        share.starts.push(share.ids.len() as u32);
        share.order_labels();
        share
    }

    /// Copies the ids of the components that `name` shares with the name before it, and returns the
    /// components that are left. Neighbors in a file share most of their path.
    fn reuse(&mut self, previous: &str, name: &'a str) -> std::str::SplitN<'a, char> {
        let same = previous.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        // Whole components only: up to the last dot inside the shared part.
        let cut = name.as_bytes()[..same].iter().rposition(|&b| b == b'.').map_or(0, |dot| dot + 1);
        let shared = name.as_bytes()[..cut].iter().filter(|&&b| b == b'.').count();
        // Deep names join their tail: split those from the start, so that the rule is in one place.
        if cut == 0 || self.starts.len() < 2 || shared + 1 >= DEPTH_MAX {
            return name.splitn(DEPTH_MAX, '.');
        }
        let before = self.starts[self.starts.len() - 2] as usize;
        self.ids.extend_from_within(before..before + shared);
        name[cut..].splitn(DEPTH_MAX - shared, '.')
    }

    /// Brings the labels into natural order; `rank` holds the place of each id among them.
    fn order_labels(&mut self) {
        let mut order: Vec<u32> = (0..self.labels.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| natural_cmp(self.labels[a as usize], self.labels[b as usize]));
        self.rank = vec![0; order.len()];
        for (place, &id) in order.iter().enumerate() {
            self.rank[id as usize] = place as u32;
        }
        self.labels = order.iter().map(|&id| self.labels[id as usize]).collect();
    }

    /// Turns ids into ranks, of `bits` bits or less, and sorts the names by them.
    fn sort(&mut self, bits: u32) {
        for id in &mut self.ids {
            *id = self.rank[*id as usize];
        }
        let mut sorted: Vec<Packed> =
            (0..self.origins.len() as u32).map(|name| self.pack(name, bits)).collect();
        sorted.sort_by(|a, b| self.compare(a, self, b));
        self.sorted = sorted;
    }

    fn pack(&self, name: u32, bits: u32) -> Packed {
        let key = self.key(name);
        let fit = (u128::BITS / bits) as usize;
        // Ranks count from 1: where a name has ended, 0 comes before all others.
        let places = key.iter().map(|&rank| rank + 1).chain(std::iter::repeat(0)).take(fit);
        let packed = places.fold(0u128, |packed, place| packed << bits | u128::from(place));
        Packed { high: (packed >> 64) as u64, low: packed as u64, name, is_cut: key.len() > fit }
    }

    /// Compares a name of this share with one of another (or this) by their labels.
    fn compare(&self, own: &Packed, other: &Self, its: &Packed) -> Ordering {
        (own.high, own.low).cmp(&(its.high, its.low)).then_with(|| {
            if own.is_cut || its.is_cut {
                self.key(own.name).cmp(other.key(its.name))
            } else {
                Ordering::Equal
            }
        })
    }

    fn key(&self, name: u32) -> &[u32] {
        &self.ids[self.starts[name as usize] as usize..self.starts[name as usize + 1] as usize]
    }
}

/// Ranks the labels of all shares together, and returns each distinct one once, in natural order.
fn rank<'a>(shares: &mut [Share<'a>]) -> Vec<&'a str> {
    if let [only] = shares {
        return std::mem::take(&mut only.labels);
    }
    let mut labels: Vec<&str> =
        Vec::with_capacity(shares.iter().map(|share| share.labels.len()).max().unwrap_or(0));
    // Rank of each label of each share, by its place there.
    let mut ranks: Vec<Vec<u32>> =
        shares.iter().map(|share| Vec::with_capacity(share.labels.len())).collect();
    let head = |share: &Share<'a>, ranks: &Vec<u32>| share.labels.get(ranks.len()).copied();
    while let Some(least) = shares
        .iter()
        .zip(&ranks)
        .filter_map(|(share, ranks)| head(share, ranks))
        .min_by(|a, b| natural_cmp(a, b))
    {
        for (share, ranks) in shares.iter().zip(&mut ranks) {
            if head(share, ranks) == Some(least) {
                ranks.push(labels.len() as u32);
            }
        }
        labels.push(least);
    }
    for (share, ranks) in shares.iter_mut().zip(ranks) {
        for place in &mut share.rank {
            *place = ranks[*place as usize];
        }
    }
    labels
}
