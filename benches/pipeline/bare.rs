//! The bare loop: exchange, fetch, deliver, revoke for each code, 32 at once, with nothing written down in between.
//!
//! It is the best that this machine could do: every connection is kept, and lines that wait together share one sync.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::discord::{CONNECTIONS, Discord, client};
use crate::people::Approved;

/// The loop with its own connections and its own file.
pub struct BareLoop<'a> {
    discord: &'a Discord,
    http: reqwest::Client,
    lines: Sender<Line>,
}

struct Line {
    text: String,
    synced: oneshot::Sender<std::io::Result<()>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

impl<'a> BareLoop<'a> {
    pub fn new(discord: &'a Discord, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("bare.jsonl");
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let (lines, waiting) = channel();
        thread::Builder::new()
            .name("bare-lines".to_owned())
            .spawn(move || write_lines(file, &waiting))?;
        Ok(Self {
            discord,
            http: client()?,
            lines,
        })
    }

    /// Takes codes through, 32 at once; answers how long that took.
    pub async fn run(&self, approved: &[Approved]) -> anyhow::Result<Duration> {
        let began = Instant::now();
        stream::iter(approved)
            .map(|approved| self.carry(approved))
            .buffer_unordered(CONNECTIONS)
            .try_collect::<()>()
            .await?;
        Ok(began.elapsed())
    }

    /// The four calls of one code.
    pub async fn carry(&self, approved: &Approved) -> anyhow::Result<()> {
        let about = &self.discord.about;
        let credentials = (&about.application_id, Some(&about.client_secret));
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &approved.code),
            ("redirect_uri", &about.redirect_uri),
            ("code_verifier", approved.person.verifier.expose()),
        ];
        let token: TokenAnswer = self
            .http
            .post(format!("{}/oauth2/token", about.api_base))
            .basic_auth(credentials.0, credentials.1)
            .form(&form)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let user: Box<RawValue> = self
            .http
            .get(format!("{}/users/@me", about.api_base))
            .bearer_auth(&token.access_token)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let result = json!({"id": approved.code, "type": "authorization.completed", "user": user});
        self.deliver(result.to_string()).await?;
        let revoked = self
            .http
            .post(format!("{}/oauth2/token/revoke", about.api_base))
            .basic_auth(credentials.0, credentials.1)
            .form(&[("token", &token.access_token)])
            .send()
            .await?;
        ensure!(revoked.status().is_success(), "a revocation was refused");
        // The answer is read, so that the connection can be used again.
        revoked.bytes().await?;
        Ok(())
    }

    async fn deliver(&self, text: String) -> anyhow::Result<()> {
        let (synced, done) = oneshot::channel();
        self.lines
            .send(Line { text, synced })
            .ok()
            .context("the writer is gone")?;
        Ok(done.await??)
    }
}

fn write_lines(mut file: File, waiting: &Receiver<Line>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter());
        let mut text = String::new();
        for line in &batch {
            text.push_str(&line.text);
            text.push('\n');
        }
        let outcome = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        for line in batch {
            let told = match &outcome {
                Ok(()) => Ok(()),
                Err(e) => Err(e.kind().into()),
            };
            // Whoever has stopped waiting needs no answer.
            let _ = line.synced.send(told);
        }
    }
}
