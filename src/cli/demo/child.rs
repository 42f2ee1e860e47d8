//! The service and the relay as child processes.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;

/// A running `codeferry run` or `codeferry relay`.
pub struct Child {
    process: tokio::process::Child,
    command: &'static str,
    file: PathBuf,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

impl Child {
    /// Starts a command with this configuration; its log goes to `<command>.log`.
    pub fn start(
        command: &'static str,
        file: &Path,
        environment: &[(String, String)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let process = spawn(command, file, environment, folder)?;
        Ok(Self {
            process,
            command,
            file: file.to_owned(),
            environment: environment.to_vec(),
            folder: folder.to_owned(),
        })
    }

    /// Asks it to drain and waits; whether it ended with exit code 0.
    pub async fn stop(&mut self) -> anyhow::Result<bool> {
        if let Some(pid) = self
            .process
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot end it")?;
        }
        let ended = tokio::time::timeout(Duration::from_secs(40), self.process.wait()).await;
        match ended {
            Ok(status) => Ok(status.context("cannot wait for its end")?.success()),
            Err(_) => {
                self.process.kill().await.context("cannot end it")?;
                Ok(false)
            }
        }
    }

    /// Kills it without warning.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("cannot kill it")
    }

    /// Starts it again.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.command, &self.file, &self.environment, &self.folder)?;
        Ok(())
    }

    /// Whether it ended although nobody asked it to.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

fn spawn(
    command: &str,
    file: &Path,
    environment: &[(String, String)],
    folder: &Path,
) -> anyhow::Result<tokio::process::Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{command}.log")))
        .context("cannot write a log")?;
    let program = std::env::current_exe().context("this program's own path")?;
    tokio::process::Command::new(program)
        .arg("--config")
        .arg(file)
        .arg(command)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `codeferry {command}`"))
}
