//! `simulate`: the embedded Discord alone, and a configuration that points a service at it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::folder::{self, RESULTS, config};
use super::out;
use crate::lifecycle::{Exit, Failure, Signals};
use crate::simulator::limits::LimitSettings;
use crate::simulator::{Description, Simulator, SimulatorOptions};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 8180)]
    pub port: u16,
    /// Switch all rate limits off
    #[arg(long)]
    pub no_limits: bool,
    /// Heartbeat interval of the gateway, such as `200ms` [default: 41250ms]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub heartbeat: Option<std::time::Duration>,
    /// Lifetime of authorization codes, such as `30s` [default: 100s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub code_lifetime: Option<std::time::Duration>,
    /// Number of intake channels [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub lanes: Option<u8>,
    /// Number of simulated users [default: 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub people: Option<u32>,
    /// Registered redirect URI; may be repeated
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Vec<String>,
    /// Seed of the random values: the same seed gives the same secrets
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write a folder in which `codeferry run` signs these users in
    #[arg(long, value_name = "FOLDER")]
    pub write: Option<PathBuf>,
    /// Further options as a JSON object; flags take precedence
    #[arg(long, value_name = "JSON", value_parser = |json: &str| serde_json::from_str::<SimulatorOptions>(json))]
    pub options: Option<SimulatorOptions>,
}

impl Args {
    fn to_options(&self) -> SimulatorOptions {
        let mut options = self.options.clone().unwrap_or_default();
        options.port = self.port;
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if self.no_limits {
            options.limits = LimitSettings::off();
        }
        if let Some(heartbeat) = self.heartbeat {
            options.gateway.heartbeat_interval_ms = ms(heartbeat);
        }
        if let Some(lifetime) = self.code_lifetime {
            options.code_lifetime_ms = ms(lifetime);
        }
        options.lanes = self.lanes.unwrap_or(options.lanes);
        options.people = self.people.unwrap_or(options.people);
        options.seed = self.seed.or(options.seed);
        if !self.redirect_uri.is_empty() {
            options.application.redirect_uris.clone_from(&self.redirect_uri);
        }
        options
    }
}

/// Starts the simulator, prints how to use it, and waits for a signal to end.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let options = args.to_options();
    let simulator = Simulator::start(options).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot listen on 127.0.0.1:{}", args.port))
            .source(error)
            .way_out("stop the program that uses this port, or choose another one with --port; 0 finds a free one")
    })?;
    let about = simulator.describe();
    let relay_key = simulator.random_text(43);
    let written = match &args.write {
        Some(named) => Some(folder::write(named, &about)?.canonicalize()?),
        None => None,
    };
    let text = match &written {
        _ if json => {
            let mut value = machine(&about, &relay_key)?;
            value["written"] = json!(written);
            format!("{value}\n")
        }
        Some(file) => steps(&about, file, &simulator.names()),
        None => human(&about, &relay_key),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        // Whoever reads the text may send the signal at once.
        let mut signals = Signals::listen()?;
        out::write(&[&text])?;
        signals.next().await;
        anyhow::Ok(())
    })?;
    simulator.stop();
    Ok(())
}

/// The secrets that go with it.
fn environment(about: &Description, relay_key: &str) -> Vec<(&'static str, String)> {
    let tokens: Vec<_> = about
        .lanes
        .iter()
        .chain([&about.results])
        .map(|lane| format!("{}:{}", lane.webhook.id, lane.webhook.token))
        .collect();
    vec![
        ("CODEFERRY_BOT_TOKEN", about.bot_token.clone()),
        ("CODEFERRY_CLIENT_SECRET", about.client_secret.clone()),
        ("CODEFERRY_RELAY_KEY", relay_key.to_owned()),
        ("CODEFERRY_WEBHOOK_TOKENS", tokens.join(",")),
    ]
}

