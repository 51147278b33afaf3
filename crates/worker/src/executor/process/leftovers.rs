//! Finds processes by the mark that every attempt of a worker carries in its environment, and kills them.
//!
//! Process groups are enough while the worker lives and nobody leaves them. The mark is for the rest: a process that
//! called `setsid`, one started in the instant the worker died, and those of a worker that was killed together with its
//! guardian. Reading `/proc/*/environ` costs some 10 µs a process, so it happens when a lease lapses, when a worker
//! dies and when one starts, never per attempt.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// The environment variable that holds the mark.
pub(super) const TAG_KEY: &str = "MUSTER_WORKER_TAG";

/// Rounds of looking and killing, since a process may fork between the two.
const ROUNDS_MAX: usize = 20;

/// The mark of the worker over `data_dir`: drawn once, kept in a file, so that the next worker over the same folder
/// knows it.
pub(super) fn tag_of(data_dir: &Path) -> io::Result<std::sync::Arc<str>> {
    let path = data_dir.join("worker-tag");
    let is_tag = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match fs::read_to_string(&path) {
        Ok(text) if is_tag(text.trim()) => Ok(text.trim().into()),
        Ok(_) | Err(_) => {
            let tag = format!("{:032x}", rand::random::<u128>());
            fs::write(&path, &tag)?;
            Ok(tag.into())
        }
    }
}

/// Kills every process that carries `tag`, until none is left. Returns how many were killed.
pub(super) fn kill_all(tag: &str) -> usize {
    let mark = format!("{TAG_KEY}={tag}").into_bytes();
    let own = std::process::id();
    let mut killed = 0;
    for _ in 0..ROUNDS_MAX {
        let found = marked(&mark, own);
        if found.is_empty() {
            break;
        }
        for pid in found {
            killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
        }
        std::thread::yield_now();
    }
    killed
}

/// A dead process that nobody reaped yet has an empty environment, so it is not among them.
fn marked(mark: &[u8], own: u32) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|number| i64::from(*number) != i64::from(own) && carries(*number, mark))
        .filter_map(Pid::from_raw)
        .collect()
}

fn carries(number: i32, mark: &[u8]) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{number}/environ")) else { return false };
    environ.split(|byte| *byte == 0).any(|variable| variable == mark)
}
