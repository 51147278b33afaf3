# What people do in this repository. `just` lists the recipes. `verify` never writes to the tree; `fix` does.

set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# Everything a change must pass before review. Writes nothing but the target folder.
verify: fmt-check lint test

# Formats, and applies what clippy can correct by itself.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, as the README says.
test:
    cargo test --workspace

# The same with nextest: a process a test, whole-cluster tests one after the other.
test-fast *ARGS:
    cargo nextest run --workspace {{ARGS}}

# The rules of the repository itself: crate edges, names, sizes, links.
tidy:
    cargo test -p muster-tests --test tidy

# What CI runs, on this checkout.
ci:
    .ci/run

# A cluster in one process, on loopback. Example: just dev --run examples/etl.yaml
dev *ARGS='--masters 3 --workers 2':
    cargo run --release -- dev {{ARGS}}

# Speed, against the bounds of this machine. Example: just bench --help
bench *ARGS:
    cargo run --release -- bench {{ARGS}}

# One seed of the simulation; its trace with `--trace -`. Example: just sim 42
sim SEED *ARGS:
    cargo run --release -p muster-simulation -- run {{SEED}} {{ARGS}}

# Many seeds, and whether everything rare happened. Example: just sim-sweep 2000 --from 10000
sim-sweep COUNT *ARGS:
    cargo run --release -p muster-simulation -- sweep {{COUNT}} {{ARGS}}

# Whether the simulation notices deliberate bugs, all or some. Example: just sim-mutants fence-unchecked
sim-mutants *ARGS:
    cargo run --release -p muster-simulation -- mutants {{ARGS}}

# Looks for inputs that break a promise, with libFuzzer. Example: just fuzz snapshot 300; `just fuzz list` lists targets
fuzz *ARGS:
    fuzz/run {{ARGS}}

# Advisories, licences and bans; needs cargo-deny.
deny:
    cargo deny --all-features check

# The documentation of all crates; broken links fail.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# The public API from Python; needs python3 with venv, and PyPI. Builds the binary first.
check-api:
    .ci/run python

# Real processes under real faults. Example: just chaos leader-kill 42 (without a seed: another one each time)
chaos SCENARIO SEED='':
    cargo build --release -p muster-cli -p muster-chaos -p muster-faultdisk
    target/release/muster-chaos run {{SCENARIO}} {{ if SEED == '' { '' } else { '--seed ' + SEED } }}

# What docs/reliability.md says of real processes, measured again. Example: just chaos-figures leader-kill --count 20
chaos-figures NAME *ARGS:
    cargo build --release -p muster-cli -p muster-chaos -p muster-faultdisk
    target/release/muster-chaos figures {{NAME}} {{ARGS}}
