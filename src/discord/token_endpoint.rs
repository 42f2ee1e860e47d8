//! The authorization server: presents codes and revokes tokens with the application's own credentials.
//!
//! The `oauth2` crate writes the requests and reads the answers; the connection is ours. It must never follow a
//! redirect, reuse a connection for a code, or let a URL, a code or a body into an error.

mod token;

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use oauth2::basic::BasicTokenIntrospectionResponse;
use oauth2::{
    AuthType, ClientId, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, RevocationUrl, StandardRevocableToken, TokenUrl,
};
use reqwest::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use self::token::TokenBody;
use super::api_base::ApiBase;
use crate::grant::Reason;
use crate::grant::state::Token;
use crate::http::{self, CallFailure, Connections, SetupError};
use crate::ids::ApplicationId;
use crate::port::discord::{Answered, ExchangeAnswer, RevokeAnswer, TokenEndpoint};
use crate::port::later::Later;
use crate::rate::feedback::HttpFeedback;
use crate::secret::{AccessToken, AuthorizationCode, ClientSecret, CodeVerifier};

/// With scope `bot` the answer holds the guild, which may be large.
const ANSWER_CAP: usize = 4 * 1024 * 1024;

/// What the adapter is made from.
#[derive(Debug, Clone)]
pub struct TokenEndpointSettings {
    /// Where the API is.
    pub api_base: ApiBase,
    /// The application, which is the `client_id`.
    pub application: ApplicationId,
    /// Its secret.
    pub secret: ClientSecret,
    /// Exactly as registered: Discord compares the text.
    pub redirect_uri: String,
    /// For one exchange, from opening the connection to the answer's last byte.
    pub exchange_timeout: Duration,
    /// The same for one revocation.
    pub revoke_timeout: Duration,
}

/// The token endpoint over HTTP.
pub struct HttpTokenEndpoint {
    oauth: OauthClient,
    token_url: Url,
    revocation_url: Url,
    exchange_http: reqwest::Client,
    revoke_http: reqwest::Client,
}

type OauthClient = oauth2::Client<
    ErrorBody,
    TokenBody,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    ErrorBody,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointSet,
>;

impl HttpTokenEndpoint {
    /// Makes both clients; opens nothing.
    pub fn new(settings: &TokenEndpointSettings) -> Result<Self, SetupError> {
        let TokenEndpointSettings { api_base, .. } = settings;
        // The crate refuses a revocation URL without `https`, and ours may be on loopback. The closure sends to our own
        // URLs whatever the crate writes, so it is given names that lead nowhere.
        let placeholder = || "https://authorization-server.invalid/".to_owned();
        let redirect = RedirectUrl::new(settings.redirect_uri.clone()).map_err(|_| SetupError::RedirectUri)?;
        let oauth = oauth2::Client::new(ClientId::new(settings.application.to_string()))
            .set_client_secret(oauth2::ClientSecret::new(settings.secret.expose().to_owned()))
            .set_auth_type(AuthType::BasicAuth)
            .set_redirect_uri(redirect)
            .set_token_uri(TokenUrl::new(placeholder()).expect("the placeholder is a URL"))
            .set_revocation_url(RevocationUrl::new(placeholder()).expect("the placeholder is a URL"));
        Ok(Self {
            oauth,
            token_url: api_base.endpoint("/oauth2/token"),
            revocation_url: api_base.endpoint("/oauth2/token/revoke"),
            exchange_http: http::client(
                api_base.is_loopback(),
                Connections::OnePerCall,
                settings.exchange_timeout,
            )?,
            revoke_http: http::client(api_base.is_loopback(), Connections::Pooled, settings.revoke_timeout)?,
        })
    }

