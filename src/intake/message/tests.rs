//! Vectors, tables of malformed input, and properties of the two message versions.

use proptest::prelude::*;

use super::super::entry::Entry;
use super::super::v1::{self, Redirect};
use super::*;
use crate::grant::Reason;
use crate::secret::{AuthorizationCode, Key, RawState};
use crate::time::Timestamp;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const BOT: UserId = UserId(1_536_000_000_000_000_009);
const STATE: &str = "s1.ARw3k34IAAFlU_IsAAABAAECAwQFBgc.L3A7duGjO8o4W5Vn4n0XyQ";
const CODE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";

fn accept() -> Accept {
    Accept {
        v0: true,
        v1: Some((&Key::new(KEY)).into()),
    }
}

fn redirect(code: &str) -> Redirect {
    Redirect {
        time: 1_700_000_000,
        result: Ok(code.to_owned()),
        state: Some(STATE.to_owned()),
    }
}

#[test]
fn the_published_message_holds_both_ways() {
    let text =
        format!("<@1536000000000000009>\nv1 1700000000 {CODE} {STATE}\nm1 CJY1lAqHgcM9jeKLrFvolvxUW52D-uXuhBxUml4mgiQ");
    assert_eq!(v1::encode(BOT, &[redirect(CODE)], &Key::new(KEY)), text);
    let parsed = parse(&text, BOT, &accept()).expect("the vector parses");
    assert_eq!(parsed.malformed_lines, 0);
    assert_eq!(
        parsed.entries,
        [Entry {
            redirected_at: Some(Timestamp::from_secs(1_700_000_000)),
            result: Ok(AuthorizationCode::new(CODE)),
            state: Some(RawState::new(STATE)),
        }]
    );
}

#[test]
fn eighteen_codes_fit_into_one_message() {
    let many = vec![redirect(CODE); 40];
    assert_eq!(v1::fitting(BOT, &many), 18);
    assert!(v1::encode(BOT, &many[..18], &Key::new(KEY)).len() <= v1::MESSAGE_LIMIT);
}

#[test]
fn a_bad_line_of_an_authentic_message_leaves_the_others_alone() {
    let injected = [
        "CODE%0D%0AINJECTEDLINE00",
        "ABCDEFGHIJKLMNOP%26grant_type%3Dx",
        "short",
        "%zz%zz%zz%zz%zz%zz",
    ];
    for bad in injected {
        let denied = Redirect {
            result: Err("access_denied".to_owned()),
            state: None,
            ..redirect(CODE)
        };
        let text = v1::encode(BOT, &[redirect(CODE), redirect(bad), denied], &Key::new(KEY));
        let parsed = parse(&text, BOT, &accept()).expect("authentic");
        assert_eq!((parsed.entries.len(), parsed.malformed_lines), (2, 1), "{bad}");
        assert_eq!(parsed.entries[1].result, Err(Reason::new("access_denied")));
        assert_eq!(parsed.entries[1].state, None);
    }
}

#[test]
fn malformed_messages_are_named() {
    let check = |content: &str, want: Malformed| {
        assert_eq!(
            parse(content, BOT, &accept()),
            Err(want),
            "{}",
            &content[..content.len().min(60)]
        );
    };
    let good = v1::encode(BOT, &[redirect(CODE)], &Key::new(KEY));
    check("", Malformed::Empty);
    check(" \n ", Malformed::Empty);
    check(&"x".repeat(40_000), Malformed::TooLong);
    check("hello", Malformed::UnknownVersion);
    check(&format!("<@{BOT}> hello"), Malformed::NotJson);
    check(&format!("<@{BOT}>{{\"code\":"), Malformed::NotJson);
    check(&format!("<@{BOT}>{{}}"), Malformed::NoCode);
    check(&format!("<@{BOT}>{{\"code\":null,\"error\":\"\"}}"), Malformed::NoCode);
    check(&format!("<@{BOT}>{{\"code\":12}}"), Malformed::WrongType);
    check(
        &format!("<@{BOT}>{{\"code\":\"{CODE}\",\"state\":[1]}}"),
        Malformed::WrongType,
    );
    // A number may have been rounded to the id of somebody else.
    check(
        &format!("<@{BOT}>{{\"code\":\"{CODE}\",\"state\":80000000000000001}}"),
        Malformed::WrongType,
    );
    check(
        &format!("<@{BOT}>{{\"code\":\"{CODE}\",\"time\":{{}}}}"),
        Malformed::WrongType,
    );
    check(&format!("<@{BOT}>{{\"code\":\"short\"}}"), Malformed::BadCode);
    check(
        &format!("<@{BOT}>{{\"code\":\"ABCDEFGHIJKLMNOP\\r\\nX: y\"}}"),
        Malformed::BadCode,
    );
    check(
        &format!("<@{BOT}>{{\"code\":\"ABCDEFGHIJKLMNOP&grant_type=x\"}}"),
        Malformed::BadCode,
    );
    check(&good.replace("1700000000", "1700000001"), Malformed::Forged);
    check(&good[..good.len() - 1], Malformed::Forged);
    check(good.rsplit_once('\n').expect("lines").0, Malformed::NoMac);
    check(&format!("<@{BOT}>\nv1 "), Malformed::NoMac);
    let unreadable = v1::encode(BOT, &[redirect("short")], &Key::new(KEY));
    check(&unreadable, Malformed::NoLine);
    let only_v1 = Accept { v0: false, ..accept() };
    let v0 = super::super::v0::encode(BOT, CODE, None, 1);
    assert_eq!(parse(&v0, BOT, &only_v1), Err(Malformed::VersionNotAccepted(0)));
    assert_eq!(
        parse(&good, BOT, &Accept { v0: true, v1: None }),
        Err(Malformed::VersionNotAccepted(1))
    );
}

