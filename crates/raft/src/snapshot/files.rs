//! The `snapshots` folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Hash, Manifest, ShardFile, SnapshotHandle};
use crate::error::StoreError;
use crate::machine::{Shard, ShardToken};
use crate::record::{self, Kind};
use crate::site::{Site, TEMPORARY};

const MANIFEST: &str = "manifest";
const SHARD: &str = "shard";

/// Reads, writes and cleans the folder. Shared by all who use it.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    site: Site,
    dir: PathBuf,
    state: Mutex<State>,
    /// Held while files are written and collected, so that no fresh shard is taken for garbage.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Manifest>>,
    /// Every manifest whose files somebody may still read or receive.
    pinned: Vec<Weak<Manifest>>,
    /// Builds under way: their shards are in no manifest yet, so nothing may be collected.
    builds: usize,
    /// What the last build knew about each shard.
    tokens: BTreeMap<u64, (ShardToken, ShardFile)>,
    shards_written: u64,
}

impl State {
    fn set_current(&mut self, manifest: Arc<Manifest>) {
        self.pinned.push(Arc::downgrade(&manifest));
        self.current = Some(manifest);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("current", &self.current.as_ref().map(|m| m.index())).finish()
    }
}

impl SnapshotFiles {
    /// Opens the folder, creating it if need be, and reads the newest manifest.
    ///
    /// # Errors
    /// The newest manifest is damaged.
    pub(crate) fn open(site: &Site, dir: &Path) -> Result<Arc<Self>, StoreError> {
        let made = site.disk.create_dir_all(dir);
        made.map_err(|e| StoreError::io(dir, "create the folder", &e))?;
        let (state, writing) = (Mutex::default(), Mutex::default());
        let files = Self { site: site.clone(), dir: dir.into(), state, writing };
        let newest = files.list(MANIFEST)?.into_iter().max();
        if let Some(path) = newest {
            files.state.lock().set_current(Arc::new(files.read_manifest(&path)?));
        }
        // A process that crashed may have left names that are not on disk yet; what they replace goes after them.
        site.sync_dir(dir)?;
        for path in files.list(TEMPORARY)? {
            files.remove(&path)?;
        }
        files.collect_garbage()?;
        Ok(Arc::new(files))
    }

    /// The newest complete snapshot.
    pub(crate) fn current(self: &Arc<Self>) -> Option<SnapshotHandle> {
        let manifest = self.state.lock().current.clone()?;
        Some(SnapshotHandle { manifest, files: Arc::clone(self) })
    }

    /// How many shard files were written since the folder was opened.
    pub(crate) fn shards_written(&self) -> u64 {
        self.state.lock().shards_written
    }

