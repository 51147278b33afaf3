//! How callers name runs and hand over workflows.

use std::fmt;

use muster_core::spec::WorkflowSpec;
use muster_proto::v1;

/// Names a run: by its number within its workflow, as the latest of its workflow, or by its id in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    namespace: String,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Which {
    Id(u64),
    Number { workflow: String, number: u64 },
    Latest { workflow: String },
}

impl RunKey {
    /// The run with this number of a workflow: `etl/42`.
    pub fn number(workflow: impl Into<String>, number: u64) -> RunKey {
        let which = Which::Number { workflow: workflow.into(), number };
        RunKey { namespace: String::new(), which }
    }

    /// The latest run of a workflow.
    pub fn latest(workflow: impl Into<String>) -> RunKey {
        RunKey { namespace: String::new(), which: Which::Latest { workflow: workflow.into() } }
    }

    /// The run with this id, which is its number in the whole cluster.
    pub fn id(id: u64) -> RunKey {
        RunKey { namespace: String::new(), which: Which::Id(id) }
    }

    /// The same name, in another namespace than the client's.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> RunKey {
        self.namespace = namespace.into();
        self
    }

    /// The name as messages carry it. `namespace` is used if the key names none.
    pub(crate) fn to_proto(&self, namespace: &str) -> v1::RunRef {
        let own = if self.namespace.is_empty() { namespace } else { &self.namespace };
        let mut run = v1::RunRef { namespace: own.to_owned(), ..Default::default() };
        match &self.which {
            Which::Id(id) => run.id = *id,
            Which::Number { workflow, number } => {
                run.workflow.clone_from(workflow);
                run.number = *number;
            }
            Which::Latest { workflow } => run.workflow.clone_from(workflow),
        }
        run
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Id(id) => write!(f, "run {id}"),
            Which::Number { workflow, number } => write!(f, "{workflow}/{number}"),
            Which::Latest { workflow } => write!(f, "{workflow}/@latest"),
        }
    }
}

impl From<&RunKey> for RunKey {
    fn from(key: &RunKey) -> RunKey {
        key.clone()
    }
}

impl From<&v1::Run> for RunKey {
    fn from(run: &v1::Run) -> RunKey {
        RunKey::number(&run.workflow, run.number).in_namespace(&run.namespace)
    }
}

impl From<&v1::SubmitRunResponse> for RunKey {
    fn from(run: &v1::SubmitRunResponse) -> RunKey {
        RunKey::number(&run.workflow, run.number).in_namespace(&run.namespace)
    }
}

/// A workflow as the caller has it: the text of a file with one document, or a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Source(v1::workflow_source::Source);

impl Source {
    pub(crate) fn into_proto(self) -> v1::WorkflowSource {
        v1::WorkflowSource { source: Some(self.0) }
    }
}

impl From<&str> for Source {
    fn from(manifest: &str) -> Source {
        Source::from(manifest.to_owned())
    }
}

impl From<String> for Source {
    fn from(manifest: String) -> Source {
        Source(v1::workflow_source::Source::Manifest(manifest))
    }
}

impl From<&WorkflowSpec> for Source {
    fn from(spec: &WorkflowSpec) -> Source {
        Source::from(muster_proto::convert::spec_to_proto(spec))
    }
}

impl From<v1::WorkflowSpec> for Source {
    fn from(spec: v1::WorkflowSpec) -> Source {
        Source(v1::workflow_source::Source::Spec(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_run() {
        let run = RunKey::number("etl", 42).to_proto("data");
        assert_eq!(
            (run.namespace.as_str(), run.workflow.as_str(), run.number),
            ("data", "etl", 42)
        );
        let run = RunKey::latest("etl").in_namespace("own").to_proto("data");
        assert_eq!((run.namespace.as_str(), run.number, run.id), ("own", 0, 0));
        assert_eq!(RunKey::id(7).to_proto("").id, 7);
        assert_eq!(RunKey::latest("etl").to_string(), "etl/@latest");
    }
}
