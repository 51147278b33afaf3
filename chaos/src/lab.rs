//! A cluster of real processes, each in its place, and the handles by which they are harmed and helped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use muster_chaos::witness;
use muster_client::{Client, v1};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::ground::{API_PORT, Ground, PEER_PORT, Who};
use crate::history::{History, What};
use crate::logbook;
use crate::process::{self, Process};
use crate::proxy::Proxy;
use crate::scenario::{Faultdisk, SNAPSHOT_ENTRIES_NEVER, Scenario};

/// How long a cluster may take to form.
const FORM_PATIENCE: Duration = Duration::from_secs(60);
/// How long one master may take to say what it sees.
const VIEW_PATIENCE: Duration = Duration::from_millis(500);
/// A digest is a walk over the whole state.
const DIGEST_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// How often it is looked whether somebody ended by itself.
pub(crate) const TEND_INTERVAL: Duration = Duration::from_millis(200);
/// A lease holds so many heartbeats.
const HEARTBEATS_PER_LEASE: u64 = 5;
/// More than any scenario has, so that every run can be read in the end.
const HISTORY_RUNS: u64 = 10_000_000;
/// The master that keeps its whole log whatever the scenario says, by position: verdicts need one log from its first
/// entry on.
pub(crate) const LOG_KEEPER: usize = 0;
/// What each worker says it has: more than the tasks of a run really take.
const WORKER_CORES: &str = "64";

/// What one master sees.
pub(crate) type View = v1::GetClusterStatusResponse;

/// A process with its own folder, and whether it is meant to run.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) who: Who,
    pub(crate) process: Process,
    pub(crate) data: PathBuf,
    /// More variables for its next start.
    pub(crate) env: BTreeMap<String, String>,
    /// Meant to run: if it does not, it ended by itself.
    pub(crate) is_wanted: bool,
}

/// See the module documentation.
pub(crate) struct Lab {
    pub(crate) ground: Ground,
    pub(crate) masters: Vec<Member>,
    pub(crate) workers: Vec<Member>,
    /// Talks to all masters, wherever they are.
    pub(crate) client: Client,
    /// In front of each master's peers' protocol, if the scenario wants them.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) folder: PathBuf,
    binary: PathBuf,
    arguments: Vec<String>,
    snapshot_entries: u64,
    faultdisk: Option<(Faultdisk, PathBuf)>,
}

impl Lab {
    /// Starts a cluster and waits until it works.
    pub(crate) async fn start(
        scenario: &Scenario,
        ground: Ground,
        folder: &Path,
        binary: &Path,
    ) -> Result<Lab> {
        let arguments = vec![
            format!("--lease={}ms", scenario.lease_ms),
            format!("--heartbeat={}ms", scenario.lease_ms / HEARTBEATS_PER_LEASE),
            format!("--history-runs={HISTORY_RUNS}"),
        ];
        let addresses = (0..scenario.masters).flat_map(|at| match scenario.moves_masters() {
            true => ground.addresses_ever(at).to_vec(),
            false => vec![ground.address(Who::Master(at))],
        });
        let client = Client::connect(addresses.map(|it| format!("http://{it}:{API_PORT}")))?;
        let mut lab = Lab {
            ground,
            masters: Vec::new(),
            workers: Vec::new(),
            client,
            proxies: Vec::new(),
            folder: folder.to_owned(),
            binary: binary.to_owned(),
            arguments,
            snapshot_entries: scenario.snapshot_entries,
            faultdisk: scenario.faultdisk.map(|mode| (mode, faultdisk_beside(binary))),
        };
        if scenario.proxies {
            for at in 0..scenario.masters {
                let target = (lab.ground.address(Who::Master(at)), PEER_PORT);
                lab.proxies.push(Proxy::start(lab.ground.harness(), target).await?);
            }
        }
        for at in 0..scenario.masters {
            let master = lab.member(Who::Master(at))?;
            if let Some(mib) = scenario.volume_mib {
                mount_volume(&master.data, mib)?;
            }
            lab.masters.push(master);
        }
        for at in 0..scenario.workers {
            let worker = lab.member(Who::Worker(at))?;
            lab.workers.push(worker);
        }
        for at in 0..scenario.masters {
            lab.start_master(at)?;
        }
        for at in 0..scenario.workers {
            lab.start_worker(at)?;
        }
        lab.form(scenario.workers).await?;
        Ok(lab)
    }

