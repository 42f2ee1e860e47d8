//! The scripts' SHA-256 and HMAC against published vectors, and against another implementation around the block's limits.

use codeferry::intake::hash::hmac_sha256;
use codeferry::relay::script;
use codeferry::secret::Key;

use super::engine::Engine;

fn engine() -> Engine {
    let engine = Engine::bare();
    let stub = "var process = { env: {} }; function addHandler() {}";
    let hex =
        "function hex(bytes) { return bytes.map(function (b) { return (256 + b).toString(16).slice(1); }).join(''); }";
    engine
        .run(&format!("{stub} {hex} {}\n''", script::hookdeck()))
        .expect("it loads");
    engine
}

fn list(bytes: &[u8]) -> String {
    serde_json::to_string(bytes).expect("a list")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

#[test]
fn sha_256_gives_what_fips_180_says() {
    let engine = engine();
    let million = vec![b'a'; 10_000];
    let vectors: [(&[u8], &str); 5] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
        ),
        (&million, "27dd1f61b867b6a0f6e9d8a41c43231de52107e53ae424de8f847b821db4b711"),
    ];
    for (message, digest) in vectors {
        let got = engine.run(&format!("hex(sha256({}))", list(message)));
        assert_eq!(got.as_deref(), Ok(digest), "{} bytes", message.len());
    }
}

#[test]
fn hmac_gives_what_rfc_4231_says() {
    let engine = engine();
    let counting: Vec<u8> = (1..=25).collect();
    let vectors: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (key, message, mac) in vectors {
        let got = engine.run(&format!("hex(hmacSha256({}, {}))", list(key), list(message)));
        assert_eq!(got.as_deref(), Ok(mac));
    }
}

#[test]
fn every_length_around_a_blocks_limits_agrees_with_the_service() {
    let engine = engine();
    for length in [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 2000] {
        for key in [1, 32, 63, 64, 65, 200] {
            let (key, message) = (vec![7; key], vec![b'x'; length]);
            let got = engine.run(&format!("hex(hmacSha256({}, {}))", list(&key), list(&message)));
            assert_eq!(
                got,
                Ok(hex(&hmac_sha256(&Key::new(key.clone()), &message))),
                "{length} under {}",
                key.len()
            );
        }
    }
}
