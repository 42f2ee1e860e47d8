//! Codes at a steady pace: each is posted when its turn comes, and what the service used for them is counted.

use std::iter::once;
use std::ops::Range;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::discord::Discord;
use crate::process::{Usage, until};
use crate::service::Service;

/// What a number of codes cost the service.
pub struct Spent {
    codes: usize,
    took: Duration,
    pub usage: Usage,
}

impl Spent {
    /// CPU time per code in milliseconds, after what the idle service would have used in the same time is taken off.
    pub fn cpu_ms(&self, idle: &Idle) -> f64 {
        let idle_cpu = idle.cpu_per_second * self.took.as_secs_f64();
        (self.usage.cpu.as_secs_f64() - idle_cpu).max(0.0) * 1e3 / self.codes as f64
    }

    /// So much of a thing per code.
    pub fn per_code(&self, count: u64) -> f64 {
        count as f64 / self.codes as f64
    }
}

/// What the service uses while nothing happens.
pub struct Idle {
    pub memory: u64,
    cpu_per_second: f64,
    pub wakeups_per_second: f64,
}

impl Idle {
    /// Watches a service that is ready and has nothing to do.
    pub async fn of(service: &Service, watched_for: Duration) -> anyhow::Result<Self> {
        // What a start leaves to be done beside the first codes ends within this.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (began, before) = (Instant::now(), service.process.usage()?);
        tokio::time::sleep(watched_for).await;
        let used = service.process.usage()?.since(before);
        let seconds = began.elapsed().as_secs_f64();
        Ok(Self {
            memory: service.process.memory()?,
            cpu_per_second: used.cpu.as_secs_f64() / seconds,
            wakeups_per_second: used.voluntary as f64 / seconds,
        })
    }
}

/// Counts what the service uses from here until everything that was posted is done with.
pub struct Meter {
    began: Instant,
    before: Usage,
}

impl Meter {
    pub fn start(service: &Service) -> anyhow::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            before: service.process.usage()?,
        })
    }

    /// Waits until so many more results are written, every token is revoked and every source message is removed.
    pub async fn finish(
        self,
        discord: &Discord,
        service: &mut Service,
        wanted: usize,
        codes: usize,
    ) -> anyhow::Result<Spent> {
        all_done(discord, service, wanted).await?;
        Ok(Spent {
            codes,
            took: self.began.elapsed(),
            usage: service.process.usage()?.since(self.before),
        })
    }
}

/// Posts a code of each of these people at this pace and answers what they cost the service.
pub async fn spend(
    discord: &Discord,
    service: &mut Service,
    people: Range<u64>,
    a_second: u32,
) -> anyhow::Result<Spent> {
    let codes = people.clone().count();
    let wanted = service.results.count()? + codes;
    let meter = Meter::start(service)?;
    post(discord, people, a_second).await?;
    meter.finish(discord, service, wanted, codes).await
}

/// Posts a code of each of these people at this pace.
pub async fn post(discord: &Discord, people: Range<u64>, a_second: u32) -> anyhow::Result<()> {
    let mut tick = interval(Duration::from_secs(1) / a_second);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in people {
        tick.tick().await;
        let approved = discord.approve(once(n)).await?;
        discord.post_as_relay(&approved[0]).await?;
    }
    Ok(())
}

async fn all_done(discord: &Discord, service: &mut Service, wanted: usize) -> anyhow::Result<()> {
    let (patience, often) = (Duration::from_secs(30), Duration::from_millis(50));
    until(patience, often, "every code done with", async || {
        ensure!(service.process.runs(), "the service has ended");
        let done = service.results.count()? >= wanted
            && discord.summary().await?.tokens_left == 0
            && discord.channel_is_empty().await?;
        Ok(done.then_some(()))
    })
    .await
}
