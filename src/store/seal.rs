//! The envelope around every stored value: version, kind, and for a sealed one what it takes to open it. It does no I/O.
//!
//! ```text
//! plain   1 | 0 | payload
//! sealed  1 | 1 | hour (8) | nonce (24) | tag (16) | ciphertext
//! ```
//!
//! Version and hour, which names the sealing key, the table's name and the key are associated data of a sealed value: one that
//! was moved to another key, or of which one bit has changed, opens nowhere. A plain value repeats its key in its payload,
//! and what it holds is guarded by the engine's digest.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// The format of envelopes and of what they hold.
const VERSION: u8 = 1;
const PLAIN: [u8; 2] = [VERSION, 0];
const SEALED: [u8; 2] = [VERSION, 1];
/// What is bound in as associated data: version, kind and hour.
const BOUND: usize = 10;
const NONCE_AT: usize = BOUND;
const TAG_AT: usize = NONCE_AT + 24;
const SEALED_HEAD: usize = TAG_AT + 16;

/// One hour's sealing key.
pub type SealKey = Zeroizing<[u8; 32]>;

/// Why a value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// It does not begin as an envelope does.
    #[error("not an envelope")]
    NotAnEnvelope,
    /// It was written in another format.
    #[error("unknown envelope version {0}")]
    Version(u8),
    /// The tag does not fit.
    #[error("the tag does not match key and content")]
    Tag,
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

/// A value, taken out of its envelope as far as that needs no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope<'v> {
    /// Its payload.
    Plain(&'v [u8]),
    /// The hour whose key opens it.
    Sealed(i64),
}

/// Looks into an envelope.
pub(super) fn look(value: &[u8]) -> Result<Envelope<'_>, SealError> {
    let (head, payload) = value.split_first_chunk::<2>().ok_or(SealError::NotAnEnvelope)?;
    match *head {
        PLAIN => Ok(Envelope::Plain(payload)),
        SEALED if value.len() >= SEALED_HEAD => {
            let hour = value[2..BOUND].try_into().expect("8 bytes");
            Ok(Envelope::Sealed(i64::from_be_bytes(hour)))
        }
        [VERSION, _] => Err(SealError::NotAnEnvelope),
        [other, _] => Err(SealError::Version(other)),
    }
}

/// The envelope of a value that holds nothing secret; its payload is to follow.
pub(super) fn plain() -> Vec<u8> {
    PLAIN.to_vec()
}

/// Seals a value under an hour's key with a random nonce.
pub(super) fn seal(key: &SealKey, hour: i64, table: &str, at: &[u8], payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut out = Vec::with_capacity(SEALED_HEAD + payload.len());
    out.extend_from_slice(&SEALED);
    out.extend_from_slice(&hour.to_be_bytes());
    let mut nonce = [0; 24];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::Random)?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(payload);
    let data = associated(&out[..BOUND], table, at);
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), &data, (&mut out[SEALED_HEAD..]).into())
        .map_err(|_| SealError::Tag)?;
    out[TAG_AT..SEALED_HEAD].copy_from_slice(&tag);
    Ok(out)
}

/// Checks and opens a sealed value.
pub(super) fn unseal(key: &SealKey, table: &str, at: &[u8], value: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let Envelope::Sealed(_) = look(value)? else {
        return Err(SealError::NotAnEnvelope);
    };
    let nonce: [u8; 24] = value[NONCE_AT..TAG_AT].try_into().expect("24 bytes");
    let tag: [u8; 16] = value[TAG_AT..SEALED_HEAD].try_into().expect("16 bytes");
    let mut plain = Zeroizing::new(value[SEALED_HEAD..].to_vec());
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(nonce),
            &associated(&value[..BOUND], table, at),
            plain.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| SealError::Tag)?;
    Ok(plain)
}

/// Head, table and key, each with its length, so that no two places give the same bytes.
fn associated(head: &[u8], table: &str, at: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + head.len() + table.len() + at.len());
    out.extend_from_slice(b"codeferry");
    for part in [head, table.as_bytes(), at] {
        out.push(u8::try_from(part.len()).expect("heads, names and keys are short"));
        out.extend_from_slice(part);
    }
    out
}

fn cipher(key: &SealKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new_from_slice(&key[..]).expect("the key has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> SealKey {
        Zeroizing::new([fill; 32])
    }

    #[test]
    fn a_sealed_value_opens_only_under_its_key_in_its_place() {
        let value = seal(&key(1), 472_222, "grants", b"a key", b"secret text").expect("seals");
        let opened = unseal(&key(1), "grants", b"a key", &value).expect("opens");
        assert_eq!(opened.as_slice(), b"secret text");
        assert!(!value.windows(6).any(|w| w == b"secret"));
        assert_eq!(look(&value), Ok(Envelope::Sealed(472_222)));
        for (fill, table, at) in [(2, "grants", b"a key"), (1, "data", b"a key"), (1, "grants", b"b key")] {
            assert_eq!(unseal(&key(fill), table, at, &value), Err(SealError::Tag));
        }
    }

    #[test]
    fn no_changed_bit_and_no_cut_of_a_sealed_value_goes_unnoticed() {
        let sealed = seal(&key(1), 7, "grants", b"a key", b"payload").expect("seals");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&key(1), "grants", b"a key", &bad).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(unseal(&key(1), "grants", b"a key", &sealed[..cut]).is_err());
        }
    }

    #[test]
    fn two_seals_of_one_text_differ() {
        let one = seal(&key(1), 7, "grants", b"a key", b"same").expect("seals");
        let two = seal(&key(1), 7, "grants", b"a key", b"same").expect("seals");
        assert_ne!(one, two);
    }
}
