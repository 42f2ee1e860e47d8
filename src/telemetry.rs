//! Logging: one stream to stderr whose level and format can change while it runs. Some targets are silent whatever
//! anybody asks for, because they print message content and tokens.

mod patient;

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use self::patient::Patient;
use crate::config::{LogConfig, LogFormat};

/// Crates whose logs may print message content, tokens or request targets.
const SILENT: [&str; 10] = [
    "actix_http",
    "actix_web",
    "h2",
    "hyper",
    "hyper_util",
    "oauth2",
    "reqwest",
    "rustls",
    "sled",
    "tokio_websockets",
];

/// The running log's controls.
#[derive(Clone)]
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
    json: Arc<AtomicBool>,
    /// `--log-level` or `CODEFERRY_LOG` was given: the configuration's level does not count.
    pinned: bool,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts logging to stderr for the whole process. `level` (`--log-level`) goes before `directives`
    /// (`CODEFERRY_LOG`, such as `codeferry=debug,info`); both go before the configuration.
    pub fn start(level: Option<LevelFilter>, directives: Option<&str>) -> Result<Self, ParseError> {
        let (subscriber, telemetry) = build(level, directives, || Patient, io::stderr().is_terminal())?;
        // A second start in one process, as in tests, keeps the first.
        let _ = subscriber.try_init();
        Ok(telemetry)
    }

    /// Applies the configuration; at start, and again whenever it changes. Crates that log through `log` keep the level
    /// of the start where a later one is finer.
    pub fn apply(&self, log: &LogConfig) {
        self.json.store(log.format == LogFormat::Json, Ordering::Relaxed);
        if !self.pinned {
            // It fails only where the subscriber is gone, and then nothing is logged anyway.
            let _ = self.filter.reload(filter(log.level));
        }
    }
}

/// A level for our own events; other crates are heard from WARN on at most.
fn filter(own: LevelFilter) -> Targets {
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("codeferry", own)
}

fn build<W>(
    level: Option<LevelFilter>,
    directives: Option<&str>,
    writer: W,
    colour: bool,
) -> Result<(impl Subscriber + Send + Sync + 'static, Telemetry), ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let first = match (level, directives) {
        (Some(level), _) => filter(level),
        (None, Some(directives)) => directives.parse()?,
        (None, None) => filter(LevelFilter::INFO),
    };
    let (filter, handle) = reload::Layer::new(first);
    let json = Arc::new(AtomicBool::new(false));
    let line = Line {
        text: tracing_subscriber::fmt::format(),
        json: Arc::clone(&json),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colour)
        // A closed stderr is no failure, and the report of it would panic.
        .log_internal_errors(false)
        .with_writer(writer)
        .event_format(line);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(may_speak))
        .with(lines);
    let telemetry = Telemetry {
        filter: handle,
        json,
        pinned: level.is_some() || directives.is_some(),
    };
    Ok((subscriber, telemetry))
}

fn may_speak(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    !SILENT.contains(&root)
}

/// A line of text or of JSON, as the switch stands when it is written.
struct Line {
    text: Format<Full>,
    json: Arc<AtomicBool>,
}

impl<S> FormatEvent<S, DefaultFields> for Line
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.json.load(Ordering::Relaxed) {
            return self.text.format_event(context, writer, event);
        }
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Crates that log through `log` carry their target in a field.
        let target = match fields.values.remove("log.target") {
            Some(Value::String(target)) => target,
            _ => event.metadata().target().to_owned(),
        };
        fields.values.retain(|name, _| !name.starts_with("log."));
        let line = json!({
            "timestamp": time,
            "level": event.metadata().level().as_str(),
            "target": target,
            "message": fields.message,
            "fields": fields.values,
        });
        writeln!(writer, "{line}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.values.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.put(field, Value::String(format!("{value:?}")));
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
        }
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Captured;

    #[track_caller]
    fn logged(level: Option<LevelFilter>, directives: Option<&str>, act: impl FnOnce(&Telemetry)) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, telemetry) =
            build(level, directives, move || writer.clone(), false).expect("directives can be read");
        tracing::subscriber::with_default(subscriber, || act(&telemetry));
        captured.text()
    }

    fn leak() {
        tracing::error!(target: "hyper::proto::h1", "CANARY");
        tracing::error!(target: "tokio_websockets", "CANARY");
        tracing::error!(target: "sled", "CANARY");
        let _inside = tracing::error_span!(target: "reqwest::connect", "CANARY").entered();
        tracing::error!(target: "codeferry", "own");
    }

    #[test]
    fn silent_targets_stay_silent_whatever_is_asked_for() {
        let asked = [
            (Some(LevelFilter::TRACE), None),
            (None, Some("trace")),
            (None, Some("hyper=trace,sled=trace,reqwest=trace,codeferry=trace")),
        ];
        for (level, directives) in asked {
            let text = logged(level, directives, |_| leak());
            assert!(text.contains("own") && !text.contains("CANARY"), "{text}");
        }
    }

    #[test]
    fn other_crates_are_heard_from_warn_on() {
        let text = logged(Some(LevelFilter::TRACE), None, |_| {
            tracing::trace!(target: "codeferry::x", "ours");
            tracing::info!(target: "somebody", "chatter");
            tracing::warn!(target: "somebody", "trouble");
        });
        assert!(
            text.contains("ours") && text.contains("trouble") && !text.contains("chatter"),
            "{text}"
        );
    }

    #[test]
    fn level_and_format_change_while_running_unless_pinned() {
        let config = |level, format| LogConfig { level, format };
        let speak = |telemetry: &Telemetry| {
            tracing::debug!(target: "codeferry", "one");
            telemetry.apply(&config(LevelFilter::DEBUG, LogFormat::Json));
            tracing::debug!(target: "codeferry", n = 2, "two");
            telemetry.apply(&config(LevelFilter::ERROR, LogFormat::Text));
            tracing::warn!(target: "codeferry", "three");
        };
        let text = logged(None, None, speak);
        let line: Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!((&line["message"], &line["fields"]["n"]), (&json!("two"), &json!(2)));
        assert_eq!(line["level"], "DEBUG");

        let text = logged(Some(LevelFilter::INFO), None, speak);
        assert!(!text.contains("two") && text.contains("three"), "{text}");
    }
}
