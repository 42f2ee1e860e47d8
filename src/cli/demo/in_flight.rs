//! Which exchanges the kill interrupted, by the journal that it left.

use anyhow::Context;

use crate::config::Config;
use crate::grant::State;
use crate::store::{self, StoreOptions};
use crate::time::SystemClock;

/// Codes whose exchange was under way when the service was killed. Whether Discord's answer had arrived makes no
/// difference: it was not stored.
pub fn exchanges(config: &Config) -> anyhow::Result<Vec<String>> {
    let data = config.data_folder();
    // A copy is opened: the next start has to find what the kill left.
    let copy = data.with_extension("at-kill");
    for folder in ["journal", "keys"] {
        store::copy_tree(&data.join(folder), &copy.join(folder)).context("the journal cannot be copied")?;
    }
    let opened = store::open(&StoreOptions::new(copy.join("journal"), SystemClock::shared()))
        .context("the journal that the kill left cannot be opened")?;
    let codes = opened.loaded.grants.iter().filter_map(|grant| match &grant.state {
        State::Exchanging { code, .. } => Some(code.expose().to_owned()),
        _ => None,
    });
    let codes = codes.collect();
    opened.store.close().context("the copy cannot be closed")?;
    std::fs::remove_dir_all(&copy).context("the copy cannot be removed")?;
    Ok(codes)
}
