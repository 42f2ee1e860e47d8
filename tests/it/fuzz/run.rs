//! Runs one target in a process of its own: there a stack that overflows or memory that grows without bound ends that
//! process alone, and the seed that did it is known.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::{StdRng, SysRng};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::time::Instant;

use super::mutate::mutant;
use crate::patience::Process;
use crate::tally::{Tally, tell};

/// The environment of the process in which a target runs: where it writes how far it is.
const PROGRESS: &str = "CODEFERRY_FUZZ_PROGRESS";
/// Seconds for which each target runs with new seeds, without bound in inputs.
const SECONDS: &str = "CODEFERRY_FUZZ_SECONDS";
/// `seed:n` of one input, to look at it again.
const AGAIN: &str = "CODEFERRY_FUZZ_INPUT";
/// Inputs of the normal run.
const INPUTS: u64 = 20_000;
/// The seed of the normal run.
const SEED: u64 = 20_260_810;
/// What the process may hold in memory. Inputs are at most 32 KiB.
const MEMORY: u64 = 384 * 1024 * 1024;
/// The longest that one input may take, on a busy machine.
const SLOW: Duration = Duration::from_secs(20);

/// A target: good inputs, and what is done with bad ones. It panics where something is wrong.
pub struct Target<'t> {
    /// The name of the test function in `fuzz`.
    pub test: &'static str,
    /// What it is called in the table.
    pub name: &'static str,
    /// Good inputs.
    pub corpus: Vec<Vec<u8>>,
    /// A share of the usual number of inputs, in percent: some targets are slow.
    pub share: u64,
    /// Tries one input; more chance is at hand.
    pub tries: &'t dyn Fn(&[u8], &mut StdRng),
}

impl Target<'_> {
    /// Runs the target in a process of its own and fails, with the seed, if any input was not survived.
    pub fn run(&self) {
        if let Some(progress) = std::env::var_os(PROGRESS) {
            return self.run_here(&File::options().write(true).open(progress).expect("the parent made it"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (progress, output) = (folder.path().join("progress"), folder.path().join("output"));
        fs::write(&progress, [0; 24]).expect("written");
        let to = File::create(&output).expect("made");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args([
                "--exact",
                &format!("fuzz::{}", self.test),
                "--nocapture",
                "--test-threads=1",
            ])
            .env(PROGRESS, &progress)
            // The first panic matters, not its stack.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(to.try_clone().expect("a handle"))
            .stderr(to);
        let mut process = Process::start(&mut command);
        let patience = Duration::from_mins(3) + budget().unwrap_or_default();
        let ended = process.ends(patience).is_some();
        let status = process.kill();

        let [seed, n, tried] = told(&progress);
        let tally = Tally {
            tried,
            survived: tried - u64::from(!status.success() && tried > 0),
            ..Tally::default()
        };
        tell(&format!("fuzz: {}", self.name), tally);
        let output = fs::read_to_string(&output).unwrap_or_default();
        let said: String = output.chars().take(4_000).collect();
        let again = format!("{AGAIN}={seed}:{n} cargo test --test it fuzz::{}", self.test);
        assert!(
            ended && status.success(),
            "{status} at input {seed}:{n}; again by\n{again}\n{said}"
        );
        let expected = if std::env::var_os(AGAIN).is_some() {
            1
        } else {
            self.inputs()
        };
        assert!(tried >= expected, "only {tried} inputs were tried\n{said}");
    }

    fn inputs(&self) -> u64 {
        INPUTS * self.share / 100
    }

    fn run_here(&self, progress: &File) {
        let memory = Rlimit {
            current: Some(MEMORY),
            maximum: Some(MEMORY),
        };
        setrlimit(Resource::Data, memory).expect("a limit can be lowered");
        if let Ok(text) = std::env::var(AGAIN) {
            let (seed, n) = text.split_once(':').expect("seed:n");
            let (seed, n) = (seed.parse().expect("a seed"), n.parse().expect("a number"));
            return self.try_one(seed, n, 1, progress);
        }
        for n in 0..self.inputs() {
            self.try_one(SEED, n, n + 1, progress);
        }
        let Some(budget) = budget() else { return };
        let (began, mut tried) = (Instant::now(), self.inputs());
        while began.elapsed() < budget {
            let seed = SysRng.try_next_u64().expect("random bytes");
            for n in 0..1_000 {
                tried += 1;
                self.try_one(seed, n, tried, progress);
            }
        }
    }

    fn try_one(&self, seed: u64, n: u64, tried: u64, progress: &File) {
        let now = [seed.to_le_bytes(), n.to_le_bytes(), tried.to_le_bytes()].concat();
        progress.write_at(&now, 0).expect("written");
        let (input, mut random) = mutant(seed, n, &self.corpus);
        let began = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| (self.tries)(&input, &mut random)));
        let took = began.elapsed();
        let shown = || String::from_utf8_lossy(&input[..input.len().min(1_000)]).into_owned();
        assert!(
            survived.is_ok(),
            "{} did not survive {seed}:{n}: {:?}",
            self.name,
            shown()
        );
        assert!(took < SLOW, "{} took {took:?} for {seed}:{n}: {:?}", self.name, shown());
    }
}

fn budget() -> Option<Duration> {
    let seconds = std::env::var(SECONDS).ok()?;
    Some(Duration::from_secs(seconds.parse().expect("whole seconds")))
}

fn told(progress: &std::path::Path) -> [u64; 3] {
    let bytes = fs::read(progress).expect("it is there");
    let (numbers, _) = bytes.as_chunks::<8>();
    [0, 1, 2].map(|n| u64::from_le_bytes(numbers[n]))
}

/// Fails if a text that must stay secret is in what was printed.
#[track_caller]
pub fn silent(shown: &str) {
    assert!(!shown.contains("CANARY"), "{shown}");
}
