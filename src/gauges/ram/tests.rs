//! Tests of the control-group arithmetic over folders built here.

use super::*;
use crate::gauges::testing::Root;

const MACHINE: Ram = Ram { used: 10 << 30, total: 64 << 30, limit: RamLimit::Machine };

#[test]
fn the_lowest_ancestor_limit_of_v2_wins_and_cache_is_not_used_memory() {
    let root = Root::new(
        "ram-v2",
        "",
        &[
            ("proc/self/cgroup", "0::/job.slice/step_0\n"),
            ("sys/fs/cgroup/job.slice/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/job.slice/memory.current", "4294967296\n"),
            ("sys/fs/cgroup/job.slice/memory.stat", "anon 1\ninactive_file 1073741824\n"),
            ("sys/fs/cgroup/job.slice/step_0/memory.max", "max\n"),
            ("sys/fs/cgroup/job.slice/step_0/memory.current", "1\n"),
        ],
    );
    let ram = tightest(MACHINE, &groups(&root.0));
    assert_eq!(ram, Ram { used: 3 << 30, total: 8 << 30, limit: RamLimit::Group });
    assert_eq!(ram.free(), 5 << 30);
}

#[test]
fn a_v1_container_reads_its_mount_when_its_path_is_not_there() {
    let root = Root::new(
        "ram-v1",
        "",
        &[
            ("proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 536870912\n"),
        ],
    );
    let ram = tightest(MACHINE, &groups(&root.0));
    assert_eq!(ram, Ram { used: 512 << 20, total: 2 << 30, limit: RamLimit::Group });
}

#[test]
fn no_limit_means_the_machine() {
    // What v1 writes for "no limit": the largest page-aligned i64.
    let root = Root::new(
        "ram-none",
        "",
        &[
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"),
        ],
    );
    assert_eq!(tightest(MACHINE, &groups(&root.0)), MACHINE);
    assert_eq!(tightest(MACHINE, &groups(Path::new("/nonexistent"))), MACHINE);
}

#[test]
fn a_group_path_that_leaves_the_mount_is_not_followed() {
    let root = Root::new(
        "ram-dots",
        "",
        &[
            ("proc/self/cgroup", "0::/../../outside\n"),
            ("sys/outside/memory.max", "5\n"),
            ("sys/outside/memory.current", "1\n"),
        ],
    );
    assert_eq!(groups(&root.0), []);
}

#[test]
fn a_full_machine_leaves_the_group_less_than_its_limit() {
    let machine = Ram { used: 63 << 30, total: 64 << 30, limit: RamLimit::Machine };
    let ram = tightest(machine, &[(1 << 30, 8 << 30)]);
    assert_eq!(ram.free(), 1 << 30);
}
