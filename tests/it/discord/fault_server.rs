//! An HTTP server that sends the answers it was given, byte by byte, and remembers the requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// What to do with one request.
#[derive(Debug, Clone)]
pub enum Play {
    /// These bytes; the connection stays open.
    Answer(Vec<u8>),
    /// These bytes, then the connection is closed.
    Cut(Vec<u8>),
    /// These bytes, then one a second for ever.
    Drip(Vec<u8>),
    /// These bytes, then so many mebibytes of spaces.
    Flood(Vec<u8>, usize),
    /// The connection is reset once the request was read.
    Reset,
    /// Nothing at all.
    Hang,
    /// These bytes, after a pause.
    Late(Vec<u8>, Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// Every header line, the name in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Seen {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The server; it ends with the test's runtime.
pub struct FaultServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl FaultServer {
    /// Answers the requests with these plays in turn; the last one is repeated.
    pub async fn start(plays: Vec<Play>) -> Self {
        Self::run(plays, false).await
    }

    /// Resets every connection before anything is read.
    pub async fn resetting() -> Self {
        Self::run(vec![Play::Hang], true).await
    }

    async fn run(plays: Vec<Play>, reset_at_once: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (log, opened, next) = (Arc::clone(&seen), Arc::clone(&connections), Arc::default());
        let (plays, next): (Arc<Vec<Play>>, Arc<AtomicUsize>) = (Arc::new(plays), next);
        spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                opened.fetch_add(1, Ordering::SeqCst);
                if reset_at_once {
                    reset(stream);
                    continue;
                }
                spawn(converse(
                    stream,
                    Arc::clone(&plays),
                    Arc::clone(&next),
                    Arc::clone(&log),
                ));
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub async fn seen(&self) -> Vec<Seen> {
        self.seen.lock().await.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address on loopback without a listener.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    listener.local_addr().expect("bound")
}

/// A whole answer. `headers` is zero or more lines, each ended by `\r\n`.
pub fn answer(status: u16, content_type: &str, headers: &str, body: &str) -> Play {
    let kind = if content_type.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {content_type}\r\n")
    };
    Play::Answer(
        format!(
            "HTTP/1.1 {status} X\r\nVia: 1.1 google\r\n{kind}{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

/// A 429 of Discord's edge, which sends no `Via`. `headers` is zero or more lines, each ended by `\r\n`.
pub fn edge(content_type: &str, headers: &str, body: &str) -> Play {
    let length = body.len();
    Play::Answer(
        format!("HTTP/1.1 429 X\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// A JSON answer of Discord's API.
pub fn json(status: u16, body: &str) -> Play {
    answer(status, "application/json", "", body)
}

/// The head of a JSON answer that promises `length` bytes.
pub fn head(status: u16, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// The head of a JSON answer of unknown length.
pub fn endless_head(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n").into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "the task ends with the test's own runtime")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("the socket is open");
}

async fn converse(mut stream: TcpStream, plays: Arc<Vec<Play>>, next: Arc<AtomicUsize>, log: Arc<Mutex<Vec<Seen>>>) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().await.push(request);
        let turn = next.fetch_add(1, Ordering::SeqCst).min(plays.len() - 1);
        let told = match plays[turn].clone() {
            Play::Answer(bytes) => stream.write_all(&bytes).await,
            Play::Cut(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Play::Drip(bytes) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(b" ").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                return;
            }
            Play::Flood(bytes, mebibytes) => {
                let _ = stream.write_all(&bytes).await;
                let chunk = vec![b' '; 1 << 20];
                for _ in 0..mebibytes {
                    if stream.write_all(&chunk).await.is_err() {
                        return;
                    }
                }
                return;
            }
            Play::Reset => return reset(stream),
            Play::Hang => std::future::pending().await,
            Play::Late(bytes, pause) => {
                sleep(pause).await;
                stream.write_all(&bytes).await
            }
        };
        if told.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length");
    let length: usize = length.map_or(0, |(_, v)| v.parse().expect("a number"));
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).ok()?;
    Some(Seen { line, headers, body })
}