    /// Does work with the files off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let files = Arc::clone(self);
        self.site.blocking(&self.dir, move || work(&files)).await
    }

    /// Encodes and writes what changed since the last snapshot. `manifest` makes the manifest of the shards; it is
    /// published unless a newer snapshot was installed meanwhile. On disk when this returns.
    pub(crate) async fn build(
        self: &Arc<Self>,
        shards: Vec<Shard>,
        manifest: impl FnOnce(Vec<ShardFile>) -> Manifest + Send + 'static,
    ) -> Result<SnapshotHandle, StoreError> {
        let write = move |files: &Arc<Self>| {
            files.state.lock().builds += 1;
            let built = files.write_shards(shards).map(manifest).map(Arc::new);
            let built = built.and_then(|manifest| {
                files.make_current(&manifest)?;
                Ok(SnapshotHandle { manifest, files: Arc::clone(files) })
            });
            files.state.lock().builds -= 1;
            built
        };
        let snapshot = self.blocking(write).await?;
        self.settle().await?;
        Ok(snapshot)
    }

    fn write_shards(&self, shards: Vec<Shard>) -> Result<Vec<ShardFile>, StoreError> {
        let mut written = Vec::with_capacity(shards.len());
        let mut tokens = BTreeMap::new();
        for shard in shards {
            let file = match self.known(&shard) {
                Some(file) => file,
                None => {
                    let content = (shard.encode)();
                    let sha256 = Sha256::digest(&content).into();
                    let file = ShardFile { id: shard.id, sha256, size_bytes: content.len() as u64 };
                    self.write_shard(&file.sha256, &content)?;
                    file
                }
            };
            if let Some(token) = shard.token {
                tokens.insert(shard.id, (token, file));
            }
            written.push(file);
        }
        self.state.lock().tokens = tokens;
        Ok(written)
    }

    fn known(&self, shard: &Shard) -> Option<ShardFile> {
        let state = self.state.lock();
        let (token, file) = state.tokens.get(&shard.id)?;
        let is_named = state.current.as_ref()?.shards.contains(file);
        (is_named && token.is_same(shard.token.as_ref()?)).then_some(*file)
    }

    /// Writes a shard file unless it is there. On disk, but for its name, once the disk has settled.
    fn write_shard(&self, sha256: &Hash, content: &[u8]) -> Result<(), StoreError> {
        let path = self.shard_path(sha256);
        if self.site.disk.size(&path).is_ok() {
            return Ok(());
        }
        self.site.write_synced(&path, content)?;
        self.state.lock().shards_written += 1;
        Ok(())
    }

    /// Makes `manifest` the current snapshot, durably, and drops what no manifest needs. Returns its shards.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        snapshot: SnapshotHandle,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let publish = move |files: &Arc<Self>| {
            let shards = snapshot.read_all()?;
            files.make_current(&snapshot.manifest)?;
            Ok(shards)
        };
        let shards = self.blocking(publish).await?;
        self.settle().await?;
        Ok(shards)
    }

    /// Waits until what was made current is on disk. Only then what it replaces may go.
    async fn settle(self: &Arc<Self>) -> Result<(), StoreError> {
        self.site.disk.settled().await;
        self.blocking(|files| files.collect_garbage()).await
    }

    fn make_current(&self, manifest: &Arc<Manifest>) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        let newest = self.state.lock().current.as_ref().and_then(|current| current.last_log_id);
        if newest > manifest.last_log_id {
            return Ok(());
        }
        let mut bytes = Vec::new();
        record::encode(Kind::Manifest, &[], &manifest.to_message(), &mut bytes);
        self.site.sync_dir(&self.dir)?;
        self.site.write_synced(&self.manifest_path(manifest), &bytes)?;
        self.site.sync_dir(&self.dir)?;
        self.state.lock().set_current(Arc::clone(manifest));
        Ok(())
    }

    /// Keeps the files of a snapshot that is about to be received.
    pub(crate) fn pin(self: &Arc<Self>, manifest: Manifest) -> SnapshotHandle {
        let manifest = Arc::new(manifest);
        // With `writing` held no collection is under way that has not seen the pin.
        let _writing = self.writing.lock();
        self.state.lock().pinned.push(Arc::downgrade(&manifest));
        SnapshotHandle { manifest, files: Arc::clone(self) }
    }

    /// The shards of `manifest` that are not here in good order. Files that are damaged are deleted.
    pub(crate) fn missing(&self, manifest: &Manifest) -> Result<Vec<Hash>, StoreError> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for shard in manifest.shards.iter().filter(|shard| seen.insert(shard.sha256)) {
            match self.read_shard(shard) {
                Ok(_) => {}
                Err(StoreError::Damaged { path, .. }) => {
                    self.remove(&path)?;
                    missing.push(shard.sha256);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Stores a shard that was received.
    ///
    /// # Errors
    /// The content does not have this hash, or the disk fails.
    pub(crate) fn receive(&self, sha256: &Hash, content: &[u8]) -> Result<(), StoreError> {
        let path = self.shard_path(sha256);
        if Hash::from(Sha256::digest(content)) != *sha256 {
            return Err(StoreError::damaged(
                &path,
                "-",
                "-",
                "the content received has another hash",
            ));
        }
        let _writing = self.writing.lock();
        self.write_shard(sha256, content)
    }

    /// Reads a shard and checks it.
    pub(crate) fn read_shard(&self, shard: &ShardFile) -> Result<Bytes, StoreError> {
        let path = self.shard_path(&shard.sha256);
        let content = self.site.disk.read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                StoreError::damaged(&path, "-", "-", "the shard file is missing")
            }
            _ => StoreError::io(&path, "read", &e),
        })?;
        if Hash::from(Sha256::digest(&content)) != shard.sha256 {
            let problem = "the content does not have the hash that the file is named by";
            return Err(StoreError::damaged(&path, "-", "-", problem));
        }
        Ok(content.into())
    }

    /// Deletes what neither the current nor a pinned manifest names.
    fn collect_garbage(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        let (shards, manifest) = {
            let mut state = self.state.lock();
            if state.builds > 0 {
                return Ok(());
            }
            state.pinned.retain(|manifest| manifest.strong_count() > 0);
            let live: Vec<_> = state.pinned.iter().filter_map(Weak::upgrade).collect();
            let shards: BTreeSet<Hash> =
                live.iter().flat_map(|manifest| manifest.shards.iter().map(|s| s.sha256)).collect();
            (shards, state.current.as_ref().map(|manifest| self.manifest_path(manifest)))
        };
        for path in self.list(MANIFEST)? {
            if manifest.as_ref() != Some(&path) {
                self.remove(&path)?;
            }
        }
        let keep: BTreeSet<PathBuf> = shards.iter().map(|sha256| self.shard_path(sha256)).collect();
        for path in self.list(SHARD)? {
            if !keep.contains(&path) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    fn list(&self, extension: &str) -> Result<Vec<PathBuf>, StoreError> {
        let error = |e: io::Error| StoreError::io(&self.dir, "list the folder", &e);
        let names = self.site.disk.list(&self.dir).map_err(error)?;
        let wanted = |name: &PathBuf| name.extension().is_some_and(|found| found == extension);
        let mut paths: Vec<PathBuf> =
            names.into_iter().filter(wanted).map(|name| self.dir.join(name)).collect();
        // The order in which files go must not depend on the file system.
        paths.sort_unstable();
        Ok(paths)
    }

    fn read_manifest(&self, path: &Path) -> Result<Manifest, StoreError> {
        let damaged = |problem: String| StoreError::damaged(path, "-", "-", problem);
        let bytes = self.site.disk.read(path).map_err(|e| StoreError::io(path, "read", &e))?;
        let message = record::decode(Kind::Manifest, &[], bytes.into()).map_err(damaged)?;
        Manifest::from_message(message).map_err(|problem| damaged(problem.to_string()))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.site.disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(path, "delete", &e))
            }
            _ => Ok(()),
        }
    }

    fn shard_path(&self, sha256: &Hash) -> PathBuf {
        let mut name = String::with_capacity(70);
        for byte in sha256 {
            use std::fmt::Write as _;
            write!(name, "{byte:02x}").expect("a String grows as needed");
        }
        name.push('.');
        name.push_str(SHARD);
        self.dir.join(name)
    }

    fn manifest_path(&self, manifest: &Manifest) -> PathBuf {
        let term = manifest.last_log_id.map_or(0, |id| id.leader_id.term);
        self.dir.join(format!("{:020}-{term:020}.{MANIFEST}", manifest.index()))
    }
}

impl SnapshotHandle {
    /// Reads all shards and checks them.
    pub(crate) fn read_all(&self) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let read = |shard: &ShardFile| Ok((shard.id, self.files.read_shard(shard)?));
        self.manifest.shards.iter().map(read).collect()
    }
}
