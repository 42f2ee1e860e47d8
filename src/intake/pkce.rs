//! PKCE (RFC 7636, method S256) with nothing to store: the verifier is derived from the state.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::hash::hmac_sha256;
use crate::secret::{CodeVerifier, Key, Keys};

/// The code verifier of a state: base64url(HMAC-SHA256(pkce_key, state)), 43 characters.
pub fn verifier(key: &Key, raw_state: &str) -> CodeVerifier {
    CodeVerifier::new(URL_SAFE_NO_PAD.encode(hmac_sha256(key, raw_state.as_bytes())))
}

/// Four bits that name a key in the states of its links: the first of SHA-256(`codeferry pkce id\n` + key).
pub fn id(key: &Key) -> u8 {
    let hash = Sha256::new_with_prefix(b"codeferry pkce id\n").chain_update(key.expose());
    hash.finalize()[0] >> 4
}

/// The key that a state names. A wrong verifier may burn the code, so there is none for a key that is gone. Zero bits
/// that are no key's id name none: the first key's link.
pub fn key_named(id_in_state: u8, keys: &Keys) -> Option<Key> {
    let named = keys.find(|key| id(key) == id_in_state);
    named.or_else(|| (id_in_state == 0).then(|| keys.first()))
}

/// The code challenge of a verifier: base64url(SHA-256(verifier)), RFC 7636 section 4.2.
pub fn challenge(verifier: &CodeVerifier) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key with this id.
    fn key_of(wanted: u8) -> Key {
        let mut keys = (0_u8..=255).map(|n| Key::new([n; 32]));
        keys.find(|key| id(key) == wanted).expect("one in sixteen")
    }

    #[test]
    fn the_published_id_holds() {
        assert_eq!(id(&Key::new(*b"0123456789abcdef0123456789abcdef")), 0xc);
    }

    #[test]
    fn the_bits_of_a_state_choose_the_key_and_a_key_that_is_gone_is_not_guessed() {
        let keys = Keys::new(key_of(3), Some(key_of(9)));
        assert_eq!(key_named(3, &keys), Some(key_of(3)));
        assert_eq!(key_named(9, &keys), Some(key_of(9)));
        assert_eq!(key_named(4, &keys), None);
        assert_eq!(key_named(0, &keys), Some(key_of(3)), "the state names no key");
        let with_zero = Keys::new(key_of(3), Some(key_of(0)));
        assert_eq!(key_named(0, &with_zero), Some(key_of(0)));
    }
}
