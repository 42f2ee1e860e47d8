use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::simulator::options::SimulatorOptions;

const CHALLENGE: &str = "tLaj2AYNfkm_BmkbcUbbw4LsiaMLrhZCEqRHByjP5tg";

fn inner() -> Inner {
    Inner::new(SimulatorOptions::default(), 1, String::new(), unbounded_channel().0)
}

fn query(changes: &[(&str, Option<&str>)]) -> Fields {
    let mut all = vec![
        ("client_id", "1536000000000000001"),
        ("redirect_uri", "http://127.0.0.1:8710/callback"),
        ("response_type", "code"),
        ("scope", "identify guilds"),
        ("state", "s1.a+b/c"),
    ];
    for (key, value) in changes {
        all.retain(|(k, _)| k != key);
        if let Some(value) = value {
            all.push((key, value));
        }
    }
    let text = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(all)
        .finish();
    Fields::read(text.as_bytes())
}

#[track_caller]
fn refused(changes: &[(&str, Option<&str>)]) -> Answer {
    check(&inner(), &query(changes)).expect_err("refused")
}

#[track_caller]
fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 302);
    answer
        .headers
        .iter()
        .find(|(k, _)| *k == "Location")
        .map(|(_, v)| v.as_str())
        .expect("a location")
}

#[test]
fn a_good_request_is_taken_with_and_without_pkce() {
    let request = check(&inner(), &query(&[])).expect("a good request");
    assert_eq!(request.scope, "identify guilds");
    let with = [
        ("code_challenge", Some(CHALLENGE)),
        ("code_challenge_method", Some("S256")),
    ];
    assert_eq!(
        check(&inner(), &query(&with)).expect("PKCE").challenge.as_deref(),
        Some(CHALLENGE)
    );
}

#[test]
fn a_redirect_uri_that_is_not_registered_exactly_never_gets_a_callback() {
    for uri in [
        "http://127.0.0.1:8710/callback/",
        "http://127.0.0.1:8710/callback?x=1",
        "https://evil.example/",
    ] {
        let answer = refused(&[("redirect_uri", Some(uri))]);
        assert_eq!(answer.status, 400);
        assert!(answer.headers.is_empty());
    }
    assert_eq!(refused(&[("client_id", Some("5"))]).status, 400);
}

#[test]
fn other_errors_go_back_with_discords_texts_and_the_state() {
    assert_eq!(
        location(&refused(&[("scope", Some("identify nonsense"))])),
        "http://127.0.0.1:8710/callback?error=invalid_scope&error_description=The+requested+scope+is+invalid%2C+unknown%2C+or+malformed.&state=s1.a%2Bb%2Fc"
    );
    assert!(
        location(&refused(&[("response_type", None)]))
            .contains("error=invalid_request&error_description=Missing+response_type+parameter.")
    );
    let plain = [
        ("code_challenge", Some(CHALLENGE)),
        ("code_challenge_method", Some("plain")),
    ];
    assert!(location(&refused(&plain)).contains("error=invalid_request&error_description=Unsupported"));
    let pair = [
        ("code_challenge", Some(CHALLENGE)),
        ("code_challenge_method", Some("S256")),
        ("scope", Some("identify role_connections.write")),
    ];
    assert!(location(&refused(&pair)).contains("error=invalid_scope"));
}

#[test]
fn what_a_page_shows_is_escaped() {
    assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
}
