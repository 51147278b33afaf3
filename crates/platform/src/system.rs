//! The operating system as a platform.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};

use crate::{Connection, Dedicated, Executor, Listener, Provider};

pub(crate) struct System;

impl Provider for System {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(&*address).await?;
            connection(stream, None)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(Tcp(TcpListener::bind(address).await?));
            Ok(listener)
        })
    }

    fn since_boot(&self) -> Duration {
        let reading = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(reading.tv_sec).expect("time since boot is not negative");
        let nanos = u32::try_from(reading.tv_nsec).expect("nanoseconds are below 10^9");
        Duration::new(seconds, nanos)
    }

    fn wall_clock(&self) -> Duration {
        // A clock before 1970 is read as 1970: whoever uses it never lets it run back.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        let task = tokio::task::spawn_blocking(work);
        Box::pin(async move { task.await.map_err(io::Error::other) })
    }

    fn dedicate(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(work)).map(Dedicated::thread)
    }

    fn executor(&self, name: &str, threads: usize, blocking_max: usize) -> io::Result<Executor> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking_max)
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Executor::own(runtime))
    }
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let (stream, remote) = ready!(self.0.poll_accept(context))?;
        Poll::Ready(connection(stream, Some(remote)))
    }
}

fn connection(stream: TcpStream, remote: Option<SocketAddr>) -> io::Result<Connection> {
    let remote = remote.or_else(|| stream.peer_addr().ok());
    // Without it small answers wait for a full packet; the connection works all the same.
    let _slower = stream.set_nodelay(true);
    Ok(Connection::new(stream, remote))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::Platform;

    #[tokio::test]
    async fn bytes_travel_both_ways() {
        let platform = Platform::system();
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut incoming = platform.listen(any).await.expect("a free port");
        let address = incoming.local_address().expect("it is bound").to_string();
        let mut near = platform.connect(&address).await.expect("it listens");
        let mut far = incoming.next().await.expect("it never ends").expect("a connection");
        near.write_all(b"ping").await.expect("it is open");
        let mut bytes = [0; 4];
        far.read_exact(&mut bytes).await.expect("they arrive");
        assert_eq!(&bytes, b"ping");
        assert_eq!(near.remote().map(|remote| remote.to_string()), Some(address));
    }

    #[tokio::test]
    async fn work_is_done_though_nobody_waits() {
        let platform = Platform::system();
        let (sender, receiver) = std::sync::mpsc::channel();
        drop(platform.blocking(move || sender.send(7)));
        assert_eq!(receiver.recv(), Ok(7));
        let panicked: std::io::Result<()> = platform.blocking(|| panic!("on purpose")).await;
        panicked.expect_err("a panic is an error");
    }

    #[test]
    fn a_dedicated_thread_has_timers() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            sender.send(7).expect("the test waits");
        };
        Platform::system().dedicate("test", work).expect("a thread").join();
        assert_eq!(receiver.recv(), Ok(7));
    }
}
