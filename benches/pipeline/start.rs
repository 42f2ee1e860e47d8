//! From the start to READY on an empty store, the embedded Discord's own time taken off.

use crate::discord::Discord;
use crate::report::{Report, Row};
use crate::service::Site;
use crate::statistics::{median, spread};

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let starts = if report.quick { 3 } else { 15 };
    let discord = Discord::start()?;
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let site = Site::new(&discord)?;
        let before = discord.process.cpu()?;
        let ready_ms = site.run()?.ready().await? as f64;
        // The embedded Discord does nothing but answer, so its CPU time is what its answers cost.
        let answers = discord.process.cpu()?.saturating_sub(before).as_secs_f64() * 1e3;
        whole.push(ready_ms);
        own.push(ready_ms - answers);
    }
    let (least, most) = spread(&own);
    report.add(
        Row::new("start to READY on an empty store", median(&own), "ms")
            .beside("with the embedded Discord's time", median(&whole))
            .noting(format!("{least:.0} to {most:.0} in {starts} starts"))
            .at_most(150.0),
    );
    Ok(())
}
