//! How every record lies on disk: our own protobuf message behind a small header.
//!
//! ```text
//!  0      1         2      3       4            8
//!  ┌──────┬─────────┬──────┬───────┬────────────┬──────────────────
//!  │ 0x4D │ version │ kind │ zero  │ CRC-32 LE  │ protobuf message
//!  └──────┴─────────┴──────┴───────┴────────────┴──────────────────
//!                     the CRC covers kind, key and message
//! ```
//!
//! The key is part of the checksum, so a record that turns up under another key is found out too.

use bytes::Bytes;
use prost::Message;

const MAGIC: u8 = 0x4D;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;

/// What a record is; part of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entry = 1,
    Vote = 2,
    LogId = 3,
    Identity = 4,
    Manifest = 5,
    HistoryRow = 6,
}

/// Writes header and message into `out`, which is cleared first and may be reused.
pub(crate) fn encode(kind: Kind, key: &[u8], message: &impl Message, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[MAGIC, VERSION, kind as u8, 0, 0, 0, 0, 0]);
    message.encode(out).expect("a Vec grows as needed");
    let sum = checksum(kind, key, &out[HEADER_BYTES..]);
    out[4..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// Reads what [`encode`] wrote; the message shares `record`'s memory. The error says what is wrong, without the place.
pub(crate) fn decode<M: Message + Default>(
    kind: Kind,
    key: &[u8],
    record: Bytes,
) -> Result<M, String> {
    let Some(header) = record.first_chunk::<HEADER_BYTES>() else {
        return Err(format!("the record has {} bytes, fewer than its header", record.len()));
    };
    if header[0] != MAGIC {
        return Err("the record does not begin as one of Muster's does".into());
    }
    if header[1] != VERSION {
        return Err(format!(
            "the record has format version {}, this binary reads {VERSION}",
            header[1]
        ));
    }
    if header[2] != kind as u8 {
        return Err(format!("the record is of kind {}, expected {}", header[2], kind as u8));
    }
    let stored = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let body = record.slice(HEADER_BYTES..);
    let actual = checksum(kind, key, &body);
    if stored != actual {
        return Err(format!("checksum mismatch (stored {stored:08x}, actual {actual:08x})"));
    }
    M::decode(body)
        .map_err(|error| format!("the checksum holds but the message does not decode: {error}"))
}

fn checksum(kind: Kind, key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind as u8]);
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_proto::internal::v1::LogId;

    fn sample() -> (LogId, Vec<u8>) {
        let message = LogId { term: 1, member_id: 2, index: 3 };
        let mut out = vec![9; 3];
        encode(Kind::LogId, b"key", &message, &mut out);
        (message, out)
    }

    #[test]
    fn what_was_written_is_read() {
        let (message, record) = sample();
        assert_eq!(decode::<LogId>(Kind::LogId, b"key", record.into()), Ok(message));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (_, record) = sample();
        for at in 0..record.len() * 8 {
            if at / 8 == 3 {
                continue; // the reserved byte carries nothing
            }
            let mut damaged = record.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode::<LogId>(Kind::LogId, b"key", damaged.into()).is_err(), "bit {at}");
        }
    }

    #[test]
    fn another_key_or_kind_is_refused() {
        let (_, record) = sample();
        assert!(decode::<LogId>(Kind::LogId, b"other", record.clone().into()).is_err());
        assert!(decode::<LogId>(Kind::Vote, b"key", record.clone().into()).is_err());
        assert!(
            decode::<LogId>(Kind::LogId, b"key", Bytes::copy_from_slice(&record[..5])).is_err()
        );
    }
}
