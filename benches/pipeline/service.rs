//! `codeferry run` in its own process, in a folder of its own, pointed at an embedded Discord.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use codeferry::time::Timestamp;
use tempfile::TempDir;

use crate::discord::Discord;
use crate::people::key;
use crate::process::{Process, until};

/// A folder with a configuration, and the variables that go with it.
pub struct Site {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Site {
    /// The configuration that the simulator prints (one `jsonl` sink, defaults otherwise), with limits off.
    pub fn new(discord: &Discord) -> anyhow::Result<Self> {
        // Beside the build, since a folder for temporary files may be kept in memory, where a sync costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
        let config = format!("{}\n{limits}", discord.about.config);
        fs::write(folder.path().join("codeferry.toml"), config)?;
        let mut variables = discord.about.environment.clone();
        for name in ["RELAY", "STATE", "PKCE"] {
            variables.insert(format!("CODEFERRY_{name}_KEY"), key(name));
        }
        Ok(Self {
            folder,
            variables: variables.into_iter().collect(),
        })
    }

    /// Where the data lie.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the service.
    #[expect(clippy::disallowed_methods, reason = "`Process` kills it")]
    pub fn run(&self) -> anyhow::Result<Service> {
        let log = self.folder.path().join("service.log");
        let child = Command::new(env!("CARGO_BIN_EXE_codeferry"))
            .args(["--config", "codeferry.toml", "run"])
            .env_clear()
            .envs(self.variables.iter().map(|(n, v)| (n, v)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("the service does not start")?;
        Ok(Service {
            process: Process(child),
            log,
            results: Results::of(&self.data().join("results.jsonl")),
        })
    }

    /// Starts the service on what the folder holds and waits until codes are taken.
    pub async fn run_ready(&self) -> anyhow::Result<Service> {
        let mut service = self.run()?;
        service.ready().await?;
        Ok(service)
    }
}

/// A running service.
pub struct Service {
    pub process: Process,
    log: PathBuf,
    pub results: Results,
}

impl Service {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for the line that says so; answers the milliseconds since its start that the line names.
    pub async fn ready(&mut self) -> anyhow::Result<u64> {
        let look = async || {
            ensure!(self.process.runs(), "the service has ended:\n{}", self.log());
            let log = self.log();
            let line = log.lines().find(|l| l.contains("READY: codes are taken"));
            let ms = line.and_then(|l| l.split_once("after_start_ms=")?.1.split(' ').next()?.parse().ok());
            Ok(ms)
        };
        until(Duration::from_secs(30), Duration::from_millis(2), "READY", look).await
    }
}

/// The file of results, counted as it grows.
pub struct Results {
    path: PathBuf,
    read: u64,
    lines: usize,
}

impl Results {
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            lines: 0,
        }
    }

    /// How many lines there are; only what is new is read.
    pub fn count(&mut self) -> anyhow::Result<usize> {
        let Ok(mut file) = File::open(&self.path) else {
            return Ok(0);
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut new = String::new();
        file.read_to_string(&mut new)?;
        self.read += new.len() as u64;
        self.lines += new.matches('\n').count();
        Ok(self.lines)
    }

    /// When the last line was written.
    pub fn written_at(&self) -> anyhow::Result<Timestamp> {
        Ok(fs::metadata(&self.path)?.modified()?.into())
    }
}
