//! Twenty minutes at 40 codes a second: whether memory and disk stop growing.
//!
//! Messages, codes and nonces are remembered for about 12 minutes, so both should be flat from minute 14 on. The file
//! of results is not counted: it is output, which grows for as long as codes come.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::discord::Discord;
use crate::pace::{Meter, post};
use crate::report::{Report, Row};
use crate::service::Site;

const A_SECOND: u32 = 40;
/// From this minute on nothing should grow any more.
const FLAT_FROM: usize = 14;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (minutes, minute) = if report.quick {
        (2, Duration::from_secs(5))
    } else {
        (20, Duration::from_mins(1))
    };
    let codes_each = u64::from(A_SECOND) * minute.as_secs();
    let discord = Discord::start()?;
    let site = Site::new(&discord)?;
    let mut service = site.run_ready().await?;
    let meter = Meter::start(&service)?;
    let (mut memory, mut disk) = (Vec::new(), Vec::new());
    for n in 0..minutes {
        post(&discord, n * codes_each..(n + 1) * codes_each, A_SECOND).await?;
        memory.push(service.process.memory()? as f64 / 1e6);
        disk.push(on_disk(&site.data())? as f64 / 1e6);
        eprintln!(
            "  minute {}: {:.1} MB of memory, {:.1} MB on the disk",
            n + 1,
            memory[n as usize],
            disk[n as usize]
        );
    }
    let codes = (minutes * codes_each) as usize;
    meter.finish(&discord, &mut service, codes, codes).await?;
    let after = format!("after {minutes} minutes at 40/s");
    report.add(grown(format!("{after}: memory"), &memory).at_most(30.0));
    report.add(grown(format!("{after}: disk, without results"), &disk).at_most(40.0));
    Ok(())
}

/// The last figure, with what it grew since it should be flat.
fn grown(what: String, by_minute: &[f64]) -> Row {
    let last = by_minute.last().copied().unwrap_or(0.0);
    let row = Row::new(what, last, "MB");
    match by_minute.get(FLAT_FROM - 1) {
        Some(flat) => row.noting(format!("{:+.1} MB since minute {FLAT_FROM}", last - flat)),
        None => row,
    }
}

/// Bytes that a folder's files take, without the results.
fn on_disk(folder: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go between the two.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            total += on_disk(&entry.path())?;
        } else if entry.file_name() != "results.jsonl" {
            total += metadata.blocks() * 512;
        }
    }
    Ok(total)
}
