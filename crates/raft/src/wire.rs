//! openraft's small types as our own protobuf messages, so that neither the disk nor the wire depends on its layout.

use std::collections::{BTreeMap, BTreeSet};

use muster_proto::internal::v1 as pb;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};

use crate::types::{
    Command, Entry, LeaderId, LogId, Member, Membership, Payload, Peer, StoredMembership,
    TypeConfig, Vote,
};

/// A message that lacks what it must have, or contradicts itself.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn vote_out(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        member_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_in(vote: &pb::Vote) -> Vote {
    Vote {
        leader_id: LeaderId { term: vote.term, node_id: vote.member_id },
        committed: vote.committed,
    }
}

pub(crate) fn required_vote(vote: Option<&pb::Vote>) -> Result<Vote, Malformed> {
    vote.map(vote_in).ok_or(Malformed("no vote"))
}

pub(crate) fn log_id_out(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, member_id: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_in(id: &pb::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.member_id }, index: id.index }
}

pub(crate) fn member_out(id: u64, peer: &Peer) -> pb::Member {
    pb::Member {
        id,
        name: peer.name.clone(),
        peer_address: peer.peer_address.clone(),
        api_address: peer.api_address.clone(),
    }
}

pub(crate) fn member_in(member: pb::Member) -> Member {
    let peer = Peer {
        name: member.name,
        peer_address: member.peer_address,
        api_address: member.api_address,
    };
    Member { id: member.id, peer }
}

pub(crate) fn membership_out(membership: &Membership) -> pb::Membership {
    pb::Membership {
        voter_sets: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::VoterSet { member_ids: set.iter().copied().collect() })
            .collect(),
        members: membership.nodes().map(|(id, peer)| member_out(*id, peer)).collect(),
    }
}

pub(crate) fn membership_in(membership: pb::Membership) -> Result<Membership, Malformed> {
    let sets: Vec<BTreeSet<u64>> =
        membership.voter_sets.into_iter().map(|set| set.member_ids.into_iter().collect()).collect();
    let peers: BTreeMap<u64, Peer> = membership
        .members
        .into_iter()
        .map(|member| {
            let member = member_in(member);
            (member.id, member.peer)
        })
        .collect();
    Membership::new(sets, peers)
        .map_err(|_| Malformed("a membership with an empty voter set or an unknown voter"))
}

pub(crate) fn stored_membership_out(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_out),
        membership: Some(membership_out(stored.membership())),
    }
}

pub(crate) fn stored_membership_in(
    stored: pb::StoredMembership,
) -> Result<StoredMembership, Malformed> {
    let membership = stored.membership.ok_or(Malformed("no membership"))?;
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_in), membership_in(membership)?))
}

/// Shares the command's bytes.
pub(crate) fn entry_out(entry: &Entry) -> pb::LogEntry {
    let payload = match &entry.payload {
        Payload::Blank => None,
        Payload::Normal(command) => Some(pb::log_entry::Payload::Command(command.0.clone())),
        Payload::Membership(membership) => {
            Some(pb::log_entry::Payload::Membership(membership_out(membership)))
        }
    };
    pb::LogEntry { log_id: Some(log_id_out(&entry.log_id)), payload }
}

pub(crate) fn entry_in(entry: pb::LogEntry) -> Result<Entry, Malformed> {
    let log_id =
        entry.log_id.as_ref().map(log_id_in).ok_or(Malformed("an entry without log id"))?;
    let payload = match entry.payload {
        None => Payload::Blank,
        Some(pb::log_entry::Payload::Command(bytes)) => Payload::Normal(Command(bytes)),
        Some(pb::log_entry::Payload::Membership(membership)) => {
            Payload::Membership(membership_in(membership)?)
        }
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn append_out(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_out),
        entries: request.entries.iter().map(entry_out).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
    }
}

pub(crate) fn append_in(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    Ok(AppendEntriesRequest {
        vote: required_vote(request.vote.as_ref())?,
        prev_log_id: request.prev_log_id.as_ref().map(log_id_in),
        entries: request.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(log_id_in),
    })
}

pub(crate) fn append_result_out(result: &StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Result as Out;
    let result = match result {
        Ok(last) => Out::Success(pb::AppendSuccess { last_log_id: last.as_ref().map(log_id_out) }),
        Err(StreamAppendError::Conflict(at)) => Out::Conflict(log_id_out(at)),
        Err(StreamAppendError::HigherVote(vote)) => Out::HigherVote(vote_out(vote)),
    };
    pb::AppendResponse { result: Some(result) }
}

pub(crate) fn append_result_in(
    response: &pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, Malformed> {
    use pb::append_response::Result as In;
    match response.result.as_ref() {
        Some(In::Success(success)) => Ok(Ok(success.last_log_id.as_ref().map(log_id_in))),
        Some(In::Conflict(at)) => Ok(Err(StreamAppendError::Conflict(log_id_in(at)))),
        Some(In::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote_in(vote)))),
        None => Err(Malformed("an append response without result")),
    }
}

pub(crate) fn vote_request_out(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_out),
        is_leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_in(
    request: &pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Malformed> {
    Ok(VoteRequest {
        vote: required_vote(request.vote.as_ref())?,
        last_log_id: request.last_log_id.as_ref().map(log_id_in),
        leadership_transfer: request.is_leadership_transfer,
    })
}

pub(crate) fn vote_response_out(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        is_granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_out),
    }
}

pub(crate) fn vote_response_in(
    response: &pb::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse {
        vote: required_vote(response.vote.as_ref())?,
        vote_granted: response.is_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_in),
    })
}

pub(crate) fn transfer_out(
    request: &TransferLeaderRequest<TypeConfig>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from_leader: Some(vote_out(request.from_leader())),
        to_member_id: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_out),
    }
}

pub(crate) fn transfer_in(
    request: &pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    let vote = required_vote(request.from_leader.as_ref())?;
    Ok(TransferLeaderRequest::new(
        vote,
        request.to_member_id,
        request.last_log_id.as_ref().map(log_id_in),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn membership() -> Membership {
        let peer = |name: &str| Peer {
            name: name.into(),
            peer_address: format!("{name}:7071"),
            ..Peer::default()
        };
        let sets = vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])];
        Membership::new(
            sets,
            BTreeMap::from([(1, peer("a")), (2, peer("b")), (3, peer("c")), (4, peer("d"))]),
        )
        .expect("all voters are named")
    }

    #[test]
    fn entries_survive_the_round_trip() {
        let log_id = LogId { leader_id: LeaderId { term: 3, node_id: 9 }, index: 17 };
        for payload in [
            Payload::Blank,
            Payload::Normal(Command(Bytes::from_static(b"bytes"))),
            Payload::Normal(Command(Bytes::new())),
            Payload::Membership(membership()),
        ] {
            let entry = Entry { log_id, payload };
            assert_eq!(entry_in(entry_out(&entry)).expect("well formed"), entry);
        }
    }

    #[test]
    fn an_unknown_voter_is_refused() {
        let mut out = membership_out(&membership());
        out.members.remove(0);
        assert!(membership_in(out).is_err());
    }
}
