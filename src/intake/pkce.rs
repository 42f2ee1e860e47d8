//! PKCE (RFC 7636, method S256) with nothing to store: the verifier is derived from the state.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::hash::hmac_sha256;
use crate::secret::{CodeVerifier, Key};

/// The code verifier of a state: base64url(HMAC-SHA256(pkce_key, state)), 43 characters.
pub fn verifier(key: &Key, raw_state: &str) -> CodeVerifier {
    CodeVerifier::new(URL_SAFE_NO_PAD.encode(hmac_sha256(key, raw_state.as_bytes())))
}

/// The code challenge of a verifier: base64url(SHA-256(verifier)), RFC 7636 section 4.2.
pub fn challenge(verifier: &CodeVerifier) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose().as_bytes()))
}
