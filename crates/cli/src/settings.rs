//! What applies to every command: flag, else `MUSTER_*`, else the config file, else the default.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use muster_client::Client;
use serde::Deserialize;

use crate::exit::Failure;
use crate::output::{Format, Output, OutputParser, Picture};

/// Where a cluster is looked for unless something names it.
const SERVER_DEFAULT: &str = "http://127.0.0.1:7070";
/// A command gives up after this long without a connection to any master: long enough for a restart, short enough for
/// whoever mistyped an address.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Addresses of the masters, some or all [default: http://127.0.0.1:7070]
    #[arg(
        long,
        global = true,
        value_name = "URL,…",
        env = "MUSTER_SERVER",
        hide_env_values = true
    )]
    pub(crate) server: Option<String>,
    /// Namespace of workflows and runs [default: default]
    #[arg(short, long, global = true, env = "MUSTER_NAMESPACE", hide_env_values = true)]
    pub(crate) namespace: Option<String>,
    /// Format of what is printed to stdout
    #[arg(short, long, global = true, value_parser = OutputParser, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Colours and animation [default: only on a terminal, and not if NO_COLOR is set]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    pub(crate) color: Option<Color>,
    /// Log more to stderr: -v for what happens, -vv for everything (MUSTER_LOG takes a filter)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The config file.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    namespace: Option<String>,
}

impl Global {
    /// The format asked for, or a table.
    pub(crate) fn format(&self) -> Format {
        match self.output {
            Some(Output::Data(format)) => format,
            Some(Output::Picture(_)) | None => Format::Table,
        }
    }

    /// The picture asked for, which one command alone can draw.
    pub(crate) fn picture(&self) -> Option<Picture> {
        match self.output {
            Some(Output::Picture(picture)) => Some(picture),
            Some(Output::Data(_)) | None => None,
        }
    }

    /// A client of the cluster that the settings name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let file = match config_path() {
            Some(path) => read(&path)?,
            None => File::default(),
        };
        let (server, namespace) = self.merged(file);
        let builder = Client::builder()
            .endpoint(server)
            .namespace(namespace)
            .user(user())
            .connect_patience(CONNECT_PATIENCE);
        builder.build().map_err(Failure::from)
    }

    /// Server and namespace. Flags and the environment were merged by the parser of the command line.
    fn merged(&self, file: File) -> (String, String) {
        // An empty variable is how a shell says that there is none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let server = given(&self.server).or(file.server);
        let namespace = given(&self.namespace).or(file.namespace);
        (server.unwrap_or_else(|| SERVER_DEFAULT.to_owned()), namespace.unwrap_or_default())
    }
}

/// Whose calls these are: `$MUSTER_USER`, or the user and host that the operating system knows.
fn user() -> String {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    set("MUSTER_USER").unwrap_or_else(|| {
        let user = set("USER").or_else(|| set("LOGNAME")).or_else(owner).unwrap_or_default();
        format!("{user}@{}", machine_name())
    })
}

/// What the machine calls itself; `localhost` if it does not.
pub(crate) fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// The name of the user whose process this is, or else the number.
fn owner() -> Option<String> {
    let number = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    Some(name.unwrap_or(number))
}

fn config_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("MUSTER_CONFIG") {
        return Some(path);
    }
    let dir = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(dir.join("muster/config.toml"))
}

/// The file at `path`; one that does not exist says nothing.
fn read(path: &Path) -> Result<File, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}:\n{error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn file(server: Option<&str>, namespace: Option<&str>) -> File {
        File { server: server.map(Into::into), namespace: namespace.map(Into::into) }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let global = Global { server: Some("http://flag:1".into()), ..Global::default() };
        let merged = global.merged(file(Some("http://file:1"), Some("data")));
        assert_eq!(merged, ("http://flag:1".into(), "data".into()));
        let merged = Global::default().merged(file(Some("http://file:1"), None));
        assert_eq!(merged, ("http://file:1".into(), String::new()));
        let empty = Global { server: Some(String::new()), ..Global::default() };
        assert_eq!(empty.merged(file(Some("http://file:1"), None)).0, "http://file:1");
        let merged = Global::default().merged(File::default());
        assert_eq!(merged, (SERVER_DEFAULT.into(), String::new()));
    }

    #[test]
    fn the_file_is_read_strictly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert_eq!(read(&path).unwrap(), File::default());
        std::fs::write(&path, "server = \"http://a:7070,http://b:7070\"\n").unwrap();
        assert_eq!(read(&path).unwrap(), file(Some("http://a:7070,http://b:7070"), None));
        std::fs::write(&path, "sevrer = \"http://a:7070\"\n").unwrap();
        let failure = read(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.unwrap().contains("sevrer"));
    }
}
