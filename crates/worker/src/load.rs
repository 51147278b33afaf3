//! How busy the machine is, read from `/proc` at every heartbeat: five small files, no state beyond the last counters.
//!
//! Load never enters the log; the planner may prefer an idle worker by it, nothing more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A live reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Thousandths of a core that were busy since the last reading; 0 at the first. Over all cores, so four busy cores
    /// are 4000.
    pub cpu_busy_millis: u64,
    /// Bytes of memory not available for new work.
    pub memory_used_bytes: u64,
    /// Bytes of memory the machine has.
    pub memory_total_bytes: u64,
    /// Threads running or waiting for a core at this moment.
    pub run_queue: u64,
    /// Load average over one minute, in thousandths.
    pub load_average_millis: u64,
    /// Bytes a second received since the last reading, without loopback.
    pub network_received_bytes_per_s: u64,
    /// Bytes a second sent since the last reading, without loopback.
    pub network_sent_bytes_per_s: u64,
}

/// Reads the load.
#[derive(Clone, Debug)]
pub struct LoadMeter {
    proc_dir: PathBuf,
    cores: u64,
    last: Option<(Duration, Counters)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    busy_ticks: u64,
    total_ticks: u64,
    cores: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Default for LoadMeter {
    fn default() -> Self {
        LoadMeter::new()
    }
}

impl LoadMeter {
    /// A meter over this machine.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        LoadMeter::over(Path::new("/proc"), cores)
    }

    /// A meter over a folder that looks like the `/proc` of a machine with `cores` cores. One that is not there looks
    /// like a machine that is never busy.
    pub fn over(proc_dir: &Path, cores: u64) -> Self {
        LoadMeter { proc_dir: proc_dir.to_owned(), cores, last: None }
    }

    /// How many cores this process may use.
    pub fn cores(&self) -> u64 {
        self.cores
    }

    /// The load at `now`. What cannot be read is 0.
    pub fn read(&mut self, now: Duration) -> Load {
        let mut load = Load::default();
        let mut counters = Counters::default();
        parse_stat(&self.file("stat"), &mut counters, &mut load);
        parse_network(&self.file("net/dev"), &mut counters);
        parse_memory(&self.file("meminfo"), &mut load);
        load.load_average_millis = parse_load_average(&self.file("loadavg"));
        if let Some((then, last)) = self.last {
            add_rates(&mut load, last, counters, now.saturating_sub(then));
        }
        self.last = Some((now, counters));
        load
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.proc_dir.join(name)).unwrap_or_default()
    }
}

fn add_rates(load: &mut Load, last: Counters, counters: Counters, span: Duration) {
    let total = counters.total_ticks.saturating_sub(last.total_ticks);
    let busy = counters.busy_ticks.saturating_sub(last.busy_ticks).min(total);
    load.cpu_busy_millis = (busy * 1000 * counters.cores).checked_div(total).unwrap_or(0);
    let per_second = |bytes: u64| {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        bytes.saturating_mul(1000).checked_div(millis).unwrap_or(0)
    };
    load.network_received_bytes_per_s =
        per_second(counters.received_bytes.saturating_sub(last.received_bytes));
    load.network_sent_bytes_per_s = per_second(counters.sent_bytes.saturating_sub(last.sent_bytes));
}

/// `cpu user nice system idle iowait irq softirq steal …`; guest time is within user time already.
fn parse_stat(text: &str, counters: &mut Counters, load: &mut Load) {
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("cpu ") {
            let ticks: Vec<u64> =
                rest.split_whitespace().take(8).map(|word| word.parse().unwrap_or(0)).collect();
            counters.total_ticks = ticks.iter().sum();
            let idle: u64 = ticks.iter().skip(3).take(2).sum();
            counters.busy_ticks = counters.total_ticks - idle;
        } else if line.starts_with("cpu") {
            counters.cores += 1;
        } else if let Some(rest) = line.strip_prefix("procs_running ") {
            load.run_queue = rest.trim().parse().unwrap_or(0);
        }
    }
}

fn parse_network(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> =
            rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        counters.received_bytes += numbers.first().copied().unwrap_or(0);
        counters.sent_bytes += numbers.get(8).copied().unwrap_or(0);
    }
}

fn parse_memory(text: &str, load: &mut Load) {
    let bytes_of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    load.memory_total_bytes = bytes_of("MemTotal").unwrap_or(0);
    let available = bytes_of("MemAvailable").or_else(|| bytes_of("MemFree")).unwrap_or(0);
    load.memory_used_bytes = load.memory_total_bytes.saturating_sub(available);
}

fn parse_load_average(text: &str) -> u64 {
    let Some((whole, part)) = text.split_whitespace().next().and_then(|word| word.split_once('.'))
    else {
        return 0;
    };
    // Two digits behind the point.
    whole.parse::<u64>().unwrap_or(0) * 1000 + part.parse::<u64>().unwrap_or(0) * 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        fs::create_dir_all(dir.join("net")).unwrap();
        fs::write(dir.join(name), text).unwrap();
    }

    fn network(received: u64, sent: u64) -> String {
        format!(
            "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  \
             eth0: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n"
        )
    }

    #[test]
    fn rates_are_between_two_readings() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "stat",
            "cpu 100 0 100 800 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nprocs_running 3\n",
        );
        write(dir.path(), "meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\n");
        write(dir.path(), "loadavg", "1.25 0.5 0.1 1/80 7\n");
        write(dir.path(), "net/dev", &network(1000, 500));
        let mut meter = LoadMeter::over(dir.path(), 2);
        let first = meter.read(Duration::from_secs(10));
        assert_eq!(
            (first.cpu_busy_millis, first.run_queue, first.load_average_millis),
            (0, 3, 1250)
        );
        assert_eq!((first.memory_total_bytes, first.memory_used_bytes), (1_024_000, 409_600));

        write(
            dir.path(),
            "stat",
            "cpu 250 0 100 850 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nprocs_running 1\n",
        );
        write(dir.path(), "net/dev", &network(5000, 1500));
        let second = meter.read(Duration::from_secs(12));
        assert_eq!(second.cpu_busy_millis, 1500, "150 of 200 ticks on two cores");
        assert_eq!(
            (second.network_received_bytes_per_s, second.network_sent_bytes_per_s),
            (2000, 500)
        );
    }

    #[test]
    fn nothing_readable_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = LoadMeter::over(dir.path(), 2);
        meter.read(Duration::ZERO);
        assert_eq!(meter.read(Duration::from_secs(1)), Load::default());
    }

    #[test]
    fn this_machine_has_memory() {
        let load = LoadMeter::new().read(Duration::from_secs(1));
        assert!(load.memory_total_bytes > 0 && load.memory_used_bytes < load.memory_total_bytes);
    }
}
