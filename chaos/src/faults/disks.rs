//! Faults of disks and clocks: full, failing, slow, damaged, wiped, off.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use muster_chaos::witness;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::{Damage, Direction, File, Stage, Target, masters, names};
use crate::evidence::Evidence;
use crate::history::What;
use crate::scenario::Span;

/// Takes up the room on a volume.
const FILLER: &str = "lost+found";
/// Bytes changed by one flip.
const FLIPPED_MAX: u64 = 16;
/// How long a damaged master has to say that it is.
const DAMAGE_SHOWS: Duration = Duration::from_secs(4);

/// After how many of a disk's writes and syncs its power is cut.
const CUT_STEPS: std::ops::RangeInclusive<u64> = 1..=60;
/// How long a master may take to lose its power.
const CUT_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

impl Stage<'_> {
    pub(super) async fn fill_disk(
        &mut self,
        target: Target,
        leave_kib: Span,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let leave = leave_kib.draw_number(&mut self.chance) << 10;
        for at in masters(&whom) {
            fill(&self.lab.masters[at].data, leave)?;
        }
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        for at in masters(&whom) {
            fs::remove_dir_all(self.lab.masters[at].data.join(FILLER))?;
        }
        Ok(format!("left {} KiB of the disk of {} for {span:?}", leave >> 10, names(&whom)))
    }

    pub(super) async fn break_disk(
        &mut self,
        target: Target,
        faults: &str,
        number: Span,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let number = number.draw_number(&mut self.chance).to_string();
        let faults = faults.replace("NUMBER", &number);
        for at in masters(&whom) {
            self.lab.set_disk(at, &faults)?;
        }
        let span = span.draw(&mut self.chance);
        // Whoever ends because of this is started again at once, on the same disk.
        self.pass(span).await?;
        for at in masters(&whom) {
            self.lab.set_disk(at, "")?;
        }
        Ok(format!("the disk of {} did `{}` for {span:?}", names(&whom), faults.trim()))
    }

    pub(super) async fn cut_power(&mut self, target: Target, down: Span) -> Result<String> {
        let whom = self.aim(target).await?;
        let called = witness::now();
        for at in masters(&whom) {
            // Whoever starts it while the order stands would have it cut down as it starts.
            self.lab.masters[at].is_wanted = false;
            // At a moment of its work and not of time: between two of its works nothing can be lost.
            let steps = self.chance.random_range(CUT_STEPS);
            self.lab.set_disk(at, &format!("cut_in = {steps}"))?;
        }
        let until = Instant::now() + CUT_PATIENCE;
        for at in masters(&whom) {
            let master = &mut self.lab.masters[at];
            let how = loop {
                match master.process.ended_by_itself()? {
                    Some(how) => break how,
                    None if Instant::now() > until => {
                        bail!("m{at} was not cut down in {CUT_PATIENCE:?}")
                    }
                    None => tokio::time::sleep(POLL).await,
                }
            };
            self.history.note(called, What::Ended { who: master.who.to_string(), how });
        }
        for at in masters(&whom) {
            self.lab.set_disk(at, "")?;
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        Ok(format!("cut the power of {} for {down:?}", names(&whom)))
    }

    pub(super) async fn jump_clock(
        &mut self,
        target: Target,
        way: Direction,
        by: Span,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let by = by.draw_number(&mut self.chance);
        let sign = match way {
            Direction::Forward => "",
            Direction::Back => "-",
        };
        for at in masters(&whom) {
            self.lab.set_disk(at, &format!("clock_offset_ms = {sign}{by}\n"))?;
        }
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        for at in masters(&whom) {
            self.lab.set_disk(at, "")?;
        }
        Ok(format!("the clock of {} was {sign}{by} ms off for {span:?}", names(&whom)))
    }

    pub(super) async fn wipe(&mut self, target: Target, down: Span) -> Result<String> {
        let whom = self.aim_at_volume(target).await?;
        for at in masters(&whom) {
            self.lab.kill_master(at);
            empty(&self.lab.masters[at].data)?;
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        self.await_voters().await?;
        Ok(format!("wiped the volume of {}, away for {down:?}", names(&whom)))
    }

    pub(super) async fn damage(
        &mut self,
        target: Target,
        file: File,
        how: Damage,
    ) -> Result<String> {
        let whom = self.aim_at_volume(target).await?;
        let mut told = Vec::new();
        for at in masters(&whom) {
            self.lab.kill_master(at);
            let data = self.lab.masters[at].data.clone();
            let Some(path) = find(&data, file, &mut self.chance)? else {
                told.push(format!("m{at} has no {file:?} to be damaged"));
                self.lab.start_master(at)?;
                continue;
            };
            let what = match how {
                Damage::Flip => flip(&path, &mut self.chance)?,
                Damage::Tear => tear(&path, &mut self.chance)?,
            };
            let name = path.strip_prefix(&data).unwrap_or(&path).display().to_string();
            self.lab.start_master(at)?;
            let fate = self.let_damage_show(at).await?;
            told.push(format!("{what} of m{at}/{name}: {fate}"));
        }
        Ok(told.join("; "))
    }

    /// A master with a damaged disk either says so and ends, or the damage does not concern what it holds. In the first
    /// case an operator would wipe its volume.
    async fn let_damage_show(&mut self, at: usize) -> Result<String> {
        let until = Instant::now() + DAMAGE_SHOWS;
        while Instant::now() < until {
            if let Some(how) = self.lab.masters[at].process.ended_by_itself()? {
                let said = fs::read_to_string(self.lab.masters[at].process.log())?;
                let last = said.lines().last().unwrap_or_default();
                let last = first_sentence(last, &self.lab.folder.display().to_string());
                self.logbook.see(Evidence::DamageRefused, 1);
                self.lab.masters[at].is_wanted = false;
                empty(&self.lab.masters[at].data)?;
                self.lab.start_master(at)?;
                self.await_voters().await?;
                return Ok(format!("refused to start ({how}: {last}), wiped"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok("goes on".to_owned())
    }

    /// Waits until all masters vote, so that no further fault takes the majority's data.
    async fn await_voters(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let views = self.lab.views().await;
            let are_all_voters = views.iter().all(|view| {
                view.as_ref().is_some_and(|view| {
                    let voters = view.members.iter().filter(|it| it.is_voter);
                    let is_one = voters.clone().any(|it| it.id == view.answering_member_id);
                    is_one && voters.count() == self.lab.masters.len()
                })
            });
            if are_all_voters {
                return Ok(());
            }
            self.pass(Duration::from_millis(100)).await?;
        }
        Ok(())
    }
}

/// What a master said, without what it advises.
fn first_sentence(text: &str, folder: &str) -> String {
    let text = text.replace(folder, "…");
    text.split(". ").next().unwrap_or_default().to_owned()
}

fn fill(volume: &Path, leave_bytes: u64) -> Result<()> {
    let stats = rustix::fs::statvfs(volume)?;
    let free_bytes = stats.f_bavail.saturating_mul(stats.f_frsize);
    let folder = volume.join(FILLER);
    fs::create_dir_all(&folder)?;
    let file = fs::File::create(folder.join("filler"))?;
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        free_bytes.saturating_sub(leave_bytes).max(1),
    )
    .context("cannot fill the volume")?;
    Ok(())
}

/// Takes everything out of a folder, which may be a mount point.
fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// The file to be damaged; one of many if it is a snapshot's.
fn find(data: &Path, file: File, chance: &mut StdRng) -> Result<Option<PathBuf>> {
    let folder = match file {
        File::Log => return Ok(Some(data.join("log.redb"))),
        File::History => return Ok(Some(data.join("history.redb"))),
        File::Snapshot => data.join("snapshots"),
    };
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    Ok(Some(files.swap_remove(chance.random_range(0..files.len()))))
}

fn flip(path: &Path, chance: &mut StdRng) -> Result<String> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let count = chance.random_range(1..=FLIPPED_MAX).min(length);
    let at = chance.random_range(0..=length - count);
    let mut bytes = vec![0; usize::try_from(count)?];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    for byte in &mut bytes {
        *byte ^= chance.random_range(1..=u8::MAX);
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&bytes)?;
    Ok(format!("{count} bytes at {at}"))
}

fn tear(path: &Path, chance: &mut StdRng) -> Result<String> {
    let file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    let left = chance.random_range(0..length.max(1));
    file.set_len(left)?;
    Ok(format!("all behind the first {left} of {length} bytes"))
}
