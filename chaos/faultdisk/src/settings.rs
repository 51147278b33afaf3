//! What the library is told: by the environment once, by the control file at any time.

use std::path::PathBuf;

/// Whether the power can be cut, and what then survives without having been synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    Clean,
    /// A random part.
    Torn,
}

/// From the environment.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) control: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) cut: Option<Cut>,
    pub(crate) cut_at: Option<u64>,
    pub(crate) lie_one_in: Option<u64>,
    pub(crate) faults: Faults,
}

impl Settings {
    /// Reads `MUSTER_FAULTDISK_*` through `variable`; None without a root.
    pub(crate) fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Settings>, String> {
        let get = |name: &str| variable(&format!("MUSTER_FAULTDISK_{name}"));
        let Some(root) = get("ROOT") else { return Ok(None) };
        let root = PathBuf::from(&root)
            .canonicalize()
            .map_err(|error| format!("MUSTER_FAULTDISK_ROOT `{root}`: {error}"))?;
        let cut = match get("CUT").as_deref() {
            None => None,
            Some("clean") => Some(Cut::Clean),
            Some("torn") => Some(Cut::Torn),
            Some(other) => return Err(format!("MUSTER_FAULTDISK_CUT is `{other}`")),
        };
        let count = |name: &str| {
            let value = get(name).map(|text| text.parse::<u64>().map_err(|_| text));
            value.transpose().map_err(|text| format!("MUSTER_FAULTDISK_{name} is `{text}`"))
        };
        let lie_one_in = count("LIE_ONE_IN")?;
        if lie_one_in == Some(0) {
            return Err("MUSTER_FAULTDISK_LIE_ONE_IN is `0`".to_owned());
        }
        let cut_at = count("CUT_AT")?;
        if cut_at.is_some() && cut.is_none() {
            return Err("MUSTER_FAULTDISK_CUT_AT needs MUSTER_FAULTDISK_CUT".to_owned());
        }
        let faults = Faults::parse(&get("FAULTS").unwrap_or_default().replace(';', "\n"))
            .map_err(|problem| format!("MUSTER_FAULTDISK_FAULTS: {problem}"))?;
        Ok(Some(Settings {
            root,
            control: get("CONTROL").map(PathBuf::from),
            seed: count("SEED")?.unwrap_or(0),
            cut,
            cut_at,
            lie_one_in,
            faults,
        }))
    }
}

/// Faults that come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) stall_ms: u64,
    pub(crate) fail_one_in: Option<u64>,
    pub(crate) fail_at: Option<u64>,
    pub(crate) space_bytes: Option<u64>,
    pub(crate) clock_offset_ms: i64,
    pub(crate) cut: bool,
    pub(crate) cut_in: Option<u64>,
}

impl Faults {
    /// Reads the text of a control file.
    pub(crate) fn parse(text: &str) -> Result<Faults, String> {
        let mut faults = Faults::default();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || format!("cannot understand `{line}`");
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let value = value.trim();
            let number = || value.parse::<u64>().map_err(|_| wrong());
            let positive = || number().and_then(|n| if n == 0 { Err(wrong()) } else { Ok(n) });
            match key.trim() {
                "stall_ms" => faults.stall_ms = number()?,
                "fail_one_in" => faults.fail_one_in = Some(positive()?),
                "fail_at" => faults.fail_at = Some(positive()?),
                "space_bytes" => faults.space_bytes = Some(number()?),
                "clock_offset_ms" => {
                    faults.clock_offset_ms = value.parse().map_err(|_| wrong())?;
                }
                "cut" if value == "now" => faults.cut = true,
                "cut_in" => faults.cut_in = Some(positive()?),
                _ => return Err(wrong()),
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_file_is_read() {
        let text =
            "# a comment\n\nstall_ms = 20\nfail_at=3\n clock_offset_ms = -3600000\ncut_in = 7\n";
        let expected = Faults {
            stall_ms: 20,
            fail_at: Some(3),
            clock_offset_ms: -3_600_000,
            cut_in: Some(7),
            ..Faults::default()
        };
        assert_eq!(Faults::parse(text), Ok(expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "stall = 1",
            "stall_ms 1",
            "stall_ms = -1",
            "fail_one_in = 0",
            "cut = later",
            "cut_in = 0",
        ] {
            assert!(Faults::parse(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn the_environment_is_read() {
        let root = std::env::temp_dir().canonicalize().unwrap();
        let read = |pairs: &[(&str, &str)]| {
            let find = |name: &str| {
                let name = name.strip_prefix("MUSTER_FAULTDISK_")?;
                let root = root.to_str().filter(|_| name == "ROOT").map(str::to_owned);
                root.or_else(|| Some(pairs.iter().find(|pair| pair.0 == name)?.1.to_owned()))
            };
            Settings::read(find)
        };
        assert!(Settings::read(|_| None).unwrap().is_none(), "without a root there is nothing");
        let settings =
            read(&[("CUT", "torn"), ("CUT_AT", "7"), ("FAULTS", "stall_ms=1;fail_at=2")]);
        let settings = settings.unwrap().unwrap();
        assert_eq!((settings.cut, settings.cut_at), (Some(Cut::Torn), Some(7)));
        assert_eq!((settings.faults.stall_ms, settings.faults.fail_at), (1, Some(2)));
        assert!(read(&[("CUT", "some")]).is_err());
        assert!(read(&[("CUT_AT", "7")]).is_err());
        assert!(read(&[("LIE_ONE_IN", "0")]).is_err());
        assert!(read(&[("SEED", "x")]).is_err());
    }
}
