# The commands that people and continuous integration share. `just --list` names them.

# The gateway on ports 4000 and 4010; its settings are environment variables or arguments
run *arguments:
    scripts/run {{arguments}}

# All tests, as continuous integration runs them
test:
    scripts/test

# The tests of one package, such as rig-session
test-of package:
    cargo nextest run --package {{package}}

# The black-box tests; builds the binary they drive
black-box *arguments:
    cargo build --package rig
    cargo nextest run --package rig-tests {{arguments}}

# Formatting, as rustfmt.toml says
fmt:
    cargo fmt --all

# Lints are errors, in code and in language
lint:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo machete
    scripts/language

# Every interleaving of connect and revoke that loom can find
loom:
    cargo test --locked --release --package rig-session --features loom --test loom

# Fuzzing: half a minute for each target; those named share five minutes
fuzz *targets:
    scripts/fuzz-smoke {{targets}}

# All measurements beside the peers (some forty minutes); written into docs/performance
bench:
    scripts/bench

# Banned crates, licences, sources; with ADVISORIES=1 in scripts/test also advisories
deny:
    cargo deny --locked --log-level error check bans licenses sources
