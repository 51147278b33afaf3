//! Why a call did not succeed, and what to do about it.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call that did not succeed. Its text says what happened and, where that is not plain, what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    message: String,
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    failures: Vec<EndpointFailure>,
    is_unreachable: bool,
}

/// One field of a request that the cluster refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field: `tasks.train.retry.limit`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why one master could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFailure {
    /// The master's address, as the client was given it.
    pub address: String,
    /// What went wrong, in words.
    pub why: String,
}

impl Error {
    /// What kind of error this is, in gRPC's words.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What happened, without advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The cluster's own word for the error, such as `RUN_NOT_FOUND`, if it gave one. Words are never renamed.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// What the cluster told beside the reason, by name.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// The fields of the request that were refused.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Each master that was tried with what went wrong there; empty unless the call could not be carried out at all.
    pub fn failures(&self) -> &[EndpointFailure] {
        &self.0.failures
    }

    /// Whether no connection to any master could be made.
    pub fn is_unreachable(&self) -> bool {
        self.0.is_unreachable
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.code == Code::NotFound
    }

    /// Whether the caller's own time was over.
    pub fn is_deadline(&self) -> bool {
        self.0.code == Code::DeadlineExceeded
    }

    /// What the cluster answered.
    pub(crate) fn from_status(status: &Status) -> Error {
        let mut inner = Inner::new(status.code(), status.message().to_owned());
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            inner.reason = Some(info.reason.clone());
            inner.metadata =
                info.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        }
        if let Some(bad) = details.bad_request() {
            inner.violations = bad
                .field_violations
                .iter()
                .map(|violation| Violation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect();
        }
        Error(Box::new(inner))
    }

    /// The caller gave something that cannot be sent.
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error(Box::new(Inner::new(Code::InvalidArgument, message.into())))
    }

    /// A master broke the protocol.
    pub(crate) fn malformed(method: &str, what: &str) -> Error {
        let message = format!("the answer to {method} has no {what}");
        Error(Box::new(Inner::new(Code::Internal, message)))
    }

    /// The caller's time was over while everything else went well.
    pub(crate) fn deadline(message: impl Into<String>) -> Error {
        Error(Box::new(Inner::new(Code::DeadlineExceeded, message.into())))
    }

    /// The caller's time was over before a master answered; whether the call was carried out is not known.
    pub(crate) fn late(failures: Vec<EndpointFailure>, waited: Duration) -> Error {
        let message = format!("no master answered in time ({:.1} s)", waited.as_secs_f64());
        let mut inner = Inner::new(Code::DeadlineExceeded, message);
        inner.failures = failures;
        Error(Box::new(inner))
    }

    /// The client did not send the call for want of answers to others. An earlier attempt may have arrived.
    pub(crate) fn held_back(failures: Vec<EndpointFailure>, waited: Duration) -> Error {
        let message = format!(
            "the masters have too much to do: this client's calls were mostly refused or not answered in time, and it \
             held this one back for {:.1} s",
            waited.as_secs_f64()
        );
        let mut inner = Inner::new(Code::ResourceExhausted, message);
        inner.reason = Some("HELD_BACK".to_owned());
        inner.failures = failures;
        Error(Box::new(inner))
    }

    /// No master could carry the call out within `waited`. `is_unreachable` if not even a connection came about.
    pub(crate) fn exhausted(
        failures: Vec<EndpointFailure>,
        waited: Duration,
        is_unreachable: bool,
        last: Option<&Status>,
    ) -> Error {
        let what =
            if is_unreachable { "no master can be reached" } else { "no master could answer" };
        let mut error = match last {
            Some(status) => Error::from_status(status),
            None => Error(Box::new(Inner::new(Code::Unavailable, String::new()))),
        };
        error.0.message = format!("{what} (tried for {:.1} s)", waited.as_secs_f64());
        error.0.is_unreachable = is_unreachable;
        error.0.failures = failures;
        error
    }
}

impl Inner {
    fn new(code: Code, message: String) -> Inner {
        Inner {
            code,
            message,
            reason: None,
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            failures: Vec::new(),
            is_unreachable: false,
        }
    }

    /// What to do, where the message does not say it.
    fn advice(&self) -> Option<&'static str> {
        if self.is_unreachable {
            return Some("check the addresses, and that a master is running there");
        }
        match self.code {
            Code::Unavailable => {
                Some("try again once that is mended; a majority of the masters is enough")
            }
            Code::ResourceExhausted => Some("the cluster is busy; try again later"),
            Code::Unimplemented => Some(
                "the master is older than this client, or the address is that of the masters' own protocol",
            ),
            Code::Unauthenticated => Some("give a valid token"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        match inner.message.as_str() {
            "" => write!(f, "{}", inner.code.description())?,
            message => f.write_str(message)?,
        }
        for failure in &inner.failures {
            write!(f, "\n  {}: {}", failure.address, failure.why)?;
        }
        for violation in &inner.violations {
            if !inner.message.contains(&violation.description) {
                write!(f, "\n  {}: {}", violation.field, violation.description)?;
            }
        }
        if let Some(advice) = inner.advice() {
            write!(f, "\n{advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The words of a failed call to one master: the cause at the bottom, which names the system's error.
pub(crate) fn why(status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = status.source();
    let mut words = None;
    while let Some(error) = cause {
        words = Some(match error.downcast_ref::<std::io::Error>() {
            Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            _ => error.to_string(),
        });
        cause = error.source();
    }
    match words {
        Some(words) => words,
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn reads_what_the_cluster_tells() {
        let mut details = ErrorDetails::new();
        details.set_error_info("SPEC_INVALID", "muster", [("line".to_owned(), "3".to_owned())]);
        details.add_bad_request_violation("tasks.a.retry", "too many");
        let status =
            Status::with_error_details(Code::InvalidArgument, "the workflow is invalid", details);
        let error = Error::from_status(&status);
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.reason(), Some("SPEC_INVALID"));
        assert_eq!(error.metadata().get("line").map(String::as_str), Some("3"));
        assert_eq!(error.violations()[0].field, "tasks.a.retry");
        assert_eq!(error.to_string(), "the workflow is invalid\n  tasks.a.retry: too many");
    }

    #[test]
    fn names_every_master_that_was_tried() {
        let failure =
            |address: &str, why: &str| EndpointFailure { address: address.into(), why: why.into() };
        let failures =
            vec![failure("http://a:1", "connection refused"), failure("http://b:2", "no route")];
        let error = Error::exhausted(failures, Duration::from_millis(2500), true, None);
        assert!(error.is_unreachable());
        assert_eq!(
            error.to_string(),
            "no master can be reached (tried for 2.5 s)\n  http://a:1: connection refused\n  \
             http://b:2: no route\ncheck the addresses, and that a master is running there"
        );
    }
}
