//! Everything that is no good callback: a clear answer, nothing journalled, nothing posted, and the next person is served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;

use super::test_support::{Edge, SOON, in_seconds};
use crate::patience::{Finish as _, until};
use crate::service::test_support::{PERSON, Service, exits};
use crate::tally::{Tally, tell};

const CODE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";

/// Sends bytes as they are, which no HTTP client would do, and reads the first line of the answer.
fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", edge.port)).expect("connected");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    // It may be answered before it is read to its end.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Nothing of what was tried is in the journal or in the channel, and a good callback still works.
#[track_caller]
fn nothing_but_the_next_person(edge: &Edge, relay: Service) {
    assert_eq!(edge.counts()["accepted"], 0, "{}", relay.log());
    assert_eq!(edge.get(&edge.callback(PERSON)).status, 200);
    let channel = edge.site.lane(0).0;
    until(SOON, "one message", || edge.site.simulator.message_count(channel) == 1);
    relay.drain();
    assert_eq!(edge.site.simulator.message_count(channel), 1);
    assert_eq!(edge.site.simulator.contents(channel)[0].lines().count(), 3);
}

#[test]
fn every_bad_callback_gets_a_clear_answer_and_leaves_nothing() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let state = edge.site.state(PERSON);
    let old = Edge::state(PERSON, 0, in_seconds(-401), 1);
    let other_lane = Edge::state(PERSON, 7, in_seconds(300), 2);
    let forged = format!("{}{}", &state[..56], if state.ends_with('A') { 'Q' } else { 'A' });
    // As much as the HTTP client here sends; 100 kB are sent by hand in another test.
    let long = "A".repeat(60_000);
    let cases = [
        (String::new(), 400),
        (format!("code={CODE}"), 400),
        (format!("state={state}"), 400),
        (format!("code=&state={state}"), 400),
        (format!("code={CODE}&state="), 400),
        ("error=access_denied".to_owned(), 400),
        (format!("code={CODE}&code={CODE}&state={state}"), 400),
        (format!("code={CODE}&state={state}&state={state}"), 400),
        (format!("error=access_denied&error=access_denied&state={state}"), 400),
        (format!("code={CODE}&error=access_denied&state={state}"), 400),
        (format!("code={CODE}&state={forged}"), 400),
        (format!("code={CODE}&state={}", &state[..40]), 400),
        (format!("code={CODE}&state=80000000000000001"), 400),
        (format!("code={CODE}&state={old}"), 410),
        (format!("code={CODE}&state={other_lane}"), 400),
        (format!("code=short&state={state}"), 400),
        (format!("code={CODE}%&state={state}"), 400),
        (format!("code=%FF%FE{CODE}&state={state}"), 400),
        (format!("code={CODE}&state={state}%zz"), 400),
        (format!("error=%3Cscript%3E&state={state}"), 400),
        (format!("error=relay_expired&state={state}"), 400),
        (format!("code={long}&state={state}"), 414),
        (format!("code={CODE}&state={long}"), 414),
        (format!("error={long}&state={state}"), 414),
        (format!("code={CODE}&state={state}&other={long}"), 414),
    ];
    // Fewer than the 30 that an address may send in a minute: that limit is another test.
    assert!(cases.len() < 30);
    let mut tally = Tally::default();
    for (n, (query, status)) in cases.iter().enumerate() {
        let answer = edge.get(&format!("/callback?{query}"));
        assert_eq!(answer.status, *status, "{n}: {query:.200}");
        let page = if *status == 410 { "expired" } else { "invalid" };
        assert!(answer.body.contains(&format!("id=\"{page}\"")), "{n}: {}", answer.body);
        assert_eq!(
            answer.body.matches("<script").count(),
            1,
            "the page's own: {}",
            answer.body
        );
        tally.tried += 1;
        tally.survived += 1;
    }
    tell("relay: bad callbacks", tally);
    nothing_but_the_next_person(&edge, relay);
}

