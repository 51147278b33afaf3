//! A TCP proxy on the way to one master: it delays what passes, or swallows it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks on their way in one direction of one connection.
const IN_FLIGHT_MAX: usize = 256;

/// What the link does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Every chunk takes at least so long, one way.
    pub(crate) delay: Duration,
    /// And at most so much longer.
    pub(crate) jitter: Duration,
    /// Chunks are neither sent nor refused.
    pub(crate) is_silent: bool,
}

/// See the module documentation. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    delayed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(own: Ipv4Addr, target: (Ipv4Addr, u16)) -> Result<Proxy> {
        let listener = TcpListener::bind((own, 0)).await?;
        let address = listener.local_addr()?;
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let told = weather.clone();
        let delayed = Arc::new(AtomicU64::new(0));
        let counter = delayed.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (told, counter) = (told.clone(), counter.clone());
                tokio::spawn(async move {
                    // The target may be down: the caller sees a connection that closes.
                    if let Ok(far) = TcpStream::connect(target).await {
                        join(near, far, &told, &counter).await;
                    }
                });
            }
        });
        Ok(Proxy { address, weather, delayed, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many chunks were held up so far.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed.load(Relaxed)
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn join(
    near: TcpStream,
    far: TcpStream,
    weather: &watch::Sender<Weather>,
    delayed: &AtomicU64,
) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = carry(near_in, far_out, weather.subscribe(), delayed) => {}
        () = carry(far_in, near_out, weather.subscribe(), delayed) => {}
    }
}

/// Carries chunks in order; each leaves when its delay is over and the link is not silent.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    delayed: &AtomicU64,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT_MAX);
    let now = weather.clone();
    let reading = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let Weather { delay, jitter, .. } = *now.borrow();
            let share = rand::rng().random_range(0.0..=1.0);
            let due = Instant::now() + delay + jitter.mul_f64(share);
            if sender.send((due, chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            delayed.fetch_add(u64::from(due > Instant::now()), Relaxed);
            tokio::time::sleep_until(due).await;
            let cleared = weather.wait_for(|weather| !weather.is_silent).await.is_ok();
            if !cleared || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn delays_in_order_and_falls_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = listener.local_addr().expect("bound").port();
        let proxy = Proxy::start(Ipv4Addr::LOCALHOST, (Ipv4Addr::LOCALHOST, target)).await.unwrap();
        let mut near = TcpStream::connect(proxy.address()).await.expect("it listens");
        let (mut far, _) = listener.accept().await.expect("it connects");
        let delay = Duration::from_millis(60);
        proxy.set(Weather { delay, jitter: delay, is_silent: false });
        let sent = Instant::now();
        near.write_all(b"ab").await.unwrap();
        near.write_all(b"cd").await.unwrap();
        let mut got = [0; 4];
        far.read_exact(&mut got).await.expect("it arrives");
        assert_eq!(&got, b"abcd");
        assert!(sent.elapsed() >= delay);
        assert!(proxy.delayed() > 0);
        proxy.set(Weather { is_silent: true, ..Weather::default() });
        near.write_all(b"ef").await.unwrap();
        let mut more = [0; 2];
        let silence = tokio::time::timeout(delay * 3, far.read_exact(&mut more)).await;
        assert!(silence.is_err(), "nothing passes");
        proxy.set(Weather::default());
        far.read_exact(&mut more).await.expect("it arrives late");
        assert_eq!(&more, b"ef");
    }
}
