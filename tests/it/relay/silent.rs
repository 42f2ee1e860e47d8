//! Connections that bring no whole request: however many are held, people get in, and every listener closes them. Six
//! kinds, from one address and from many.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{interval, sleep, timeout};

use super::direct::without_lanes;
use super::test_support::{Edge, SOON, free_port, runtime};
use crate::patience::until;
use crate::service::test_support::{KEY, Service};
use crate::tally::{Tally, tell};

/// How often a holder whose connection was closed opens another one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A head may take 5 s, a body 5 s more; the rest is for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(15);
const PEOPLE: u64 = 60;

/// What a connection sends at once, and then each second.
struct Kind<'b> {
    start: &'b [u8],
    drip: &'b [u8],
}

const fn kind<'b>(start: &'b [u8], drip: &'b [u8]) -> Kind<'b> {
    Kind { start, drip }
}

/// No bytes, half a head, a head without its body, a dripping head, a chunked body without end, pipelined garbage.
const KINDS: [Kind<'static>; 6] = [
    kind(b"", b""),
    kind(b"GET /callback?code=x HTTP/1.1\r\nHost: x\r\n", b""),
    kind(b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b""),
    kind(b"GET /", b"x"),
    kind(
        b"POST /callback HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1",
    ),
    kind(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n\x01\x02\x03 \r\n", b"\x04\r\n"),
];

/// Holds a connection open until the other side closes it.
async fn hold<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, kind: &Kind<'_>) {
    let mut seconds = interval(Duration::from_secs(1));
    let mut some = [0; 1024];
    let mut next = kind.start;
    loop {
        tokio::select! {
            read = stream.read(&mut some) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            _ = seconds.tick() => {
                if stream.write_all(next).await.is_err() {
                    return;
                }
                next = kind.drip;
            }
        }
    }
}

/// Connections of all kinds that are held, and opened again whenever they are closed, on a thread of their own.
struct Siege {
    connected: Arc<AtomicUsize>,
    _end: oneshot::Sender<()>,
}

impl Siege {
    /// So many at once, from so many addresses, none of which is the usual loopback or a proxy's.
    fn lay(port: u16, sockets: usize, addresses: usize) -> Self {
        let connected = Arc::new(AtomicUsize::new(0));
        let (end, ended) = oneshot::channel();
        let count = Arc::clone(&connected);
        std::thread::spawn(move || {
            let one = async |n: usize| {
                let from = IpAddr::from([127, 0, 1, (n % addresses) as u8 + 1]);
                loop {
                    if let Ok(stream) = connect(from, port).await {
                        count.fetch_add(1, Ordering::Relaxed);
                        hold(stream, &KINDS[n % KINDS.len()]).await;
                    }
                    sleep(AGAIN_AFTER).await;
                }
            };
            let all = async {
                tokio::select! {
                    _ = join_all((0..sockets).map(one)) => {}
                    _ = ended => {}
                }
            };
            runtime().block_on(all);
        });
        Self { connected, _end: end }
    }
}

async fn connect(from: IpAddr, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(([127, 0, 0, 1], port).into()).await
}