    async fn present(
        &self,
        code: &AuthorizationCode,
        verifier: Option<&CodeVerifier>,
        seen: &RefCell<Option<HttpFeedback>>,
    ) -> ExchangeAnswer {
        let mut request = self
            .oauth
            .exchange_code(oauth2::AuthorizationCode::new(code.expose().to_owned()));
        if let Some(verifier) = verifier {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()));
        }
        let call = async |request| {
            let response = send(&self.exchange_http, &self.token_url, request, seen).await?;
            if response.status().is_success() {
                return token::read(response, ANSWER_CAP).await;
            }
            whole(response).await
        };
        understood(request.request_async(&call).await)
    }

    /// What a complete answer to an exchange says by its status and its JSON body alone; nothing is sent.
    pub fn read_exchange_answer(&self, status: StatusCode, body: &[u8]) -> ExchangeAnswer {
        let request = self.oauth.exchange_code(oauth2::AuthorizationCode::new(String::new()));
        let answered = |_: HttpRequest| {
            std::future::ready(if status.is_success() {
                token::find(body).ok_or(Judged::Unreadable)
            } else {
                parsable(status, body)
            })
        };
        let read = request.request_async(&answered).now_or_never();
        understood(read.expect("nothing is waited for"))
    }

    async fn kill(&self, token: &AccessToken, seen: &RefCell<Option<HttpFeedback>>) -> RevokeAnswer {
        let token = oauth2::AccessToken::new(token.expose().to_owned());
        let request = self.oauth.revoke_token(StandardRevocableToken::AccessToken(token));
        let request = request.expect("the placeholder is https");
        let call = async |request| whole(send(&self.revoke_http, &self.revocation_url, request, seen).await?).await;
        let retry = |reason: Reason| RevokeAnswer::Later(Later::because(reason.to_string()));
        match request.request_async(&call).await {
            Ok(()) => RevokeAnswer::Revoked,
            Err(e) => match judged(e) {
                Judged::Failed(failure) => retry(failure.reason()),
                Judged::Later(later) => RevokeAnswer::Later(later),
                Judged::Unclear(reason) => retry(reason),
                Judged::Unreadable => retry(Reason::new("unreadable")),
                Judged::Refused(e) if e.is("invalid_client") => RevokeAnswer::CredentialsRefused,
                Judged::Refused(e) if e.says_unknown_token() => RevokeAnswer::Revoked,
                Judged::Refused(e) => retry(e.reason()),
            },
        }
    }
}

impl TokenEndpoint for HttpTokenEndpoint {
    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: Option<&'a CodeVerifier>,
    ) -> LocalBoxFuture<'a, Answered<ExchangeAnswer>> {
        async move {
            let seen = RefCell::new(None);
            let outcome = self.present(code, verifier, &seen).await;
            Answered {
                outcome,
                feedback: seen.into_inner(),
            }
        }
        .boxed_local()
    }

    fn revoke<'a>(&'a self, token: &'a AccessToken) -> LocalBoxFuture<'a, Answered<RevokeAnswer>> {
        async move {
            let seen = RefCell::new(None);
            let outcome = self.kill(token, &seen).await;
            Answered {
                outcome,
                feedback: seen.into_inner(),
            }
        }
        .boxed_local()
    }
}

