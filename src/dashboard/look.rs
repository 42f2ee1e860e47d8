//! What the page shows: one look at the service each second, sent where it differs from the last.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::actors::journal::view::Filter;
use crate::control::client::{ControlClient, NobodyThere};
use crate::control::{Ask, Refusal};

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// After so many looks that showed nothing new the page is written to all the same.
const QUIET: u32 = 15;
/// Grants that are shown.
const SHOWN: usize = 30;

/// A page that looks on.
pub(super) struct Looking {
    socket: Arc<PathBuf>,
    client: Option<ControlClient>,
    last: Value,
    quiet: u32,
    next: Instant,
}

impl Looking {
    pub(super) fn at(socket: Arc<PathBuf>) -> Self {
        Self {
            socket,
            client: None,
            last: Value::Null,
            quiet: 0,
            next: Instant::now(),
        }
    }

    /// The next part for the page.
    pub(super) async fn part(mut self) -> (Bytes, Self) {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + EVERY;
            let seen = self.look().await.unwrap_or_else(|_| {
                self.client = None;
                json!({ "running": false })
            });
            self.quiet += 1;
            if seen != self.last {
                let part = format!("data: {seen}\n\n");
                (self.last, self.quiet) = (seen, 0);
                return (part.into(), self);
            }
            if self.quiet >= QUIET {
                self.quiet = 0;
                return (Bytes::from_static(b": nothing new\n\n"), self);
            }
        }
    }

    async fn look(&mut self) -> Result<Value, NobodyThere> {
        if self.client.is_none() {
            self.client = Some(ControlClient::new(&self.socket)?);
        }
        let client = self.client.as_ref().ok_or(NobodyThere)?;
        let list = |parked| {
            Ask::List(Filter {
                limit: SHOWN,
                state: None,
                parked,
            })
        };
        let ask = async |ask| {
            let answer: Result<Value, Refusal> = client.ask(&ask).await?;
            Ok::<_, NobodyThere>(answer.unwrap_or(Value::Null))
        };
        Ok(json!({
            "running": true,
            "stats": ask(Ask::Stats).await?,
            "budget": ask(Ask::Budget).await?,
            "waiting": ask(list(false)).await?,
            "parked": ask(list(true)).await?,
        }))
    }
}
