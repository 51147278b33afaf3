//! Bytes → entries → state, as on a master that applies its log.

use muster_proto::convert::decode_entry;

use crate::bytes::Cursor;
use crate::replicas::Replicas;

/// Most entries of one input.
const ENTRIES_MAX: usize = 32;

/// The input is a row of frames, an entry each; one that does not decode is left out.
pub(crate) fn check(data: &[u8]) {
    let mut replicas = Replicas::new();
    let mut cursor = Cursor::new(data);
    for position in 0..ENTRIES_MAX {
        if cursor.is_empty() {
            break;
        }
        let Ok(entry) = decode_entry(cursor.frame()) else { continue };
        replicas.apply(&entry);
        if position % 4 == 3 {
            replicas.restore_follower();
        }
    }
}
