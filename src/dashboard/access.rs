//! Who may look: the key of the address opens the page once and is exchanged for a cookie. No I/O.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A random text of 256 bits; only its hash is kept here, so the time of a comparison tells nothing of it.
fn text(random: [u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The keys of one dashboard.
#[derive(Debug)]
pub(super) struct Access {
    /// Cookies do not know ports, so its name does.
    name: String,
    /// Gone once it was used.
    key: Option<[u8; 32]>,
    cookie: String,
}

impl Access {
    /// With the address's key; the second random text becomes the cookie.
    pub(super) fn new(address: SocketAddr, [key, cookie]: [[u8; 32]; 2]) -> (Self, String) {
        let key = text(key);
        let access = Self {
            name: format!("codeferry_{}", address.port()),
            key: Some(hash(&key)),
            cookie: text(cookie),
        };
        (access, key)
    }

    /// The cookie for the address's key, once.
    pub(super) fn exchange(&mut self, key: &str) -> Option<String> {
        if self.key != Some(hash(key)) {
            return None;
        }
        self.key = None;
        let (name, cookie) = (&self.name, &self.cookie);
        Some(format!("{name}={cookie}; HttpOnly; SameSite=Strict; Path=/"))
    }

    /// Whether the request shows the cookie.
    pub(super) fn is_known(&self, cookies: Option<&str>) -> bool {
        let mut shown = cookies.into_iter().flat_map(|all| all.split("; "));
        let wanted = hash(&self.cookie);
        shown.any(|one| {
            one.split_once('=')
                .is_some_and(|(name, value)| name == self.name && hash(value) == wanted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_opens_once_and_only_the_cookie_opens_from_then_on() {
        let address = "127.0.0.1:4000".parse().expect("an address");
        let (mut access, key) = Access::new(address, [[1; 32], [2; 32]]);
        assert_eq!(access.exchange(""), None);
        assert_eq!(access.exchange(&key[1..]), None);
        assert!(!access.is_known(None) && !access.is_known(Some(&format!("codeferry_4000={key}"))));
        let cookie = access.exchange(&key).expect("it opens");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"));
        assert_eq!(access.exchange(&key), None);
        let (shown, _) = cookie.split_once(';').expect("attributes");
        assert!(access.is_known(Some(&format!("a=b; {shown}"))));
        assert!(!access.is_known(Some("codeferry_4000=")) && !access.is_known(Some(&shown.replace("4000", "4001"))));
    }
}
