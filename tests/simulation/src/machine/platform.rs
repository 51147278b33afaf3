//! [`Provider`] of the simulation: one for each process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use muster_platform::{Connection, Dedicated, Executor, Listener, Provider};
use tokio::runtime::Handle;

use super::entropy::{EPOCH, UPTIME, elapsed};
use super::kernel::{Arrivals, Kernel};

/// How long work on a blocking thread takes before its result is seen.
const BLOCKING: Duration = Duration::from_micros(50);

/// Parts of a whole.
const PPM: i128 = 1_000_000;

/// The clocks of one host, which faults may move.
#[derive(Debug, Default)]
pub struct Clocks {
    /// Wall clock, ahead of true time, in milliseconds.
    wall_ahead_ms: AtomicI64,
    /// Speed of the monotonic clock, in parts per million above true.
    drift_ppm: AtomicI64,
    /// Since when the present drift holds, and what the clock showed then, in nanoseconds.
    since: AtomicU64,
    shown: AtomicU64,
}

impl Clocks {
    /// The wall clock jumps to `ms` ahead of true time (behind, if negative).
    pub fn set_wall_ahead(&self, ms: i64) {
        self.wall_ahead_ms.store(ms, Ordering::Relaxed);
    }

    /// From now on the monotonic clock runs so much too fast (too slow, if negative). It does not jump.
    pub fn set_drift(&self, ppm: i64) {
        let shown = self.monotonic_nanos();
        self.since.store(elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.shown.store(shown, Ordering::Relaxed);
        self.drift_ppm.store(ppm, Ordering::Relaxed);
    }

    fn monotonic_nanos(&self) -> u64 {
        let passed = elapsed().as_nanos() as u64 - self.since.load(Ordering::Relaxed);
        let drift = i128::from(passed) * i128::from(self.drift_ppm.load(Ordering::Relaxed));
        let shown = i128::from(self.shown.load(Ordering::Relaxed)) + i128::from(passed);
        u64::try_from(shown + drift / PPM).expect("a drift is far below one second a second")
    }

    /// What the monotonic clock shows.
    pub fn since_boot(&self) -> Duration {
        UPTIME + Duration::from_nanos(self.monotonic_nanos())
    }

    /// When, in true time since the simulation began, the monotonic clock will show `reading` if it keeps its speed.
    pub fn true_time_of(&self, reading: Duration) -> Duration {
        let left = i128::try_from(reading.as_nanos()).expect("a reading is far below 2^127 ns")
            - i128::try_from(self.since_boot().as_nanos()).expect("so is this one");
        let drift_ppm = i128::from(self.drift_ppm.load(Ordering::Relaxed));
        let true_left = left * PPM / (PPM + drift_ppm);
        let now = i128::try_from(elapsed().as_nanos()).expect("so is this one");
        Duration::from_nanos(u64::try_from((now + true_left).max(0)).unwrap_or(u64::MAX))
    }

    fn wall_clock(&self) -> Duration {
        let ahead = self.wall_ahead_ms.load(Ordering::Relaxed);
        let shift = Duration::from_millis(ahead.unsigned_abs());
        let time = EPOCH + elapsed();
        if ahead < 0 { time.saturating_sub(shift) } else { time + shift }
    }
}

/// What a process runs on: its machine.
#[derive(Debug)]
pub struct Simulated {
    /// The clocks.
    pub clocks: Arc<Clocks>,
    /// What opens connections.
    pub kernel: Kernel,
}

impl Provider for Simulated {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let (kernel, address) = (self.kernel.clone(), address.to_owned());
        Box::pin(async move {
            let stream = kernel.connect(address).await?;
            let remote = stream.remote();
            Ok(Connection::new(stream, remote))
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let kernel = self.kernel.clone();
        Box::pin(async move {
            let arrivals = kernel.listen(address.port()).await?;
            let listener: Box<dyn Listener> = Box::new(Accepting { address, arrivals });
            Ok(listener)
        })
    }

    fn since_boot(&self) -> Duration {
        self.clocks.since_boot()
    }

    fn wall_clock(&self) -> Duration {
        self.clocks.wall_clock()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        work();
        Box::pin(async {
            tokio::time::sleep(BLOCKING).await;
            Ok(())
        })
    }

    fn dedicate(&self, _: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated> {
        tokio::spawn(work);
        Ok(Dedicated::simulated())
    }

    fn executor(&self, _: &str, _: usize, _: usize) -> io::Result<Executor> {
        Handle::try_current().map(Executor::shared).map_err(io::Error::other)
    }
}

struct Accepting {
    address: SocketAddr,
    arrivals: Arrivals,
}

impl Listener for Accepting {
    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let arrived = ready!(self.arrivals.poll_recv(context));
        let (stream, remote) = arrived.ok_or(io::ErrorKind::NotConnected)?;
        Poll::Ready(Ok(Connection::new(stream, Some(remote))))
    }
}
