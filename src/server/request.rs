//! A request as handlers see it, and the answers they make.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::bounds::Pace;

/// What a handler answers.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Marks an answer that goes on as long as its client reads: the age of its connection is not bounded. Only a handler
/// that knows who asks may give one.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoesOn;

/// A request whose head has come.
pub struct Request {
    /// Method, URI and headers.
    pub head: Parts,
    /// Who is connected: the client or a proxy. `None` on a unix socket.
    pub peer: Option<IpAddr>,
    body: Incoming,
    pace: Rc<Pace>,
}

impl Request {
    pub(super) fn new(head: Parts, peer: Option<IpAddr>, body: Incoming, pace: Rc<Pace>) -> Self {
        Self { head, peer, body, pace }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path, as it was sent.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// What follows the question mark.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// A header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The whole body, of at most so many bytes; 413 if it is longer, 400 if the client broke off.
    pub async fn body(self, most: usize) -> Result<Bytes, StatusCode> {
        if self.body.size_hint().lower() > most as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let whole = Limited::new(self.body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            }
        })?;
        self.pace.has_whole_request();
        Ok(whole.to_bytes())
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// An answer with a body.
pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Full::new(body.into()).boxed_unsync();
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Server-sent events (HTML standard, section 9.2): an answer that ends with the stream.
pub fn events(parts: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let mut answer = with_body(StatusCode::OK, "text/event-stream", "");
    let frames = parts.map(|part| Ok(Frame::data(part)));
    *answer.body_mut() = StreamBody::new(frames).boxed_unsync();
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.extensions_mut().insert(GoesOn);
    answer
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => with_body(status, "application/json", text),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
