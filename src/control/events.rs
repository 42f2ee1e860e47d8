//! `GET /v1/events`: what happens to grants, as server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use actix::Addr;
use futures_util::stream::unfold;
use hyper::body::Bytes;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::ask::Refusal;
use crate::actors::journal::Journal;
use crate::actors::journal::events::{Audience, NoEvents, Numbered, Subscribe, Wanted};
use crate::server::{self, Answer, Request};

/// So often something is written, for proxies and for noticing that the client has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it connects again.
const FIRST: &str = "retry: 2000\n\n";
/// Events were missed: the subscriber asks for the grants that it needs.
const GAP: &str = "event: gap\ndata: {}\n\n";
/// The service stops.
const END: &str = "event: end\ndata: {}\n\n";

struct Telling {
    first: VecDeque<Bytes>,
    next: Receiver<Numbered>,
    wanted: Wanted,
    quiet_until: Instant,
}

/// Answers with what has happened and what happens, until the client leaves or the journal is closed.
pub async fn events(journal: &Addr<Journal>, request: &Request) -> Result<Answer, Refusal> {
    let wanted = wanted(request.query())?;
    let after = request.header("last-event-id").and_then(number);
    let subscribe = Subscribe {
        audience: Audience::Control,
        wanted: wanted.clone(),
        after,
    };
    let asked = journal.send(subscribe).await.map_err(|_| Refusal::stopping())?;
    let subscription = asked.map_err(|why| match why {
        NoEvents::Stopping => Refusal::stopping(),
        NoEvents::Full => Refusal {
            retry_after: Some(KEEP_ALIVE.as_secs()),
            ..Refusal::new(429, why.to_string())
        },
    })?;
    let mut first = VecDeque::from([Bytes::from_static(FIRST.as_bytes())]);
    if subscription.gap {
        first.push_back(Bytes::from_static(GAP.as_bytes()));
    }
    first.extend(subscription.past.iter().map(written));
    let telling = Telling {
        first,
        next: subscription.next,
        wanted,
        quiet_until: Instant::now() + KEEP_ALIVE,
    };
    Ok(server::events(unfold(Some(telling), |telling| async {
        Some(telling?.part().await)
    })))
}

impl Telling {
    /// The next part of the answer, and how it goes on.
    async fn part(mut self) -> (Bytes, Option<Self>) {
        if let Some(part) = self.first.pop_front() {
            return (part, Some(self));
        }
        loop {
            let heard = timeout_at(self.quiet_until, self.next.recv()).await;
            let part = match heard {
                Ok(Ok(numbered)) if self.wanted.takes(&numbered.event) => written(&numbered),
                Ok(Ok(_)) => continue,
                // It comes again with the last number it has seen, and is given what is kept.
                Ok(Err(RecvError::Lagged(_))) => return (Bytes::from_static(GAP.as_bytes()), None),
                Ok(Err(RecvError::Closed)) => return (Bytes::from_static(END.as_bytes()), None),
                Err(_) => Bytes::from_static(b": waiting\n\n"),
            };
            self.quiet_until = Instant::now() + KEEP_ALIVE;
            return (part, Some(self));
        }
    }
}

fn written(numbered: &Numbered) -> Bytes {
    let ((began, number), event) = (numbered.id, &numbered.event);
    let data = serde_json::to_string(&**event).unwrap_or_default();
    format!(
        "id: {began}-{number}\nevent: {}\ndata: {data}\n\n",
        event.happened.name()
    )
    .into()
}

fn number(text: &str) -> Option<(i64, u64)> {
    let (began, number) = text.split_once('-')?;
    Some((began.parse().ok()?, number.parse().ok()?))
}

/// Which events a query means. A filter that is not understood would show the events of everybody, so it is refused.
fn wanted(query: &str) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let wrong = |why: String| Refusal::new(400, format!("`{name}`: {why}"));
        match &*name {
            "user_id" => wanted.user_id = Some(value.parse().map_err(|e| wrong(format!("{e}")))?),
            "link" => wanted.link = Some(value.parse().map_err(|e| wrong(format!("{e}")))?),
            "grant" => {
                let grant = value.parse().map_err(|_| wrong("not a grant's id".to_owned()))?;
                wanted.grant = Some(grant);
            }
            _ => return Err(wrong("the filters are `user_id`, `link` and `grant`".to_owned())),
        }
    }
    Ok(wanted)
}
