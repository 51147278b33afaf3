//! Ended runs: each comes back from its own bytes alone.

use muster_core::state::run::Run;
use muster_proto::convert::{decode_ended_run, encode_ended_run};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::states::{World, world};

/// All that a run is, for comparison.
fn parts(run: &Run) -> impl PartialEq + std::fmt::Debug {
    let version = &run.version;
    let version = (version.id, version.namespace.clone(), version.number, version.applied_at);
    let what = (run.id, run.number, run.params.clone(), run.priority, run.submitted_at);
    let how = (run.stop, run.tasks.clone(), run.open, run.ended);
    (version, run.version.spec.clone(), run.version.graph.clone(), what, how)
}

proptest! {
    #[test]
    fn an_ended_run_comes_back(world in world()) {
        for run in &world.ended {
            let decoded = decode_ended_run(&encode_ended_run(run)).expect("what was encoded decodes");
            prop_assert_eq!(parts(&decoded), parts(run));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..200)) {
        let _answer = decode_ended_run(&bytes);
    }
}

#[test]
fn a_live_run_is_no_history() {
    let mut world = World::default();
    world.step((3, 1, 1));
    let run = world.state.runs().iter().next().expect("one was submitted");
    let error = decode_ended_run(&encode_ended_run(run)).expect_err("it has not ended");
    assert_eq!(error.to_string(), "`run.end` is missing");
}
