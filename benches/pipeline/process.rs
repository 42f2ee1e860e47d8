//! A child process and what the kernel says of it. It is killed when dropped.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// A running child.
pub struct Process(pub Child);

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed()).context("a process id")?;
        kill_process(pid, signal).context("a process is gone")
    }

    /// The most memory that was ever resident, in bytes (`VmHWM` of proc_pid_status(5)).
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        self.memory_line("VmHWM:")
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.memory_line("VmRSS:")
    }

    fn memory_line(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kilobytes = number_after(&status, name).with_context(|| format!("no {name} this needs Linux"))?;
        Ok(kilobytes * 1024)
    }

    /// CPU time and context switches so far, over all threads that still run.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage {
            cpu: self.cpu()?,
            ..Usage::default()
        };
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end between the two.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
                continue;
            };
            usage.voluntary += number_after(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            usage.involuntary += number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(usage)
    }

    /// CPU time so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&self.pid().to_string())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has used.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// Context switches because a thread had nothing to do: each is followed by a wake-up.
    pub voluntary: u64,
    /// Context switches because another thread's turn had come.
    pub involuntary: u64,
}

impl Usage {
    /// What was used since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

/// The number on the line of a `/proc` file that starts with a name.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// CPU time of a process's threads so far (the first number of each `schedstat`, in nanoseconds); `self` is this one.
pub fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the two.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        total += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Polls for a thing; an error where it does not come.
pub async fn until<T>(
    within: Duration,
    every: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("not within {within:?}: {what}");
        }
        sleep(every).await;
    }
}
