//! The envelope around every stored value: magic, version, and a tag that binds it to its key. It does no I/O.
//!
//! ```text
//! plain   CF 5E | version | 0 | pieces (2) | tag (16)                          | payload
//! sealed  CF 5E | version | 1 | pieces (2) | hour (8) | nonce (24) | tag (16)  | ciphertext
//! ```
//!
//! A plain tag is SHA-256 over the header, the key and the payload, cut to 16 bytes; a sealed one is Poly1305's, with
//! the header (so the hour, which names the sealing key, and the version), the table's name and the key as associated
//! data. A value that was moved to another key, or of which one bit has changed, opens nowhere.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The format of envelopes and of what they hold.
pub(super) const VERSION: u8 = 1;
/// The most a piece of a record holds, so that twenty of them with envelopes and keys stay below a quarter of the engine's
/// segment: what is larger becomes a blob file. Readers take any length: it was 4000 once.
pub(super) const PIECE: usize = 640;

const MAGIC: [u8; 2] = [0xCF, 0x5E];
const PLAIN_HEAD: usize = 22;
const SEALED_HEAD: usize = 54;

/// One hour's sealing key.
pub(super) type SealKey = Zeroizing<[u8; 32]>;

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
    #[error("the tag does not fit key and content")]
    Tag,
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

/// What an envelope's head says, before its content is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// How many pieces the record has.
    pub pieces: u16,
    /// The sealing key's hour; `None` for a plain value.
    pub hour: Option<i64>,
    /// The tag: what the content digest adds up.
    pub tag: u128,
}

/// Where a value is stored: the table's name and the full key.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordAddress<'a> {
    pub table: &'static str,
    pub key: &'a [u8],
}

/// Reads an envelope's head.
pub(super) fn head(value: &[u8]) -> Result<Head, SealError> {
    if value.len() < PLAIN_HEAD || value[..2] != MAGIC {
        return Err(SealError::NotAnEnvelope);
    }
    if value[2] != VERSION {
        return Err(SealError::Version(value[2]));
    }
    let pieces = u16::from_be_bytes([value[4], value[5]]);
    let tag = |at: usize| u128::from_be_bytes(value[at..at + 16].try_into().expect("16 bytes"));
    match value[3] {
        0 => Ok(Head {
            pieces,
            hour: None,
            tag: tag(6),
        }),
        1 if value.len() >= SEALED_HEAD => Ok(Head {
            pieces,
            hour: Some(i64::from_be_bytes(value[6..14].try_into().expect("8 bytes"))),
            tag: tag(38),
        }),
        _ => Err(SealError::NotAnEnvelope),
    }
}

/// Wraps a value that holds nothing secret.
pub(super) fn wrap(place: RecordAddress<'_>, pieces: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PLAIN_HEAD + payload.len());
    start(&mut out, 0, pieces);
    let tag = plain_tag(&out, place, payload);
    out.extend_from_slice(&tag);
    out.extend_from_slice(payload);
    out
}

/// Checks a plain value and gives its payload.
pub(super) fn unwrap_plain<'v>(place: RecordAddress<'_>, value: &'v [u8]) -> Result<&'v [u8], SealError> {
    if head(value)?.hour.is_some() {
        return Err(SealError::NotAnEnvelope);
    }
    let payload = &value[PLAIN_HEAD..];
    if plain_tag(&value[..6], place, payload) == value[6..PLAIN_HEAD] {
        Ok(payload)
    } else {
        Err(SealError::Tag)
    }
}

/// Seals a value under an hour's key with a random nonce.
pub(super) fn seal(
    key: &SealKey,
    hour: i64,
    place: RecordAddress<'_>,
    pieces: u16,
    payload: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut out = Vec::with_capacity(SEALED_HEAD + payload.len());
    start(&mut out, 1, pieces);
    out.extend_from_slice(&hour.to_be_bytes());
    let mut nonce = [0; 24];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::Random)?;
    let data = associated(&out, place);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(payload);
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), &data, (&mut out[SEALED_HEAD..]).into())
        .map_err(|_| SealError::Tag)?;
    out[38..SEALED_HEAD].copy_from_slice(&tag);
    Ok(out)
}

