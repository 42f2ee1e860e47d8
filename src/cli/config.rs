//! `config`: check, show and describe the configuration.

pub(super) mod machine;

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Global, out};
use crate::config::{self, Config, ConfigErrors, Location, Locator, RelayConfig, SinkKind};
use crate::http;
use crate::lifecycle::Exit;

/// The commands of `config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report every error at once, or what would run
    Check,
    /// Print every value in force and where it came from; secrets only as set or not set
    Show,
    /// Print the JSON schema
    Schema,
    /// Print every key with its meaning and its default, as a file to start from
    Defaults,
}

/// Runs a command of `config`.
pub fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Check => check(&global.locator()?, global.json),
        Command::Show => show(&global.locator()?, global.json),
        Command::Schema => {
            out::line(serde_json::to_string_pretty(&config::schema())?)?;
            Ok(Exit::Fine)
        }
        Command::Defaults => {
            out::write(&[&config::default_file()])?;
            Ok(Exit::Fine)
        }
    }
}

fn check(locator: &Locator, json: bool) -> anyhow::Result<Exit> {
    let (command, checked) = if config::is_relays_own(locator) {
        let relay = config::check_relay(locator, machine::of_relay);
        if let Ok((config, _)) = &relay {
            http::trust::prepare(config.extra_ca.as_deref(), [&config.api_base])?;
        }
        ("relay", relay.map(|(config, _)| relay_would_run(&config)))
    } else {
        let checked = config::check(locator, machine::of_service);
        checked.as_ref().map_or(Ok(()), super::run::trust)?;
        ("run", checked.map(|config| would_run(&config)))
    };
    if json {
        let exit = checked.as_ref().map_or_else(ConfigErrors::exit, |_| Exit::Fine);
        out::json(&match &checked {
            Ok(lines) => json!({ "ok": true, "errors": [], "command": command, "would_run": lines }),
            Err(errors) => json!({ "ok": false, "errors": errors.errors().iter().map(fault).collect::<Vec<_>>() }),
        })?;
        return Ok(exit);
    }
    let lines: Vec<_> = checked?.iter().map(|line| format!("\n  {line}")).collect();
    out::line(format!(
        "configuration is fine; `codeferry {command}` would start{}",
        lines.concat()
    ))?;
    Ok(Exit::Fine)
}

fn fault(error: &config::ConfigError) -> Value {
    let (file, line, variable) = match &error.place {
        Location::File(path, line) => (Some(path.display().to_string()), *line, None),
        Location::Variable(name) => (None, None, Some(name)),
        Location::Nowhere => (None, None, None),
    };
    json!({
        "file": file,
        "line": line,
        "variable": variable,
        "key": error.key,
        "problem": error.problem,
        "cure": error.cure,
    })
}

/// What `run` would open and do, a line each.
fn would_run(config: &Config) -> Vec<String> {
    let mut lines = vec![format!(
        "application {} against {}, redirect {}",
        config.discord.application_id, config.discord.api_base, config.discord.redirect_uri
    )];
    for lane in &config.intake.lanes {
        lines.push(format!(
            "lane {}: channel {}, webhook {}, up to {} in a message",
            lane.lane,
            lane.channel_id,
            lane.webhook_id,
            if lane.pack == 1 {
                "1 code".into()
            } else {
                format!("{} codes", lane.pack)
            }
        ));
    }
    if let Some(address) = config.intake.http.listen {
        lines.push(format!("direct intake on {address}"));
    }
    let resources: Vec<_> = config.fetch.resources.iter().map(|r| r.name()).collect();
    lines.push(format!(
        "fetch {} ({})",
        resources.join(", "),
        config.discord.scopes.join(" ")
    ));
    for sink in &config.delivery {
        let to = match &sink.kind {
            SinkKind::Jsonl { path, .. } => path.display().to_string(),
            // Only the host: a query may hold what is nobody's business.
            SinkKind::Http { url } => format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
            SinkKind::DiscordWebhook { webhook_id } => format!("webhook {webhook_id}"),
        };
        lines.push(format!("deliver to `{}`: {} {to}", sink.name, sink.kind.name()));
    }
    lines.push(format!("journal in {}", config.journal.path.display()));
    if let Some(socket) = &config.control.socket {
        lines.push(format!("control on {}", socket.display()));
    }
    if let Some(address) = config.control.listen {
        lines.push(format!("control on {address}"));
    }
    lines
}

/// What `relay` would open and do, a line each.
fn relay_would_run(config: &RelayConfig) -> Vec<String> {
    let mut lines = vec![format!(
        "callbacks on {}, messages for bot {} through {}",
        config.relay.listen, config.bot, config.api_base
    )];
    for (lane, about) in config.relay.lanes.iter().enumerate() {
        let channel = about
            .channel_id
            .map_or_else(String::new, |id| format!(", channel {id}"));
        lines.push(format!(
            "lane {lane}: webhook {}{channel}, up to {} in a message",
            about.webhook_id, about.pack
        ));
    }
    lines.push(match config.limit {
        Some(limit) => format!("at most {} messages a minute for each channel", limit.per_minute),
        None => "no limit on messages: `limits.webhook` is \"off\"".into(),
    });
    lines.push(format!("journal and keys in {}", config.relay.journal.display()));
    lines
}

fn show(locator: &Locator, json: bool) -> anyhow::Result<Exit> {
    let values_in_force = config::effective(locator)?;
    let secrets = config::secrets_given(&locator.environment);
    let word = |given: bool| if given { "set" } else { "not set" };
    if json {
        let mut values = Map::new();
        for value in values_in_force {
            let mut shown = json!({ "value": serde_json::to_value(&value.value)?, "from": value.place.layer() });
            match &value.place {
                Location::Nowhere => {}
                Location::File(path, line) => {
                    shown["file"] = path.display().to_string().into();
                    shown["line"] = (*line).into();
                }
                Location::Variable(name) => shown["variable"] = name.as_str().into(),
            }
            values.insert(value.key, shown);
        }
        let secrets: Map<_, _> = secrets
            .into_iter()
            .map(|(name, given)| (name.to_owned(), word(given).into()))
            .collect();
        out::json(&json!({ "values": values, "secrets": secrets }))?;
        return Ok(Exit::Fine);
    }
    let mut text = String::new();
    for value in values_in_force {
        let from = match &value.place {
            Location::Nowhere => "default".to_owned(),
            place @ Location::File(..) => format!("file {place}"),
            Location::Variable(name) if locator.environment.is_of_file(name) => format!(".env {name}"),
            place @ Location::Variable(_) => place.to_string(),
        };
        let assigned = format!("{} = {}", value.key, value.value);
        writeln!(text, "{assigned:<60}  # {from}")?;
    }
    for (name, given) in secrets {
        writeln!(text, "{name:<60}  # {}", word(given))?;
    }
    out::write(&[&text])?;
    Ok(Exit::Fine)
}
