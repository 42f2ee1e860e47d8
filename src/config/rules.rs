//! What the value of one key may be. A [`Rule`] has the key's shape, and reads its value or names what is wrong with it.
//! Rules about several keys stand in `relations`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::value::{Error as AnyError, StrDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer as _};
use tracing::level_filters::LevelFilter;
use url::Url;

use super::check::At;
use super::error::{nearest, shown};
use super::section::{Changes, Section};
use super::shape::Shape;
use super::tree::text as text_of;
use crate::http::is_loopback;

/// What may stand at a key.
pub(super) struct Rule<T> {
    pub shape: Shape,
    /// Whether the key must be there.
    pub required: bool,
    /// What is said where it is missing; an example, if nothing.
    or_say: Option<String>,
    /// Whether a running service applies a change without a restart.
    live: bool,
    read: Box<Read<T>>,
    /// Adds the key, or those below it, if they differ.
    compare: fn(&T, &T, &str, &mut Changes),
}

/// Reads a value; `None` only where a fault was named.
type Read<T> = dyn Fn(&mut At<'_, '_>) -> Option<T>;

impl<T: PartialEq + 'static> Rule<T> {
    pub(super) fn new(shape: Shape, read: impl Fn(&mut At<'_, '_>) -> Option<T> + 'static) -> Self {
        Self {
            shape,
            required: true,
            or_say: None,
            live: false,
            read: Box::new(read),
            compare: |old, new, path, changes| {
                if old != new {
                    changes.needs_restart.push(path.to_owned());
                }
            },
        }
    }

    /// The key may be left out.
    pub(super) fn not_required(self) -> Self {
        Self {
            required: false,
            ..self
        }
    }

    /// A running service applies a change without a restart.
    pub(super) fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// A running service does not read it, so that a change means nothing.
    pub(super) fn unread(self) -> Self {
        let compare = |_: &T, _: &T, _: &str, _: &mut Changes| {};
        Self { compare, ..self }
    }

    /// What is said where the key is missing, instead of an example.
    pub(super) fn or_say(self, cure: impl Into<String>) -> Self {
        let or_say = Some(cure.into());
        Self { or_say, ..self }
    }

    pub(super) fn read(&self, at: &mut At<'_, '_>) -> Option<T> {
        match at.node {
            None if self.required => {
                let cure = self.or_say.clone().unwrap_or_else(|| at.example());
                at.missing(cure)
            }
            _ => (self.read)(at),
        }
    }

    pub(super) fn differences(&self, old: &T, new: &T, path: &str, changes: &mut Changes) {
        let mut found = Changes::default();
        (self.compare)(old, new, path, &mut found);
        let now_or_later = if self.live {
            &mut changes.applied
        } else {
            &mut changes.needs_restart
        };
        now_or_later.append(&mut found.needs_restart);
    }
}

/// A table of keys.
pub(super) fn section<T: Section + PartialEq + 'static>() -> Rule<T> {
    Rule {
        compare: T::differences,
        ..Rule::new(Shape::Table(T::keys()), T::read)
    }
}

/// A key that may be left out.
pub(super) fn optional<T: PartialEq + 'static>(rule: Rule<T>) -> Rule<Option<T>> {
    let read = rule.read;
    let rule = Rule::new(rule.shape, move |at| match at.node {
        Some(_) => read(at).map(Some),
        None => Some(None),
    });
    rule.not_required()
}

/// A text that may be `""`, which is none.
pub(super) fn or_none<T: PartialEq + 'static>(rule: Rule<T>) -> Rule<Option<T>> {
    let read = rule.read;
    Rule::new(rule.shape, move |at| {
        if at.text().as_deref() == Some("") {
            return Some(None);
        }
        let value = read(at);
        if value.is_none() {
            at.check.faults.also_cured_by(&at.path, ", or \"\" for none");
        }
        value.map(Some)
    })
}

/// `"off"` or a table of keys.
pub(super) fn limit<T: Section + PartialEq + 'static>() -> Rule<Option<T>> {
    Rule::new(Shape::Limit(T::keys()), |at| match at.text().as_deref() {
        Some("off") => Some(None),
        Some(word) => {
            let cure = format!("{}, or use \"off\"", at.example());
            at.bad(format!("is {}, neither a limit nor \"off\"", shown(word)), cure)
        }
        None => T::read(at).map(Some),
    })
}

/// A list of any length in which nothing stands twice. `what` is what one element is called.
pub(super) fn list<T: PartialEq + 'static>(what: &'static str, rule: Rule<T>) -> Rule<Vec<T>> {
    let read = rule.read;
    Rule::new(Shape::List(Box::new(rule.shape)), move |at| {
        let texts: Vec<_> = at.items().iter().map(|item| text_of(Some(item))).collect();
        at.once(&texts, "", what);
        at.each(&read).into_iter().collect()
    })
}