/// How many connections are held, with how many descriptors on the other side, and from how many addresses beside one.
fn size() -> (usize, u64, usize) {
    // The descriptors decide how many connections a listener keeps; either way more come than it does.
    if std::env::var_os("CODEFERRY_SLOW").is_none() {
        return (512, 256, 40);
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit may be used");
    (4096, 8192, 200)
}

/// Starts this command with so many descriptors; its log is there by that name.
fn start(edge: &Edge, command: &Command, descriptors: u64, log: &str) -> Service {
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    edge.site.start(limited, log)
}

/// Does this once with connections from one address, and once with connections from many.
fn while_besieged(port: u16, (sockets, _, addresses): (usize, u64, usize), of: &str, mut act: impl FnMut(u64, usize)) {
    for (round, addresses) in [1, addresses].into_iter().enumerate() {
        let siege = Siege::lay(port, sockets, addresses);
        let all = || siege.connected.load(Ordering::Relaxed) >= sockets;
        until(Duration::from_mins(2), "every connection is held", all);
        act(round as u64, addresses);
        let held = siege.connected.load(Ordering::Relaxed) as u64;
        drop(siege);
        tell(
            &format!("{of}: silent and dripping connections"),
            Tally {
                tried: held,
                survived: held,
                ..Tally::default()
            },
        );
    }
}

/// People come to this listener in both rounds, and every one of them gets in and completes.
fn people_sign_in(edge: &Edge, size: (usize, u64, usize), of: &str, listener: &Service) {
    while_besieged(edge.port, size, of, |round, addresses| {
        let told = edge.crowd(1 + round * PEOPLE, PEOPLE, 6).told();
        let log = listener.log();
        assert_eq!(told.len(), PEOPLE as usize, "{of}, from {addresses} addresses: {log}");
        until(SOON, "everyone completes", || {
            edge.completed().len() as u64 == PEOPLE * (round + 1)
        });
    });
    assert!(listener.log().contains("too many connections"), "{}", listener.log());
}

#[test]
fn people_sign_in_however_many_silent_connections_are_held() {
    let size = size();
    let edge = Edge::without_limits("");
    let service = edge.site.run_ready();
    let relay = start(&edge, &edge.command(&["relay"]), size.1, "relay.log");
    relay.logs("READY: callbacks are taken");
    people_sign_in(&edge, size, "relay", &relay);
    relay.drain();
    service.drain();
}

#[test]
fn people_sign_in_with_direct_intake_however_many_silent_connections_are_held() {
    let size = size();
    let edge = without_lanes("");
    let service = start(&edge, &edge.site.command(&["run"]), size.1, "service.log");
    service.ready();
    people_sign_in(&edge, size, "direct intake", &service);
    service.drain();
}

/// Opens the metrics and nothing else.
const METRICS_TOKEN: &str = "another-random-text-0123456789-abcdef";

/// Direct intake and the control interface, both over TCP.
fn with_control_over_tcp() -> (Edge, u16) {
    let control = free_port();
    let mut edge = without_lanes(&format!("[control]\nlisten = \"127.0.0.1:{control}\"\n"));
    for (name, token) in [
        ("CODEFERRY_CONTROL_TOKEN", KEY),
        ("CODEFERRY_METRICS_TOKEN", METRICS_TOKEN),
    ] {
        edge.site.variables.insert(name.to_owned(), token.to_owned());
    }
    (edge, control)
}

#[test]
fn metrics_are_read_over_tcp_however_many_silent_connections_are_held() {
    let size = size();
    let (edge, control) = with_control_over_tcp();
    let service = start(&edge, &edge.site.command(&["run"]), size.1, "service.log");
    service.ready();
    while_besieged(control, size, "control over TCP", |_, addresses| {
        for _ in 0..PEOPLE {
            let url = format!("http://127.0.0.1:{control}/v1/metrics");
            let answer = edge.send(edge.http.get(url).bearer_auth(METRICS_TOKEN));
            assert_eq!(answer.status, 200, "from {addresses} addresses: {}", service.log());
            assert!(answer.body.contains("codeferry_open_grants"), "{}", answer.body);
        }
    });
    service.drain();
}

#[test]
fn every_listener_closes_a_connection_that_brings_no_whole_request() {
    let (edge, control) = with_control_over_tcp();
    let service = edge.site.run_ready();
    let socket = edge.site.path("data/control.sock");
    let here = IpAddr::from([127, 0, 0, 1]);
    // Whoever has a token is bounded too.
    let head = |line: &str, token: &str, of_body: &str| {
        format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{of_body}\r\n\r\n")
    };
    let (length, chunked) = ("Content-Length: 9", "Transfer-Encoding: chunked");
    let authorized = [
        head("POST /v1/links", KEY, length),
        head("POST /v1/links", KEY, chunked),
        head("GET /v1/metrics", METRICS_TOKEN, length),
        head("GET /v1/metrics", METRICS_TOKEN, chunked),
    ];
    let with_token = authorized.iter().map(|head| kind(head.as_bytes(), b""));
    let kinds: Vec<Kind<'_>> = KINDS.into_iter().chain(with_token).collect();
    let closed = async |listener: &str, n: usize| {
        let kind = &kinds[n];
        let held = async {
            match listener {
                "direct intake" => hold(connect(here, edge.port).await.expect("connected"), kind).await,
                "control" => hold(connect(here, control).await.expect("connected"), kind).await,
                _ => hold(UnixStream::connect(&socket).await.expect("connected"), kind).await,
            }
        };
        let ended = timeout(CLOSED_WITHIN, held).await;
        assert!(ended.is_ok(), "{listener}, kind {n}: still open");
    };
    let all = ["direct intake", "control", "the socket"]
        .into_iter()
        .flat_map(|listener| (0..KINDS.len() + authorized.len()).map(move |n| (listener, n)))
        .map(|(listener, n)| closed(listener, n));
    edge.runtime.block_on(join_all(all));
    service.drain();
}

#[test]
fn an_answer_that_leaves_a_body_unread_closes_the_connection() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let mut socket = TcpStream::connect(("127.0.0.1", edge.port)).expect("connected");
    socket.set_read_timeout(Some(CLOSED_WITHIN)).expect("a timeout");
    socket.write_all(KINDS[4].start).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("closed in time");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    relay.drain();
}
