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

# Breaks everything on purpose, as the tests do, and prints one table of what came of it.
prove *args:
    .ci/prove {{args}}

# Builds the documentation of this crate, private items included.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Tries bad input by chance for so many seconds with each target, and prints the seed of what fails.
fuzz seconds="60":
    CODEFERRY_FUZZ_SECONDS={{seconds}} cargo test --locked --test it fuzz

# Checks licences, sources and duplicates (needs cargo-deny); `cargo deny check advisories` needs the network too.
deny:
    cargo deny --locked --offline check bans licenses sources

# What every change must pass.
ci:
    .ci/run

# Shows the whole way of a code against the embedded Discord.
demo *args:
    cargo run --release --locked -- demo {{args}}

# Measures speed and size against the embedded Discord.
bench *args:
    cargo bench --locked --bench pipeline -- {{args}}

# Soaks for so many minutes: people without a pause, a kill every 30 s to 2 min, one call in a hundred failing.
soak minutes="30":
    CODEFERRY_SOAK_MINUTES={{minutes}} cargo test --locked --test it soak -- --nocapture

# Plays a launch over every way in, in virtual time, and its first minute over sockets; prints how many get through.
launch:
    CODEFERRY_SLOW=1 cargo test --locked --test it launch::whoever -- --nocapture --test-threads=1

# Breaks promises on purpose in a copy of the sources, one after the other, and expects red.
mutate:
    CODEFERRY_MUTATE=1 cargo test --locked --test it every_mutation_turns -- --nocapture
