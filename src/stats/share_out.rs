//! Sharing out: pieces of work of different sizes among threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checkpoint::joined;

/// Does `one` for each place, the largest first, so that all threads end at about the same time: with the place and how
/// many threads it may use. One so large that a thread alone would be the last is done by all of them before.
pub(super) fn share_out(sizes: &[u64], threads: usize, wide_min: u64, one: &(dyn Fn(usize, usize) + Sync)) {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(sizes[at]));
    let threads = threads.max(1);
    // With all others a fourth as large as a thread's share, none of them can be last for long.
    let share = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size)) / threads as u64 / 4;
    let wide = order.partition_point(|&at| sizes[at] > share.max(wide_min));
    order[..wide].iter().for_each(|&at| one(at, threads));
    let (rest, next) = (&order[wide..], AtomicUsize::new(0));
    let work = || {
        while let Some(&at) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
            one(at, 1);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(rest.len())).map(|_| scope.spawn(work)).collect();
        work();
        others.into_iter().for_each(joined);
    });
}
