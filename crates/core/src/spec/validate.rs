//! Checks a spec from any source.

use super::WorkflowSpec;
use super::error::SpecErrors;

/// Placeholder until the checks land.
pub fn validate(_spec: &WorkflowSpec) -> Result<(), SpecErrors> {
    Ok(())
}
