//! Folders for trying the service on this machine: the temporary ones, and a configuration that is complete.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::lifecycle::{Exit, Failure};
use crate::simulator::Description;

/// Where a configuration writes results.
pub const RESULTS: &str = "data/results.jsonl";
/// The first line of files that may be written again.
const OURS: &str = "# Written by codeferry for its embedded Discord; valid nowhere else.\n";

/// A folder; removed at the end if it is temporary.
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// A folder that has to be new or empty; `flag` named it.
    pub fn empty(named: &Path, flag: &str) -> anyhow::Result<Self> {
        make(named)?;
        let path = named.canonicalize();
        let path = path.with_context(|| format!("cannot open `{}`", named.display()))?;
        let shown = path.display();
        let mut entries = fs::read_dir(&path).with_context(|| format!("cannot read `{shown}`"))?;
        if entries.next().is_some() {
            return Err(Failure::new(Exit::Usage, format!("the folder `{shown}` is not empty"))
                .way_out(format!("give {flag} a new or an empty folder"))
                .into());
        }
        Ok(Self { path, temporary: false })
    }

    /// A new folder. A killed command may have left one with the same process id.
    pub fn temporary(command: &str) -> anyhow::Result<Self> {
        let above = std::env::temp_dir().canonicalize();
        let above = above.context("cannot open the folder for temporary files")?;
        for n in 0_u32.. {
            let path = above.join(format!("codeferry-{command}-{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make `{}`", path.display())),
            }
        }
        anyhow::bail!("cannot make a temporary folder: every name is taken")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes `codeferry.toml` and `.env`, with which `codeferry run` takes the redirects of an embedded Discord itself; returns
/// the first one's path. Replaces only files that an earlier call wrote.
pub fn write(folder: &Path, about: &Description) -> anyhow::Result<PathBuf> {
    let listen = listen(&about.redirect_uri)?;
    make(folder)?;
    let (file, secrets) = (folder.join("codeferry.toml"), folder.join(".env"));
    for path in [&file, &secrets] {
        let is_ours = |text: String| text.starts_with(OURS);
        if path.exists() && !fs::read_to_string(path).is_ok_and(is_ours) {
            let what = format!("`{}` exists, and codeferry did not write it", path.display());
            let failure = Failure::new(Exit::Usage, what);
            return Err(failure.way_out("name another folder").into());
        }
    }
    let mut direct = about.clone();
    direct.lanes.clear();
    let text = format!(
        "{OURS}[intake.http]\nlisten = \"{listen}\"\n\n{}",
        config(&direct, "", RESULTS)
    );
    put(&file, &text, 0o644)?;
    let (token, secret) = (&about.bot_token, &about.client_secret);
    let text = format!("{OURS}CODEFERRY_BOT_TOKEN='{token}'\nCODEFERRY_CLIENT_SECRET='{secret}'\n");
    put(&secrets, &text, 0o600)?;
    Ok(file)
}

/// A configuration for `codeferry run`, with further options of every lane and the path of the results.
pub fn config(about: &Description, lane_options: &str, results: &str) -> String {
    let mut text = format!(
        "[discord]\napi_base = \"{}\"\nauthorize_url = \"{}\"\napplication_id = \"{}\"\nredirect_uri = \"{}\"\nguild_id = \"{}\"\n",
        about.api_base, about.authorize_url, about.application_id, about.redirect_uri, about.guild_id
    );
    for lane in &about.lanes {
        let (channel, webhook) = (&lane.channel_id, &lane.webhook.id);
        let _ = write!(
            text,
            "\n[[intake.lanes]]\nchannel_id = \"{channel}\"\nwebhook_id = \"{webhook}\"\n{lane_options}"
        );
    }
    let _ = write!(
        text,
        "\n[[delivery]]\nname = \"results\"\nkind = \"jsonl\"\npath = \"{results}\"\n"
    );
    text
}

/// The address to which the redirect URI leads.
fn listen(redirect_uri: &str) -> anyhow::Result<SocketAddr> {
    let address = redirect_uri
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/callback"))
        .and_then(|address| address.parse().ok());
    let address = address.filter(|address: &SocketAddr| address.ip().is_loopback());
    address.ok_or_else(|| {
        let what = format!("a service on this machine cannot take redirects to `{redirect_uri}`");
        let failure = Failure::new(Exit::Usage, what);
        failure
            .way_out("use --redirect-uri http://127.0.0.1:8710/callback, or another port")
            .into()
    })
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// A new file, so that the mode is what it says.
fn put(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let write = || {
        if path.exists() {
            fs::remove_file(path)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
