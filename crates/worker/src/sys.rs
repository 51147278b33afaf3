//! The one place with `unsafe`: what the operating system offers and no safe wrapper does.

pub(crate) mod spawn;

/// Lets this process survive `SIGTERM`, `SIGINT` and `SIGHUP`. For the guardian, which must outlive the worker whatever
/// a terminal or a service manager sends to all of them.
pub(crate) fn ignore_polite_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: `SIG_IGN` installs no handler, so no code runs in signal context; the call has no other precondition.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}
