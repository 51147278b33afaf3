//! The masters a client knows: one lazy channel each, and which one answered last.
//!
//! tonic's own balancing goes on to pick endpoints that are dead, so the client keeps the channels apart and moves to
//! the next master itself.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use muster_platform::{Connector, Platform};
use tokio::time::timeout;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;
use crate::pulse::Pulse;

/// The port of the API unless an address names one.
pub const API_PORT: u16 = 7070;

/// How long one connection may take to come about, if there is no other master to go to, and if there is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT_OF_MANY: Duration = Duration::from_secs(1);
/// How often an open call asks whether the other end is still there, and how long it waits for the answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One master.
pub(crate) struct Master {
    /// The address in full: `http://host:port`.
    pub(crate) address: String,
    pub(crate) channel: Channel,
    pub(crate) pulse: Pulse,
}

/// All masters; never empty.
pub(crate) struct Endpoints {
    masters: Vec<Master>,
    /// Position of the master to ask next: the last that answered.
    preferred: AtomicUsize,
}

impl Endpoints {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(addresses: &[String], platform: &Platform) -> Result<Endpoints, Error> {
        let mut known: Vec<String> = Vec::new();
        for address in addresses.iter().flat_map(|list| list.split(',')) {
            let address = normalize(address)?;
            if !known.contains(&address) {
                known.push(address);
            }
        }
        let connect_timeout = match known.len() {
            0 => return Err(Error::invalid("no master's address was given")),
            1 => CONNECT_TIMEOUT,
            _ => CONNECT_TIMEOUT_OF_MANY,
        };
        let master = |address: String| {
            let channel = lazy_channel(&address, platform, connect_timeout)?;
            Ok(Master { address, channel, pulse: Pulse::default() })
        };
        let masters = known.into_iter().map(master).collect::<Result<_, Error>>()?;
        Ok(Endpoints { masters, preferred: AtomicUsize::new(0) })
    }

    pub(crate) fn len(&self) -> usize {
        self.masters.len()
    }

    pub(crate) fn masters(&self) -> &[Master] {
        &self.masters
    }

    /// The position of the master to ask.
    pub(crate) fn pick(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.masters.len()
    }

    /// The position after this one.
    pub(crate) fn after(&self, at: usize) -> usize {
        (at + 1) % self.masters.len()
    }

    /// The next call goes to the master after `at`, unless another call has moved on before.
    pub(crate) fn move_on_from(&self, at: usize) {
        let next = self.after(at);
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A call to the master at `at` went well.
    pub(crate) fn prefer(&self, at: usize) {
        self.preferred.store(at, Ordering::Relaxed);
    }

    /// The position of the master with this address, which may lack the scheme.
    pub(crate) fn find(&self, address: &str) -> Option<usize> {
        let address = normalize(address).ok()?;
        self.masters.iter().position(|master| master.address == address)
    }
}

fn lazy_channel(
    address: &str,
    platform: &Platform,
    connect_timeout: Duration,
) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Error::invalid(format!("`{address}` is not an address: {error}")))?
        .user_agent(concat!("muster-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Error::invalid(error.to_string()))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    Ok(endpoint.connect_with_connector_lazy(Hasty(platform.connector(), connect_timeout)))
}

/// Gives a connection up that takes too long to come about. tonic's own limit, around a connector that is not its own,
/// makes such a failure look like one of a master that was connected.
struct Hasty(Connector, Duration);

impl Service<Uri> for Hasty {
    type Response = <Connector as Service<Uri>>::Response;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.1, self.0.call(uri));
        Box::pin(async move {
            connecting.await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))
            })
        })
    }
}

/// The address as `http://host:port`. The scheme and the port may be left out.
pub(crate) fn normalize(address: &str) -> Result<String, Error> {
    let address = address.trim();
    if address.is_empty() {
        return Err(Error::invalid(
            "a master's address is empty; write for example `http://127.0.0.1:7070`",
        ));
    }
    let rest = match address.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            let message = format!("`{address}`: this build has no TLS; use an `http://` address");
            return Err(Error::invalid(message));
        }
        Some((scheme, _)) => {
            let message =
                format!("`{address}`: `{scheme}` is not a scheme; use `http://host:port`");
            return Err(Error::invalid(message));
        }
        None => address,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['/', '?', '#', '@']) || rest.contains(char::is_whitespace)
    {
        let message = format!("`{address}` is not a master's address; use `http://host:port`");
        return Err(Error::invalid(message));
    }
    let after_host =
        if rest.starts_with('[') { rest.find(']').map_or(0, |end| end + 1) } else { 0 };
    match rest[after_host..].rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(format!("http://{rest}"))
        }
        Some((_, port)) => {
            Err(Error::invalid(format!("`{address}`: `{port}` is not a port (1 to 65535)")))
        }
        None => Ok(format!("http://{rest}:{API_PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_addresses() {
        for (written, meant) in [
            ("http://127.0.0.1:7070", "http://127.0.0.1:7070"),
            ("127.0.0.1:7171/", "http://127.0.0.1:7171"),
            (" master-0.muster ", "http://master-0.muster:7070"),
            ("[::1]:7072", "http://[::1]:7072"),
            ("[::1]", "http://[::1]:7070"),
        ] {
            assert_eq!(normalize(written).unwrap(), meant, "{written}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for written in [
            "",
            "  ",
            "https://a:1",
            "ftp://a:1",
            "a:b",
            "a:0",
            "a:70700",
            "a:1/path",
            "http://",
            "a b",
        ] {
            let error = normalize(written).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{written}");
        }
    }

    #[tokio::test]
    async fn moves_on_once_however_many_calls_fail() {
        let addresses = ["a:1,b:1".into(), "c:1".into(), "a:1".into()];
        let endpoints = Endpoints::new(&addresses, &Platform::system()).unwrap();
        assert_eq!(endpoints.len(), 3);
        let at = endpoints.pick();
        endpoints.move_on_from(at);
        endpoints.move_on_from(at);
        assert_eq!(endpoints.masters()[endpoints.pick()].address, "http://b:1");
        endpoints.prefer(2);
        assert_eq!(endpoints.masters()[endpoints.pick()].address, "http://c:1");
        endpoints.move_on_from(2);
        assert_eq!(endpoints.pick(), 0);
        assert_eq!(endpoints.find("b:1"), Some(1));
    }
}
