//! The least of a gateway: HELLO, READY, RESUMED, and whatever fault the test orders.

#![expect(
    clippy::disallowed_types,
    reason = "the test changes what the stub's own thread does"
)]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use actix_ws::{CloseCode, CloseReason, Message};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

/// What the test tells every open connection to do.
#[derive(Debug, Clone)]
pub enum Order {
    /// Send this text.
    Send(String),
    /// Send a close frame with this code, or without any.
    Close(Option<u16>),
    /// Drop the connection without a close frame.
    Drop,
    /// Acknowledge no heartbeat from now on.
    Deafen,
}

/// What a client sent.
#[derive(Debug)]
pub enum Heard {
    /// A payload.
    Payload(Value),
    /// A close frame with this code.
    Close(Option<u16>),
}

/// The gateway, with the REST route that names it.
pub struct GatewayStub {
    address: SocketAddr,
    orders: broadcast::Sender<Order>,
    heard: mpsc::UnboundedReceiver<Heard>,
    close_on_identify: Arc<AtomicU16>,
    behaviour: Arc<Mutex<Behaviour>>,
}

/// What the stub does by itself.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// HELLO's interval. Discord's own by default: nothing in a test may depend on a heartbeat.
    pub heartbeat_ms: u64,
    /// The number of `session_start_limit.remaining`.
    pub starts_left: u64,
    /// `session_start_limit.reset_after`.
    pub reset_after_ms: u64,
    /// Whether a new connection is left without HELLO.
    pub silent: bool,
    /// Where READY says that sessions are resumed; nobody listens there by default.
    pub resume_url: String,
}

#[derive(Clone)]
struct Shared {
    url: String,
    orders: broadcast::Sender<Order>,
    heard: mpsc::UnboundedSender<Heard>,
    close_on_identify: Arc<AtomicU16>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl GatewayStub {
    /// Starts it on a thread of its own, which ends with the process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let (orders, _) = broadcast::channel(100);
        let (sender, heard) = mpsc::unbounded_channel();
        let close_on_identify = Arc::new(AtomicU16::new(0));
        let behaviour = Arc::new(Mutex::new(Behaviour {
            heartbeat_ms: 41_250,
            starts_left: 1000,
            reset_after_ms: 3_600_000,
            silent: false,
            resume_url: "ws://127.0.0.1:1".to_owned(),
        }));
        let shared = Shared {
            url: format!("ws://{address}/socket"),
            orders: orders.clone(),
            heard: sender,
            close_on_identify: Arc::clone(&close_on_identify),
            behaviour: Arc::clone(&behaviour),
        };
        thread::spawn(move || {
            rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::new(shared.clone()))
                        .route("/api/v10/gateway/bot", web::get().to(name))
                        .route("/socket", web::get().to(socket))
                };
                let server = HttpServer::new(app).workers(1).disable_signals();
                server.listen(listener).expect("listening").run().await
            })
        });
        Self {
            address,
            orders,
            heard,
            close_on_identify,
            behaviour,
        }
    }

    /// Changes what the stub does by itself.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().expect("no test panics with it"));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers every IDENTIFY with this close code.
    pub fn refuse_identify(&self, code: u16) {
        self.close_on_identify.store(code, Ordering::SeqCst);
    }

    /// Tells every open connection.
    pub fn order(&self, order: Order) {
        self.orders.send(order).expect("a connection is open");
    }

    /// Dispatches an event.
    pub fn dispatch(&self, sequence: u64, kind: &str, data: &Value) {
        self.order(Order::Send(
            json!({"op": 0, "s": sequence, "t": kind, "d": data}).to_string(),
        ));
    }

    /// Waits for a payload with this opcode and returns its data; every other one is skipped.
    pub async fn payload(&mut self, op: u64) -> Value {
        loop {
            match self.heard.recv().await.expect("the stub lives") {
                Heard::Payload(mut p) if p["op"] == op => return p["d"].take(),
                _ => {}
            }
        }
    }

    /// Waits for a close frame.
    pub async fn close(&mut self) -> Option<u16> {
        loop {
            if let Heard::Close(code) = self.heard.recv().await.expect("the stub lives") {
                return code;
            }
        }
    }
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().expect("no test panics with it").clone()
    }
}

async fn name(shared: web::Data<Shared>) -> HttpResponse {
    let behaviour = shared.behaviour();
    let limit = json!({"total": 1000, "remaining": behaviour.starts_left, "reset_after": behaviour.reset_after_ms,
        "max_concurrency": 1});
    HttpResponse::Ok().json(json!({"url": shared.url, "shards": 1, "session_start_limit": limit}))
}

async fn socket(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, session, messages) = actix_ws::handle(&request, payload)?;
    serve_beside(converse(session, messages, shared));
    Ok(response)
}

async fn converse(mut session: actix_ws::Session, mut messages: actix_ws::MessageStream, shared: web::Data<Shared>) {
    let mut orders = shared.orders.subscribe();
    let behaviour = shared.behaviour();
    if !behaviour.silent {
        let hello = json!({"op": 10, "d": {"heartbeat_interval": behaviour.heartbeat_ms}, "s": null, "t": null});
        let _ = session.text(hello.to_string()).await;
    }
    let mut deaf = false;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Ok(Order::Send(text)) => { let _ = session.text(text).await; }
                Ok(Order::Close(code)) => {
                    let reason = code.map(|code| CloseReason { code: CloseCode::from(code), description: None });
                    let _ = session.close(reason).await;
                    return;
                }
                Ok(Order::Deafen) => deaf = true,
                Ok(Order::Drop) | Err(_) => return,
            },
            message = messages.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let payload: Value = serde_json::from_str(&text).expect("a payload is JSON");
                    let op = payload["op"].as_u64();
                    let _ = shared.heard.send(Heard::Payload(payload));
                    let refused = shared.close_on_identify.load(Ordering::SeqCst);
                    match op {
                        Some(2) if refused != 0 => {
                            let reason = CloseReason { code: CloseCode::from(refused), description: None };
                            let _ = session.close(Some(reason)).await;
                            return;
                        }
                        Some(1) if !deaf => { let _ = session.text(json!({"op": 11, "d": null}).to_string()).await; }
                        Some(2) => { let _ = session.text(ready(&behaviour.resume_url)).await; }
                        Some(6) => { let _ = session.text(json!({"op": 0, "s": 2, "t": "RESUMED", "d": {}}).to_string()).await; }
                        _ => {}
                    }
                }
                Some(Ok(Message::Close(reason))) => {
                    let _ = shared.heard.send(Heard::Close(reason.as_ref().map(|r| r.code.into())));
                    let _ = session.close(reason).await;
                    return;
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

fn ready(resume_url: &str) -> String {
    let user = json!({"id": "1536000000000000009", "username": "door", "discriminator": "4242", "bot": true,
        "avatar": null, "verified": true, "mfa_enabled": false, "flags": 0, "email": null, "global_name": null});
    let data = json!({"v": 10, "user": user, "guilds": [], "session_id": "0123456789abcdef",
        "resume_gateway_url": resume_url, "shard": [0, 1],
        "application": {"id": "1536000000000000001", "flags": 0}});
    json!({"op": 0, "s": 1, "t": "READY", "d": data}).to_string()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a connection belongs to the stub's own thread and ends with it"
)]
fn serve_beside(connection: impl Future<Output = ()> + 'static) {
    rt::spawn(connection);
}
