//! Where Discord's API is, checked once.

use url::Url;

use crate::http::is_loopback;

/// Where Discord's API is: `https`, or `http` on this machine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiBase {
    url: Url,
    loopback: bool,
}

/// Why an address cannot be the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadApiBase {
    /// No URL at all, or one with a user, a query or a fragment.
    #[error("not a plain URL such as `https://discord.com/api/v10`")]
    NotAUrl,
    /// Credentials would travel unencrypted.
    #[error("must be `https`: `http` is accepted for loopback addresses only")]
    Insecure,
}

impl ApiBase {
    /// Checks an address such as `https://discord.com/api/v10`.
    pub fn parse(text: &str) -> Result<Self, BadApiBase> {
        let mut url = Url::parse(text).map_err(|_| BadApiBase::NotAUrl)?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !plain || !url.has_host() {
            return Err(BadApiBase::NotAUrl);
        }
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BadApiBase::Insecure),
            _ => return Err(BadApiBase::NotAUrl),
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url, loopback })
    }

    /// The address of an endpoint; `path` starts with a slash and needs no escaping.
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let full = format!("{}{path}", self.url.path().trim_end_matches('/'));
        url.set_path(&full);
        url
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_unencrypted_on_this_machine_only() {
        for good in [
            "https://discord.com/api/v10",
            "https://discord.com/api/v10/",
            "http://127.0.0.1:8080/api/v10",
            "http://[::1]:8080/api/v10",
            "http://localhost:1/api/v10",
        ] {
            assert!(ApiBase::parse(good).is_ok(), "{good}");
        }
        for insecure in [
            "http://discord.com/api/v10",
            "http://10.0.0.1/api/v10",
            "http://127.0.0.1.evil.example/api/v10",
        ] {
            assert_eq!(ApiBase::parse(insecure), Err(BadApiBase::Insecure), "{insecure}");
        }
        for odd in [
            "",
            "discord.com",
            "ftp://127.0.0.1/",
            "https://user:pw@discord.com/",
            "https://discord.com/?a=b",
            "file:///api",
        ] {
            assert_eq!(ApiBase::parse(odd), Err(BadApiBase::NotAUrl), "{odd}");
        }
    }

    #[test]
    fn endpoints_extend_the_base() {
        let base = ApiBase::parse("http://127.0.0.1:9/api/v10/").expect("loopback");
        assert_eq!(
            base.endpoint("/oauth2/token").as_str(),
            "http://127.0.0.1:9/api/v10/oauth2/token"
        );
    }
}
