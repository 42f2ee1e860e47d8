//! The running service, by its control socket.

use serde_json::Value;

use super::Check;
use crate::config::Config;
use crate::control::Ask;
use crate::control::client::ControlClient;
use crate::known_fault as known;
use crate::metrics::MessageResult;

pub(super) async fn look(config: &Config) -> Vec<Check> {
    let Some(socket) = &config.control.socket else {
        return vec![Check::skipped(
            "service",
            "control.socket is \"\": there is nothing to ask",
        )];
    };
    let shown = socket.display();
    let missing = || Check::fail(&known::NO_SERVICE, "service", format!("nothing answers at `{shown}`"));
    let Ok(client) = ControlClient::new(socket) else {
        return vec![missing()];
    };
    match client.ask(&Ask::Stats).await {
        Err(_) => vec![missing()],
        Ok(Err(refusal)) => vec![Check::fail(&known::NO_SERVICE, "service", refusal.to_string())],
        Ok(Ok(stats)) => of_stats(&stats),
    }
}

/// How many probes the service has seen: by the gateway, and in the history. `None` where it does not answer.
pub(super) async fn probes_seen(config: &Config) -> Option<(u64, u64)> {
    let client = ControlClient::new(config.control.socket.as_ref()?).ok()?;
    let stats = client.ask(&Ask::Stats).await.ok()?.ok()?;
    let count = |result: MessageResult| stats["messages"][result.name()].as_u64();
    Some((
        count(MessageResult::ProbeByGateway)?,
        count(MessageResult::ProbeByHistory)?,
    ))
}

fn of_stats(stats: &Value) -> Vec<Check> {
    let number = |name: &str| stats[name].as_u64().unwrap_or(0);
    let open: u64 = stats["open"]
        .as_object()
        .map_or(number("open"), |states| states.values().filter_map(Value::as_u64).sum());
    let mut checks = vec![Check::ok("service", format!("it answers; {open} grants are open"))];
    let parked = number("parked");
    if parked > 0 {
        checks.push(Check::warn(
            &known::PARKED,
            "deliveries",
            format!("{parked} are parked"),
        ));
    }
    checks
}