/// A list of 1 to `most` elements, each once.
pub(super) fn some_of<T: PartialEq + 'static>(what: &'static str, most: usize, rule: Rule<T>) -> Rule<Vec<T>> {
    let any = list(what, rule);
    let read = any.read;
    Rule::new(any.shape, move |at| match at.items().len() {
        0 => at.unlike_example("is empty"),
        n if n > most => at.unlike_example(format!("has {n} {what}s, not 1 to {most}")),
        _ => read(at),
    })
}

/// A list of up to 256 tables, which need not be there. No two have the same value at one of the keys in `distinct`, each
/// with its name for people.
pub(super) fn lanes<T: Section + PartialEq + 'static>(
    distinct: &'static [(&'static str, &'static str)],
) -> Rule<Vec<T>> {
    let shape = Shape::List(Box::new(Shape::Table(T::keys())));
    let rule = Rule::new(shape, move |at| {
        let lanes = at.items();
        if lanes.len() > 256 {
            let problem = format!("has {} lanes, more than 256", lanes.len());
            return at.bad(problem, "a state carries the lane in one byte");
        }
        for (key, what) in distinct {
            let values: Vec<_> = lanes.iter().map(|lane| text_of(lane.get(key))).collect();
            at.once(&values, &format!(".{key}"), what);
        }
        at.each(T::read).into_iter().collect()
    });
    rule.not_required()
}

/// An id of Discord's.
pub(super) fn id<T: FromStr + PartialEq + 'static>() -> Rule<T> {
    Rule::new(Shape::Id, |at| {
        let id = at.text()?.parse().ok();
        id.or_else(|| at.unlike_example("is not an id: Discord's ids are 17 to 20 digits"))
    })
}

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<u64> + PartialEq + 'static>(least: u64, most: u64) -> Rule<T> {
    Rule::new(Shape::Whole(least, most), move |at| {
        let number = u64::try_from(at.node?.as_integer()?).ok()?;
        let problem = match number {
            n if n < least => format!("is {n}, less than {least}"),
            n if n > most => format!("is {n}, more than {most}"),
            n => return T::try_from(n).ok(),
        };
        at.bad(problem, format!("use {least} to {most}"))
    })
}

/// True or false.
pub(super) fn switch() -> Rule<bool> {
    Rule::new(Shape::Switch, |at| at.node?.as_bool())
}

/// A share in thousandths, so that it can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permille(pub u16);

/// A share above 0, up to 1.
pub(super) fn share() -> Rule<Permille> {
    Rule::new(Shape::Number, |at| {
        let value = at.node?;
        let share = value.as_float().or_else(|| value.as_integer().map(|n| n as f64))?;
        if (0.001..=1.0).contains(&share) {
            return Some(Permille((share * 1000.0).round() as u16));
        }
        at.unlike_example(format!("is {share}, not above 0 and at most 1"))
    })
}

/// One of an enum's words, which are serde's names of its variants.
pub(super) fn word<T: DeserializeOwned + PartialEq + 'static>() -> Rule<T> {
    one_word(words::<T>(), from_word)
}

/// The levels of the log, from nothing to everything.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level of the log.
pub(super) fn log_level() -> Rule<LevelFilter> {
    one_word(&LOG_LEVELS, |word| word.parse().ok())
}

/// One of some words.
fn one_word<T: PartialEq + 'static>(known: &'static [&'static str], read: fn(&str) -> Option<T>) -> Rule<T> {
    let rule = Rule::new(Shape::Words(known), move |at| {
        let word = at.text()?;
        let read = Some(word.as_str()).filter(|word| known.contains(word)).and_then(read);
        read.or_else(|| one_of(&word, known, at))
    });
    rule.or_say(format!("use {}", quoted(known)))
}

/// Names a word that is none of those known.
pub(super) fn one_of<T>(text: &str, known: &[&str], at: &mut At<'_, '_>) -> Option<T> {
    let cure = match nearest(text, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("use {}", quoted(known)),
    };
    at.bad(format!("is {}, not a known value", shown(text)), cure)
}

/// What a word means.
pub(super) fn from_word<T: DeserializeOwned>(word: &str) -> Option<T> {
    let word: StrDeserializer<'_, AnyError> = word.into_deserializer();
    T::deserialize(word).ok()
}

/// Every word of an enum: serde's derive lists the variants it knows when it meets one that it does not.
fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    #[derive(Debug, thiserror::Error)]
    #[error("{0:?}")]
    struct Known(&'static [&'static str]);
    impl de::Error for Known {
        fn custom<M: fmt::Display>(_: M) -> Self {
            Self(&[])
        }
        fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
            Self(expected)
        }
    }
    let no_word: StrDeserializer<'_, Known> = "".into_deserializer();
    T::deserialize(no_word).err().map_or(&[], |known| known.0)
}

/// Words as a person lists them.
pub(super) fn quoted(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
    match quoted.as_slice() {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        few => few.concat(),
    }
}