    fn member(&self, who: Who) -> Result<Member> {
        self.ground.add(who)?;
        let data = self.folder.join(who.to_string());
        fs::create_dir_all(&data)?;
        let process = Process::new(self.folder.join(format!("{who}.log")));
        Ok(Member { who, process, data, env: BTreeMap::new(), is_wanted: false })
    }

    /// Where each process writes what it says.
    pub(crate) fn logs(&self) -> Vec<(Who, PathBuf)> {
        let all = self.masters.iter().chain(&self.workers);
        all.map(|member| (member.who, member.process.log().to_owned())).collect()
    }

    /// Starts a master, or starts it again.
    pub(crate) fn start_master(&mut self, at: usize) -> Result<()> {
        let mut command = self.ground.command(Who::Master(at), &self.binary);
        let (own, peer) = (self.ground.address(Who::Master(at)), self.peer_address(at));
        let peers: Vec<String> =
            (0..self.masters.len()).map(|at| format!("m{at}={}", self.peer_address(at))).collect();
        command
            .args(["master", "start", "--name", &format!("m{at}"), "--insecure"])
            .arg(format!("--listen={own}:{API_PORT}"))
            .arg(format!("--peer-listen={own}:{PEER_PORT}"))
            .arg(format!("--peer-advertise={peer}"))
            .arg(format!("--peers={}", peers.join(",")))
            .arg(format!("--snapshot-entries={}", self.snapshot_entries_of(at)))
            .args(&self.arguments);
        if let Some((mode, library)) = &self.faultdisk {
            command
                .env("LD_PRELOAD", library)
                .env("MUSTER_FAULTDISK_ROOT", &self.masters[at].data)
                .env("MUSTER_FAULTDISK_CONTROL", self.disk_control(at))
                .env("MUSTER_FAULTDISK_SEED", at.to_string());
            if *mode == Faultdisk::Cut {
                command.env("MUSTER_FAULTDISK_CUT", "torn");
            }
        }
        self.masters[at].start(&mut command)
    }

    fn snapshot_entries_of(&self, at: usize) -> u64 {
        if at == LOG_KEEPER { SNAPSHOT_ENTRIES_NEVER } else { self.snapshot_entries }
    }

    fn disk_control(&self, at: usize) -> PathBuf {
        self.folder.join(format!("m{at}.disk"))
    }

    /// Tells the disk of a master what to do from now on; nothing ends all faults.
    pub(crate) fn set_disk(&self, at: usize, faults: &str) -> Result<()> {
        let control = self.disk_control(at);
        let fresh = control.with_extension("disk-new");
        fs::write(&fresh, faults)?;
        Ok(fs::rename(fresh, control)?)
    }

    /// Where the other masters reach this one.
    fn peer_address(&self, at: usize) -> String {
        match self.proxies.get(at) {
            Some(proxy) => proxy.address().to_string(),
            None => format!("{}:{PEER_PORT}", self.ground.address(Who::Master(at))),
        }
    }

    /// Starts a worker, or starts it again.
    pub(crate) fn start_worker(&mut self, at: usize) -> Result<()> {
        let mut command = self.ground.command(Who::Worker(at), &self.binary);
        let masters = self.client.endpoints().join(",");
        command
            .args(["worker", "start", "--name", &format!("w{at}"), "--cpu", WORKER_CORES])
            .args(["--master", &masters]);
        self.workers[at].start(&mut command)
    }

