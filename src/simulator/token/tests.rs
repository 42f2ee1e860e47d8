use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::simulator::faults::{Endpoint, FaultRule};
use crate::simulator::options::SimulatorOptions;
use crate::simulator::world::World;

const USER: u64 = 80_000_000_000_000_001;
const VERIFIER: &str = "RXm2ypwD08Zjq_SBfVYjy4atAohkxP3AKQzKfn9BK44";
const CHALLENGE: &str = "tLaj2AYNfkm_BmkbcUbbw4LsiaMLrhZCEqRHByjP5tg";
const REDIRECT: &str = "http://127.0.0.1:8710/callback";

struct Bench {
    inner: Inner,
    now_us: i64,
    auth: fn(&World) -> Auth,
}

impl Bench {
    fn new() -> Self {
        let inner = Inner::new(SimulatorOptions::default(), 1, String::new(), unbounded_channel().0);
        Self {
            inner,
            now_us: 1_700_000_000_000_000,
            auth: |world| {
                let application = &world.application;
                Auth::Basic(application.id.to_string(), application.client_secret.clone())
            },
        }
    }

    fn code(&mut self, challenge: Option<&str>) -> String {
        self.inner.world.issue_code(Code {
            redirect_uri: Some(REDIRECT.into()),
            challenge: challenge.map(str::to_owned),
            scope: "identify guilds".into(),
            user_id: USER,
            issued_us: self.now_us,
            spent: false,
            tokens: Vec::new(),
        })
    }

    fn fault(&mut self, fault: Fault) {
        self.inner
            .faults
            .add(FaultRule::on(Endpoint::Token, fault), self.now_us);
    }

    fn call(
        &mut self,
        endpoint: Endpoint,
        handler: fn(&mut Inner, &Call<'_>) -> Reply,
        form: &[(&str, &str)],
    ) -> (u16, Value) {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let call = Call {
            auth: (self.auth)(&self.inner.world),
            in_ms: false,
            endpoint,
            ids: [0; 2],
            text: String::new(),
            query: Fields::default(),
            content_type: "application/x-www-form-urlencoded",
            body: body.as_bytes(),
            now_us: self.now_us,
        };
        let answer = handler(&mut self.inner, &call).unwrap_or_else(|refusal| refusal);
        (answer.status, answer.value().expect("JSON"))
    }

    fn exchange(&mut self, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
        ];
        form.retain(|(k, _)| !more.iter().any(|(m, _)| m == k));
        form.extend(more.iter().filter(|(_, v)| !v.is_empty()));
        self.call(Endpoint::Token, exchange, &form)
    }

    fn token(&mut self) -> String {
        let code = self.code(None);
        let (status, body) = self.exchange(&code, &[]);
        assert_eq!(status, 200);
        body["access_token"].as_str().expect("a token").to_owned()
    }
}

#[track_caller]
fn check((status, body): (u16, Value), wanted: u16, error: &str) {
    assert_eq!((status, body["error"].as_str()), (wanted, Some(error)), "{body}");
}

#[test]
fn a_code_gives_a_token_once() {
    let mut bench = Bench::new();
    let code = bench.code(None);
    let (status, body) = bench.exchange(&code, &[]);
    assert_eq!(status, 200);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 604_800);
    assert_eq!(body["scope"], "identify guilds");
    assert!(body["refresh_token"].is_string());
    let again = bench.exchange(&code, &[]);
    assert_eq!(again.1["error_description"], "Invalid \"code\" in request.");
    check(again, 400, "invalid_grant");
    check(bench.exchange("never-issued", &[]), 400, "invalid_grant");
    assert_eq!(bench.inner.world.tokens.len(), 1);
}

#[test]
fn a_code_dies_after_its_life_and_not_before() {
    let mut bench = Bench::new();
    let (early, late) = (bench.code(None), bench.code(None));
    bench.now_us += 100_000_000;
    assert_eq!(bench.exchange(&early, &[]).0, 200);
    bench.now_us += 1;
    check(bench.exchange(&late, &[]), 400, "invalid_grant");
}

#[test]
fn a_code_is_bound_to_its_redirect_uri() {
    let mut bench = Bench::new();
    let code = bench.code(None);
    check(
        bench.exchange(&code, &[("redirect_uri", "http://127.0.0.1:8710/callback/")]),
        400,
        "invalid_grant",
    );
    check(bench.exchange(&code, &[("redirect_uri", "")]), 400, "invalid_grant");
    assert_eq!(
        bench.exchange(&code, &[]).0,
        200,
        "a failed exchange does not spend the code"
    );
}

