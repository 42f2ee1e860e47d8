//! One WebSocket: HELLO, heartbeats, IDENTIFY or RESUME, and the close codes for a misbehaving client.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseReason, Message, MessageStream, Session};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::hub::{Gateway, Out, text};

/// Larger frames from a client are refused with 4002.
const FRAME_LIMIT: usize = 4096;

/// The WebSocket handler.
pub fn serve(gateway: &Gateway, request: &HttpRequest, payload: web::Payload) -> actix_web::Result<HttpResponse> {
    if gateway.refuses() {
        return Ok(HttpResponse::ServiceUnavailable().force_close().finish());
    }
    let (response, session, frames) = actix_ws::handle(request, payload)?;
    // Larger than FRAME_LIMIT, so that an oversized frame arrives here and is closed with Discord's code.
    let frames = frames.max_frame_size(1 << 20);
    serve_beside(run(gateway.clone(), session, frames));
    Ok(response)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a connection belongs to the web server's thread and ends with it"
)]
fn serve_beside(connection: impl Future<Output = ()> + 'static) {
    actix_web::rt::spawn(connection);
}

/// Speaks the protocol until the connection ends.
async fn run(gateway: Gateway, mut socket: Session, mut frames: MessageStream) {
    let (out, mut outgoing) = unbounded_channel();
    let id = gateway.connect(out.clone());
    let interval = Duration::from_millis(gateway.settings().heartbeat_interval_ms);
    let hello = json!({ "op": 10, "d": { "heartbeat_interval": interval.as_millis() as u64 }, "s": null, "t": null });
    let mut client = Client {
        gateway: gateway.clone(),
        id,
        out: out.clone(),
        identified: false,
        recent: VecDeque::new(),
    };
    let _ = out.send(text(&hello));
    let mut last_heartbeat = Instant::now();
    let mut ends_session = false;
    loop {
        // Discord closes a connection that has been silent for about two intervals.
        let silent_at = last_heartbeat + interval * 2 + Duration::from_secs(5);
        tokio::select! {
            biased;
            going = outgoing.recv() => match going {
                Some(Out::Text(frame)) => {
                    if socket.text(&*frame).await.is_err() {
                        break;
                    }
                }
                Some(Out::Close(code)) => {
                    let _ = socket.close(code.map(|code| CloseReason { code: code.into(), description: None })).await;
                    break;
                }
                Some(Out::Drop) | None => break,
            },
            frame = frames.next() => match frame {
                Some(Ok(Message::Text(frame))) => {
                    let beat = client.take(&frame);
                    if beat {
                        last_heartbeat = Instant::now();
                    }
                }
                Some(Ok(Message::Binary(frame))) => {
                    if let Ok(frame) = std::str::from_utf8(&frame)
                        && client.take(frame)
                    {
                        last_heartbeat = Instant::now();
                    }
                }
                Some(Ok(Message::Ping(bytes))) => {
                    let _ = socket.pong(&bytes).await;
                }
                Some(Ok(Message::Close(reason))) => {
                    ends_session = reason.as_ref().is_some_and(|r| matches!(u16::from(r.code), 1000 | 1001));
                    let _ = socket.close(reason).await;
                    break;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
            () = tokio::time::sleep_until(silent_at) => {
                let _ = out.send(Out::Close(Some(4009)));
                last_heartbeat = Instant::now();
            }
        }
    }
    gateway.disconnect(id, ends_session);
}

struct Client {
    gateway: Gateway,
    id: u64,
    out: UnboundedSender<Out>,
    identified: bool,
    /// Arrival times of the last minute's frames.
    recent: VecDeque<Instant>,
}

impl Client {
    /// Handles one frame; returns whether it was a heartbeat.
    fn take(&mut self, frame: &str) -> bool {
        let now = Instant::now();
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) > Duration::from_mins(1))
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > self.gateway.settings().frames_per_minute {
            self.send(Out::Close(Some(4008)));
            return false;
        }
        if frame.len() > FRAME_LIMIT {
            self.send(Out::Close(Some(4002)));
            return false;
        }
        let Ok(frame) = serde_json::from_str::<Value>(frame) else {
            self.send(Out::Close(Some(4002)));
            return false;
        };
        let begun = match (frame["op"].as_u64(), self.identified) {
            (Some(1), _) => {
                if self.gateway.heartbeat() {
                    self.send(text(&json!({ "op": 11, "d": null, "s": null, "t": null })));
                }
                return true;
            }
            (Some(2 | 6), true) => Err(Out::Close(Some(4005))),
            (Some(2), false) => self.gateway.identify(self.id, &self.out, &frame["d"]),
            (Some(6), false) => self.gateway.resume(self.id, &self.out, &frame["d"]),
            (Some(3 | 4 | 8 | 31 | 43), true) => return false,
            (Some(3 | 4 | 8 | 31 | 43), false) => Err(Out::Close(Some(4003))),
            (Some(_), _) => Err(Out::Close(Some(4001))),
            (None, _) => Err(Out::Close(Some(4002))),
        };
        match begun {
            Ok(()) => self.identified = true,
            Err(refusal) => self.send(refusal),
        }
        false
    }

    fn send(&self, out: Out) {
        let _ = self.out.send(out);
    }
}
