//! From the start of the process to the first code presented, after an unclean end with many open grants.
//!
//! Half of the grants are codes that wait and live; half are results that no sink has taken yet, all of which a start
//! marks as uncertain in one transaction before anything may go out.

use std::time::Duration;

use codeferry::time::{Clock, SystemClock};

use crate::discord::Discord;
use crate::process::until;
use crate::report::{Report, Row};
use crate::service::Site;
use crate::statistics::median;
use crate::stored::keep_open;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (many, rounds) = if report.quick { (1_000, 1) } else { (10_000, 3) };
    let (mut one, mut all) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        one.push(first_exchange_ms(1, 0).await?);
        all.push(first_exchange_ms(many / 2, many - many / 2).await?);
    }
    report.add(
        Row::new(
            format!("restart to first exchange, {many} open grants"),
            median(&all),
            "ms",
        )
        .beside("with 1 open grant", median(&one)),
    );
    Ok(())
}

async fn first_exchange_ms(codes: u64, results: u64) -> anyhow::Result<f64> {
    let discord = Discord::start()?;
    let site = Site::new(&discord)?;
    let approved = discord.approve(0..codes).await?;
    keep_open(&site.data(), &approved, results)?;
    let began = SystemClock.now();
    let service = site.run()?;
    let (patience, often) = (Duration::from_mins(1), Duration::from_millis(5));
    until(patience, often, "a code presented", async || {
        Ok((discord.summary().await?.presented > 0).then_some(()))
    })
    .await?;
    drop(service);
    let ledger = discord.ledger().await?;
    let first_us = ledger.codes.iter().flat_map(|c| &c.presented).map(|p| p.at_us).min();
    Ok(first_us.unwrap_or(0) as f64 / 1e3 - began.as_millis() as f64)
}