/// A text. `bounds` is what the default file says of it.
pub(super) fn text<T: PartialEq + 'static>(
    bounds: impl Into<String>,
    read: impl Fn(&str, &mut At<'_, '_>) -> Option<T> + 'static,
) -> Rule<T> {
    Rule::new(Shape::Text(bounds.into()), move |at| {
        let text = at.text()?;
        read(&text, at)
    })
}

/// A text that `read` accepts; what else stands there is `problem`. The cure is what the bounds say, or an own one.
pub(super) fn parsed<T: PartialEq + 'static>(
    bounds: &'static str,
    problem: &'static str,
    cure: Option<&'static str>,
    read: fn(&str) -> Option<T>,
) -> Rule<T> {
    let cure = cure.map_or_else(|| format!("use {bounds}"), str::to_owned);
    text(bounds, move |text, at| {
        let problem = || format!("is {}, {problem}", shown(text));
        read(text).or_else(|| at.bad(problem(), cure.as_str()))
    })
}

/// A name.
pub(super) fn name() -> Rule<String> {
    parsed("1 to 32 of a-z, 0-9, `_` and `-`", "not a valid name", None, |text| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        ((1..=32).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned())
    })
}

/// What people read as a name.
pub(super) fn title() -> Rule<String> {
    parsed("1 to 60 characters on one line", "not a name to show", None, |text| {
        let fits = (1..=60).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| text.trim().to_owned())
    })
}

/// A colour.
pub(super) fn colour() -> Rule<String> {
    parsed("a colour such as #4752c4", "not a colour", None, |text| {
        let digits = text.strip_prefix('#')?;
        let fits = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| text.to_ascii_lowercase())
    })
}

/// A duration within bounds, such as `10s`.
pub(super) fn span(least: Duration, most: Duration) -> Rule<Duration> {
    let [shortest, longest] = [least, most].map(humantime::format_duration);
    let bounds = format!("{shortest} to {longest}");
    text(bounds.clone(), move |text, at| {
        let (problem, cure) = match humantime::parse_duration(text) {
            Ok(duration) if (least..=most).contains(&duration) => return Some(duration),
            Ok(_) => ("out of bounds", format!("use {bounds}")),
            Err(_) => ("not a duration", at.example()),
        };
        at.bad(format!("is {}, {problem}", shown(text)), cure)
    })
}

/// An address with its port.
pub(super) fn address() -> Rule<SocketAddr> {
    let cure = "write for example \"127.0.0.1:8080\" or \"[::1]:8080\"";
    parsed("", "not an IP address with a port", Some(cure), |text| {
        text.parse().ok()
    })
}

/// A list of addresses and networks.
pub(super) fn proxies() -> Rule<Vec<IpNet>> {
    let cure = "write for example \"127.0.0.1\" or \"10.0.0.0/8\"";
    let network = parsed("", "neither an address nor a network", Some(cure), |text| {
        let address = || text.parse().ok().map(IpAddr::into);
        text.parse().ok().or_else(address)
    });
    list("network", network)
}

/// A path, from the configuration file's folder.
pub(super) fn path() -> Rule<PathBuf> {
    text("", |text, at| {
        if text.is_empty() || text.contains('\0') {
            return at.unlike_example("is not a path");
        }
        // `components` takes out `.` and doubled slashes; `..` stays, since a symbolic link may stand before it.
        Some(at.check.layers.base.join(Path::new(text)).components().collect())
    })
}

/// An `https` or `http` URL. Never shown: a secret may hide in it.
pub(super) fn any_url() -> Rule<Url> {
    text("", read_any_url)
}

/// A URL that is kept as it is written.
pub(super) fn verbatim_url() -> Rule<String> {
    text("", |text, at| read_url(text, at).map(|_| text.to_owned()))
}

/// A base URL: no query, no fragment, no slash at the end of its path.
pub(super) fn base_url() -> Rule<Url> {
    text("", |text, at| {
        let mut url = read_url(text, at)?;
        if url.query().is_some() || url.fragment().is_some() {
            return at.bad("holds a query or a fragment", "end it with the path");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Some(url)
    })
}

/// An `https` URL, or an `http` one to a loopback address.
fn read_url(text: &str, at: &mut At<'_, '_>) -> Option<Url> {
    let url = read_any_url(text, at)?;
    if url.scheme() == "https" || is_loopback(&url) {
        return Some(url);
    }
    let host = url.host_str().unwrap_or_default();
    let problem = format!("is plain http to `{host}`, which is not a loopback address");
    at.bad(problem, "use https: what is sent there is secret")
}

fn read_any_url(text: &str, at: &mut At<'_, '_>) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() => url,
        Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => {
            return at.bad("is not a URL", "write it in full, with `https://`");
        }
        Err(error) => return at.unlike_example(format!("is not a URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return at.bad("is neither http nor https", "use https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        let cure = "secrets do not belong in the file: remove it";
        return at.bad("holds a user name or a password", cure);
    }
    Some(url)
}