#[test]
fn other_methods_paths_and_bytes_get_a_small_answer() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let callback = edge.callback(PERSON + 1);
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        let answer = edge.send(edge.http.request(method.clone(), edge.url(&callback)));
        assert_eq!((answer.status, answer.body.as_str()), (405, ""), "{method}");
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
    for path in [
        "/",
        "/callback/",
        "/callback/x",
        "/oauth",
        "/favicon.ico",
        "/..%2fcallback",
        "//callback",
    ] {
        let answer = edge.get(&format!("{path}{}", callback.trim_start_matches("/callback")));
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{path}");
    }
    let host = "Host: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let query = callback.trim_start_matches("/callback?");
    let huge = |bytes| format!("GET /callback?{query}&x={} HTTP/1.1\r\n{host}", "A".repeat(bytes)).into_bytes();
    for (bytes, statuses) in [
        (huge(100_000), "400 414"),
        (huge(300_000), "400 413 414 431"),
        (
            [
                b"GET /callback?code=\xff\xfe&state=\xc3\x28 HTTP/1.1\r\n",
                host.as_bytes(),
            ]
            .concat(),
            "400",
        ),
        (
            [
                b"GET /callback?".as_slice(),
                &[b'A', 0, b'B'],
                b" HTTP/1.1\r\n",
                host.as_bytes(),
            ]
            .concat(),
            "400",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), "400"),
        (format!("BREW /callback?{query} HTTP/1.1\r\n{host}").into_bytes(), "405"),
    ] {
        let line = raw(&edge, &bytes);
        let status = line.split(' ').nth(1).unwrap_or("none");
        assert!(
            statuses.contains(status),
            "{:?}: {line}",
            String::from_utf8_lossy(&bytes[..40.min(bytes.len())])
        );
    }
    nothing_but_the_next_person(&edge, relay);
}

#[test]
fn errors_of_discord_are_passed_on_and_told_the_person() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    let errors = [
        "access_denied",
        "server_error",
        "temporarily_unavailable",
        "invalid_scope",
    ];
    for (n, error) in errors.iter().enumerate() {
        let state = edge.site.state(PERSON + n as u64);
        let answer = edge.get(&format!(
            "/callback?error={error}&error_description=a%20text&state={state}"
        ));
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("id=\"denied\""), "{}", answer.body);
        assert!(!answer.body.contains("a text"), "Discord's words are not shown as ours");
    }
    until(SOON, "every result", || edge.site.results_of("denied") == errors.len());
    let reasons: Vec<String> = edge.site.results().iter().map(|r| r["reason"].to_string()).collect();
    for error in errors {
        assert!(reasons.contains(&format!("\"{error}\"")), "{reasons:?}");
    }
    service.drain();
    relay.drain();
}

#[test]
fn one_link_cannot_fill_the_journal() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let state = edge.site.state(PERSON + 1);
    let statuses: Vec<u16> = (0..20)
        .map(|n| edge.get(&format!("/callback?code={CODE}{n:04}&state={state}")).status)
        .collect();
    assert_eq!(statuses[..4], [200; 4]);
    assert_eq!(statuses[4..], [429; 16]);
    relay.drain();
    let relay = edge.relay();
    let again = edge.get(&format!("/callback?code={CODE}9999&state={state}"));
    assert_eq!(again.status, 429, "a restart does not forget it");
    let counts = edge.counts();
    assert_eq!(
        (&counts["accepted"], &counts["refused"]),
        (&0.into(), &1.into()),
        "{counts}"
    );
    relay.drain();
}

#[test]
fn junk_is_limited_by_the_address_that_a_trusted_proxy_tells() {
    let edge = Edge::without_limits("");
    edge.configure("");
    let text = std::fs::read_to_string(edge.site.path("edge/codeferry.toml")).expect("there");
    let text = text.replace("127.0.0.2", "127.0.0.0/8");
    std::fs::write(edge.site.path("edge/codeferry.toml"), text).expect("written");
    let relay = edge.relay();
    let junk = |from: &str| {
        edge.send(
            edge.http
                .get(edge.url("/callback?state=x"))
                .header("x-forwarded-for", from),
        )
        .status
    };
    let of = |from: &str, n: usize| (0..n).map(|_| junk(from)).collect::<Vec<_>>();
    assert_eq!(of("203.0.113.1", 31), [&[400; 30][..], &[429]].concat());
    assert_eq!(junk("203.0.113.2"), 400, "another address");
    assert_eq!(
        junk("6.6.6.6, 203.0.113.1"),
        429,
        "what the client itself wrote is not believed"
    );
    assert_eq!(of("2001:db8::1", 30), [400; 30]);
    assert_eq!(
        (junk("2001:db8::ffff"), junk("2001:db8:0:1::1")),
        (429, 400),
        "a /64 is one subscriber"
    );
    // A user with a link is served, whatever else came from that address.
    let callback = edge.callback(PERSON);
    let person = edge
        .http
        .get(edge.url(&callback))
        .header("x-forwarded-for", "203.0.113.1");
    assert_eq!(edge.send(person).status, 200);
    relay.drain();
}

