//! What the value of one key may be. A [`Rule`] has the key's shape, and reads its value or names what is wrong with it.
//! Rules about several keys stand in `relations`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::value::{Error as AnyError, StrDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer as _};
use url::{Host, Url};

use super::check::At;
use super::error::{nearest, shown};
use super::section::{Changes, Section};
use super::shape::Shape;
use super::tree::Node;
use crate::intake::network::Network;

/// What may stand at a key.
pub(super) struct Rule<T> {
    pub shape: Shape,
    /// Whether the key must be there.
    pub required: bool,
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
    pub(super) fn or_say(self, cure: &'static str) -> Self {
        let read = self.read;
        let read = move |at: &mut At<'_, '_>| match at.node {
            Some(_) => read(at),
            None => at.missing(cure),
        };
        Self {
            read: Box::new(read),
            ..self
        }
    }

    pub(super) fn read(&self, at: &mut At<'_, '_>) -> Option<T> {
        (self.read)(at)
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
        if at.node.and_then(Node::text).as_deref() == Some("") {
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
    Rule::new(Shape::Limit(T::keys()), |at| {
        match at.node.and_then(Node::text).as_deref() {
            Some("off") => Some(None),
            Some(word) => {
                let cure = format!("{}, or use \"off\"", at.example());
                at.bad(format!("is {}, neither a limit nor \"off\"", shown(word)), cure)
            }
            None => T::read(at).map(Some),
        }
    })
}

/// A list of any length in which nothing stands twice. `what` is what one element is called.
pub(super) fn list<T: PartialEq + 'static>(what: &'static str, rule: Rule<T>) -> Rule<Vec<T>> {
    let read = rule.read;
    Rule::new(Shape::List(Box::new(rule.shape)), move |at| {
        let texts: Vec<_> = at.items().iter().map(Node::text).collect();
        at.once(&texts, "", what);
        at.each(&read).into_iter().collect()
    })
}

/// A list of 1 to `most` elements, each once.
pub(super) fn some_of<T: PartialEq + 'static>(what: &'static str, most: usize, rule: Rule<T>) -> Rule<Vec<T>> {
    let any = list(what, rule);
    let read = any.read;
    Rule::new(any.shape, move |at| {
        let cure = at.example();
        match at.items().len() {
            _ if at.node.is_none() => at.missing(cure),
            0 => at.bad("is empty", cure),
            n if n > most => at.bad(format!("has {n} {what}s, not 1 to {most}"), cure),
            _ => read(at),
        }
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
            let values: Vec<_> = lanes.iter().map(|lane| lane.get(key)?.text()).collect();
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
        let cure = at.example();
        id.or_else(|| at.bad("is not an id: Discord's ids are 17 to 20 digits", cure))
    })
}

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<u64> + PartialEq + 'static>(least: u64, most: u64) -> Rule<T> {
    Rule::new(Shape::Whole(least, most), move |at| {
        let number = u64::try_from(at.scalar()?.as_integer()?).ok()?;
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
    Rule::new(Shape::Switch, |at| at.scalar()?.as_bool())
}

/// A share in thousandths, so that it can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permille(pub u16);

/// A share above 0, up to 1.
pub(super) fn share() -> Rule<Permille> {
    Rule::new(Shape::Number, |at| {
        let value = at.scalar()?;
        let share = value.as_float().or_else(|| value.as_integer().map(|n| n as f64))?;
        if (0.001..=1.0).contains(&share) {
            return Some(Permille((share * 1000.0).round() as u16));
        }
        let cure = at.example();
        at.bad(format!("is {share}, not above 0 and at most 1"), cure)
    })
}

/// One of an enum's words, which are serde's names of its variants.
pub(super) fn word<T: DeserializeOwned + PartialEq + 'static>() -> Rule<T> {
    Rule::new(Shape::Words(words::<T>()), |at| match at.node {
        None => at.missing(format!("use {}", quoted(words::<T>()))),
        Some(node) => {
            let text = node.text()?;
            from_word(&text).or_else(|| one_of(&text, words::<T>(), at))
        }
    })
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
pub fn from_word<T: DeserializeOwned>(word: &str) -> Option<T> {
    let word: StrDeserializer<'_, AnyError> = word.into_deserializer();
    T::deserialize(word).ok()
}

/// Every word of an enum: serde's derive lists the variants it knows when it meets one that it does not.
pub fn words<T: DeserializeOwned>() -> &'static [&'static str] {
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

/// A text of which a test holds.
pub(super) fn tested(bounds: &'static str, problem: &'static str, test: fn(&str) -> bool) -> Rule<String> {
    text(bounds, move |text, at| {
        if test(text) {
            return Some(text.to_owned());
        }
        at.bad(format!("is {}, {problem}", shown(text)), format!("use {bounds}"))
    })
}

/// A name.
pub(super) fn name() -> Rule<String> {
    tested("1 to 32 of a-z, 0-9, `_` and `-`", "not a valid name", |text| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        (1..=32).contains(&text.len()) && text.bytes().all(fits)
    })
}

/// An OAuth2 scope: visible ASCII without quote and backslash (RFC 6749 section 3.3).
pub(super) fn scope() -> Rule<String> {
    text("", |text, at| {
        let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if !text.is_empty() && text.bytes().all(fits) {
            return Some(text.to_owned());
        }
        let cure = "write one scope an element, as in `[\"identify\", \"guilds\"]`";
        at.bad(format!("is {}, not a valid scope", shown(text)), cure)
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
    text("", move |text, at| {
        let read = text.parse().ok();
        read.or_else(|| at.bad(format!("is {}, not an IP address with a port", shown(text)), cure))
    })
}

/// A list of addresses and networks.
pub(super) fn proxies() -> Rule<Vec<Network>> {
    let cure = "write for example \"127.0.0.1\" or \"10.0.0.0/8\"";
    let one = text("", move |text, at| {
        let read = text.parse().ok();
        read.or_else(|| at.bad(format!("is {}, neither an address nor a network", shown(text)), cure))
    });
    list("network", one)
}

/// A path, from the configuration file's folder.
pub(super) fn path() -> Rule<PathBuf> {
    text("", |text, at| {
        if text.is_empty() || text.contains('\0') {
            let cure = at.example();
            return at.bad("is not a path", cure);
        }
        // `components` takes out `.` and doubled slashes; `..` stays, since a symbolic link may stand before it.
        Some(at.check.layers.base.join(Path::new(text)).components().collect())
    })
}

/// An `https` URL, or an `http` one to a loopback address. Never shown: a secret may hide in it.
pub(super) fn url() -> Rule<Url> {
    text("", read_url)
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

fn read_url(text: &str, at: &mut At<'_, '_>) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() => url,
        Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => {
            return at.bad("is not a URL", "write it in full, with `https://`");
        }
        Err(error) => {
            let cure = at.example();
            return at.bad(format!("is not a URL: {error}"), cure);
        }
    };
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        // RFC 6761 section 6.3: it always means loopback.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            let host = url.host_str().unwrap_or_default();
            let problem = format!("is plain http to `{host}`, which is not a loopback address");
            return at.bad(problem, "use https: what is sent there is secret");
        }
        _ => return at.bad("is neither http nor https", "use https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        let cure = "secrets do not belong in the file: remove it";
        return at.bad("holds a user name or a password", cure);
    }
    Some(url)
}
