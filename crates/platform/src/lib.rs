//! What a process asks of the machine it runs on: connections, clocks, files, and threads for work that blocks.
//!
//! ```text
//!   raft, master, worker, client ──► Platform ──► System: TCP, the kernel's clocks, threads
//!                                        └──────► a simulation: its own network, its own time, one thread
//!   raft ──────────────────────────► Disk ──────► Files: the operating system's
//!                                        └──────► a simulation: forgets, tears, stalls and fails
//! ```
//!
//! Whatever goes through here can be taken over by a simulation, so that whole clusters run in one thread, with faults
//! drawn from a seed, and the same seed gives the same run. That only holds while nothing goes past it: this is the
//! only crate that opens sockets, reads clocks other than tokio's, or makes threads that async code waits for. Timers
//! and `tokio::time::Instant` are tokio's own, which a simulation controls already.

mod connection;
mod disk;
mod system;
mod tasks;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use connection::{Connection, Connector, Incoming, Listener, Remote, Transport};
pub use disk::{BlockFile, Disk, Files, Lock};
pub use tasks::{Dedicated, Executor};

/// What stands behind a [`Platform`]. Implemented by the operating system here, and by simulations.
pub trait Provider: Send + Sync + 'static {
    /// Opens a connection to `address`, `host:port`. Small writes leave at once.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>>;

    /// Listens on `address`.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// Time since the machine started, suspended time included: never goes back, the same for all its processes.
    fn since_boot(&self) -> Duration;

    /// Time since 1970-01-01 00:00 UTC. May jump either way.
    fn wall_clock(&self) -> Duration;

    /// Does work that blocks, where it delays nobody. Must be called within a tokio runtime. Once called, the work is
    /// done, even if nobody waits for the future.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>>;

    /// Runs `work`, which may block and may use timers, on a thread of its own.
    fn dedicate(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated>;

    /// A runtime of its own, so that what runs there is not delayed by other tasks of this process.
    fn executor(&self, name: &str, threads: usize, blocking_max: usize) -> io::Result<Executor>;
}

/// The machine under a process. Cheap to clone; all clones are one machine.
#[derive(Clone)]
pub struct Platform(Arc<dyn Provider>);

impl Platform {
    /// The operating system.
    pub fn system() -> Self {
        Self(Arc::new(system::System))
    }

    /// Another one.
    pub fn new(provider: impl Provider) -> Self {
        Self(Arc::new(provider))
    }

    /// See [`Provider::connect`].
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn connect(&self, address: &str) -> io::Result<Connection> {
        self.0.connect(address).await
    }

    /// How tonic connects: for `Endpoint::connect_with_connector` and `connect_with_connector_lazy`.
    pub fn connector(&self) -> Connector {
        Connector::new(self.clone())
    }

    /// See [`Provider::listen`].
    ///
    /// # Errors
    /// The address is taken, or is not this machine's.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Incoming> {
        self.0.listen(address).await.map(Incoming::new)
    }

    /// See [`Provider::since_boot`].
    pub fn since_boot(&self) -> Duration {
        self.0.since_boot()
    }

    /// The same in whole microseconds: how the log says when something was, by a clock that does not jump and that all
    /// processes of a machine share.
    pub fn since_boot_us(&self) -> u64 {
        u64::try_from(self.since_boot().as_micros()).unwrap_or(u64::MAX)
    }

    /// See [`Provider::wall_clock`].
    pub fn wall_clock(&self) -> Duration {
        self.0.wall_clock()
    }

    /// Does work that blocks, such as reading files, where it delays nobody, and gives its result. The work is done
    /// even if nobody waits for it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The work panicked, or the runtime is going down.
    pub fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = self.0.blocking(Box::new(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work());
        }));
        async move {
            done.await?;
            receiver.await.map_err(|_| io::Error::other("work on a thread ended without a result"))
        }
    }

    /// See [`Provider::dedicate`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn dedicate(
        &self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Dedicated> {
        self.0.dedicate(name, Box::pin(work))
    }

    /// See [`Provider::executor`].
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn executor(
        &self,
        name: &str,
        threads: usize,
        blocking_max: usize,
    ) -> io::Result<Executor> {
        self.0.executor(name, threads, blocking_max)
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platform")
    }
}
