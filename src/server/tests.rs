//! One connection over an in-memory stream, in virtual time, and the rules of who gives way. The handler answers a `POST`
//! to `/read` with its body's length, `/large` with much, and everything else without a look at the body.

use std::future::pending;

use futures_util::stream::unfold;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::bounds::{AGE, OF_ONE_ADDRESS, UNREAD};
use super::*;

async fn answer(request: Request) -> Answer {
    match (request.method(), request.path()) {
        (&Method::POST, "/read") => match request.body(100).await {
            Ok(body) => with_body(StatusCode::OK, "text/plain", body.len().to_string()),
            Err(status) => empty(status),
        },
        (_, "/large") => with_body(StatusCode::OK, "text/plain", vec![b'x'; 1 << 20]),
        (_, "/events") => {
            let ticks = unfold(0, async |n: u32| {
                sleep(Duration::from_secs(15)).await;
                (n < 40).then(|| (Bytes::from(vec![b'x'; 1000]), n + 1))
            });
            events(ticks)
        }
        (_, "/slow") => {
            sleep(Duration::from_secs(30)).await;
            empty(StatusCode::OK)
        }
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// What a client is told until the connection is closed, and how long that takes.
async fn until_closed(client: impl AsyncFn(DuplexStream) -> String) -> (String, Duration) {
    let (ours, theirs) = duplex(4096);
    let (stop, stopping) = watch::channel(());
    let began = Instant::now();
    let serving = serve(ours, None, Rc::new(Pace::new()), 8192, Rc::new(answer), stopping);
    let connection = async {
        serving.await;
        began.elapsed()
    };
    let (told, took) = tokio::join!(client(theirs), connection);
    drop(stop);
    (told, took)
}

/// Sends this, and goes on with another byte each second; reads what comes.
async fn drip(start: &str, rest: Option<u8>) -> (String, Duration) {
    until_closed(async |stream: DuplexStream| {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let mut told = Vec::new();
        let dripping = async {
            writing.write_all(start.as_bytes()).await.expect("room for it");
            loop {
                sleep(Duration::from_secs(1)).await;
                if let Some(byte) = rest
                    && writing.write_all(&[byte]).await.is_err()
                {
                    pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = dripping => {}
            _ = reading.read_to_end(&mut told) => {}
        }
        String::from_utf8_lossy(&told).into_owned()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_brings_no_whole_request_is_closed_within_seconds() {
    let chunked = "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, start, rest, answered, within) in [
        ("no bytes", "", None, "", WAIT),
        ("half a head", "GET /x HTTP/1.1\r\nHost:", None, "", WAIT),
        ("a dripping head", "GET /", Some(b'x'), "", WAIT),
        (
            "a head without its body",
            "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
            None,
            "",
            WAIT,
        ),
        ("a chunked body that does not come", chunked, None, "", WAIT),
        ("a chunked body that drips", chunked, Some(b'1'), "", WAIT),
        (
            "an unread body",
            "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some(b'1'),
            "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\n",
            WAIT,
        ),
        (
            "garbage after a request",
            "GET /x HTTP/1.1\r\nHost: x\r\n\r\n\x01\x02\r\n\r\n",
            Some(b'x'),
            "HTTP/1.1 405 Method Not Allowed\r\n",
            WAIT,
        ),
    ] {
        let (told, took) = drip(start, rest).await;
        assert!(
            took <= within + Duration::from_millis(10),
            "{what}: {took:?}, told {told}"
        );
        assert!(
            told.starts_with(answered) && told.is_empty() == answered.is_empty(),
            "{what}: {told}"
        );
    }
}

/// Asks every few seconds on one connection: how many answers come, and how long it lasts.
async fn asks_every(seconds: u64, path: &str) -> (usize, Duration) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (told, took) = until_closed(async |mut stream: DuplexStream| {
        let mut told = String::new();
        let mut some = [0; 4096];
        while stream.write_all(request.as_bytes()).await.is_ok() {
            let Ok(1..) = stream.read(&mut some).await.inspect(|n| {
                told.push_str(&String::from_utf8_lossy(&some[..*n]));
            }) else {
                break;
            };
            sleep(Duration::from_secs(seconds)).await;
        }
        told
    })
    .await;
    (told.matches("HTTP/1.1 ").count(), took)
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_ask_again_but_waits_and_age_are_bounded_in_all() {
    let (answers, took) = asks_every(3, "/").await;
    // The last answer says that the connection closes: the next request would race with its end.
    assert_eq!(
        (answers, took),
        (6, Duration::from_secs(18)),
        "one at once, then one every 3 s; the client notices at its next"
    );
    let (answers, took) = asks_every(0, "/slow").await;
    assert_eq!((answers, took), (2, AGE / 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answers_is_closed_and_asks_no_more() {
    for path in ["/", "/large"] {
        let (_, took) = until_closed(async |stream: DuplexStream| asks_and_never_reads(stream, path).await).await;
        assert!(took <= WAIT + Duration::from_millis(10), "{path}: {took:?}");
    }
}

/// Asks as fast as the server reads. The stream and the server's buffer hold some hundred requests.
async fn asks_and_never_reads(mut stream: DuplexStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut sent = 0;
    while timeout(Duration::from_mins(1), stream.write_all(request.as_bytes()))
        .await
        .is_ok_and(|written| written.is_ok())
    {
        sent += 1;
        assert!(sent < 2_000, "requests pile up");
    }
    String::new()
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_up_to_its_bound() {
    for (length, status) in [(100, "200 OK"), (101, "413 Payload Too Large")] {
        let body = "x".repeat(length);
        let request =
            format!("POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        let (told, _) = drip(&request, None).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{told}");
    }
}

/// A listener's connections without tasks behind them.
struct Room {
    open: Open,
    paces: Vec<Rc<Pace>>,
}

impl Room {
    fn new(most: usize) -> Self {
        Self {
            open: Open::new("test", most),
            paces: Vec::new(),
        }
    }

    /// Opens one; whether there was room.
    fn opens(&mut self, address: &str) -> bool {
        let Some(seat) = self.open.seat(Some(address.parse().expect("an address"))) else {
            return false;
        };
        let pace = Rc::new(Pace::new());
        self.paces.push(Rc::clone(&pace));
        self.open.take(seat, pace, spawn_local(pending::<()>()).abort_handle());
        true
    }

    /// Which of those that were opened are open still.
    fn stay(&self) -> Vec<usize> {
        let held = |pace: &Rc<Pace>| Rc::strong_count(pace) > 1;
        (0..self.paces.len()).filter(|n| held(&self.paces[*n])).collect()
    }
}

#[tokio::test]
async fn the_oldest_connection_without_a_whole_request_gives_way() {
    let rules = async {
        let mut room = Room::new(3);
        for n in 0..3 {
            assert!(room.opens(&format!("203.0.113.{n}")));
        }
        room.paces[0].has_whole_request();
        assert!(room.opens("203.0.113.9"));
        assert_eq!(room.stay(), [0, 2, 3], "1 was the oldest without a request");
        for n in [2, 3] {
            room.paces[n].has_whole_request();
        }
        assert!(!room.opens("203.0.113.10"), "all are being answered");
        assert_eq!(room.stay(), [0, 2, 3]);
        room.paces[3].waits();
        assert!(room.opens("203.0.113.11"));
        assert_eq!(room.stay(), [0, 2, 4]);
    };
    LocalSet::new().run_until(rules).await;
}

#[tokio::test]
async fn one_address_has_a_bound_of_its_own_and_loopback_has_none() {
    let rules = async {
        let mut room = Room::new(1000);
        assert!(room.opens("198.51.100.1"));
        for n in 0..=OF_ONE_ADDRESS {
            assert!(room.opens(&format!("2001:db8::{n:x}")), "one /64 is one subscriber");
        }
        assert_eq!(room.stay().len(), OF_ONE_ADDRESS + 1);
        assert_eq!(room.stay()[..2], [0, 2], "the oldest of that network alone gave way");
        let before = room.stay().len();
        for _ in 0..2 * OF_ONE_ADDRESS {
            assert!(room.opens("127.0.0.1") && room.opens("::1") && room.opens("::ffff:127.0.0.1"));
        }
        assert_eq!(room.stay().len(), before + 6 * OF_ONE_ADDRESS);
        for _ in 0..2 * OF_ONE_ADDRESS {
            assert!(room.opens("127.0.0.3"));
        }
        assert_eq!(
            room.stay().len(),
            before + 7 * OF_ONE_ADDRESS,
            "only the usual loopback"
        );
    };
    LocalSet::new().run_until(rules).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_on_lasts_while_its_client_reads_and_not_longer() {
    let request = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let (told, took) = until_closed(async |mut stream: DuplexStream| {
        stream.write_all(request).await.expect("room for it");
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told).await;
        String::from_utf8_lossy(&told).into_owned()
    })
    .await;
    assert!(
        told.contains("connection: close") && told.matches('x').count() > 40_000,
        "{}",
        told.len()
    );
    assert!(
        (Duration::from_mins(10)..Duration::from_secs(620)).contains(&took),
        "{took:?}"
    );

    let (_, took) = until_closed(async |mut stream: DuplexStream| {
        stream.write_all(request).await.expect("room for it");
        sleep(Duration::from_secs(500)).await;
        String::new()
    })
    .await;
    // Four parts fit into what is between the two.
    assert!(took < Duration::from_secs(75) + UNREAD, "{took:?}");
}
