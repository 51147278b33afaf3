//! Who asks for something: what the caller says of itself, and where it called from.

use muster_core::command::{Asked, Command};
use muster_core::limits;
use muster_core::state::trail::Asker;
use muster_platform::Remote;
use tonic::Request;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use crate::forward::is_forwarded;

/// The caller's name for itself, UTF-8.
const USER: &str = "muster-user-bin";
/// Where a forwarded call came from, UTF-8.
const ORIGIN: &str = "muster-origin-bin";

/// Who sent a request, if anything is known of that.
pub(crate) fn asker<T>(request: &Request<T>) -> Option<Asker> {
    let metadata = request.metadata();
    let who = text(metadata, USER).unwrap_or_default();
    let from = if is_forwarded(metadata) { text(metadata, ORIGIN) } else { remote(request) };
    let from = from.unwrap_or_default();
    (!who.is_empty() || !from.is_empty())
        .then(|| Asker { who: who.as_str().into(), from: from.as_str().into() })
}

/// A command with who asked for it.
pub(crate) fn asked(by: Option<Asker>, command: Command) -> Command {
    match by {
        Some(by) => Command::Asked(Asked { by, command: Box::new(command) }),
        None => command,
    }
}

/// Says where a request came from to the master that it is forwarded to.
pub(crate) fn keep_origin<T>(request: &mut Request<T>) {
    let origin = remote(request).unwrap_or_default();
    request.metadata_mut().insert_bin(ORIGIN, BinaryMetadataValue::from_bytes(origin.as_bytes()));
}

/// Says who asks, for a caller that cannot say it itself.
pub(crate) fn name<T>(request: &mut Request<T>, who: &str) {
    request.metadata_mut().insert_bin(USER, BinaryMetadataValue::from_bytes(who.as_bytes()));
}

fn remote<T>(request: &Request<T>) -> Option<String> {
    let Remote(address) = request.extensions().get::<Remote>()?;
    address.map(|address| address.ip().to_canonical().to_string())
}

/// A line of text, cut to [`limits::ASKER_BYTES_MAX`]. It is shown to people: control characters are left out.
fn text(metadata: &MetadataMap, key: &str) -> Option<String> {
    let bytes = metadata.get_bin(key)?.to_bytes().ok()?;
    let text: String =
        String::from_utf8_lossy(&bytes).chars().filter(|it| !it.is_control()).collect();
    Some(text[..text.floor_char_boundary(limits::ASKER_BYTES_MAX)].to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::forward::forwarded;

    fn request(user: &str, remote: &str) -> Request<()> {
        let mut request = Request::new(());
        let user = BinaryMetadataValue::from_bytes(user.as_bytes());
        request.metadata_mut().insert_bin(USER, user);
        let remote: SocketAddr = remote.parse().expect("an address");
        request.extensions_mut().insert(Remote(Some(remote)));
        request
    }

    #[test]
    fn an_asker_is_the_same_however_often_its_call_is_forwarded() {
        let call = request("zoë@laptop", "[::ffff:10.0.0.7]:5000");
        let seen = asker(&call).expect("it says who it is");
        assert_eq!((&*seen.who, &*seen.from), ("zoë@laptop", "10.0.0.7"));
        let mut passed_on = forwarded(call);
        passed_on.extensions_mut().insert(Remote(Some("10.9.9.9:1".parse().expect("an address"))));
        assert_eq!(asker(&passed_on), Some(seen));
    }

    #[test]
    fn names_are_lines_of_bounded_length() {
        let long = format!("a\u{1b}[31m\n{}", "ä".repeat(limits::ASKER_BYTES_MAX));
        let who = asker(&request(&long, "10.0.0.7:1")).expect("an asker").who;
        assert!(who.starts_with("a[31mä") && who.len() <= limits::ASKER_BYTES_MAX, "{who}");
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(asker(&Request::new(())), None);
    }
}
