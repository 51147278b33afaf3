//! [`Provider`] over turmoil: one for each simulated host.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use muster_platform::{Connection, Dedicated, Executor, Listener, Provider};
use tokio::runtime::Handle;
use turmoil::net::{TcpListener, TcpStream};

use super::entropy::{EPOCH, UPTIME, elapsed};

/// How long work on a blocking thread takes before its result is seen.
const BLOCKING: Duration = Duration::from_micros(50);
/// How long a connection may take to come about, whatever the caller says: turmoil's never fails by itself.
const CONNECT_MAX: Duration = Duration::from_secs(3);

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

/// What one simulated host runs on.
#[derive(Debug)]
pub struct Simulated {
    /// Its clocks.
    pub clocks: Arc<Clocks>,
}

impl Provider for Simulated {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await??;
            let remote = stream.peer_addr().ok();
            Ok(Connection::new(stream, remote))
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            // turmoil has no addresses of interfaces to listen on.
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?;
            let listener: Box<dyn Listener> =
                Box::new(Accepting { listener: Arc::new(listener), next: None });
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

type Accepted = io::Result<(TcpStream, SocketAddr)>;

struct Accepting {
    listener: Arc<TcpListener>,
    next: Option<Pin<Box<dyn Future<Output = Accepted> + Send>>>,
}

impl Listener for Accepting {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let listener = &self.listener;
        let next = self.next.get_or_insert_with(|| {
            let listener = Arc::clone(listener);
            Box::pin(async move { listener.accept().await })
        });
        let accepted = ready!(next.as_mut().poll(context));
        self.next = None;
        Poll::Ready(accepted.map(|(stream, remote)| Connection::new(stream, Some(remote))))
    }
}