#[test]
fn a_wrong_configuration_is_told_at_once_and_whole() {
    let edge = Edge::without_limits("");
    let says = |text: &str, expected: &[&str]| {
        std::fs::write(edge.site.path("edge/codeferry.toml"), text).expect("written");
        for command in [&["relay"][..], &["config", "check"]] {
            let (_, error) = exits(&edge.command(command).finish(), 2);
            for words in expected {
                assert!(error.contains(words), "{command:?}: `{words}` is not in: {error}");
            }
        }
    };
    says(
        "[discord]\napi_base = \"http://discord.com\"\n[state]\nmode = \"any\"\n[relay]\nlisten = \"8080\"\ntrusted_proxies = [\"proxy\"]\n\
         [[relay.lanes]]\nwebhook_id = 5\npack = 19\n[[relay.lanes]]\nwebhok_id = 5\n",
        &[
            "codeferry.toml:2: `discord.api_base` is plain http",
            "codeferry.toml:4: `state.mode` is \"any\", whose states cannot be verified",
            "codeferry.toml:6: `relay.listen` is `8080`, not an IP address with a port",
            "codeferry.toml:7: `relay.trusted_proxies[0]` is `proxy`, neither an address nor a network",
            "`relay.lanes[0].webhook_id` is not an id",
            "`relay.lanes[0].pack` is 19, more than 18",
            "`relay.lanes[1].webhok_id` is not a known key; did you mean `webhook_id`?",
            "`discord.application_id` is missing",
        ],
    );
    edge.configure("");
    let mut bare = edge.command(&["relay"]);
    bare.env_clear();
    let (_, error) = exits(&bare.finish(), 2);
    for name in ["CODEFERRY_RELAY_KEY", "CODEFERRY_STATE_KEY", "CODEFERRY_WEBHOOK_TOKENS"] {
        assert!(error.contains(&format!("environment {name}: ")), "{name}: {error}");
    }
    let (out, _) = exits(&edge.command(&["config", "check"]).finish(), 0);
    assert!(
        out.contains("`codeferry relay` would start") && out.contains("lane 0: webhook "),
        "{out}"
    );
    // A folder of pages that would fail a visitor.
    edge.configure("");
    std::fs::create_dir(edge.site.path("edge/pages")).expect("made");
    std::fs::write(edge.site.path("edge/pages/success.html"), "{{ titel }}").expect("written");
    let mut with_pages = edge.command(&["relay"]);
    with_pages.env("CODEFERRY_RELAY__PAGES", "pages");
    let (_, error) = exits(&with_pages.finish(), 2);
    assert!(error.contains("success.html` is not a valid template"), "{error}");
    // A second one in the same folder, and one on a port in use.
    let relay = edge.relay();
    let (_, error) = exits(&edge.command(&["relay"]).finish(), 1);
    assert!(error.contains("is in use by process"), "{error}");
    let mut other = edge.command(&["relay"]);
    other.env("CODEFERRY_RELAY__JOURNAL", "other");
    let (_, error) = exits(&other.finish(), 1);
    assert!(
        error.contains(&format!("cannot listen on 127.0.0.1:{}", edge.port)),
        "{error}"
    );
    relay.drain();
}

#[test]
fn secrets_that_a_relay_does_not_need_are_named_and_never_read() {
    let edge = Edge::without_limits("");
    let mut command = edge.command(&["relay"]);
    // A file that cannot be read would be an error if it were read.
    command
        .env("CODEFERRY_BOT_TOKEN_FILE", "/nowhere/bot")
        .env("CODEFERRY_CLIENT_SECRET_FILE", "/nowhere/secret")
        .env("CODEFERRY_PKCE_KEY", "short");
    let relay = edge.site.start(command, "relay.log");
    relay.logs("READY: callbacks are taken");
    relay.logs("a relay does not read these secrets");
    relay.drain();
}
