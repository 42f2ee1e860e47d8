//! Whom TLS trusts beside the compiled-in authorities, and whether the proxy on the way out can be used.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reqwest::{Certificate, ClientBuilder};
use url::Url;

use super::is_loopback;
use crate::lifecycle::{Exit, Failure};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Set once, before the first client is made, as the environment's variables are.
static EXTRA: OnceLock<Vec<Certificate>> = OnceLock::new();

/// Lets every client of the process trust the authorities of `tls.extra_ca`, SSL_CERT_FILE and SSL_CERT_DIR too. Refuses a
/// file of the configuration that cannot be used, and a proxy that would be passed by on the way to one of these URLs.
pub fn prepare<'u>(extra_ca: Option<&Path>, urls: impl IntoIterator<Item = &'u Url>) -> Result<(), Failure> {
    let [file, folders] = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    let mut found = BTreeSet::new();
    if let Some(path) = extra_ca {
        let texts = read(path).and_then(|texts| {
            if !texts.is_empty() && texts.iter().all(|text| certificate(text).is_some()) {
                Ok(texts)
            } else {
                Err("it holds no certificates of authorities in PEM form, or one that is malformed".into())
            }
        });
        found.extend(texts.map_err(|cause| {
            Failure::new(
                Exit::Usage,
                format!("tls.extra_ca: `{}` cannot be used", path.display()),
            )
            .source(cause)
            .way_out("name a readable file with the authority's certificate: -----BEGIN CERTIFICATE----- and so on")
        })?);
    }
    // As OpenSSL does, what the environment names need not be there.
    let folders = folders.iter().flat_map(std::env::split_paths).flat_map(files_of);
    for path in file.map(PathBuf::from).into_iter().chain(folders) {
        match read(&path) {
            Ok(texts) => found.extend(texts),
            Err(cause) => tracing::warn!(path = %path.display(), %cause, "certificates of SSL_CERT_… cannot be read"),
        }
    }
    let extra: Vec<_> = found.iter().filter_map(|text| certificate(text)).collect();
    if !extra.is_empty() {
        let unusable = found.len() - extra.len();
        tracing::info!(
            more = extra.len(),
            unusable,
            "certificate authorities are trusted beside the compiled-in ones"
        );
    }
    let _ = EXTRA.set(extra);
    let leaves = urls.into_iter().any(|url| url.scheme() == "https" && !is_loopback(url));
    if leaves {
        proxy(|name| std::env::var(name).ok())
    } else {
        Ok(())
    }
}

/// The same builder, with the authorities.
pub fn with_authorities(builder: ClientBuilder) -> ClientBuilder {
    let extra = EXTRA.get().map_or(&[][..], Vec::as_slice);
    extra.iter().fold(builder, |builder, authority| {
        builder.add_root_certificate(authority.clone())
    })
}

/// The variable that names the proxy for https.
pub fn proxy_in_use() -> Option<&'static str> {
    proxy_of(|name| std::env::var(name).ok()).map(|(name, _)| name)
}

fn proxy_of(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter();
    names.find_map(|name| Some((name, given(name)?)))
}

/// The client passes a proxy by that it does not understand, in silence.
fn proxy(variable: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
    let Some((name, value)) = proxy_of(variable) else {
        return Ok(());
    };
    let scheme = value.split_once("://").map_or("http", |(scheme, _)| scheme);
    let host = Url::parse(&value).is_ok_and(|url| url.has_host()) || !value.contains("://");
    if matches!(scheme, "http" | "https") && host {
        return Ok(());
    }
    // Never the value: it may hold a password.
    Err(
        Failure::new(Exit::Usage, format!("{name} is not the URL of a usable proxy"))
            .way_out("write for example http://proxy.example:3128 (http and https are known), or unset it"),
    )
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The certificates in a file, as text.
fn read(path: &Path) -> Result<Vec<String>, Cause> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let parts = text.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
    Ok(parts.map(|(inside, _)| format!("{BEGIN}{inside}{END}\n")).collect())
}

/// Only a client tells whether a certificate can be used.
fn certificate(text: &str) -> Option<Certificate> {
    let certificate = Certificate::from_pem(text.as_bytes()).ok()?;
    let alone = reqwest::Client::builder().tls_built_in_root_certs(false);
    alone.add_root_certificate(certificate.clone()).build().ok()?;
    Some(certificate)
}

fn files_of(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(&folder).inspect_err(|error| {
        tracing::warn!(path = %folder.display(), %error, "SSL_CERT_DIR cannot be read");
    });
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_one_that_can_be_used_or_is_refused() {
        let check = |name: &str, value: &str| proxy(|asked| (asked == name).then(|| value.to_owned())).is_ok();
        for good in ["http://proxy:3128", "https://user:CANARY@proxy", "proxy:3128", ""] {
            assert!(check("HTTPS_PROXY", good) && check("all_proxy", good), "{good}");
        }
        for bad in ["socks5://proxy:1080", "http://", "htp://proxy:1"] {
            assert!(!check("https_proxy", bad) && !check("ALL_PROXY", bad), "{bad}");
        }
        assert!(
            check("HTTP_PROXY", "socks5://proxy"),
            "nothing goes out over plain http"
        );
        let error = proxy(|_| Some("socks5://user:CANARY@proxy".to_owned())).expect_err("refused");
        assert!(!format!("{error:?}").contains("CANARY"));
    }

    #[test]
    fn certificates_are_read_from_a_bundle_and_malformed_ones_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = include_str!("../../tests/it/fixtures/tls/ca.pem");
        let bundle = folder.path().join("bundle.pem");
        fs::write(&bundle, format!("# ours\n{good}{BEGIN}\nAAAA\n{END}\n{good}")).expect("written");
        let texts = read(&bundle).expect("read");
        let usable: Vec<_> = texts.iter().map(|text| certificate(text).is_some()).collect();
        assert_eq!(usable, [true, false, true]);
        assert_eq!(files_of(folder.path().to_owned()), std::slice::from_ref(&bundle));
        for unusable in [&bundle, &folder.path().join("none.pem")] {
            assert_eq!(prepare(Some(unusable), []).expect_err("refused").exit(), Exit::Usage);
        }
    }
}
