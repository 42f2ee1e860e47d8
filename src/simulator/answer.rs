//! The answer to a request, and how its bytes are sent: whole, cut off, or one at a time. Decides nothing.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};

/// What an endpoint returns; both sides are answers, `Err` one that refuses.
pub type Reply = Result<Answer, Answer>;

/// An answer before it is sent.
pub struct Answer {
    pub status: u16,
    /// Headers other than the content type.
    pub headers: Vec<(&'static str, String)>,
    /// Empty for an answer without a body.
    pub content_type: &'static str,
    pub body: Body,
    /// It comes from Cloudflare's edge, which adds no `Via` header.
    pub edge: bool,
    pub transport: Transport,
    pub watch: Option<Watch>,
}

impl std::fmt::Debug for Answer {
    /// Leaves the body out: it may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// An answer's body.
pub enum Body {
    Bytes(Vec<u8>),
    /// A JSON object of this many megabytes.
    Huge(usize),
}

/// How an answer's bytes are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Whole,
    /// The connection is cut before the first byte.
    CutBeforeAnyByte,
    /// The connection is cut in the middle of the body.
    CutInBody,
    /// One byte at a time with a pause.
    Drip(Duration),
}

/// Called once with whether the whole answer was written.
pub type Watch = Box<dyn FnOnce(bool)>;

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::bytes(status, "application/json", value.to_string().into_bytes())
    }

    /// An answer of any type.
    pub fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type,
            body: Body::Bytes(body),
            edge: false,
            transport: Transport::Whole,
            watch: None,
        }
    }

    /// An HTML page.
    pub fn html(status: u16, text: &str) -> Self {
        Self::bytes(status, "text/html; charset=utf-8", text.as_bytes().to_vec())
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self::bytes(status, "", Vec::new())
    }

    /// A redirect.
    pub fn redirect(status: u16, location: String) -> Self {
        Self::empty(status).with_header("Location", location)
    }

    /// An error in Discord's form.
    pub fn error(status: u16, code: u32, message: &str) -> Self {
        Self::json(status, &json!({"message": message, "code": code}))
    }

    /// 404 `10008`.
    pub fn unknown_message() -> Self {
        Self::error(404, 10008, "Unknown Message")
    }

    /// `50035` for one field.
    pub fn invalid_form(field: &str, code: &str, message: &str) -> Self {
        let errors = json!({field: {"_errors": [{"code": code, "message": message}]}});
        Self::json(
            400,
            &json!({"message": "Invalid Form Body", "code": 50035, "errors": errors}),
        )
    }

    /// `50035` for a field that is missing.
    pub fn required(field: &str) -> Self {
        Self::invalid_form(field, "BASE_TYPE_REQUIRED", "This field is required")
    }

    /// `50035` for a field that is too short or too long.
    pub fn bad_length(field: &str, wanted: &str) -> Self {
        let message = format!("Must be {wanted} in length.");
        Self::invalid_form(field, "BASE_TYPE_BAD_LENGTH", &message)
    }

    /// `50035` for a field that is not a text.
    pub fn not_a_text(field: &str, code: &str) -> Self {
        Self::invalid_form(field, code, "Could not interpret as string.")
    }

    /// `50035` for a field that is not a list.
    pub fn not_a_list(field: &str) -> Self {
        Self::invalid_form(field, "BASE_TYPE_INVALID", "Only iterables may be used in a ListType.")
    }

    /// `50035` for a path or field that is not a snowflake.
    pub fn not_a_snowflake(field: &str, value: &str) -> Self {
        let message = format!("Value \"{value}\" is not snowflake.");
        Self::invalid_form(field, "NUMBER_TYPE_COERCE", &message)
    }

    /// The 401 of a token that is missing, wrong, expired or revoked.
    pub fn unauthorized() -> Self {
        Self::error(401, 0, "401: Unauthorized")
    }

    /// An error in the form of RFC 6749 section 5.2.
    pub fn oauth_error(status: u16, error: &str) -> Self {
        Self::json(status, &json!({"error": error}))
    }

    /// An error in the form of RFC 6749 section 5.2, with a description; always 400.
    pub fn oauth_refusal(error: &str, description: &str) -> Self {
        Self::json(400, &json!({"error": error, "error_description": description}))
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Marks it as sent by the edge.
    pub fn by_the_edge(mut self) -> Self {
        self.edge = true;
        self
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, if it is JSON.
    pub fn value(&self) -> Option<Value> {
        match &self.body {
            Body::Bytes(bytes) => serde_json::from_slice(bytes).ok(),
            Body::Huge(_) => None,
        }
    }

    /// The HTTP response.
    pub fn into_response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if !self.content_type.is_empty() {
            response.insert_header(("Content-Type", self.content_type));
        }
        if !self.edge {
            response.insert_header(("Via", "1.1 google"));
        }
        for (name, value) in &self.headers {
            response.insert_header((*name, value.as_str()));
        }
        match (self.body, self.transport, self.watch) {
            (Body::Bytes(bytes), Transport::Whole, None) => response.body(bytes),
            (body, transport, watch) => {
                let (length, flow) = outflow(body, transport, watch);
                response.body(SizedStream::new(length, flow))
            }
        }
    }
}

