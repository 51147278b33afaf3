use std::process::{Command, Output};

use super::*;
use crate::convert::names::sanitize;

/// What DolphinScheduler runs: the values written into the text.
fn substituted(script: &str, params: &[(&str, &str)]) -> String {
    let fill =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("${{{name}}}"), value);
    params.iter().fold(script.to_owned(), fill)
}

fn converted(language: Language, script: &str, params: &[(&str, &str)]) -> Script {
    let new = |name: &str| sanitize(name, "param");
    let params = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (new(name), (*value).to_owned())))
        .collect();
    let scope = Scope { params, ..Scope::default() };
    convert(language, script, &scope, &[], Some("Asia/Shanghai"))
}

/// Runs a script with the variables that a master would fill in.
fn run(shell: &str, script: &Script, params: &[(&str, &str)]) -> Output {
    let resolved = script.env.iter().map(|(variable, reference)| {
        let mut value = reference.clone();
        for (name, given) in params {
            let name = sanitize(name, "param");
            value = value.replace(&format!("${{{{ params.{name} }}}}"), given);
        }
        (variable.clone(), value)
    });
    let env: BTreeMap<String, String> = resolved.collect();
    let mut command = Command::new(shell);
    // The file that a worker writes ends with a line end.
    command.args(["-c", &format!("{}\n", script.text)]).env_clear().envs(env);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("MUSTER_FIRE_TIME", "2026-02-28T17:30:00Z");
    command.output().expect("there is a shell")
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

const PARAMS: [(&str, &str); 5] = [
    ("x", "a b"),
    ("day", "2020-01-01"),
    ("out.dir", "/tmp/é"),
    ("glob", "/et*/pass?d"),
    ("PATH", "elsewhere"),
];

/// Where a placeholder may stand, the new script prints what the old one printed.
#[test]
fn scripts_print_what_they_printed() {
    for script in [
        "echo ${x}",
        "echo \"${x}\" '${x}' x${x}y",
        "echo 'it'\"'\"'s ${x}' '${x}''${day}'",
        "for i in ${x}; do echo \"<$i>\"; done",
        "echo \"$(echo '${x}' | tr a b) $(echo \"${day}\")\"",
        "cat <<EOF\n\"${x}\" '${x}' ${day}\nEOF\necho ${x}",
        "cat <<-EOF; cat <<'B'\n\t${x}\n\tEOF\nnothing here $HOME\nB\necho '${day}'",
        "# don't ${x}\necho ${x} # it's ${x}\necho '${day}'",
        "echo a#b '${x}'\necho ${#day} ${day}",
        "x=own; echo ${x} $x",
        "echo $x ${day}",
        "day=5\necho ${day} $day",
        "awk 'BEGIN { print \"${x}\", \"${day}\" }'",
        "echo ${out.dir} '${out.dir}'",
        "echo ${glob}",
        "echo ${PATH}; ls /etc/passwd",
        "echo $((1 << 2)) ${x}",
        "echo ${unset:-none} ${x}",
        "f() { echo \"$1\"; }; f \"${x}\"",
        "case ${day} in 2020*) echo yes;; esac",
        "echo \"a \\\" ${x} \\\" b\"",
        "false\necho ${x}",
        "echo `echo '${x}'`",
        "echo 'é' \"é${x}\" '${x}é'",
        "cat <<< \"${x}\"",
        "echo ${x}\r\necho ${day}",
        "echo $[1+2] ${x}",
    ] {
        let new = converted(Language::Shell, script, &PARAMS);
        assert_eq!(new.problems, BTreeSet::new(), "{script}");
        let expected = printed_before(&script.replace("\r\n", "\n"));
        assert_eq!(
            told(&run("bash", &new, &PARAMS)),
            expected,
            "{script}\n--- became\n{}",
            new.text
        );
    }
}

/// What a script printed, and how it ended, when DolphinScheduler wrote the values into it.
fn printed_before(script: &str) -> (Option<i32>, String) {
    let mut plain = Command::new("bash");
    plain.args(["-c", &substituted(script, &PARAMS)]).env_clear();
    plain.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    told(&plain.output().expect("there is a shell"))
}

/// The same for scripts put together by chance: what is converted means what it meant.
#[test]
fn scripts_by_chance_print_what_they_printed() {
    const PIECES: [&str; 38] = [
        "${x}",
        "${day}",
        "${out.dir}",
        "'",
        "'",
        "\"",
        "\"",
        " ",
        "\n",
        "\necho ",
        "\necho '",
        "\necho \"",
        "$(echo ",
        ")",
        "\\",
        "`",
        "#",
        " # ",
        "a",
        "$x",
        "${y:-d}",
        "${#day}",
        "\ncat <<E\n",
        "\nE\n",
        "\ncat <<'E'\n",
        "\ncat <<-E\n\t",
        "$'",
        "$((1 + 2))",
        "; ",
        "<<< ",
        "\ny=",
        "$y",
        "~",
        "$",
        "${y:-",
        "}",
        " > /dev/null ",
        "{",
    ];
    let mut number: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |bound: usize| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        usize::try_from(number % bound as u64).expect("it is small")
    };
    let mut compared = 0;
    for _ in 0..SCRIPTS_BY_CHANCE {
        let count = 2 + next(14);
        let pieces: Vec<&str> = (0..count).map(|_| PIECES[next(PIECES.len())]).collect();
        let script = format!("echo {}\n", pieces.concat());
        let new = converted(Language::Shell, &script, &PARAMS);
        // What no shell can read is nobody's script.
        let check =
            Command::new("bash").args(["-n", "-c", &substituted(&script, &PARAMS)]).output();
        let check = check.expect("there is a shell");
        // The number of a process is another each time.
        let is_whole = check.status.success() && check.stderr.is_empty() && !script.contains("$$");
        if is_whole && new.problems.is_empty() {
            compared += 1;
            let expected = printed_before(&script);
            assert_eq!(
                told(&run("bash", &new, &PARAMS)),
                expected,
                "{script}\n--- became\n{}",
                new.text
            );
        }
    }
    assert!(compared > SCRIPTS_BY_CHANCE / 20, "only {compared} were compared");
}

