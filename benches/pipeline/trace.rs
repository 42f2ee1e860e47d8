//! The system calls of a running process, counted with `strace` where it is installed and may attach.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, until};

/// `O_DSYNC` of open(2): a write to such a file returns when the data are on the disk.
const O_DSYNC: u32 = 0o10_000;

/// A running `strace`.
pub struct Trace {
    strace: Process,
    folder: TempDir,
    synced_files: HashSet<PathBuf>,
}

/// How often each system call was made.
pub struct Calls {
    by_name: HashMap<String, u64>,
    /// Writes to files that were opened with `O_DSYNC`.
    pub synced_writes: u64,
}

impl Trace {
    /// Starts to count. The inner error says why that is not possible on this machine.
    #[expect(clippy::disallowed_methods, reason = "`Process` kills it")]
    pub async fn attach(process: &Process) -> anyhow::Result<Result<Self, String>> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let pid = process.pid();
        let spawned = Command::new("strace")
            .args(["-f", "-qq", "-y", "-s", "0", "-e", "signal=none", "-o"])
            .arg(folder.path().join("calls"))
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(strace) = spawned else {
            return Ok(Err("strace is not installed".to_owned()));
        };
        let mut strace = Process(strace);
        let attached = until(
            Duration::from_secs(5),
            Duration::from_millis(20),
            "strace",
            async || Ok((!strace.runs() || all_traced(pid)?).then_some(())),
        )
        .await;
        if attached.is_err() || !strace.runs() {
            return Ok(Err("strace may not attach here".to_owned()));
        }
        Ok(Ok(Self {
            strace,
            folder,
            synced_files: synced_files(pid)?,
        }))
    }

    /// Lets go of the process and counts.
    pub async fn finish(mut self) -> anyhow::Result<Calls> {
        self.strace.signal(Signal::INT)?;
        until(
            Duration::from_secs(10),
            Duration::from_millis(20),
            "the end of strace",
            async || Ok((!self.strace.runs()).then_some(())),
        )
        .await?;
        let text = fs::read_to_string(self.folder.path().join("calls"))?;
        Ok(Calls::count(&text, &self.synced_files))
    }
}

impl Calls {
    /// Reads lines such as `4711 write(7</data/results.jsonl>, ""..., 433) = 433`. A call that another thread's line
    /// interrupted has a second line with `resumed`, which is not counted.
    fn count(text: &str, synced_files: &HashSet<PathBuf>) -> Self {
        let mut calls = Self {
            by_name: HashMap::new(),
            synced_writes: 0,
        };
        for line in text.lines() {
            let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
            let Some((name, arguments)) = call.split_once('(').filter(|_| !call.starts_with('<')) else {
                continue;
            };
            *calls.by_name.entry(name.to_owned()).or_default() += 1;
            let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            if name.contains("write") && file.is_some_and(|(path, _)| synced_files.contains(Path::new(path))) {
                calls.synced_writes += 1;
            }
        }
        calls
    }

    pub fn total(&self) -> u64 {
        self.by_name.values().sum()
    }

    /// How often any of these was made.
    pub fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.by_name.get(*name)).sum()
    }

    /// The most frequent ones, each with its number per code.
    pub fn most_frequent(&self, most: usize, codes: u64) -> String {
        let mut all: Vec<_> = self.by_name.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = all.iter().take(most);
        let shown = shown.map(|(name, count)| format!("{name} {:.1}", **count as f64 / codes as f64));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Whether `strace` has every thread.
fn all_traced(pid: u32) -> anyhow::Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == "TracerPid:\t0") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files that a process has open with `O_DSYNC`.
fn synced_files(pid: u32) -> anyhow::Result<HashSet<PathBuf>> {
    let mut files = HashSet::new();
    for open in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let open = open?;
        let info = fs::read_to_string(open.path()).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.context("no flags in fdinfo")?.trim(), 8)?;
        if flags & O_DSYNC != 0 {
            files.insert(fs::read_link(format!("/proc/{pid}/fd/{}", open.file_name().display()))?);
        }
    }
    Ok(files)
}