/// What came instead of success. Most answers are judged before anything is parsed; it holds no text of the answer.
#[derive(Debug, thiserror::Error)]
enum Judged {
    #[error(transparent)]
    Failed(#[from] CallFailure),
    #[error("to be asked again later")]
    Later(Later),
    #[error("the answer does not tell")]
    Unclear(Reason),
    #[error("success without a readable token")]
    Unreadable,
    #[error("{0}")]
    Refused(ErrorBody),
}

/// What an exchange's request came to.
fn understood(result: Result<TokenBody, RequestTokenError<Judged, ErrorBody>>) -> ExchangeAnswer {
    match result {
        Ok(token) => ExchangeAnswer::Token(Token {
            access: AccessToken::new(token.access_token.secret().as_str()),
            scopes: token.scope.iter().map(|s| s.as_str().to_owned()).collect(),
        }),
        Err(e) => match judged(e) {
            Judged::Failed(failure @ CallFailure::NotSent(_)) => ExchangeAnswer::NotSent(failure.reason()),
            Judged::Failed(failure) => ExchangeAnswer::CutOff(failure.reason()),
            Judged::Later(later) => ExchangeAnswer::Later(later),
            Judged::Unclear(reason) => ExchangeAnswer::Unclear(reason),
            Judged::Unreadable => ExchangeAnswer::Unreadable,
            Judged::Refused(e) if e.is("invalid_client") => ExchangeAnswer::CredentialsRefused,
            // They say that the server failed, not that the code was bad.
            Judged::Refused(e) if e.is("server_error") || e.is("temporarily_unavailable") => {
                ExchangeAnswer::Unclear(e.reason())
            }
            Judged::Refused(e) => ExchangeAnswer::Refused(e.reason()),
        },
    }
}

/// Sends one form and judges the answer by its status; only what is left is read.
async fn send(
    client: &reqwest::Client,
    url: &Url,
    request: HttpRequest,
    seen: &RefCell<Option<HttpFeedback>>,
) -> Result<reqwest::Response, Judged> {
    let (parts, form) = request.into_parts();
    // Made from our own URL: the placeholder is never even parsed.
    let mut request = reqwest::Request::new(parts.method, url.clone());
    *request.headers_mut() = parts.headers;
    *request.body_mut() = Some(form.into());
    if let Some(credentials) = request.headers_mut().get_mut(reqwest::header::AUTHORIZATION) {
        credentials.set_sensitive(true);
    }
    let response = client.execute(request).await.map_err(CallFailure::from)?;
    let status = response.status();
    let mut feedback = http::feedback(&response);
    if status == StatusCode::TOO_MANY_REQUESTS {
        http::read_rate_limit(&mut feedback, response, ANSWER_CAP).await;
        let wait = feedback.wait_after_limit();
        seen.replace(Some(feedback));
        return Err(Judged::Later(Later::limited(wait)));
    }
    let named_wait = feedback.named_wait();
    seen.replace(Some(feedback));
    if status == StatusCode::SERVICE_UNAVAILABLE
        && let Some(wait) = named_wait
    {
        return Err(Judged::Later(Later::limited(wait)));
    }
    if status.is_redirection() {
        return Err(Judged::Unclear(Reason::new("redirect")));
    }
    if !(status.is_success() || status.is_client_error()) {
        return Err(Judged::Unclear(http::status_reason(status.as_u16())));
    }
    Ok(response)
}

/// The whole answer for the crate's parser.
async fn whole(response: reqwest::Response) -> Result<HttpResponse, Judged> {
    let status = response.status();
    if !http::may_be_json(&response) {
        return Err(Judged::Unclear(Reason::new("not_json")));
    }
    let body = http::read_capped(response, ANSWER_CAP).await?;
    parsable(status, &body)
}

/// A complete answer for the crate's parser, unless it would misread it.
fn parsable(status: StatusCode, body: &[u8]) -> Result<HttpResponse, Judged> {
    // serde would read a list as a struct's fields in order, and its first item as the token.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Judged::Unclear(Reason::new("wrong_shape")));
    }
    let mut answer = HttpResponse::new(body.to_vec());
    // The crate knows 200 as the only success.
    *answer.status_mut() = if status.is_success() { StatusCode::OK } else { status };
    Ok(answer)
}

fn judged(e: RequestTokenError<Judged, ErrorBody>) -> Judged {
    match e {
        RequestTokenError::Request(judged) => judged,
        RequestTokenError::ServerResponse(error) => Judged::Refused(error),
        RequestTokenError::Parse(e, body) => {
            let body = Zeroizing::new(body);
            match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(error) => Judged::Refused(error),
                Err(_) if e.inner().is_eof() => Judged::Failed(CallFailure::Cut),
                Err(_) if e.inner().is_data() => Judged::Unclear(Reason::new("no_token")),
                Err(_) => Judged::Unclear(Reason::new("not_json")),
            }
        }
        RequestTokenError::Other(_) => Judged::Unclear(Reason::new("empty_answer")),
    }
}

/// An OAuth2 error answer (RFC 6749 section 5.2). Its description is never shown: it is foreign text.
#[derive(Serialize, Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default, deserialize_with = "lenient_text")]
    error_description: String,
}

impl ErrorBody {
    fn is(&self, error: &str) -> bool {
        self.error == error
    }

    fn reason(&self) -> Reason {
        Reason::new(&self.error)
    }

    /// RFC 7009 answers 200 for a token it does not know; what Discord answers is not documented. Its other
    /// descriptions read `Invalid "code" in request.`, so the same sentence about the token is taken for that.
    fn says_unknown_token(&self) -> bool {
        self.is("invalid_token")
            || self.is("invalid_grant")
            || (self.is("invalid_request") && self.error_description.starts_with("Invalid \"token\""))
    }
}

impl oauth2::ErrorResponse for ErrorBody {}

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorBody({})", self.reason())
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

fn lenient_text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::String(text) => text,
        _ => String::new(),
    })
}
