//! What a code costs with few and with many closed grants in the store: it should be the same.
//!
//! One service for each number of closed grants; they take bursts in turn, so that all see the same machine.

use std::time::Duration;

use crate::burst::through;
use crate::discord::Discord;
use crate::process::until;
use crate::report::{Report, Row};
use crate::service::{Service, Site};
use crate::statistics::{median, spread};
use crate::stored::keep_closed;

struct StoreFolder {
    closed: u64,
    discord: Discord,
    service: Service,
    _site: Site,
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (numbers, codes, rounds) = if report.quick {
        (vec![100, 10_000], 150, 1)
    } else {
        (vec![100, 10_000, 100_000], 1_000, 5)
    };
    let mut places = Vec::new();
    for closed in numbers {
        let discord = Discord::start()?;
        let site = Site::new(&discord)?;
        keep_closed(&site.data(), closed)?;
        places.push(StoreFolder {
            closed,
            service: site.run_ready().await?,
            discord,
            _site: site,
            wall_ms: Vec::new(),
            cpu_ms: Vec::new(),
        });
    }
    for round in 0..=rounds {
        for place in &mut places {
            let first = round * codes;
            let burst = through(&place.discord, &mut place.service, first..first + codes).await?;
            // The spent messages are removed after the burst; that must not fall into another's.
            let (patience, often) = (Duration::from_mins(1), Duration::from_millis(20));
            until(patience, often, "an empty channel", async || {
                Ok(place.discord.channel_is_empty().await?.then_some(()))
            })
            .await?;
            // The first burst opens connections and warms caches.
            if round > 0 {
                place.wall_ms.push(1e3 / burst.rate());
                place.cpu_ms.push(burst.cpu.as_secs_f64() * 1e3 / codes as f64);
            }
        }
    }
    let few = &places[0];
    let label = format!("with {} closed", few.closed);
    for place in &places {
        let name = format!("cost per code with {} closed grants", place.closed);
        let ratios: Vec<f64> = place.wall_ms.iter().zip(&few.wall_ms).map(|(a, b)| a / b).collect();
        let row = Row::new(name, median(&place.wall_ms), "ms");
        if place.closed == few.closed {
            report.add(row);
        } else {
            let row = row
                .beside(&label, median(&few.wall_ms))
                .with_ratio(median(&ratios), spread(&ratios));
            report.add(if place.closed == 100_000 {
                row.ratio_at_most(1.2)
            } else {
                row
            });
        }
        let cpu = Row::new("  CPU time of it", median(&place.cpu_ms), "ms");
        report.add(cpu.beside(&label, median(&few.cpu_ms)));
    }
    Ok(())
}