/// Checks and opens a sealed value.
pub(super) fn unseal(key: &SealKey, place: RecordAddress<'_>, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    if head(value)?.hour.is_none() {
        return Err(SealError::NotAnEnvelope);
    }
    let nonce: [u8; 24] = value[14..38].try_into().expect("24 bytes");
    let tag: [u8; 16] = value[38..SEALED_HEAD].try_into().expect("16 bytes");
    let mut plain = Zeroizing::new(value[SEALED_HEAD..].to_vec());
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(nonce),
            &associated(&value[..14], place),
            plain.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| SealError::Tag)?;
    Ok(plain)
}

fn start(out: &mut Vec<u8>, kind: u8, pieces: u16) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&pieces.to_be_bytes());
}

fn plain_tag(head: &[u8], place: RecordAddress<'_>, payload: &[u8]) -> [u8; 16] {
    let whole = Sha256::new()
        .chain_update(associated(head, place))
        .chain_update(payload)
        .finalize();
    whole[..16].try_into().expect("SHA-256 has 32 bytes")
}

/// Head, table and key, each with its length, so that no two places give the same bytes.
fn associated(head: &[u8], place: RecordAddress<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + head.len() + place.table.len() + place.key.len());
    out.extend_from_slice(b"codeferry");
    for part in [head, place.table.as_bytes(), place.key] {
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

    const HERE: RecordAddress<'static> = RecordAddress {
        table: "grants",
        key: b"a key",
    };

    fn key(fill: u8) -> SealKey {
        Zeroizing::new([fill; 32])
    }

    #[test]
    fn a_sealed_value_opens_only_under_its_key_in_its_place() {
        let value = seal(&key(1), 472_222, HERE, 1, b"secret text").expect("seals");
        assert_eq!(unseal(&key(1), HERE, &value).expect("opens").as_slice(), b"secret text");
        assert!(!value.windows(6).any(|w| w == b"secret"));
        assert_eq!(head(&value).expect("head").hour, Some(472_222));
        assert_eq!(unseal(&key(2), HERE, &value), Err(SealError::Tag));
        for elsewhere in [
            RecordAddress { table: "data", ..HERE },
            RecordAddress { key: b"b key", ..HERE },
        ] {
            assert_eq!(unseal(&key(1), elsewhere, &value), Err(SealError::Tag));
        }
    }

    #[test]
    fn no_changed_bit_and_no_cut_goes_unnoticed() {
        let sealed = seal(&key(1), 7, HERE, 3, b"payload").expect("seals");
        let plain = wrap(HERE, 3, b"payload");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&key(1), HERE, &bad).is_err(), "bit {bit}");
        }
        for bit in 0..plain.len() * 8 {
            let mut bad = plain.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap_plain(HERE, &bad).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(unseal(&key(1), HERE, &sealed[..cut]).is_err());
        }
        for cut in 0..plain.len() {
            assert!(unwrap_plain(HERE, &plain[..cut]).is_err());
        }
    }

    #[test]
    fn twenty_pieces_with_their_envelopes_stay_below_the_engines_bound() {
        let value = seal(&key(1), 7, HERE, 1, &[0; PIECE]).expect("seals");
        // A key has at most 27 bytes, and the engine some 20 of its own for each.
        assert!(20 * (value.len() + 27 + 20) < 64 * 1024 / 4 - 512);
    }

    #[test]
    fn two_seals_of_one_text_differ() {
        let one = seal(&key(1), 7, HERE, 1, b"same").expect("seals");
        let two = seal(&key(1), 7, HERE, 1, b"same").expect("seals");
        assert_ne!(one, two);
    }
}
