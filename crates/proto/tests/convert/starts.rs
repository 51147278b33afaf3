//! Arbitrary rules for what starts a workflow: schedules, what becomes of runs beside each other, webhooks.

use muster_core::spec::ConcurrencyPolicy;
use muster_core::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};
use muster_core::spec::webhook::{Credential, TokenDigest, WebhookSpec};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use crate::generate::{name, small, span, text};

pub(crate) fn webhook() -> impl Strategy<Value = WebhookSpec> {
    let credential = prop_oneof![
        any::<[u8; 32]>().prop_map(|digest| Credential::Token(TokenDigest(digest))),
        (name(), text()).prop_map(|(key, header)| Credential::Signature { key, header }),
    ];
    (name(), credential, btree_map(name(), text(), 0..3))
        .prop_map(|(name, credential, params)| WebhookSpec { name, credential, params })
}

pub(crate) fn schedule() -> impl Strategy<Value = ScheduleSpec> {
    let dialect = prop_oneof![Just(Dialect::Posix), Just(Dialect::Quartz)];
    let timing = prop_oneof![
        (text(), dialect).prop_map(|(line, dialect)| Timing::Cron { line, dialect }),
        span().prop_map(Timing::Every),
        text().prop_map(Timing::At),
    ];
    let catch_up = prop_oneof![Just(CatchUp::None), Just(CatchUp::Latest), Just(CatchUp::All)];
    let when = (name(), timing, text(), vec(text(), 0..3), of(text()), of(text()));
    let how = (catch_up, small(), of(span()), span(), any::<bool>());
    (when, how, btree_map(name(), text(), 0..3)).prop_map(|(when, how, params)| {
        let (name, timing, time_zone, exclude, start, end) = when;
        let (catch_up, catch_up_max, starting_deadline, jitter, is_suspended) = how;
        ScheduleSpec {
            name,
            timing,
            time_zone,
            catch_up,
            catch_up_max,
            starting_deadline,
            jitter,
            exclude,
            start,
            end,
            is_suspended,
            params,
        }
    })
}

pub(crate) fn policy() -> impl Strategy<Value = ConcurrencyPolicy> {
    prop_oneof![
        Just(ConcurrencyPolicy::Allow),
        Just(ConcurrencyPolicy::Forbid),
        Just(ConcurrencyPolicy::Replace),
        Just(ConcurrencyPolicy::Queue),
    ]
}
