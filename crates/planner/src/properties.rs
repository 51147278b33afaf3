//! Properties of plans and explanations over random clusters, and a comparison with a planner that keeps no order and
//! looks at every worker for every index.

mod cluster;
mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::command::{Command, Placement};
use muster_core::ids::{Name, TaskIndex};
use muster_core::reply::Reply;
use muster_core::spec::{Request, Resources};
use muster_core::state::queue::{ReadyGroup, ReadyKey};
use muster_core::state::run::Run;
use muster_core::state::task::TaskStatus;
use muster_core::state::worker::WorkerStatus;
use muster_core::state::{State, Usage};
use proptest::prelude::*;

use crate::party::{TURN, Whole};
use crate::slot::Slots;
use crate::{
    ATTEMPTS_PER_WORKER_MAX, Limit, LiveView, Plan, Policy, Summary, Unplaced, explain, plan,
};
use cluster::{any_cluster, any_policy};

fn made(state: &State, view: &LiveView, policy: &Policy) -> Plan {
    plan(state, view, state.now(), policy)
}

/// The state once the plan's placements are applied, all of which must be accepted.
fn applied(state: &State, plan: &Plan) -> State {
    let mut after = state.clone();
    if let Some(command) = plan.command() {
        let replies = cluster::apply(&mut after, vec![command]);
        assert_eq!(replies, vec![Ok(Reply::Items { refused: Vec::new() })]);
    }
    after
}

/// Whether some worker would take one more attempt of `request`.
fn some_room(state: &State, view: &LiveView, request: &muster_core::spec::Request) -> bool {
    state.workers().iter().any(|worker| {
        let Some(holding) = state.held_by(worker.id) else { return false };
        let attempts: u32 = holding.tasks.values().sum();
        worker.status == WorkerStatus::Active
            && view.workers.get(&worker.id).is_some_and(|view| view.is_connected)
            && worker.matches(request)
            && worker.capacity.minus(&holding.used).fits(&request.resources) > 0
            && attempts < ATTEMPTS_PER_WORKER_MAX
    })
}

/// How many more attempts of `request` the quota of a namespace and its concurrency groups let be live.
fn limited_room(state: &State, namespace: &Name, request: &Request) -> u32 {
    let unused = Usage::default();
    let usage = state.used_by(namespace).unwrap_or(&unused);
    let quota = state.quota_of(namespace);
    let quota = quota.map_or(u32::MAX, |quota| quota.room(usage, &request.resources));
    quota.min(state.group_room(namespace, usage, request))
}

/// The groups, with the namespace of each.
fn groups(state: &State) -> impl Iterator<Item = (&Name, &Arc<Request>, &ReadyGroup)> {
    let namespaces = state.queue().namespaces();
    namespaces.flat_map(|(namespace, groups)| groups.map(move |(of, ready)| (namespace, of, ready)))
}

/// The run and the request of a placement.
fn placed<'a>(state: &'a State, placement: &Placement) -> (&'a Run, &'a Arc<Request>) {
    let run = state.run(placement.run).expect("placements are of live runs");
    (run, run.version.request(placement.task).expect("the task exists"))
}

/// What is left ready in `after` must be what the plan says it could not place.
fn check_unplaced(after: &State, view: &LiveView, plan: &Plan) {
    let named = plan.unplaced.iter().map(|it| ((it.namespace.clone(), it.request.clone()), it));
    let unplaced: BTreeMap<_, &Unplaced> = named.collect();
    assert_eq!(unplaced.len(), plan.unplaced.len(), "a group was reported twice");
    for (namespace, request, ready) in groups(after) {
        let is_let = limited_room(after, namespace, request) > 0;
        assert!(!is_let || !some_room(after, view, request), "there is room for {request:?}");
        let reported = unplaced.get(&(namespace.clone(), request.clone()));
        let reported = reported.expect("a group that is left is reported");
        assert_eq!(reported.tasks, ready.len());
        assert_eq!(Some(&reported.first), ready.keys().next());
        assert_eq!(
            reported.ready_indices(after),
            ready.values().copied().map(u64::from).sum::<u64>()
        );
        if reported.limit.is_some() {
            assert!(!is_let && reported.summary.is_none(), "no limit is reached");
        } else {
            check_summary(reported.summary.as_ref().expect("there are few groups"));
        }
    }
    assert_eq!(unplaced.len(), groups(after).count());
}

