//! A file that is written in memory only: what redb would repair is found out and not done.

use std::collections::BTreeMap;
use std::io;

use muster_platform::BlockFile;
use parking_lot::Mutex;
use redb::StorageBackend;

/// What is kept of the file at once.
const BLOCK_BYTES: u64 = 4 << 10;

/// A file, and what was written over it. Dropped, it leaves the file as it was.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Box<dyn BlockFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// How much of the file shows through: it may have been cut off and grown again.
    shown: u64,
    /// Blocks that were written to, by number.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Draft {
    pub(crate) fn over(file: Box<dyn BlockFile>) -> io::Result<Self> {
        let len = file.size()?;
        let state = Mutex::new(State { len, shown: len, blocks: BTreeMap::new() });
        Ok(Self { file, state })
    }

    /// A block as it is: what was written, or the file, or zeros past its end.
    fn block(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = state.blocks.get(&number) {
            return Ok(block.clone());
        }
        let start = number * BLOCK_BYTES;
        let mut block = vec![0; BLOCK_BYTES as usize];
        let shown = state.shown.saturating_sub(start).min(BLOCK_BYTES) as usize;
        self.file.read(start, &mut block[..shown])?;
        Ok(block)
    }
}

/// The parts of the blocks that `bytes` bytes from `offset` on lie in: number of the block, where in it, how many.
fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + bytes as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let start = at;
        let number = start / BLOCK_BYTES;
        at = end.min((number + 1) * BLOCK_BYTES);
        let within = (start % BLOCK_BYTES) as usize;
        (start < end).then_some((number, within, (at - start) as usize))
    })
}

impl StorageBackend for Draft {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &mut out[..];
        for (number, within, bytes) in parts(offset, rest.len()) {
            let (part, after) = rest.split_at_mut(bytes);
            part.copy_from_slice(&self.block(&state, number)?[within..within + bytes]);
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if len < state.len {
            state.blocks.retain(|number, _| number * BLOCK_BYTES < len);
            if let Some(block) = state.blocks.get_mut(&(len / BLOCK_BYTES)) {
                block[(len % BLOCK_BYTES) as usize..].fill(0);
            }
            state.shown = state.shown.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        for (number, within, bytes) in parts(offset, data.len()) {
            let (part, after) = data.split_at(bytes);
            let mut block = self.block(&state, number)?;
            block[within..within + bytes].copy_from_slice(part);
            state.blocks.insert(number, block);
            data = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use muster_platform::{Disk, Files};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_file_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("blocks");
        let before: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
        std::fs::write(&path, &before).expect("writable");
        let draft = Draft::over(Files.open_blocks(&path).expect("it is there")).expect("readable");
        let mut model = before.clone();
        let same = |model: &[u8]| {
            let mut all = vec![0; model.len()];
            draft.read(0, &mut all).expect("all of it");
            assert_eq!(draft.len().expect("it has a length"), model.len() as u64);
            assert!(all == model);
        };
        same(&model);
        draft.write(4_000, &[7; 5_000]).expect("writable");
        model[4_000..9_000].fill(7);
        same(&model);
        for len in [9_500, 5_000, 20_000] {
            draft.set_len(len).expect("writable");
            model.resize(len as usize, 0);
            same(&model);
        }
        draft.write(19_000, &[9; 1_000]).expect("writable");
        model[19_000..].fill(9);
        same(&model);
        draft.read(19_999, &mut [0; 2]).expect_err("past its end");
        assert!(std::fs::read(&path).expect("readable") == before);
    }
}
