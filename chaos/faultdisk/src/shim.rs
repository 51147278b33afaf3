//! The library's state in this process, and who may enter it.

use std::cell::Cell;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::raw;
use crate::settings::{Faults, Settings};

/// How often the control file is looked at.
const CONTROL_INTERVAL: Duration = Duration::from_millis(5);

/// By how much the wall clock is off, milliseconds.
static CLOCK_OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// The last offset of which it was said that the wall clock was read with it, milliseconds.
static OFFSET_SAID_MS: AtomicI64 = AtomicI64::new(0);

static SHIM: OnceLock<Option<Shim>> = OnceLock::new();

thread_local! {
    /// Set while this thread works for the library: its own calls go past the hooks.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Shim {
    /// A forked child is not followed.
    process_id: u32,
    settings: Settings,
    faults: Mutex<Faults>,
    disk: Mutex<Disk>,
}

/// A call that is being looked at: the only one, and its own calls go past the hooks.
pub(crate) struct Entered {
    disk: MutexGuard<'static, Disk>,
    _inside: Inside,
}

struct Inside;

impl Inside {
    fn new() -> Option<Self> {
        // Not `then_some`: a value made in vain would reset the flag when it is dropped.
        (!IS_INSIDE.replace(true)).then(|| Self)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IS_INSIDE.set(false);
    }
}

impl Deref for Entered {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.disk
    }
}

impl DerefMut for Entered {
    fn deref_mut(&mut self) -> &mut Disk {
        &mut self.disk
    }
}

/// Enters, unless the library is not switched on, or this is a call of its own.
pub(crate) fn enter() -> Option<Entered> {
    let inside = Inside::new()?;
    let shim = shim()?;
    Some(Entered { disk: lock(&shim.disk), _inside: inside })
}

/// The faults of the moment.
pub(crate) fn faults() -> Faults {
    SHIM.get().and_then(Option::as_ref).map(|shim| lock(&shim.faults).clone()).unwrap_or_default()
}

/// Waits for as long as a sync is to be held up. Nothing may be entered.
pub(crate) fn stall(duration: Duration) {
    let end = Instant::now() + duration;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// By how much the wall clock is off, milliseconds.
pub(crate) fn clock_offset_ms() -> i64 {
    CLOCK_OFFSET_MS.load(Ordering::Relaxed)
}

/// Whether nobody has read the wall clock with this offset yet. Asked by whoever does.
pub(crate) fn is_offset_new(offset_ms: i64) -> bool {
    OFFSET_SAID_MS.swap(offset_ms, Ordering::Relaxed) != offset_ms
}

/// Reads the environment, and follows the control file from now on.
pub(crate) fn start() {
    let Some(_inside) = Inside::new() else { return };
    let Some((shim, control)) =
        shim().and_then(|shim| Some((shim, shim.settings.control.as_ref()?)))
    else {
        return;
    };
    let follow = move || {
        raw::block_signals();
        IS_INSIDE.set(true);
        follow(shim, control);
    };
    let name = "faultdisk".to_owned();
    if std::thread::Builder::new().name(name).spawn(follow).is_err() {
        misuse("cannot start a thread");
    }
}

fn shim() -> Option<&'static Shim> {
    let shim = SHIM.get_or_init(|| {
        let settings = Settings::read(|name| std::env::var(name).ok());
        let settings = settings.unwrap_or_else(|problem| misuse(&problem))?;
        CLOCK_OFFSET_MS.store(settings.faults.clock_offset_ms, Ordering::Relaxed);
        Some(Shim {
            process_id: std::process::id(),
            faults: Mutex::new(settings.faults.clone()),
            disk: Mutex::new(Disk::new(&settings)),
            settings,
        })
    });
    shim.as_ref().filter(|shim| shim.process_id == std::process::id())
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    // Whoever panicked in here has ended the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn misuse(problem: &str) -> ! {
    raw::say(&format!("faultdisk: {problem}\n"));
    raw::exit(crate::EXIT_MISUSE)
}

fn follow(shim: &'static Shim, control: &Path) {
    let mut seen = None;
    loop {
        let now =
            fs::metadata(control).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.len()));
        if now != seen {
            seen = now;
            look_at(shim, control);
        }
        std::thread::park_timeout(CONTROL_INTERVAL);
    }
}

fn look_at(shim: &'static Shim, control: &Path) {
    let faults = match fs::read_to_string(control) {
        Ok(text) => Faults::parse(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(shim.settings.faults.clone())
        }
        Err(error) => Err(error.to_string()),
    };
    let faults = match faults {
        Ok(faults) => faults,
        Err(problem) => return raw::say(&format!("faultdisk: {}: {problem}\n", control.display())),
    };
    CLOCK_OFFSET_MS.store(faults.clock_offset_ms, Ordering::Relaxed);
    *lock(&shim.faults) = faults.clone();
    if (faults.cut || faults.cut_in.is_some()) && shim.settings.cut.is_none() {
        misuse("`cut` and `cut_in` need MUSTER_FAULTDISK_CUT");
    }
    if let Some(steps) = faults.cut_in {
        lock(&shim.disk).cut_in(steps);
    }
    if faults.cut {
        lock(&shim.disk).cut_power();
    }
}
