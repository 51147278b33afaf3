//! What this machine can offer: cores and memory, as far as control groups allow them.
//!
//! A worker in a container sees the whole machine in `/proc`, so the limits of its control group, and of every group
//! above it, are read too: version 2, version 1, or none.

use std::fs;
use std::path::{Path, PathBuf};

use muster_core::spec::Resources;

/// Detects cpu and memory of this machine. Custom quantities cannot be detected.
pub fn detect() -> Resources {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    detect_under(Path::new("/"), cores)
}

fn detect_under(root: &Path, cores: u64) -> Resources {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = root.join("sys/fs/cgroup");
    let mut resources =
        Resources { cpu_millis: cores * 1000, memory_bytes: memory_total(root), ..Resources::ZERO };
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            // In a hybrid set-up version 2 is mounted beside the controllers of version 1.
            for mount in [mounts.clone(), mounts.join("unified")] {
                walk_up(&mount, group, |dir| narrow_v2(dir, &mut resources));
            }
        }
        for controller in controllers.split(',') {
            match controller {
                "cpu" => {
                    walk_up(&mounts.join("cpu"), group, |dir| narrow_cpu_v1(dir, &mut resources))
                }
                "memory" => walk_up(&mounts.join("memory"), group, |dir| {
                    narrow_memory_v1(dir, &mut resources)
                }),
                _ => {}
            }
        }
    }
    resources
}

fn memory_total(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// Visits the folder of `group` and all above it, up to the mount. In a container the group's own path may not exist
/// below the mount; the mount itself is then the container's group.
fn walk_up(mount: &Path, group: &str, mut visit: impl FnMut(&Path)) {
    let mut dir: PathBuf = mount.join(group.trim_start_matches('/'));
    while dir.starts_with(mount) {
        visit(&dir);
        if !dir.pop() {
            break;
        }
    }
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
}

fn narrow_v2(dir: &Path, resources: &mut Resources) {
    if let Ok(text) = fs::read_to_string(dir.join("cpu.max")) {
        let mut words = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        if let (Some(Some(quota)), Some(Some(period))) = (words.next(), words.next()) {
            narrow_cpu(quota, period, resources);
        }
    }
    if let Some(bytes) = number(dir, "memory.max") {
        resources.memory_bytes = resources.memory_bytes.min(bytes);
    }
}

fn narrow_cpu_v1(dir: &Path, resources: &mut Resources) {
    // The quota is -1, which is no u64, where there is none.
    if let (Some(quota), Some(period)) =
        (number(dir, "cpu.cfs_quota_us"), number(dir, "cpu.cfs_period_us"))
    {
        narrow_cpu(quota, period, resources);
    }
}

fn narrow_memory_v1(dir: &Path, resources: &mut Resources) {
    // "No limit" is a number beyond any memory.
    if let Some(bytes) = number(dir, "memory.limit_in_bytes") {
        resources.memory_bytes = resources.memory_bytes.min(bytes);
    }
}

fn narrow_cpu(quota: u64, period: u64, resources: &mut Resources) {
    if let Some(millis) = quota.saturating_mul(1000).checked_div(period) {
        resources.cpu_millis = resources.cpu_millis.min(millis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:       8388608 kB\n");
        for (name, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn seen(files: &[(&str, &str)]) -> (u64, u64) {
        let root = machine(files);
        let resources = detect_under(root.path(), 4);
        (resources.cpu_millis, resources.memory_bytes)
    }

    #[test]
    fn without_control_groups_it_is_the_machine() {
        assert_eq!(seen(&[]), (4000, 8 << 30));
    }

    #[test]
    fn version_2_takes_the_narrowest_of_all_levels() {
        let files = [
            ("proc/self/cgroup", "0::/pods/worker\n"),
            ("sys/fs/cgroup/pods/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pods/worker/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pods/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/worker/memory.max", "1073741824\n"),
        ];
        assert_eq!(seen(&files), (1500, 1 << 30));
    }

    #[test]
    fn version_2_seen_from_inside_a_container() {
        let files =
            [("proc/self/cgroup", "0::/../worker\n"), ("sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(seen(&files), (500, 8 << 30));
    }

    #[test]
    fn version_1_has_a_controller_a_line() {
        let files = [
            ("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(seen(&files), (2500, 2 << 30));
    }

    #[test]
    fn this_machine_offers_something() {
        let resources = detect();
        assert!(resources.cpu_millis > 0 && resources.memory_bytes > 0);
    }
}