    async fn form(&self, workers: usize) -> Result<()> {
        let until = Instant::now() + FORM_PATIENCE;
        loop {
            if let Some(leader) = self.leader().await
                && let Some(view) = self.view(leader).await
                && view.members.iter().filter(|it| it.is_voter).count() == self.masters.len()
                && view.workers >= workers as u64
            {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "the cluster did not form in {FORM_PATIENCE:?}: see {}",
                    self.folder.display()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The API of a master.
    pub(crate) fn api_address(&self, at: usize) -> String {
        format!("http://{}:{API_PORT}", self.ground.address(Who::Master(at)))
    }

    /// What a master sees, if it answers.
    pub(crate) async fn view(&self, at: usize) -> Option<View> {
        if !self.masters[at].process.is_started() {
            return None;
        }
        let asking = self.client.with_deadline(VIEW_PATIENCE);
        asking.cluster_status_of(&self.api_address(at)).await.ok()
    }

    /// What every master sees, by position.
    pub(crate) async fn views(&self) -> Vec<Option<View>> {
        join_all((0..self.masters.len()).map(|at| self.view(at))).await
    }

    /// What every master sees, by position, with the digest of its state.
    pub(crate) async fn views_with_digests(&self) -> Vec<Option<View>> {
        let asking = self.client.with_deadline(DIGEST_PATIENCE);
        let views = (0..self.masters.len()).map(|at| {
            let (asking, address) = (asking.clone(), self.api_address(at));
            let is_started = self.masters[at].process.is_started();
            async move {
                if !is_started {
                    return None;
                }
                let view = asking.cluster_status_with_digest_of(&address).await.ok()?;
                // Where there is none, nothing could be compared, and would pass for equal.
                view.state_digest.is_some().then_some(view)
            }
        });
        join_all(views).await
    }

    /// The master that says that it leads, in the latest term in which one does.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let views = self.views().await;
        let leading = views.iter().enumerate().filter_map(|(at, view)| {
            let view = view.as_ref()?;
            (view.leader_id != 0 && view.leader_id == view.answering_member_id)
                .then_some((view.term, at))
        });
        leading.max().map(|(_, at)| at)
    }

    /// Waits for a leader, which is not `other`.
    pub(crate) async fn wait_leader(
        &self,
        other: Option<usize>,
        patience: Duration,
    ) -> Option<usize> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let leader = self.leader().await;
            if leader.is_some() && leader != other {
                return leader;
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    /// Kills a master; it is not meant to run from then on.
    pub(crate) fn kill_master(&mut self, at: usize) {
        self.masters[at].is_wanted = false;
        self.masters[at].process.kill();
    }

    /// Kills a worker. Its guardian and its tasks are left to themselves.
    pub(crate) fn kill_worker(&mut self, at: usize) {
        self.workers[at].is_wanted = false;
        self.workers[at].process.kill();
    }

    /// Kills a worker and its guardian, such that it cannot start another in between. Its tasks are left to the kernel.
    pub(crate) fn kill_worker_and_guardian(&mut self, at: usize) -> Result<()> {
        let worker = &self.workers[at].process;
        if let Some(pid) = worker.pid() {
            worker.signal(Signal::STOP)?;
            for guardian in process::children(pid)?.into_iter().filter(|pid| is_guardian(*pid)) {
                // It may have ended by itself.
                let _ = Pid::from_raw(guardian).map(|pid| kill_process(pid, Signal::KILL));
            }
        }
        self.kill_worker(at);
        Ok(())
    }

    /// Starts whoever ended by itself, as a supervisor of services would, and notes who did and how.
    pub(crate) fn tend(&mut self, history: &History) -> Result<()> {
        let called = witness::now();
        let mut ended = Vec::new();
        for member in self.masters.iter_mut().chain(&mut self.workers) {
            if member.is_wanted
                && let Some(how) = member.process.ended_by_itself()?
            {
                ended.push((member.who, how));
            }
        }
        for (who, how) in ended {
            history.note(called, What::Ended { who: who.to_string(), how });
            match who {
                Who::Master(at) => self.start_master(at)?,
                Who::Worker(at) => self.start_worker(at)?,
            }
        }
        Ok(())
    }

    /// Does something, and starts whoever ends by itself meanwhile.
    pub(crate) async fn tend_during<T>(
        &mut self,
        history: &History,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(work);
        loop {
            self.tend(history)?;
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(TEND_INTERVAL) => {}
            }
        }
    }

    /// Starts everybody who does not run.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        for at in 0..self.masters.len() {
            if !self.masters[at].process.is_started() {
                self.start_master(at)?;
            }
        }
        for at in 0..self.workers.len() {
            if !self.workers[at].process.is_started() {
                self.start_worker(at)?;
            }
        }
        Ok(())
    }
}

impl Member {
    fn start(&mut self, command: &mut Command) -> Result<()> {
        command
            .arg(format!("--data-dir={}", self.data.display()))
            .env("MUSTER_LOG", logbook::FILTER)
            .env("MUSTER_LOG_FORMAT", "json")
            .envs(&self.env);
        self.process.start(command)?;
        self.is_wanted = true;
        Ok(())
    }
}

/// By the subcommand it was started with.
fn is_guardian(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"guardian")
}

/// A file system of its own, which can be full.
fn mount_volume(path: &Path, mib: u64) -> Result<()> {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
        .arg(path)
        .status()?;
    if !mounted.success() {
        bail!("cannot mount a volume at {}", path.display());
    }
    Ok(())
}

/// The library of `muster-faultdisk`, which is built into the same folder.
pub(crate) fn faultdisk_beside(binary: &Path) -> PathBuf {
    binary.with_file_name("libmuster_faultdisk.so")
}
