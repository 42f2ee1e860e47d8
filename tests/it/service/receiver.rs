//! An application that receives callbacks: a few lines of HTTP on loopback, with a status of one's choice.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver as Channel, channel};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// One callback as it came.
pub struct Callback {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What it was answered with.
    pub status: u16,
}

/// A running receiver.
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    status: Arc<AtomicU16>,
    coming: Channel<Callback>,
    came: RefCell<Vec<Callback>>,
}

impl Receiver {
    /// Answers with this status from now on.
    pub fn new(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/codeferry", listener.local_addr().expect("its address"));
        let status = Arc::new(AtomicU16::new(status));
        let (tell, coming) = channel();
        let answer = Arc::clone(&status);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let status = answer.load(Ordering::SeqCst);
                // A client that breaks off is no callback; a test that has ended hears no more.
                if let Some(callback) = serve(connection, status)
                    && tell.send(callback).is_err()
                {
                    return;
                }
            }
        });
        Self {
            url,
            status,
            coming,
            came: RefCell::default(),
        }
    }

    /// Changes the answer.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Looks at everything that came so far.
    pub fn look<T>(&self, at: impl FnOnce(&[Callback]) -> T) -> T {
        let mut came = self.came.borrow_mut();
        came.extend(self.coming.try_iter());
        at(&came)
    }

    /// How many callbacks were answered with this status.
    pub fn count(&self, status: u16) -> usize {
        self.look(|came| came.iter().filter(|c| c.status == status).count())
    }
}

fn serve(connection: TcpStream, status: u16) -> Option<Callback> {
    let mut reader = BufReader::new(connection);
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    reader.into_inner().write_all(answer.as_bytes()).ok()?;
    Some(Callback { headers, body, status })
}
