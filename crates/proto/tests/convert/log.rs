//! Entries and commands: round trips, packing, and what a newer version might send.

use muster_core::command::{Command, Entry};
use muster_core::time::Timestamp;
use muster_proto::convert::{
    DecodeError, Problem, assemble_entry, decode_command, decode_entry, encode_command,
    encode_entry,
};
use muster_proto::internal::v1 as stored;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::generate;

proptest! {
    #[test]
    fn every_entry_comes_back(entry in generate::entry()) {
        prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }

    #[test]
    fn commands_packed_later_give_the_same_bytes(entry in generate::entry()) {
        let commands: Vec<_> = entry.commands.iter().map(encode_command).collect();
        prop_assert_eq!(assemble_entry(entry.at, &commands), encode_entry(&entry));
        for (command, bytes) in entry.commands.iter().zip(&commands) {
            prop_assert_eq!(&decode_command(bytes), &Ok(command.clone()));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..200)) {
        let _answer = decode_entry(&bytes);
        let _answer = decode_command(&bytes);
    }

    /// Bytes that are nearly right reach further than bytes that are not.
    #[test]
    fn damaged_entries_give_an_answer(
        entry in generate::entry(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode_entry(&entry).to_vec();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        if let Ok(entry) = decode_entry(&bytes) {
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }
}

/// A command with nothing but the field `number`, which is an empty message.
fn command_of_kind(number: u8) -> Vec<u8> {
    match number {
        0..16 => vec![number << 3 | 2, 0],
        // Two bytes, the lower seven bits first.
        16.. => vec![(number & 15) << 3 | 2 | 0x80, number >> 4, 0],
    }
}

#[test]
fn an_unknown_kind_of_command_is_its_own_error() {
    let unknown = command_of_kind(100);
    assert_eq!(decode_command(&unknown), Err(DecodeError::UnknownCommand));
    let tick = encode_command(&Command::Tick);
    let entry = assemble_entry(Timestamp(5), &[tick, unknown.into()]);
    assert_eq!(decode_entry(&entry), Err(DecodeError::UnknownCommand));
    assert_eq!(
        decode_command(&command_of_kind(1)),
        Ok(Command::Tick),
        "the test's bytes are right"
    );
}

#[test]
fn an_entry_without_commands_is_empty() {
    let empty = Entry { at: Timestamp(0), commands: Vec::new() };
    assert_eq!(decode_entry(&[]), Ok(empty.clone()));
    assert!(encode_entry(&empty).is_empty());
}

fn finish(change: impl FnOnce(&mut stored::FinishAttempts)) -> Result<Command, DecodeError> {
    let mut columns = stored::FinishAttempts {
        run_id_deltas: vec![7, 0],
        outcomes: vec![1, 2],
        ..Default::default()
    };
    change(&mut columns);
    let kind = Some(stored::command::Kind::FinishAttempts(columns));
    decode_command(&stored::Command { kind, asked_by: None }.encode_to_vec())
}

fn problem_at(path: &str) -> impl Fn(&Result<Command, DecodeError>) -> bool {
    let path = format!("finish_attempts.{path}");
    move |result| matches!(result, Err(DecodeError::Field { path: found, .. }) if *found == path)
}

#[test]
fn columns_must_agree() {
    assert!(finish(|_| {}).is_ok());
    assert!(problem_at("extents")(&finish(|columns| columns.extents = vec![1])));
    assert!(problem_at("durations_ms")(&finish(|columns| columns.durations_ms = vec![1, 2, 3])));
    assert!(problem_at("fence_deltas")(&finish(|columns| columns.fence_deltas = vec![1])));
    assert!(problem_at("outcomes[1]")(&finish(|columns| columns.outcomes = vec![1, 6])));
    assert!(problem_at("outcomes[0]")(&finish(|columns| columns.outcomes = vec![0, 1])));
}

#[test]
fn details_must_go_with_their_items() {
    let failed = |position| stored::OutcomeDetail {
        position,
        detail: Some(stored::outcome_detail::Detail::Failed(stored::FailedDetail {
            exit_code: Some(1),
            message: None,
        })),
    };
    assert!(finish(|columns| columns.details = vec![failed(1)]).is_ok());
    assert!(problem_at("details[0]")(&finish(|columns| columns.details = vec![failed(0)])));
    assert!(problem_at("details")(&finish(|columns| columns.details = vec![failed(2)])));
    assert!(problem_at("details")(&finish(|columns| columns.details = vec![failed(1), failed(1)])));
}

#[test]
fn a_missing_message_is_named() {
    let kind = Some(stored::command::Kind::ApplyWorkflow(stored::ApplyWorkflow {
        namespace: "default".into(),
        ..Default::default()
    }));
    let entry =
        stored::Entry { at_ms: 1, commands: vec![stored::Command { kind, asked_by: None }] };
    let path = "commands[0].apply_workflow.spec".to_owned();
    assert_eq!(
        decode_entry(&entry.encode_to_vec()),
        Err(DecodeError::Field { path, problem: Problem::Missing })
    );
}