/// Lets the bytes written so far be sent before the connection is cut.
const PAUSE_BEFORE_CUT: Duration = Duration::from_millis(20);
/// Big enough that a huge body costs few polls.
const HUGE_CHUNK: usize = 64 * 1024;

/// Reports once whether all of a body was written; if it is dropped before, it was not.
struct Report(Option<Watch>);

impl Report {
    fn written(&mut self, whole: bool) {
        if let Some(watch) = self.0.take() {
            watch(whole);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.written(false);
    }
}

/// A body that is watched, cut off or slowed down; with its whole length.
fn outflow(body: Body, transport: Transport, watch: Option<Watch>) -> (u64, impl Stream<Item = io::Result<Bytes>>) {
    let mut whole = match body {
        Body::Bytes(bytes) => VecDeque::from([Bytes::from(bytes)]),
        Body::Huge(megabytes) => {
            let filler = Bytes::from(vec![b'x'; HUGE_CHUNK]);
            let mut chunks = VecDeque::from([Bytes::from_static(b"{\"padding\":\"")]);
            chunks.extend(std::iter::repeat_n(filler, megabytes * (1 << 20) / HUGE_CHUNK));
            chunks.push_back(Bytes::from_static(b"\"}"));
            chunks
        }
    };
    let length = whole.iter().map(|c| c.len() as u64).sum();
    let (chunks, pause, cut) = match transport {
        Transport::Whole => (whole, Duration::ZERO, false),
        Transport::CutBeforeAnyByte => (VecDeque::new(), Duration::ZERO, true),
        Transport::CutInBody => {
            whole.truncate(whole.len().div_ceil(2));
            if let Some(last) = whole.back_mut() {
                last.truncate(last.len() / 2);
            }
            (whole, PAUSE_BEFORE_CUT, true)
        }
        Transport::Drip(pause) => {
            let byte_by_byte = whole.iter().flat_map(|c| (0..c.len()).map(|i| c.slice(i..=i)));
            (byte_by_byte.collect(), pause, false)
        }
    };
    let begin = (chunks, Report(watch));
    let flow = futures_util::stream::unfold(begin, move |(mut chunks, mut report)| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match chunks.pop_front() {
            Some(chunk) => Some((Ok(chunk), (chunks, report))),
            // actix drops the connection when a body fails; bytes not yet flushed, even the head, are never sent.
            None if cut => Some((Err(io::Error::other("cut off by a fault")), (chunks, report))),
            None => {
                report.written(true);
                None
            }
        }
    });
    (length, flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use std::cell::Cell;
    use std::rc::Rc;

    fn drain(body: Body, transport: Transport) -> (Vec<u8>, Option<bool>, u64) {
        let reported = Rc::new(Cell::new(None));
        let watch = reported.clone();
        let (length, flow) = outflow(body, transport, Some(Box::new(move |w| watch.set(Some(w)))));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let parts = flow.take_while(|part| std::future::ready(part.is_ok())).collect();
        let parts: Vec<_> = runtime.block_on(parts);
        let out = parts.into_iter().flatten().flatten().collect();
        (out, reported.get(), length)
    }

    #[test]
    fn a_whole_answer_is_reported_as_written_and_a_cut_one_is_not() {
        let body = || Body::Bytes(b"{\"a\":1}".to_vec());
        assert_eq!(drain(body(), Transport::Whole), (b"{\"a\":1}".to_vec(), Some(true), 7));
        assert_eq!(drain(body(), Transport::CutBeforeAnyByte), (vec![], Some(false), 7));
        assert_eq!(drain(body(), Transport::CutInBody), (b"{\"a".to_vec(), Some(false), 7));
        let dripped = drain(body(), Transport::Drip(Duration::from_secs(1)));
        assert_eq!(dripped, (b"{\"a\":1}".to_vec(), Some(true), 7));
    }

    #[test]
    fn a_huge_answer_is_a_json_object_of_the_size_asked_for() {
        let (bytes, reported, length) = drain(Body::Huge(3), Transport::Whole);
        assert_eq!(reported, Some(true));
        assert_eq!(bytes.len() as u64, length);
        assert!(bytes.len() >= 3 << 20);
        assert!(serde_json::from_slice::<Value>(&bytes).expect("valid JSON").is_object());
    }
}
