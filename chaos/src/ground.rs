//! Where masters and workers stand: addresses, and what lies between them.
//!
//! With namespaces of its own the harness gives each member a network of its own, all on one bridge:
//!
//! ```text
//!   harness 10.99.0.1 ── bridge ─┬─ m0 10.99.0.10
//!                                ├─ m1 10.99.0.11
//!                                └─ w0 10.99.0.100
//! ```
//!
//! What A sends to B is lost, and nothing else, while A believes B to have a link address that nobody has. That cuts
//! one way, needs nothing but `ip`, and looks to A like a cable that was pulled: silence.
//!
//! Without namespaces everybody is on loopback, and nothing can be cut.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Port of every master's API.
pub(crate) const API_PORT: u16 = 7070;
/// Port of every master's peers' protocol.
pub(crate) const PEER_PORT: u16 = 7071;

/// First address of masters, of masters after they moved, and of workers; the harness itself is 1.
const MASTERS: u8 = 10;
const MASTERS_MOVED: u8 = 50;
const WORKERS: u8 = 100;
/// A locally administered link address that nobody has.
const NOBODY: &str = "02:00:00:00:00:99";
const BRIDGE: &str = "chaos";

/// One who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// By position.
    Master(usize),
    /// By position.
    Worker(usize),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Master(at) => write!(f, "m{at}"),
            Who::Worker(at) => write!(f, "w{at}"),
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Ground {
    has_namespaces: bool,
    /// Second and third byte of loopback addresses: several harnesses can be at work.
    room: [u8; 2],
    /// Masters stand on their second addresses.
    has_moved: bool,
}

impl Ground {
    /// The harness's own network, without members.
    pub(crate) fn prepare(has_namespaces: bool) -> Result<Ground> {
        let room = [100 + (std::process::id() % 100) as u8, (std::process::id() / 100 % 250) as u8];
        let ground = Ground { has_namespaces, room, has_moved: false };
        if has_namespaces {
            std::fs::create_dir_all("/run/netns")?;
            run("mount", "-t tmpfs tmpfs /run/netns")?;
            ip("link set lo up")?;
            ip(&format!("link add {BRIDGE} type bridge"))?;
            ip(&format!("addr add 10.99.0.1/24 dev {BRIDGE}"))?;
            ip(&format!("link set {BRIDGE} up"))?;
        }
        Ok(ground)
    }

    /// Whether links can be cut.
    pub(crate) fn has_namespaces(&self) -> bool {
        self.has_namespaces
    }

    /// The harness's own address, for proxies.
    pub(crate) fn harness(&self) -> Ipv4Addr {
        self.address_of(1)
    }

    pub(crate) fn address(&self, who: Who) -> Ipv4Addr {
        match who {
            Who::Master(at) if self.has_moved => self.address_of(MASTERS_MOVED + at as u8),
            Who::Master(at) => self.address_of(MASTERS + at as u8),
            Who::Worker(at) => self.address_of(WORKERS + at as u8),
        }
    }

    /// Both addresses a master may have.
    pub(crate) fn addresses_ever(&self, master: usize) -> [Ipv4Addr; 2] {
        [self.address_of(MASTERS + master as u8), self.address_of(MASTERS_MOVED + master as u8)]
    }

    fn address_of(&self, last: u8) -> Ipv4Addr {
        match self.has_namespaces {
            true => Ipv4Addr::new(10, 99, 0, last),
            false => Ipv4Addr::new(127, self.room[0], self.room[1], last),
        }
    }

    /// Makes room for a member.
    pub(crate) fn add(&self, who: Who) -> Result<()> {
        if !self.has_namespaces {
            return Ok(());
        }
        ip(&format!("netns add {who}"))?;
        ip(&format!("link add {who} type veth peer name eth0 netns {who}"))?;
        ip(&format!("link set {who} master {BRIDGE} up"))?;
        ip(&format!("-n {who} link set lo up"))?;
        ip(&format!("-n {who} addr add {}/24 dev eth0", self.address(who)))?;
        ip(&format!("-n {who} link set eth0 up"))
    }

    /// Gives all masters, none of which may run, their other addresses.
    pub(crate) fn move_masters(&mut self, masters: usize) -> Result<()> {
        let before: Vec<Ipv4Addr> = (0..masters).map(|at| self.address(Who::Master(at))).collect();
        self.has_moved = !self.has_moved;
        if self.has_namespaces {
            for (at, old) in before.iter().enumerate() {
                let new = self.address(Who::Master(at));
                ip(&format!("-n m{at} addr del {old}/24 dev eth0"))?;
                ip(&format!("-n m{at} addr add {new}/24 dev eth0"))?;
            }
        }
        Ok(())
    }

    /// A command that will run where `who` stands.
    pub(crate) fn command(&self, who: Who, program: &std::path::Path) -> Command {
        let mut command = match self.has_namespaces {
            true => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{who}")).arg("--");
                command
            }
            // Without a process namespace the kernel is asked to end them with the harness.
            false => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]);
                command
            }
        };
        command.arg(program);
        command
    }

    /// Loses everything that `from` sends to `to`.
    pub(crate) fn cut(&self, from: Who, to: Who) -> Result<()> {
        if !self.has_namespaces {
            bail!("links can be cut only between namespaces");
        }
        let to = self.address(to);
        ip(&format!("-n {from} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"))
    }

    /// Takes [`Ground::cut`] back.
    pub(crate) fn heal(&self, from: Who, to: Who) -> Result<()> {
        ip(&format!("-n {from} neigh del {} dev eth0", self.address(to)))
    }
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