/// Enough to notice what goes wrong often, in a second or two.
const SCRIPTS_BY_CHANCE: usize = 400;

/// Where it may not, the script is not converted.
#[test]
fn scripts_that_would_mean_something_else_are_told() {
    let params = [("x", "a"), ("cmd", "ls | wc"), ("q", "it's"), ("d", "say \"hi\"")];
    for (script, why) in [
        ("echo \\${x}", "`${x}` stands where nothing is filled in"),
        ("cat <<'EOF'\n${x}\nEOF", "`${x}` stands where nothing is filled in"),
        ("echo $'${x}'", "`${x}` stands where nothing is filled in"),
        ("echo \"`echo '${x}'`\"", "`${x}` stands behind a backtick with quotes"),
        ("echo ${a:-${x}}", "`${x}` stands within another `${}`"),
        ("${cmd}", "the value of `${cmd}` was read as a part of the script"),
        ("echo '${q}'", "the value of `${q}` was read as a part of the script"),
        ("echo \"${d}\"", "the value of `${d}` was read as a part of the script"),
        ("echo $[add_months(yyyyMM,-1)]", "the time `$[add_months(yyyyMM,-1)]` is more than"),
        ("echo ${system.project.name}", "`${system.project.name}` is no parameter of the export"),
    ] {
        let new = converted(Language::Shell, script, &params);
        let problems: Vec<&String> = new.problems.iter().collect();
        assert!(problems.len() == 1 && problems[0].starts_with(why), "{script}: {problems:?}");
    }
    for value in ["cost $5", "a`b`", "a\\b"] {
        let new = converted(Language::Shell, "echo \"${v}\"", &[("v", value)]);
        assert_eq!(new.problems.len(), 1, "{value}");
    }
    // In single quotes only a quote is special.
    assert!(converted(Language::Shell, "echo '${cmd} ${d}'", &params).problems.is_empty());
}

