//! The idle service, and codes at a steady pace of 2 and 40 a second: time, CPU, context switches and system calls.
//!
//! From posted to revoked at two codes a second, both moments by the embedded Discord's record. The bare loop takes a
//! code of its own in each gap, so that both see the same machine. Its clock starts when the embedded Discord has
//! issued the code, since nothing is posted for it.

use std::collections::HashMap;
use std::iter::once;
use std::time::Duration;

use anyhow::Context;
use codeferry::simulator::Ledger;
use tokio::time::{MissedTickBehavior, interval};

use crate::bare::BareLoop;
use crate::discord::Discord;
use crate::pace::{Idle, Meter, Spent, post, spend};
use crate::report::{Report, Row};
use crate::service::{Service, Site};
use crate::statistics::{median, percentile, spread};
use crate::trace::Trace;

/// The pace of a busy service.
const BUSY: u32 = 40;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (idle_for, busy_codes) = if report.quick {
        (Duration::from_secs(5), 80)
    } else {
        (Duration::from_secs(20), 1_200)
    };
    let discord = Discord::start()?;
    let site = Site::new(&discord)?;
    let mut service = site.run_ready().await?;
    let idle = Idle::of(&service, idle_for).await?;
    report.add(Row::new("idle: memory", idle.memory as f64 / 1e6, "MB").at_most(16.0));
    report.add(Row::new("idle: wake-ups", idle.wakeups_per_second, "a second").at_most(10.0));
    // Each pass has people of its own.
    let calm_codes: u64 = if report.quick { 12 } else { 120 };
    let calm = at_two_a_second(report, &discord, &mut service, calm_codes).await?;
    add_cost(report, &calm, &idle, "2/s", Some(3.0));
    let first = 2 * calm_codes;
    let busy = spend(&discord, &mut service, first..first + busy_codes, BUSY).await?;
    add_cost(report, &busy, &idle, "40/s", None);
    let first = first + busy_codes;
    add_system_calls(report, &discord, &mut service, first).await
}

fn add_cost(report: &mut Report, spent: &Spent, idle: &Idle, pace: &str, most_ms: Option<f64>) {
    let cpu = Row::new(
        format!("CPU time per code at {pace}, idle share taken off"),
        spent.cpu_ms(idle),
        "ms",
    );
    report.add(match most_ms {
        Some(most) => cpu.at_most(most),
        None => cpu,
    });
    let (waited, displaced) = (spent.usage.voluntary, spent.usage.involuntary);
    let switches = Row::new(
        format!("  context switches per code at {pace}"),
        spent.per_code(waited + displaced),
        "",
    );
    report.add(switches.noting(format!("{:.1} of them voluntary", spent.per_code(waited))));
}

/// The same pace once more, slowed by `strace`: only the counts are used.
async fn add_system_calls(
    report: &mut Report,
    discord: &Discord,
    service: &mut Service,
    first: u64,
) -> anyhow::Result<()> {
    const WAITS: &str = "waits for the disk per code at 40/s";
    let codes: u64 = if report.quick { 40 } else { 320 };
    let trace = match Trace::attach(&service.process).await? {
        Ok(trace) => trace,
        Err(why) => {
            report.add(Row::absent("system calls per code at 40/s", &why));
            report.add(Row::absent(WAITS, &why));
            return Ok(());
        }
    };
    let wanted = service.results.count()? + codes as usize;
    let meter = Meter::start(service)?;
    post(discord, first..first + codes, BUSY).await?;
    let spent = meter.finish(discord, service, wanted, codes as usize).await?;
    let calls = trace.finish().await?;
    let total = Row::new("system calls per code at 40/s", spent.per_code(calls.total()), "");
    report.add(total.noting(format!("{:.0} of them futex", spent.per_code(calls.of(&["futex"])))));
    let syncs = calls.of(&["fdatasync", "fsync", "sync_file_range", "msync"]);
    let waits = Row::new(WAITS, spent.per_code(syncs + calls.synced_writes), "").at_most(10.0);
    let note = format!(
        "fdatasync {:.1}, sync_file_range {:.1}, writes that sync {:.1}",
        spent.per_code(calls.of(&["fdatasync", "fsync"])),
        spent.per_code(calls.of(&["sync_file_range"])),
        spent.per_code(calls.synced_writes)
    );
    report.add(waits.noting(note));
    eprintln!("  most frequent: {}", calls.most_frequent(12, codes));
    Ok(())
}

async fn at_two_a_second(
    report: &mut Report,
    discord: &Discord,
    service: &mut Service,
    codes: u64,
) -> anyhow::Result<Spent> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bare = BareLoop::new(discord, folder.path())?;
    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut posted, mut bares) = (Vec::new(), Vec::new());
    let wanted = service.results.count()? + codes as usize;
    let meter = Meter::start(service)?;
    for n in 0..codes {
        tick.tick().await;
        let approved = discord.approve(once(2 * n)).await?;
        posted.push((approved[0].code.clone(), discord.post_as_relay(&approved[0]).await?));
        tick.tick().await;
        let approved = discord.approve(once(2 * n + 1)).await?;
        bare.carry(&approved[0]).await?;
        bares.push(approved[0].code.clone());
    }
    let spent = meter.finish(discord, service, wanted, codes as usize).await?;

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
    report.add(half.above_the_other_at_most(2.0));
    let worst = Row::new("posted to revoked at 2/s, p99", percentile(&ours, 0.99), "ms");
    let slowest = format!("the slowest {:.1} ms", spread(&ours).1);
    report.add(
        worst
            .beside("bare loop", percentile(&bares, 0.99))
            .noting(slowest)
            .at_most(15.0),
    );
    Ok(spent)
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
