//! What of a machine goes on while its process is stopped: connections, and the processes of attempts.
//!
//! ```text
//!   process, gets turns               kernel, a host of turmoil
//!     connect, listen ──── asks ────►   sockets
//!     reads  ◄─────────────────────── what has arrived
//!     writes ── what is to be sent ─►   sends it
//!     attempts ─────────── asks ────►   tasks that take their time
//! ```
//!
//! turmoil sends and closes only in the turn of a host. What has arrived can be read at any time.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use super::entropy::elapsed;

/// How long a connection may take to come about, whatever the caller says: turmoil's never fails by itself.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Connections that come in, and from where.
pub type Arrivals = mpsc::UnboundedReceiver<(Stream, SocketAddr)>;

/// How a process reaches its kernel. Clones reach the same.
#[derive(Clone, Debug, Default)]
pub struct Kernel(Arc<Mutex<Option<mpsc::UnboundedSender<Ask>>>>);

enum Ask {
    Connect(String, oneshot::Sender<io::Result<Stream>>),
    Listen(u16, oneshot::Sender<io::Result<Arrivals>>),
    Run(BoxFuture<'static, ()>),
}

impl Kernel {
    /// The machine's host of turmoil: serves what the process asks for from now on, for ever.
    pub fn boot(&self) -> impl Future<Output = ()> + Send + use<> {
        let (sender, mut asks) = mpsc::unbounded_channel();
        *self.0.lock() = Some(sender);
        async move {
            while let Some(ask) = asks.recv().await {
                match ask {
                    Ask::Connect(address, answer) => {
                        tokio::spawn(connect(address, answer));
                    }
                    Ask::Listen(port, answer) => {
                        tokio::spawn(listen(port, answer));
                    }
                    Ask::Run(work) => {
                        tokio::spawn(work);
                    }
                }
            }
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// It is refused, or takes too long.
    pub async fn connect(&self, address: String) -> io::Result<Stream> {
        let (answer, stream) = oneshot::channel();
        self.ask(Ask::Connect(address, answer));
        stream.await.map_err(io::Error::other)?
    }

    /// Listens on a port, on all addresses: turmoil has no interfaces.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn listen(&self, port: u16) -> io::Result<Arrivals> {
        let (answer, arrivals) = oneshot::channel();
        self.ask(Ask::Listen(port, answer));
        arrivals.await.map_err(io::Error::other)?
    }

    /// Runs `work` as a process of its own: it goes on while the one that asks is stopped, and ends with the machine.
    /// Resolves when it is done.
    pub fn run<T, Work>(&self, work: Work) -> impl Future<Output = T> + Send + use<T, Work>
    where
        T: Send + 'static,
        Work: Future<Output = T> + Send + 'static,
    {
        let (sender, done) = oneshot::channel();
        let asked_at = elapsed();
        self.ask(Ask::Run(Box::pin(async move {
            // The kernel's turn begins when that of its process did.
            tokio::time::sleep(asked_at.saturating_sub(elapsed())).await;
            // Who asked may be gone.
            let _ = sender.send(work.await);
        })));
        async { done.await.expect("a machine takes all of its processes along") }
    }

    fn ask(&self, ask: Ask) {
        // A kernel that is gone drops what it is asked, and so answers.
        let _ = self.0.lock().as_ref().map(|asks| asks.send(ask));
    }
}

async fn connect(address: String, answer: oneshot::Sender<io::Result<Stream>>) {
    let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    // Who asked may be gone: then the connection is closed.
    let _ = answer.send(connected.map_err(io::Error::from).flatten().map(Stream::over));
}

async fn listen(port: u16, answer: oneshot::Sender<io::Result<Arrivals>>) {
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(error) => return drop(answer.send(Err(error))),
    };
    let (sender, arrivals) = mpsc::unbounded_channel();
    if answer.send(Ok(arrivals)).is_err() {
        return;
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        if let Ok((stream, remote)) = accepted {
            // What nobody takes is closed.
            let _ = sender.send((Stream::over(stream), remote));
        }
    }
}

/// The process's end of a connection.
pub struct Stream {
    reader: Option<OwnedReadHalf>,
    outgoing: Arc<Mutex<Outgoing>>,
}

/// What a process wants of its connection, and what the kernel tells it.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    is_shut: bool,
    /// Nothing can be sent any more.
    is_broken: bool,
    /// The process has closed the connection, and gives its half back.
    closed: Option<OwnedReadHalf>,
    kernel: Option<Waker>,
}

enum Wish {
    Send(Vec<u8>),
    Shut,
    Close(OwnedReadHalf),
}

impl Stream {
    /// In the turn of the kernel.
    fn over(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let outgoing = Arc::default();
        tokio::spawn(carry(writer, Arc::clone(&outgoing)));
        Self { reader: Some(reader), outgoing }
    }

    /// The other side's address.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.reader.as_ref()?.peer_addr().ok()
    }

    fn wish<T>(&self, wish: impl FnOnce(&mut Outgoing) -> T) -> T {
        let (result, kernel) = {
            let outgoing = &mut *self.outgoing.lock();
            (wish(outgoing), outgoing.kernel.take())
        };
        kernel.into_iter().for_each(Waker::wake);
        result
    }
}

/// Does for a process what only the kernel can, until the connection is closed.
async fn carry(mut writer: OwnedWriteHalf, outgoing: Arc<Mutex<Outgoing>>) {
    loop {
        let result = match poll_fn(|context| outgoing.lock().poll_wish(context)).await {
            Wish::Send(bytes) => writer.write_all(&bytes).await,
            Wish::Shut => writer.shutdown().await,
            // As turmoil's own streams, this half first: what was not read resets the connection.
            Wish::Close(reader) => return drop(reader),
        };
        outgoing.lock().is_broken |= result.is_err();
    }
}

impl Outgoing {
    fn poll_wish(&mut self, context: &mut Context<'_>) -> Poll<Wish> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Wish::Send(std::mem::take(&mut self.bytes)));
        }
        if let Some(reader) = self.closed.take() {
            return Poll::Ready(Wish::Close(reader));
        }
        if self.is_shut && !self.is_broken {
            self.is_broken = true;
            return Poll::Ready(Wish::Shut);
        }
        self.kernel = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reader = self.reader.as_mut().expect("it is given back when this is dropped");
        Pin::new(reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.wish(|outgoing| {
            if outgoing.is_broken || outgoing.is_shut {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            outgoing.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wish(|outgoing| outgoing.is_shut = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let reader = self.reader.take();
        self.wish(|outgoing| outgoing.closed = reader);
    }
}