fn check_summary(summary: &Summary) {
    assert_eq!(summary.able + summary.lacking.values().sum::<u32>(), summary.workers);
    assert_eq!(summary.able > 0, summary.outlook == crate::Outlook::Now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn apply_accepts_every_placement((state, view) in any_cluster(), policy in any_policy()) {
        let plan = made(&state, &view, &policy);
        let after = applied(&state, &plan);
        prop_assert_eq!(after.check(), Ok(()));
        for placement in &plan.placements {
            prop_assert!(view.workers[&placement.worker].is_connected);
        }
        let attempts: u32 = plan.placements.iter().map(|placement| placement.range.count()).sum();
        prop_assert!(plan.placements.len() <= policy.placements_max);
        prop_assert!(attempts <= policy.attempts_max);
    }

    #[test]
    fn equal_arguments_give_equal_plans((state, view) in any_cluster(), policy in any_policy()) {
        let copy = state.clone();
        prop_assert_eq!(made(&state, &view, &policy), made(&copy, &view.clone(), &policy));
    }

    #[test]
    fn no_group_holds_up_another((state, view) in any_cluster(), policy in any_policy()) {
        let policy = Policy { placements_max: 10_000, attempts_max: u32::MAX, ..policy };
        let plan = made(&state, &view, &policy);
        prop_assert!(!plan.is_cut);
        check_unplaced(&applied(&state, &plan), &view, &plan);
    }

    #[test]
    fn a_cut_pass_goes_on_where_it_stopped((state, view) in any_cluster(), policy in any_policy()) {
        let (mut state, mut passes) = (state, 0);
        loop {
            let plan = made(&state, &view, &policy);
            state = applied(&state, &plan);
            passes += 1;
            if !plan.is_cut {
                check_unplaced(&state, &view, &plan);
                break;
            }
            prop_assert!(!plan.placements.is_empty());
            prop_assert!(passes < 10_000);
        }
    }

    #[test]
    fn the_order_of_service_is_kept((state, view) in any_cluster(), policy in any_policy()) {
        let plan = made(&state, &view, &policy);
        let mut keys: BTreeMap<&Name, Vec<ReadyKey>> = BTreeMap::new();
        for placement in &plan.placements {
            let (run, _) = placed(&state, placement);
            let of = keys.entry(&run.version.namespace).or_default();
            of.push(ReadyKey::of(run, placement.task));
        }
        let after = applied(&state, &plan);
        for (namespace, keys) in keys {
            prop_assert!(keys.is_sorted(), "{namespace}: {keys:?}");
            let placed: BTreeSet<_> = keys.into_iter().collect();
            for (_, request, ready) in groups(&after).filter(|(of, ..)| *of == namespace) {
                let Some((first_left, _)) = ready.first_key_value() else { continue };
                let before = state.queue().group(namespace, request);
                for (later, _) in before.into_iter().flat_map(|group| group.range(first_left..)) {
                    let overtook = later != first_left && placed.contains(later);
                    prop_assert!(!overtook, "{later:?} overtook");
                }
            }
        }
    }

    /// Nobody is given anything while somebody waits for the same who has less for its weight, and whose quota is not
    /// full, but for one turn.
    #[test]
    fn who_has_least_comes_next((state, view) in any_cluster(), policy in any_policy()) {
        let plan = made(&state, &view, &policy);
        let after = applied(&state, &plan);
        let slots = Slots::new(&after, &view, &policy);
        let whole = Whole::of(&slots);
        let requests = after.runs().iter().flat_map(|run| {
            (0..run.tasks.len() as u32).filter_map(|at| run.version.request(TaskIndex(at)))
        });
        let one = |it: &Resources| whole.share(&Usage { used: it.clone(), attempts: 1, ..Usage::default() }, it).0;
        let largest = requests.map(|it| one(&it.resources)).fold(0.0, f64::max);
        for placement in &plan.placements {
            let (run, request) = placed(&state, placement);
            // Once nobody has room for this request, it may still be given what others do not ask for.
            let is_given_more = plan.placements.iter().map(|it| placed(&state, it)).any(
                |(it, of)| it.version.namespace == run.version.namespace && of != request,
            );
            if is_given_more {
                continue;
            }
            // Nor has a namespace its turn for this while its first task competes for something else.
            let custom = |of: &Request| of.resources.custom.keys().cloned().collect::<Vec<_>>();
            let is_about_this = |namespace: &Name| {
                let mut its = groups(&state).filter(|(of, ..)| *of == namespace);
                its.all(|(_, of, _)| custom(of) == custom(request))
            };
            let others = groups(&after).filter(|(namespace, of, _)| {
                **namespace != run.version.namespace
                    && *of == request
                    && is_about_this(namespace)
                    && limited_room(&after, namespace, of) > 0
            });
            for (other, ..) in others {
                let weight = f64::from(state.weight_of(&run.version.namespace));
                let share = |of: &Name| {
                    whole.share_of(&after, of, &request.resources).weighed(state.weight_of(of)).0
                };
                let (has, less) = (share(&run.version.namespace), share(other));
                let most = less + (TURN + largest) / weight + 1e-9;
                prop_assert!(has <= most, "{has} beside {less} of {other}");
            }
        }
    }

    #[test]
    fn each_index_goes_to_the_best_worker((state, view) in any_cluster(), policy in any_policy()) {
        let plan = made(&state, &view, &policy);
        prop_assert_eq!(plan.placements, naive::placements(&state, &view, &policy));
    }

    #[test]
    fn every_task_is_explained((state, view) in any_cluster()) {
        let after = applied(&state, &made(&state, &view, &Policy::default()));
        for (state, may_place) in [(&state, true), (&after, false)] {
            for run in state.runs().iter() {
                for (task, progress) in (0..).map(muster_core::ids::TaskIndex).zip(&run.tasks) {
                    let explanation = explain(state, &view, run.id, task).expect("the run is live");
                    prop_assert!(explanation.to_string().starts_with(&explanation.name));
                    let max = run.spec(task).and_then(|spec| spec.max_parallel);
                    let ready = progress.cells.tally().of(TaskStatus::Ready);
                    let placeable = progress.placeable(max);
                    let request = run.version.request(task).expect("the task exists");
                    let room = limited_room(state, &run.version.namespace, request);
                    let is_limited = explanation.quota.is_some() || explanation.groups.is_some();
                    prop_assert_eq!(is_limited, placeable > 0 && room == 0);
                    prop_assert_eq!(explanation.workers.is_some(), placeable > 0 && room > 0);
                    prop_assert_eq!(explanation.parallel.is_some(), placeable < ready);
                    let Some(report) = explanation.workers else { continue };
                    check_summary(&report.summary);
                    prop_assert_eq!(report.workers.len() as u32, report.summary.workers);
                    let is_able = |worker: &&crate::WorkerVerdict| {
                        !worker.obstacles.iter().any(crate::Obstacle::is_hard)
                    };
                    let able = report.workers.iter().filter(is_able).count() as u32;
                    prop_assert_eq!(able, report.summary.able);
                    prop_assert_eq!(able > 0, some_room(state, &view, request));
                    prop_assert!(may_place || able == 0, "it could have been placed");
                }
            }
        }
    }
}

#[test]
fn random_clusters_have_what_the_properties_are_about() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut placed, mut unplaced, mut cut, mut avoided, mut local, mut ranges) =
        (0, 0, 0, 0, 0, 0);
    let (mut contested, mut over_quota, mut in_full_groups, mut weighed) = (0, 0, 0, 0);
    for _ in 0..300 {
        let (state, view) = any_cluster().new_tree(&mut runner).expect("no filters").current();
        let policy = any_policy().new_tree(&mut runner).expect("no filters").current();
        let plan = made(&state, &view, &policy);
        placed += plan.placements.len();
        unplaced += plan.unplaced.len();
        cut += usize::from(plan.is_cut);
        ranges += plan.placements.iter().filter(|it| it.range.count() > 1).count();
        let namespaces: BTreeSet<_> = plan.unplaced.iter().map(|it| &it.namespace).collect();
        contested += usize::from(namespaces.len() > 1 && !plan.placements.is_empty());
        let of = |limit| plan.unplaced.iter().filter(move |it| it.limit == Some(limit)).count();
        over_quota += of(Limit::Quota);
        in_full_groups += of(Limit::Group);
        weighed += namespaces.iter().filter(|it| state.weight_of(it) > 1).count();
        let leanings = naive::leanings_in_queue(&state);
        avoided += leanings.0;
        local += leanings.1;
        if let Some(Command::PlaceAttempts(it)) = plan.command() {
            assert_eq!(it.placements, plan.placements);
        }
    }
    let counts = [placed, unplaced, cut, avoided, local, ranges];
    let limits = [contested, over_quota, in_full_groups, weighed];
    for count in counts.into_iter().chain(limits) {
        assert!(count >= 20, "{counts:?} {limits:?}");
    }
}
