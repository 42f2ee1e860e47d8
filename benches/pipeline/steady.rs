//! From posted to revoked at two codes a second, both moments by the embedded Discord's record.
//!
//! The bare loop takes a code of its own in each gap, so that both see the same machine. Its clock starts when the
//! embedded Discord has issued the code, since nothing is posted for it.

use std::collections::HashMap;
use std::iter::once;
use std::time::Duration;

use anyhow::{Context, ensure};
use codeferry::simulator::Ledger;
use tokio::time::{MissedTickBehavior, interval};

use crate::bare::BareLoop;
use crate::discord::Discord;
use crate::process::until;
use crate::report::{Report, Row};
use crate::service::Site;
use crate::statistics::{median, percentile};

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let codes: u64 = if report.quick { 12 } else { 120 };
    let discord = Discord::start()?;
    let site = Site::new(&discord)?;
    let mut service = site.run_ready().await?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bare = BareLoop::new(&discord, folder.path())?;

    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut posted, mut bares) = (Vec::new(), Vec::new());
    for n in 0..codes {
        tick.tick().await;
        let approved = discord.approve(once(2 * n)).await?;
        posted.push((approved[0].code.clone(), discord.post_as_relay(&approved[0]).await?));
        tick.tick().await;
        let approved = discord.approve(once(2 * n + 1)).await?;
        bare.carry(&approved[0]).await?;
        bares.push(approved[0].code.clone());
    }
    until(
        Duration::from_secs(20),
        Duration::from_millis(20),
        "every result",
        async || {
            ensure!(service.process.runs(), "the service has ended");
            let all = service.results.count()? as u64 == codes && discord.summary().await?.tokens_left == 0;
            Ok(all.then_some(()))
        },
    )
    .await?;

    let ledger = discord.ledger().await?;
    let record = Record::of(&ledger);
    let ours = posted
        .iter()
        .map(|(code, message)| record.revoked_after(code, record.posted.get(message)));
    let ours: Vec<f64> = ours.collect::<anyhow::Result<_>>()?;
    let bares = bares
        .iter()
        .map(|code| record.revoked_after(code, record.issued.get(code.as_str())));
    let bares: Vec<f64> = bares.collect::<anyhow::Result<_>>()?;
    let half = Row::new("posted to revoked at 2/s, p50", median(&ours), "ms").beside("bare loop", median(&bares));
    report.add(half.above_the_other_at_most(6.0));
    let worst = Row::new("posted to revoked at 2/s, p99", percentile(&ours, 0.99), "ms");
    report.add(worst.beside("bare loop", percentile(&bares, 0.99)));
    Ok(())
}

/// The embedded Discord's record, by what is asked of it here; microseconds.
struct Record<'a> {
    posted: HashMap<u64, i64>,
    issued: HashMap<&'a str, i64>,
    revoked: HashMap<&'a str, i64>,
}

impl<'a> Record<'a> {
    fn of(ledger: &'a Ledger) -> Self {
        let posted = ledger.posts.iter().filter_map(|p| Some((p.message_id?, p.at_us)));
        let issued = ledger.codes.iter().map(|c| (c.code.as_str(), c.issued_at_us));
        let revoked = ledger
            .tokens
            .iter()
            .filter_map(|t| Some((t.code.as_deref()?, t.revoked_at_us?)));
        Self {
            posted: posted.collect(),
            issued: issued.collect(),
            revoked: revoked.collect(),
        }
    }

    /// Milliseconds from a moment to the revocation of a code's token.
    fn revoked_after(&self, code: &str, from_us: Option<&i64>) -> anyhow::Result<f64> {
        let revoked = self.revoked.get(code).context("a token that was not revoked")?;
        Ok((revoked - from_us.context("a code without a beginning")?) as f64 / 1e3)
    }
}
