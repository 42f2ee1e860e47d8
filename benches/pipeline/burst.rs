//! Codes a second for many codes posted at once, and the memory that the largest burst takes.
//!
//! The service is halted (SIGSTOP) while the messages are posted and the clock starts when it is let go, so posting
//! costs neither side anything: the bare loop has its codes in hand. It ends with the last token revoked by the
//! embedded Discord's record, or with the last result written, whichever is later.

use std::ops::Range;
use std::time::Duration;

use anyhow::ensure;
use codeferry::time::{Clock, SystemClock};
use rustix::process::Signal;

use crate::bare::BareLoop;
use crate::discord::Discord;
use crate::process::{cpu_of, until};
use crate::report::{Report, Row};
use crate::service::{Service, Site};
use crate::statistics::{median, spread};

/// What one burst came to.
pub struct Burst {
    pub codes: usize,
    pub took: Duration,
    /// CPU time of who carried the codes.
    pub cpu: Duration,
    /// CPU time of the embedded Discord meanwhile.
    pub discord_cpu: Duration,
}

impl Burst {
    pub fn rate(&self) -> f64 {
        self.codes as f64 / self.took.as_secs_f64()
    }

    fn per_code_ms(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e3 / self.codes as f64
    }
}

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (sizes, rounds) = if report.quick {
        (vec![200_usize], 1)
    } else {
        (vec![500, 5_000], 3)
    };
    for count in sizes {
        let (mut ours, mut bare, mut ratios, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let (one, peak) = by_service(count).await?;
            let other = by_bare_loop(count).await?;
            eprintln!(
                "  {count} codes, round {}: {:.0}/s, bare loop {:.0}/s",
                round + 1,
                one.rate(),
                other.rate()
            );
            ratios.push(one.rate() / other.rate());
            ours.push(one);
            bare.push(other);
            peaks.push(peak as f64 / 1e6);
        }
        let all = |bursts: &[Burst], value: fn(&Burst) -> f64| median(&bursts.iter().map(value).collect::<Vec<_>>());
        let rate = Row::new(
            format!("{count} codes posted at once"),
            all(&ours, Burst::rate),
            "codes/s",
        )
        .beside("bare loop", all(&bare, Burst::rate))
        .with_ratio(median(&ratios), spread(&ratios));
        report.add(if count == 5_000 {
            rate.ratio_at_least(0.33)
        } else {
            rate
        });
        let cpu = |b: &Burst| b.per_code_ms(b.cpu);
        let discord_cpu = |b: &Burst| b.per_code_ms(b.discord_cpu);
        let cost = Row::new(format!("  CPU time per code, {count} at once"), all(&ours, cpu), "ms")
            .beside("bare loop", all(&bare, cpu));
        report.add(if count == 5_000 { cost.at_most(0.4) } else { cost });
        let at_discord = Row::new("  of the embedded Discord, per code", all(&ours, discord_cpu), "ms");
        report.add(at_discord.beside("bare loop", all(&bare, discord_cpu)));
        let peak = Row::new(
            format!("peak memory of the service, {count} at once"),
            peaks.iter().copied().fold(0.0, f64::max),
            "MB",
        );
        report.add(if count == 5_000 { peak.at_most(25.0) } else { peak });
    }
    Ok(())
}

async fn by_service(count: usize) -> anyhow::Result<(Burst, u64)> {
    let discord = Discord::start()?;
    let site = Site::new(&discord)?;
    let mut service = site.run_ready().await?;
    let burst = through(&discord, &mut service, 0..count as u64).await?;
    Ok((burst, service.process.peak_memory()?))
}

async fn by_bare_loop(count: usize) -> anyhow::Result<Burst> {
    let discord = Discord::start()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bare = BareLoop::new(&discord, folder.path())?;
    let approved = discord.approve(0..count as u64).await?;
    let (own, its) = (cpu_of("self")?, discord.process.cpu()?);
    let took = bare.run(&approved).await?;
    let burst = Burst {
        codes: count,
        took,
        cpu: cpu_of("self")?.saturating_sub(own),
        discord_cpu: discord.process.cpu()?.saturating_sub(its),
    };
    check(&discord).await?;
    Ok(burst)
}

/// Sends a code of each of these people through a service that is ready and idle.
pub async fn through(discord: &Discord, service: &mut Service, people: Range<u64>) -> anyhow::Result<Burst> {
    let approved = discord.approve(people).await?;
    let wanted = service.results.count()? + approved.len();
    service.process.signal(Signal::STOP)?;
    discord.post(&approved).await?;
    let (own, its) = (service.process.cpu()?, discord.process.cpu()?);
    let began = SystemClock.now();
    service.process.signal(Signal::CONT)?;
    let (patience, often) = (Duration::from_mins(2), Duration::from_millis(10));
    until(patience, often, "every result", async || {
        ensure!(service.process.runs(), "the service has ended");
        Ok((service.results.count()? >= wanted).then_some(()))
    })
    .await?;
    until(patience, often, "every token revoked", async || {
        Ok((discord.summary().await?.tokens_left == 0).then_some(()))
    })
    .await?;
    let (cpu, discord_cpu) = (service.process.cpu()?, discord.process.cpu()?);
    check(discord).await?;
    let ledger = discord.ledger().await?;
    let revoked_us = ledger.tokens.iter().filter_map(|t| t.revoked_at_us).max().unwrap_or(0);
    let ended_ms = (revoked_us / 1000).max(service.results.written_at()?.as_millis());
    Ok(Burst {
        codes: approved.len(),
        took: Duration::from_millis((ended_ms - began.as_millis()).max(1).cast_unsigned()),
        cpu: cpu.saturating_sub(own),
        discord_cpu: discord_cpu.saturating_sub(its),
    })
}

/// A fast run in which a code was lost would be no measurement.
async fn check(discord: &Discord) -> anyhow::Result<()> {
    let summary = discord.summary().await?;
    ensure!(
        summary.presented == summary.codes && summary.presented_twice == 0 && summary.tokens_left == 0,
        "codes are not accounted for: {summary:?}"
    );
    Ok(())
}