#[test]
fn names_that_are_nothing_in_the_export_are_told() {
    let script = "n=1\necho ${n} ${HOME} ${project_param} ${x} ${1} ${@} ${a:-b} $OTHER";
    let new = converted(Language::Shell, script, &[("x", "1")]);
    assert_eq!(new.unknown.into_iter().collect::<Vec<_>>(), ["project_param"]);
    assert!(new.problems.is_empty());
}

#[test]
fn times_are_those_of_the_zone_of_the_schedule() {
    let params = [
        ("bizdate", "$[yyyyMMdd-1]"),
        ("path", "/data/${region}/$[yyyy/MM/dd]"),
        ("region", "eu"),
        ("same", "${bizdate}"),
    ];
    let script = "echo ${bizdate} '${path}' \"$[HH:mm:ss]\" ${system.biz.curdate} ${same}";
    let new = converted(Language::Shell, script, &params);
    assert!(new.problems.is_empty(), "{:?}", new.problems);
    // 17:30 in UTC is 01:30 of the next day in Shanghai.
    let given = [("bizdate", ""), ("region", "eu"), ("same", ""), ("path", "")];
    let expected = "20260228 /data/eu/2026/03/01 01:30:00 20260301 20260228\n";
    assert_eq!(told(&run("bash", &new, &given)), (Some(0), expected.to_owned()), "{}", new.text);
    // Who starts a run may say otherwise.
    let given = [("bizdate", "1999"), ("region", "eu"), ("same", ""), ("path", "")];
    let expected = "1999 /data/eu/2026/03/01 01:30:00 20260301 1999\n";
    assert_eq!(told(&run("bash", &new, &given)), (Some(0), expected.to_owned()), "{}", new.text);
}

#[test]
fn texts_beside_times_stay_texts() {
    let value = "cost $5 `id` \\ \"q\" $[yyyy]";
    let new = converted(Language::Shell, "echo '${v}'", &[("v", value)]);
    assert!(new.problems.is_empty(), "{:?}", new.problems);
    let expected = "cost $5 `id` \\ \"q\" 2026\n";
    assert_eq!(told(&run("bash", &new, &[("v", "")])).1, expected, "{}", new.text);
}

#[test]
fn python_reads_variables_where_a_text_is_nothing_else() {
    let params = [("x", "it's \"a\""), ("day", "$[yyyy-MM-dd-1]")];
    let script = "# ${x}\nd = {'k': \"${x}\", '${day}': 1}\nprint(d, '${day}'[:4])";
    let new = converted(Language::Python, script, &params);
    assert!(new.problems.is_empty(), "{:?}", new.problems);
    let given = [("x", "it's \"a\""), ("day", "")];
    let expected = "{'k': 'it\\'s \"a\"', '2026-02-28': 1} 2026\n";
    assert_eq!(told(&run("python3", &new, &given)), (Some(0), expected.to_owned()), "{}", new.text);
    for script in ["x = ${x}", "p = '/a/${x}'", "f\"${x}\"", "'''${x}'''", "s = r'${x}'"] {
        let new = converted(Language::Python, script, &params);
        assert_eq!(new.problems.len(), 1, "{script}: {:?}", new.text);
    }
}

#[test]
fn values_never_become_code() {
    let params = [("x", "plain")];
    let script = "echo ${x}\necho \"${x}\"\necho '${x}'\ncat <<EOF\n${x}\nEOF";
    let new = converted(Language::Shell, script, &params);
    let evil = "$(touch /tmp/muster-evil)`id`;id'\"";
    let (code, out) = told(&run("bash", &new, &[("x", evil)]));
    assert_eq!((code, out), (Some(0), format!("{evil}\n").repeat(4)));
}
