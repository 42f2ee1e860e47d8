//! One WebSocket: HELLO, heartbeats, IDENTIFY or RESUME, and the close codes for a misbehaving client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{CloseReason, Message, MessageStream};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::hub::Out;
use super::state::State;

/// Larger frames from a client are refused with 4002.
const FRAME_LIMIT: usize = 4096;

/// The WebSocket handler.
pub async fn serve(state: Data<State>, request: HttpRequest, payload: Payload) -> actix_web::Result<HttpResponse> {
    if state.lock().hub.refuses() {
        return Ok(HttpResponse::ServiceUnavailable().force_close().finish());
    }
    let (response, session, frames) = actix_ws::handle(&request, payload)?;
    // Larger than FRAME_LIMIT, so that an oversized frame arrives here and is closed with Discord's code.
    let frames = frames.max_frame_size(1 << 20);
    serve_beside(run(state.into_inner(), session, frames));
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
async fn run(state: Arc<State>, mut socket: actix_ws::Session, mut frames: MessageStream) {
    if state.lock().hub.is_mute() {
        while frames.next().await.is_some_and(|frame| frame.is_ok()) {}
        return;
    }
    let (out, mut outgoing) = unbounded_channel();
    let (id, heartbeat_ms) = {
        let hub = &mut state.lock().hub;
        (hub.connect(out.clone()), hub.settings.heartbeat_interval_ms)
    };
    let send = |frame| drop(out.send(frame));
    send(Out::op(10, &json!({ "heartbeat_interval": heartbeat_ms })));
    let mut client = Client {
        state: Arc::clone(&state),
        id,
        out: out.clone(),
        identified: false,
        recent: VecDeque::new(),
    };
    let mut last_heartbeat = Instant::now();
    let mut ends_session = false;
    loop {
        // Discord closes a connection that has been silent for about two intervals.
        let silent_at = last_heartbeat + Duration::from_millis(heartbeat_ms) * 2 + Duration::from_secs(5);
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
            frame = frames.next() => {
                let frame = match frame {
                    Some(Ok(Message::Text(frame))) => frame.into_bytes(),
                    Some(Ok(Message::Binary(frame))) => frame,
                    Some(Ok(Message::Ping(bytes))) => {
                        let _ = socket.pong(&bytes).await;
                        continue;
                    }
                    Some(Ok(Message::Close(reason))) => {
                        ends_session = reason.as_ref().is_some_and(|r| matches!(u16::from(r.code), 1000 | 1001));
                        let _ = socket.close(reason).await;
                        break;
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => break,
                };
                match client.take(&frame) {
                    Ok(true) => last_heartbeat = Instant::now(),
                    Ok(false) => {}
                    Err(refusal) => send(refusal),
                }
            }
            () = tokio::time::sleep_until(silent_at) => {
                send(Out::close(4009));
                last_heartbeat = Instant::now();
            }
        }
    }
    state.lock().hub.disconnect(id, ends_session);
}

struct Client {
    state: Arc<State>,
    id: u64,
    out: UnboundedSender<Out>,
    identified: bool,
    /// Arrival times of the last minute's frames.
    recent: VecDeque<Instant>,
}

impl Client {
    /// Handles one frame; returns whether it was a heartbeat. `Err` is what the client gets instead.
    fn take(&mut self, frame: &[u8]) -> Result<bool, Out> {
        let inner = &mut *self.state.lock();
        let now = Instant::now();
        self.recent.push_back(now);
        self.recent
            .retain(|at| now.duration_since(*at) <= Duration::from_mins(1));
        if self.recent.len() > inner.hub.settings.frames_per_minute {
            return Err(Out::close(4008));
        }
        if frame.len() > FRAME_LIMIT {
            return Err(Out::close(4002));
        }
        let frame: Value = serde_json::from_slice(frame).map_err(|_| Out::close(4002))?;
        let op = frame["op"].as_u64().ok_or(Out::close(4002))?;
        let d = &frame["d"];
        match (op, self.identified) {
            (1, _) => {
                if !inner.hub.no_acks {
                    let _ = self.out.send(Out::op(11, &Value::Null));
                }
                return Ok(true);
            }
            (2 | 6, true) => return Err(Out::close(4005)),
            (2, false) => inner.hub.identify(&inner.world, self.id, &self.out, d)?,
            (6, false) => inner.hub.resume(&inner.world, self.id, &self.out, d)?,
            (3 | 4 | 8 | 31 | 43, true) => {}
            (3 | 4 | 8 | 31 | 43, false) => return Err(Out::close(4003)),
            _ => return Err(Out::close(4001)),
        }
        self.identified |= matches!(op, 2 | 6);
        Ok(false)
    }
}