#[test]
fn pkce_is_enforced() {
    let mut bench = Bench::new();
    let code = bench.code(Some(CHALLENGE));
    let missing = bench.exchange(&code, &[]);
    assert_eq!(missing.1["error_description"], "Missing \"code_verifier\"");
    check(missing, 400, "invalid_request");
    check(
        bench.exchange(&code, &[("code_verifier", "short")]),
        400,
        "invalid_request",
    );
    let wrong = "a".repeat(43);
    check(
        bench.exchange(&code, &[("code_verifier", &wrong)]),
        400,
        "invalid_request",
    );
    assert_eq!(bench.exchange(&code, &[("code_verifier", VERIFIER)]).0, 200);
}

#[test]
fn a_wrong_client_is_refused_and_a_public_one_needs_pkce() {
    let mut bench = Bench::new();
    let code = bench.code(Some(CHALLENGE));
    bench.auth = |world| Auth::Basic(world.application.id.to_string(), "wrong".into());
    check(
        bench.exchange(&code, &[("code_verifier", VERIFIER)]),
        401,
        "invalid_client",
    );
    bench.auth = |_| Auth::Basic("abc".into(), "x".into());
    assert_eq!(bench.exchange(&code, &[]).1["code"], 50035);
    bench.auth = |_| Auth::None;
    check(
        bench.exchange(&code, &[("client_id", "1536000000000000001")]),
        401,
        "invalid_client",
    );
    let public = [("client_id", "1536000000000000001"), ("code_verifier", VERIFIER)];
    assert_eq!(bench.exchange(&code, &public).0, 200);
}

#[test]
fn a_refresh_rotates() {
    let mut bench = Bench::new();
    let token = bench.token();
    let refresh = bench.inner.world.tokens[&token]
        .refresh
        .clone()
        .expect("a refresh token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let (status, body) = bench.call(Endpoint::Token, exchange, &form);
    assert_eq!(status, 200);
    assert_ne!(body["refresh_token"], refresh.as_str());
    check(bench.call(Endpoint::Token, exchange, &form), 400, "invalid_grant");
    check(
        bench.call(Endpoint::Token, exchange, &[("grant_type", "password")]),
        400,
        "unsupported_grant_type",
    );
}

#[test]
fn revoking_one_token_kills_all_of_that_person() {
    let mut bench = Bench::new();
    let (first, _second) = (bench.token(), bench.token());
    check(
        bench.call(Endpoint::Revoke, revoke, &[("access_token", &first)]),
        400,
        "invalid_request",
    );
    check(
        bench.call(
            Endpoint::Revoke,
            revoke,
            &[("token", &first), ("token_type_hint", "bearer")],
        ),
        400,
        "unsupported_token_type",
    );
    assert_eq!(bench.inner.world.tokens.len(), 2);
    assert_eq!(
        bench.call(Endpoint::Revoke, revoke, &[("token", &first)]),
        (200, json!({}))
    );
    assert!(bench.inner.world.tokens.is_empty());
    assert!(bench.inner.world.refresh_tokens.is_empty());
    assert_eq!(
        bench.call(Endpoint::Revoke, revoke, &[("token", &first)]),
        (200, json!({}))
    );
    assert!(bench.inner.ledger.tokens.iter().all(|t| !t.alive));
}

#[test]
fn the_knobs_change_what_is_not_known_of_discord() {
    let mut bench = Bench::new();
    bench.fault(Fault::SameToken);
    assert_eq!(bench.token(), bench.token());

    let mut bench = Bench::new();
    bench.fault(Fault::FailedExchangeBurns);
    let code = bench.code(None);
    check(bench.exchange(&code, &[("redirect_uri", "x")]), 400, "invalid_grant");
    check(bench.exchange(&code, &[]), 400, "invalid_grant");

    let mut bench = Bench::new();
    bench.fault(Fault::ReuseRevokes);
    let code = bench.code(None);
    assert_eq!(bench.exchange(&code, &[]).0, 200);
    check(bench.exchange(&code, &[]), 400, "invalid_grant");
    assert!(bench.inner.world.tokens.is_empty());

    let mut bench = Bench::new();
    bench.fault(Fault::InvalidClient { status: 400 });
    let code = bench.code(None);
    check(bench.exchange(&code, &[]), 400, "invalid_client");
}