#[test]
fn what_does_not_fit_is_named_with_what_was_expected() {
    let told = |content: &str| parse(content, BOT, &accept()).expect_err("unreadable").to_string();
    let other = UserId(BOT.0 - 8);
    let mentions = "mentions 1536000000000000001, this bot is 1536000000000000009: set relay.bot_id";
    assert_eq!(told(&v1::encode(other, &[redirect(CODE)], &Key::new(KEY))), mentions);
    assert_eq!(told(&super::super::v0::encode(other, CODE, None, 1)), mentions);
    assert_eq!(
        told(&format!("<@{BOT}>\nv2 {CODE}")),
        "version 2, this program reads versions 0 and 1: update codeferry"
    );
}

#[test]
fn a_message_under_either_of_two_keys_is_read() {
    let key = |n: u8| Key::new([n; 32]);
    let keys = crate::secret::Keys::new(key(1), Some(key(2)));
    let accept = Accept {
        v0: false,
        v1: Some(keys.clone()),
    };
    let reads = |by: u8| parse(&v1::encode(BOT, &[redirect(CODE)], &key(by)), BOT, &accept).map(|_| ());
    assert_eq!([reads(1), reads(2), reads(3)], [Ok(()), Ok(()), Err(Malformed::Forged)]);
    assert!(keys.replace(&crate::secret::Keys::new(key(3), None)), "they differ");
    assert_eq!([reads(1), reads(3)], [Err(Malformed::Forged), Ok(())]);
}

#[test]
fn version_0_is_read_as_classic_scripts_write_it() {
    let check = |content: String, state: Option<&str>, secs: Option<i64>| {
        let parsed = parse(&content, BOT, &accept()).expect("parses");
        let entry = &parsed.entries[0];
        assert_eq!(entry.result, Ok(AuthorizationCode::new(CODE)), "{content}");
        assert_eq!(entry.state.as_ref().map(RawState::expose), state, "{content}");
        assert_eq!(entry.redirected_at.map(Timestamp::as_secs), secs, "{content}");
    };
    let user = "80000000000000001";
    check(
        super::super::v0::encode(BOT, CODE, Some(user), 1_700_000_000),
        Some(user),
        Some(1_700_000_000),
    );
    check(
        format!("<@!{BOT}>\n {{\"code\":\"{CODE}\",\"state\":\"{user}\",\"extra\":[1]}} "),
        Some(user),
        None,
    );
    check(
        format!("{{\"code\":\"{CODE}\",\"state\":null,\"time\":\"1700000000.5\"}}"),
        None,
        Some(1_700_000_000),
    );
    check(
        format!("{{\"code\":\"{CODE}\",\"time\":1700000000123}}"),
        None,
        Some(1_700_000_000),
    );
    let denied = format!("<@{BOT}>{{\"error\":\"access_denied\",\"state\":\"{user}\"}}");
    let parsed = parse(&denied, BOT, &accept()).expect("parses");
    assert_eq!(parsed.entries[0].result, Err(Reason::new("access_denied")));
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC{0,300}") {
        let _ = parse(&text, BOT, &accept());
        let _ = parse(&format!("<@{BOT}>\nv1 {text}"), BOT, &accept());
        let _ = parse(&format!("<@{BOT}>{{{text}"), BOT, &accept());
    }

    #[test]
    fn what_is_written_is_read(codes in proptest::collection::vec("[A-Za-z0-9]{16,40}", 1..18), time in 0_i64..4_000_000_000) {
        let redirects: Vec<Redirect> = codes.iter().map(|c| Redirect { time, ..redirect(c) }).collect();
        let text = v1::encode(BOT, &redirects, &Key::new(KEY));
        let parsed = parse(&text, BOT, &accept()).expect("authentic");
        let read: Vec<_> = parsed.entries.iter().map(|e| e.result.clone().expect("a code")).collect();
        let wanted: Vec<_> = codes.iter().map(|c| AuthorizationCode::new(c.as_str())).collect();
        prop_assert_eq!(read, wanted);
    }
}
