# Aliases: each recipe is the one command it stands for. `.ci/run` runs the first three without just.

default:
    @just --list

# Formats everything.
fmt:
    cargo fmt

# Lints everything; a warning is an error.
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# Runs all tests.
test:
    cargo test --locked

# Runs all tests and prints one table of the faults that they made and what came of them.
prove *args:
    .ci/prove {{args}}

# Builds the documentation of this crate, private items included.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Feeds random bad input to each reader for so many seconds, and prints the seed of what fails.
fuzz seconds="60":
    CODEFERRY_FUZZ_SECONDS={{seconds}} cargo test --locked --test it fuzz

# Checks licences, sources and duplicates (needs cargo-deny); `cargo deny check advisories` needs the network too.
deny:
    cargo deny --locked --offline check bans licenses sources

# Builds what is given away into target/package: a static binary, an archive, a Debian package, checksums; checks them.
package:
    packaging/package

# What every change must pass.
ci:
    .ci/run

# Shows a code's whole life against the embedded Discord.
demo *args:
    cargo run --release --locked -- demo {{args}}

# Measures speed and size against the embedded Discord.
bench *args:
    cargo bench --locked --bench pipeline -- {{args}}

# Runs for so many minutes under steady load, with a kill every 30 s to 2 min and one call in a hundred failing.
soak minutes="30":
    CODEFERRY_SOAK_MINUTES={{minutes}} cargo test --locked --test it soak -- --nocapture

# Plays a launch through each kind of relay, in virtual time, and its first minute over sockets; prints how many get through.
launch:
    CODEFERRY_SLOW=1 cargo test --locked --test it launch::whoever -- --nocapture --test-threads=1

# Breaks promises on purpose in a copy of the sources, one after the other: all, those whose name holds a text, or `list`.
mutate which="1":
    CODEFERRY_MUTATE="{{which}}" cargo test --locked --test it every_mutation_turns -- --nocapture
