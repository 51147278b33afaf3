//! Power cuts under the real stores.
//!
//! ```text
//!  round:  child ── writes under the failing disk, and says on its standard output what is durable ──► cut
//!          parent ── copies the folder, opens the copy on the sound disk, compares with what was said
//! ```
//!
//! The next round's child opens the folder itself, so that recoveries build on each other and are cut as well. What a
//! child does follows from the round's seed; the parent works out the same.

pub mod damage;
pub mod history;
pub mod journal;
pub mod log;
pub mod member;
pub mod rounds;
pub mod store;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a child may take to come to its cut, on a busy machine.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// Exit code of a process whose power the failing disk cut.
pub const EXIT_CUT: i32 = 99;

/// The failing disk, built once.
///
/// # Panics
/// If it cannot be built.
pub fn failing_disk() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "muster-faultdisk"])
            .current_dir(&root)
            .status()
            .expect("cargo starts");
        assert!(built.success(), "`cargo build --package muster-faultdisk` failed");
        // This test runs from <target>/debug/deps.
        let test = std::env::current_exe().expect("a test knows its path");
        let folder = test.parent().and_then(Path::parent).expect("it lies in deps");
        let library = folder.join("libmuster_faultdisk.so");
        assert!(library.exists(), "{} was not built", library.display());
        library
    })
}

/// How the disk under a child fails.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Everything random follows from it.
    pub seed: u64,
    /// Whether a random part of what was not synced survives.
    pub tears: bool,
    /// Before which step, from 1, the power is cut; None: when the control file says so.
    pub cut_at: Option<u64>,
    /// One in so many syncs only pretends.
    pub lie_one_in: Option<u64>,
}

/// What a child said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The lines of its standard output.
    pub lines: Vec<String>,
    /// Its standard error.
    pub errors: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// A folder with the disk's content, beside what belongs to the test.
#[derive(Debug)]
pub struct Bench {
    dir: tempfile::TempDir,
    /// The binary that drives the stores.
    driver: PathBuf,
}

impl Bench {
    /// A new, empty disk.
    ///
    /// # Panics
    /// If there is no temporary folder.
    pub fn new(driver: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("disk")).expect("it is new");
        Self { dir, driver: driver.into() }
    }

    /// The content of the disk.
    pub fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// A copy of the disk, to be looked at.
    ///
    /// # Errors
    /// The file system's.
    pub fn copy(&self) -> io::Result<PathBuf> {
        let copy = self.dir.path().join("copy");
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        copy_folder(&self.disk(), &copy)?;
        Ok(copy)
    }

    /// Runs `driver` with `args` until its power is cut: at the step of `failing`, or after a time.
    ///
    /// # Panics
    /// If the child cannot be started, or does not end.
    pub fn run(&self, args: &[String], failing: &Failing, cut_after: Option<Duration>) -> Said {
        let control = self.dir.path().join("control");
        let _ = fs::remove_file(&control);
        let mut command = Command::new(&self.driver);
        command
            .args(args)
            .env("LD_PRELOAD", failing_disk())
            .env("MUSTER_FAULTDISK_ROOT", self.disk())
            .env("MUSTER_FAULTDISK_CONTROL", &control)
            .env("MUSTER_FAULTDISK_SEED", failing.seed.to_string())
            .env("MUSTER_FAULTDISK_CUT", if failing.tears { "torn" } else { "clean" });
        if let Some(step) = failing.cut_at {
            command.env("MUSTER_FAULTDISK_CUT_AT", step.to_string());
        }
        if let Some(n) = failing.lie_one_in {
            command.env("MUSTER_FAULTDISK_LIE_ONE_IN", n.to_string());
        }
        let cut = move || {
            if let Some(span) = cut_after {
                std::thread::park_timeout(span);
                let new = control.with_extension("new");
                let written = fs::write(&new, "cut = now\n");
                written.and_then(|()| fs::rename(new, control)).expect("a control file");
            }
        };
        let cutter = std::thread::spawn(cut);
        let said = listen(command);
        cutter.join().expect("it does not panic");
        said
    }

    /// Runs `driver` with `args` on the sound disk.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_sound(&self, args: &[String]) -> Said {
        let mut command = Command::new(&self.driver);
        command.args(args);
        listen(command)
    }
}

fn listen(mut command: Command) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the driver starts");
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let lines = std::thread::spawn(move || {
        BufReader::new(output.expect("it is piped")).lines().map_while(Result::ok).collect()
    });
    let errors = std::thread::spawn(move || {
        io::read_to_string(errors.expect("it is piped")).unwrap_or_default()
    });
    let status = wait(&mut child);
    let lines = lines.join().expect("it does not panic");
    let errors = errors.join().expect("it does not panic");
    Said { lines, errors, status }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + ROUND_MAX;
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().expect("it is our child");
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// The file system's.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A record that tells whether it is whole: its number, and bytes that follow from the number, at most `bytes_max`.
pub fn record(number: u64, bytes_max: u64) -> Vec<u8> {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = number.wrapping_mul(MIX) % bytes_max.max(1);
    let mut record = number.to_be_bytes().to_vec();
    let pattern = (0..bytes).map(|at| (number.wrapping_add(at).wrapping_mul(MIX) >> 56) as u8);
    record.extend(pattern);
    record
}

/// The number of a record that [`record`] made.
pub fn number_of(bytes: &[u8], bytes_max: u64) -> Option<u64> {
    let number = u64::from_be_bytes(*bytes.first_chunk()?);
    (record(number, bytes_max) == bytes).then_some(number)
}
