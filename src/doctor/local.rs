//! What this machine alone can tell: configuration, secrets, folders, certificate authorities and the proxy.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Check, State};
use crate::config::{Config, ConfigError, ConfigErrors, Location, Locator, SinkKind};
use crate::http::trust;
use crate::known_fault::{self as known, KnownFault};
use crate::store::{self, Place};

/// Every error of configuration and secrets, each with its id.
pub(super) fn of_config(errors: &ConfigErrors) -> Vec<Check> {
    if errors.errors().is_empty() {
        return vec![Check::ok(
            "configuration",
            "every key and every secret has the right shape",
        )];
    }
    let check = |error: &ConfigError| {
        let detail = match &error.key {
            Some(key) => format!("{}: `{key}` {}", error.place, error.problem),
            None => format!("{}: {}", error.place, error.problem),
        };
        Check::fail(kind(error), "configuration", detail).cured_by(capital(&error.cure))
    };
    errors.errors().iter().map(check).collect()
}

fn kind(error: &ConfigError) -> &'static KnownFault {
    let says = |part: &str| error.problem.contains(part);
    let key = error.key.as_deref().unwrap_or_default();
    if key.is_empty() && matches!(&error.place, Location::Variable(_)) {
        return match () {
            () if says("is not set") || says("has no token for") => &known::SECRET_MISSING,
            () if says("looks like") => &known::SECRETS_SWAPPED,
            () if says("is the same as") => &known::SECRETS_EQUAL,
            () => &known::SECRET_SHAPE,
        };
    }
    match key {
        _ if says("cannot be listened on") => &known::PORT,
        "intake.http.pages" | "relay.pages" | "pages.icon" => &known::PAGES,
        "delivery" if says("needs the file") => &known::SINK_FILE,
        _ if says("needs a folder") || says("needs the folder") => &known::FOLDER,
        _ if key.starts_with("discord.scopes") => &known::SCOPE,
        _ if key.starts_with("fetch.resources") => &known::SCOPE_OF_RESOURCE,
        _ => &known::CONFIG,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = first.chain(letters).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

/// Files with secrets that others may read.
pub(super) fn of_secret_files(locator: &Locator) -> Vec<Check> {
    let files = locator.environment.files();
    let open = files.filter(|(_, path)| mode(&locator.folder.join(path)).is_some_and(|mode| mode & 0o077 != 0));
    let check = |(name, path): (&str, &str)| {
        let detail = format!("other users can read `{path}` of {name}");
        Check::warn(&known::SECRET_READABLE, "secrets", detail).cured_by(format!("chmod 600 {path}"))
    };
    open.map(check).collect()
}

fn mode(path: &Path) -> Option<u32> {
    Some(path.metadata().ok()?.permissions().mode() & 0o777)
}

/// The journal's place: its file system, its room, who may read it.
pub(super) fn of_machine(config: &Config) -> Vec<Check> {
    let path = &config.journal.path;
    let shown = path.display();
    let Place { kind, free_mb } = store::place(path);
    let mut checks = Vec::new();
    if let Some(kind) = kind {
        let detail = format!("`{shown}` is on {kind}");
        checks.push(Check::warn(&known::FILE_SYSTEM, "journal", detail));
    }
    if free_mb < 256 {
        let detail = format!("`{shown}` has {free_mb} MB left");
        let check = if free_mb < 64 { Check::fail } else { Check::warn };
        checks.push(check(&known::ROOM, "journal", detail));
    }
    if mode(path).is_some_and(|mode| mode & 0o077 != 0) {
        let detail = format!("other users can open `{shown}`");
        checks.push(Check::warn(&known::STORE_OPEN, "journal", detail).cured_by(format!("chmod 700 {shown}")));
    }
    if checks.is_empty() {
        let used = if store::is_in_use(path) {
            "in use by a running service"
        } else {
            "not in use"
        };
        checks.push(Check::ok("journal", format!("`{shown}`: {free_mb} MB left, {used}")));
    }
    checks
}

/// Certificate authorities and the proxy, and what they lead to.
pub(super) fn trust(config: &Config) -> Check {
    let sinks = config.delivery.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Http { url } => Some(url),
        SinkKind::Jsonl { .. } | SinkKind::DiscordWebhook { .. } => None,
    });
    let prepared = trust::prepare(config.tls.extra_ca.as_deref(), sinks.chain([&config.discord.api_base]));
    match prepared {
        Ok(()) => {
            let proxy = trust::proxy_in_use();
            let proxy = proxy.map_or("no proxy".to_owned(), |name| {
                format!("https goes through the proxy of {name}")
            });
            let extra = config.tls.extra_ca.as_ref();
            let extra = extra.map_or(String::new(), |path| format!(", `{}` is trusted too", path.display()));
            Check::new(State::Ok, "way out", format!("{proxy}{extra}"))
        }
        Err(failure) => {
            let fault = if failure.to_string().contains("tls.extra_ca") {
                &known::AUTHORITIES
            } else {
                &known::PROXY
            };
            let cure = capital(failure.advice().unwrap_or(fault.cure));
            Check::fail(fault, "way out", failure.to_string()).cured_by(cure)
        }
    }
}
