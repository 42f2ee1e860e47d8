//! The keyed hash that identifies a code after the code itself is erased.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::CodeHash;
use crate::secret::{AuthorizationCode, Key};

/// The first 16 bytes of HMAC-SHA256 over the code.
pub fn code_hash(key: &Key, code: &AuthorizationCode) -> CodeHash {
    let full = hmac_sha256(key, code.expose().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    CodeHash(short)
}

/// HMAC-SHA256 (RFC 2104, FIPS 180-4).
pub fn hmac_sha256(key: &Key, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Whether a MAC's leading bytes match, compared in constant time.
pub fn verify(key: &Key, message: &[u8], mac: &[u8]) -> bool {
    let mut computed = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    computed.update(message);
    computed.verify_truncated_left(mac).is_ok()
}