fn machine(about: &Description, relay_key: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(about)?;
    value["config"] = json!(config(about, "", RESULTS));
    let variables = environment(about, relay_key).into_iter();
    value["environment"] = variables.map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(value)
}

/// What to do with the folder that was written.
fn steps(about: &Description, file: &Path, names: &[(u64, String)]) -> String {
    let (shown, folder) = (file.display(), file.parent().unwrap_or(file).display());
    let someone = about.people.first().map_or("USER", String::as_str);
    let mut text = format!(
        "The embedded Discord runs at {}. Press Ctrl-C to stop it.\n\n\
         1. In a second terminal, start the service:\n\n   codeferry --config '{shown}' run\n\n\
         2. In a third one, make a link and open it in a browser:\n\n   codeferry --config '{shown}' link {someone}\n\n\
         3. See the result:\n\n   cat '{folder}/{RESULTS}'\n\nUsers:\n\n",
        about.base_url
    );
    for (id, name) in names {
        let _ = writeln!(text, "   {id}  {name}");
    }
    text
}

fn human(about: &Description, relay_key: &str) -> String {
    let mut text = format!(
        "The embedded Discord runs at {}. Press Ctrl-C to stop it.\n\nSave this as codeferry.toml:\n\n{}\nSet these variables:\n\n",
        about.base_url,
        config(about, "", RESULTS)
    );
    for (name, value) in environment(about, relay_key) {
        let _ = writeln!(text, "export {name}='{value}'");
    }
    text.push_str("\nPost messages of the relay to:\n\n");
    for lane in &about.lanes {
        let _ = writeln!(text, "{}?wait=true", lane.webhook.url);
    }
    let _ = write!(
        text,
        "\nThen start the service with `codeferry run`, and a relay at {}. --write FOLDER makes a service that needs no relay.\nControl the simulator below {}/_sim/:\nfaults, post, codes, use, people, ledger, summary (docs/testing.md)\n",
        about.redirect_uri, about.base_url
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(words: &[&str]) -> SimulatorOptions {
        let words = std::iter::once("simulate").chain(words.iter().copied());
        Line::try_parse_from(words).expect("a good line").args.to_options()
    }

    #[test]
    fn flags_win_over_the_json_object() {
        let options = options(&[
            "--port",
            "0",
            "--no-limits",
            "--heartbeat",
            "200ms",
            "--code-lifetime",
            "30s",
            "--options",
            r#"{"lanes": 3, "port": 5, "code_lifetime_ms": 1, "seed": 9}"#,
        ]);
        assert_eq!((options.port, options.lanes, options.seed), (0, 3, Some(9)));
        assert!(!options.limits.enabled);
        assert_eq!(options.gateway.heartbeat_interval_ms, 200);
        assert_eq!(options.code_lifetime_ms, 30_000);
        assert!(Line::try_parse_from(["simulate", "--options", "{\"nothing\": 1}"]).is_err());
    }

    #[test]
    fn what_is_printed_is_a_configuration_with_every_lane_and_its_secrets() {
        let simulator = Simulator::start(options(&["--port", "0", "--lanes", "2"])).expect("it starts");
        let about = simulator.describe();
        let machine = machine(&about, "a relay key").expect("JSON");
        let config: toml::Value = toml::from_str(machine["config"].as_str().expect("a text")).expect("TOML");
        assert_eq!(config["discord"]["api_base"].as_str(), Some(about.api_base.as_str()));
        assert_eq!(config["intake"]["lanes"].as_array().map(Vec::len), Some(2));
        assert_eq!(machine["environment"]["CODEFERRY_BOT_TOKEN"], about.bot_token.as_str());
        let tokens = machine["environment"]["CODEFERRY_WEBHOOK_TOKENS"]
            .as_str()
            .expect("a text");
        assert_eq!(tokens.split(',').count(), 3);
        assert!(human(&about, "k").contains("export CODEFERRY_CLIENT_SECRET='"));
    }
}
