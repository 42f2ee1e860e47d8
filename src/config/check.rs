//! What every rule is written with: the checker names faults at a key and reads single values. Rules stand in
//! `sections` and `sinks`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::{Host, Url};

use super::error::{ConfigError, ConfigErrors, Location, shown};
use super::layers::Layers;
use super::raw::RawId;
use super::schema::nearest;
use super::walk::{for_example, place};
use crate::lifecycle::Exit;

/// Collects faults while values are read. A reader that answers `None` has named a fault, now or before.
pub(super) struct Checker<'a> {
    pub layers: &'a Layers,
    pub faults: ConfigErrors,
}

/// A value could not be read; its fault has been named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named;

impl Checker<'_> {
    /// Names a fault at a key.
    pub(super) fn bad(&mut self, key: &str, problem: impl Into<String>, cure: impl Into<String>) {
        self.faults.push(ConfigError {
            place: self.place_of(key),
            key: Some(key.to_owned()),
            problem: problem.into(),
            cure: cure.into(),
            exit: Exit::Usage,
        });
    }

    /// Names a required key that is missing, unless what stood there was at fault already.
    pub(super) fn missing(&mut self, key: &str, cure: impl Into<String>) {
        if !self.layers.torn && !self.faults.touch(key) {
            self.bad(key, "is missing", cure);
        }
    }

    /// Where a key's value came from; for an absent one where its table did, else the file.
    fn place_of(&self, key: &str) -> Location {
        place(&self.layers.root.nearest(key).origin).unwrap_or_else(|| {
            let file = self.layers.file.clone();
            file.map_or(Location::Nowhere, |path| Location::File(path, None))
        })
    }

    /// A value that the defaults have: only a fault can have taken it away.
    pub(super) fn given<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing(key, for_example(key));
        }
        value
    }

    /// An id.
    pub(super) fn id<T: FromStr>(&mut self, key: &str, raw: &RawId) -> Option<T> {
        let id = raw.0.parse().ok();
        if id.is_none() {
            self.bad(key, "is not an id: Discord's ids are 17 to 20 digits", for_example(key));
        }
        id
    }

    /// One of some words.
    pub(super) fn word<T>(&mut self, key: &str, text: &str, words: &[&str], read: fn(&str) -> Option<T>) -> Option<T> {
        let word = read(text);
        if word.is_none() {
            let cure = match nearest(text, words.iter().copied()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("use {}", list(words)),
            };
            self.bad(key, format!("is {}, which is not known here", shown(text)), cure);
        }
        word
    }

    /// A number within bounds.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, key: &str, number: u64, range: RangeInclusive<u64>) -> Option<T> {
        if !range.contains(&number) {
            let (least, most) = range.into_inner();
            let problem = if number < least {
                format!("is {number}, less than {least}")
            } else {
                format!("is {number}, more than {most}")
            };
            self.bad(key, problem, format!("use {least} to {most}"));
            return None;
        }
        T::try_from(number).ok()
    }

    /// A duration within bounds.
    pub(super) fn duration(&mut self, key: &str, text: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let Ok(duration) = humantime::parse_duration(text) else {
            self.bad(key, format!("is {}, not a duration", shown(text)), for_example(key));
            return None;
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = range.into_inner();
        let cure = format!(
            "use {} to {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        );
        self.bad(key, format!("is {}, out of bounds", shown(text)), cure);
        None
    }

    /// An address with its port; `""` is none.
    pub(super) fn listen(&mut self, key: &str, text: &str) -> Result<Option<SocketAddr>, Named> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            self.bad(
                key,
                format!("is {}, not an address with a port", shown(text)),
                "write for example \"127.0.0.1:8080\" or \"[::1]:8080\", or \"\" for none",
            );
            Named
        })
    }

    /// A path, from the configuration file's folder.
    pub(super) fn path(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        if text.is_empty() || text.contains('\0') {
            self.bad(key, "is not a path", for_example(key));
            return None;
        }
        // `components` takes out `.` and doubled slashes; `..` stays, since a symbolic link may stand before it.
        Some(self.layers.base.join(Path::new(text)).components().collect())
    }

    /// An `https` URL, or an `http` one to a loopback address. Never shown: a secret may hide in it.
    pub(super) fn url(&mut self, key: &str, text: &str) -> Option<Url> {
        let url = match Url::parse(text) {
            Ok(url) if url.has_host() => url,
            Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => {
                self.bad(key, "is not a URL", "write it in full, with `https://`");
                return None;
            }
            Err(error) => {
                self.bad(key, format!("is not a URL: {error}"), for_example(key));
                return None;
            }
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                let host = url.host_str().unwrap_or_default().to_owned();
                self.bad(
                    key,
                    format!("is plain http to `{host}`, which is not a loopback address"),
                    "use https: what is sent there is secret",
                );
                return None;
            }
            _ => {
                self.bad(key, "is neither http nor https", "use https");
                return None;
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            self.bad(
                key,
                "holds a user name or a password",
                "secrets never stand in the file: take it out",
            );
            return None;
        }
        Some(url)
    }

    /// A base URL: no query, no fragment, no slash at the end of its path.
    pub(super) fn base_url(&mut self, key: &str, text: &str) -> Option<Url> {
        let mut url = self.url(key, text)?;
        if url.query().is_some() || url.fragment().is_some() {
            self.bad(key, "holds a query or a fragment", "end it with the path");
            return None;
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Some(url)
    }

    /// A name: 1 to 32 of `a-z 0-9 _ -`.
    pub(super) fn name(&mut self, key: &str, text: &str) -> bool {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let good = (1..=32).contains(&text.len()) && text.bytes().all(fits);
        if !good {
            self.bad(
                key,
                format!("is {}, which is no name", shown(text)),
                "use 1 to 32 of a-z, 0-9, `_` and `-`",
            );
        }
        good
    }

    /// Names every value that stands twice.
    pub(super) fn once<T: PartialEq>(&mut self, values: &[T], key: impl Fn(usize) -> String, what: &str) {
        for (i, value) in values.iter().enumerate() {
            if let Some(first) = values[..i].iter().position(|v| v == value) {
                self.bad(
                    &key(i),
                    format!("is the same {what} as `{}`", key(first)),
                    "each may stand once",
                );
            }
        }
    }
}

/// Words as a person lists them.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        // RFC 6761 section 6.3: it always means loopback.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
