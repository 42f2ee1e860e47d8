//! The service and the relay as child processes.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::time::Instant;

/// A start takes a fraction of a second; more on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A running `codeferry run` or `codeferry relay`.
pub struct Child {
    name: &'static str,
    log: PathBuf,
    command: Command,
    process: tokio::process::Child,
}

impl Child {
    /// Starts a command with this configuration; its log goes to `<command>.log`.
    pub fn start(
        name: &'static str,
        file: &Path,
        environment: &[(String, String)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let stderr = OpenOptions::new().create(true).append(true).open(&log);
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(file)
            .arg(name)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.with_context(|| format!("cannot write `{}`", log.display()))?)
            .kill_on_drop(true);
        Ok(Self {
            process: spawn(name, &mut command)?,
            name,
            log,
            command,
        })
    }

    /// Waits until it has logged a line with this text; returns the line.
    pub async fn logs(&mut self, text: &str) -> anyhow::Result<String> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let ended = self.has_ended();
            let log = std::fs::read_to_string(&self.log);
            let log = log.with_context(|| format!("cannot read `{}`", self.log.display()))?;
            // The last line may be incomplete.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            let last = whole.lines().last().unwrap_or("nothing");
            anyhow::ensure!(!ended, "`codeferry {}` has ended; its last log line: {last}", self.name);
            anyhow::ensure!(
                Instant::now() < until,
                "`codeferry {}` was not ready after {} s; its last log line: {last}",
                self.name,
                READY_WITHIN.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to drain and waits; returns whether it ended with exit code 0.
    pub async fn stop(&mut self) -> anyhow::Result<bool> {
        let pid = self.process.id().map(u32::cast_signed);
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .with_context(|| format!("cannot stop `codeferry {}`", self.name))?;
        }
        let ended = tokio::time::timeout(Duration::from_secs(40), self.process.wait()).await;
        match ended {
            Ok(status) => Ok(status.context("cannot wait for a process to end")?.success()),
            Err(_) => {
                self.kill().await?;
                Ok(false)
            }
        }
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let killed = self.process.kill().await;
        killed.with_context(|| format!("cannot kill `codeferry {}`", self.name))
    }

    /// Waits for an end that was not asked for.
    pub async fn ends<T>(&mut self) -> anyhow::Result<T> {
        let status = self.process.wait().await.context("cannot wait for a process to end")?;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or("nothing").to_owned();
        anyhow::bail!(
            "`codeferry {}` has ended ({status}); its last log line: {last}",
            self.name
        )
    }

    /// Starts it again.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.name, &mut self.command)?;
        Ok(())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

fn spawn(name: &str, command: &mut Command) -> anyhow::Result<tokio::process::Child> {
    command
        .spawn()
        .with_context(|| format!("cannot start `codeferry {name}`"))
}
