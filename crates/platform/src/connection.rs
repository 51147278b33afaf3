//! Byte streams between processes, and how tonic gets them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::codegen::http::Uri;
use tonic::transport::server::Connected;

use crate::Platform;

/// Bytes both ways.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// One connection, from either side.
pub struct Connection {
    transport: Box<dyn Transport>,
    remote: Option<SocketAddr>,
}

impl Connection {
    /// `remote` is the other side's address, where it is known.
    pub fn new(transport: impl Transport, remote: Option<SocketAddr>) -> Self {
        Self { transport: Box::new(transport), remote }
    }

    /// The other side's address.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}

/// What a server can learn about a connection: an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub Option<SocketAddr>);

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        Remote(self.remote)
    }
}

/// Where connections come in.
pub trait Listener: Send + 'static {
    /// The address, with the port that was chosen if none was asked for.
    ///
    /// # Errors
    /// What the operating system says.
    fn local_address(&self) -> io::Result<SocketAddr>;

    /// The next connection. Small writes to it leave at once.
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>>;
}

/// The connections that come in, as a stream that never ends.
pub struct Incoming(Box<dyn Listener>);

impl Incoming {
    pub(crate) fn new(listener: Box<dyn Listener>) -> Self {
        Self(listener)
    }

    /// See [`Listener::local_address`].
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(ready!(self.0.poll_accept(context))))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

/// Opens connections for tonic's channels.
#[derive(Clone, Debug)]
pub struct Connector(Platform);

impl Connector {
    pub(crate) fn new(platform: Platform) -> Self {
        Self(platform)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Connection>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let platform = self.0.clone();
        Box::pin(connect(platform, uri))
    }
}

async fn connect(platform: Platform, uri: Uri) -> io::Result<TokioIo<Connection>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let host = uri.host().ok_or_else(|| invalid(format!("`{uri}` names no host")))?;
    let port = uri.port_u16().ok_or_else(|| invalid(format!("`{uri}` names no port")))?;
    Ok(TokioIo::new(platform.connect(&format!("{host}:{port}")).await?))
}
