//! The service as a child process.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;

/// A running `codeferry run`.
pub struct Child {
    process: tokio::process::Child,
    file: PathBuf,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

impl Child {
    /// Starts it with this configuration; its log goes to `service.log`.
    pub fn start(file: &Path, environment: &[(String, String)], folder: &Path) -> anyhow::Result<Self> {
        let process = spawn(file, environment, folder)?;
        Ok(Self {
            process,
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
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot end the service")?;
        }
        let ended = tokio::time::timeout(Duration::from_secs(40), self.process.wait()).await;
        match ended {
            Ok(status) => Ok(status.context("cannot wait for the service")?.success()),
            Err(_) => {
                self.process.kill().await.context("cannot end the service")?;
                Ok(false)
            }
        }
    }

    /// Kills it without warning.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("cannot kill the service")
    }

    /// Starts it again.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.file, &self.environment, &self.folder)?;
        Ok(())
    }

    /// Whether it ended although nobody asked it to.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

fn spawn(file: &Path, environment: &[(String, String)], folder: &Path) -> anyhow::Result<tokio::process::Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("service.log"))
        .context("cannot write the service's log")?;
    let program = std::env::current_exe().context("this program's own path")?;
    tokio::process::Command::new(program)
        .arg("--config")
        .arg(file)
        .arg("run")
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the service")
}
