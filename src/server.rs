//! HTTP/1 for every listener: each on a thread of its own, that sleeps while no connection is open. Who may connect, and
//! how long a connection may stay, stand in `bounds`; what is answered is the handler's.

mod bounds;
pub mod local;
mod request;
mod socket;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use self::bounds::subscriber;
use self::bounds::{Open, Pace, WAIT};
use self::request::GoesOn;
pub use self::request::{Answer, Request, empty, events, json, with_body};
use self::socket::Socket;

/// Connections that wait for `accept`. The standard library's 128 are full at once where many open connections.
const BACKLOG: i32 = 1024;
/// How long no connection is accepted after the system had no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How long the connections that are open when the server stops may take to end.
const LAST_ANSWERS: Duration = Duration::from_secs(4);

/// Where a server listens.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A socket of the file system, whose permissions say who may connect.
    Unix(UnixListener),
}

/// What a server needs beside its handler.
#[derive(Debug)]
pub struct Settings {
    /// For the log, and the name of its thread.
    pub name: &'static str,
    /// Open connections at the same time; see [`descriptors`].
    pub connections: usize,
    /// The longest head of a request in bytes, of 8 KiB at least.
    pub longest_head: usize,
    /// Networks without a bound for each address, as loopback is.
    pub trusted: Vec<IpNet>,
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// A share of the descriptors that this process may have open: one of so many equal parts, and `most` at most.
pub fn descriptors(parts: u64, most: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let part = limit.map_or(u64::MAX, |limit| limit / parts);
    usize::try_from(part).unwrap_or(usize::MAX).clamp(8, most)
}

impl Server {
    /// Serves. `make` is called on the server's thread, and makes what answers each request.
    pub fn start<M, H>(settings: Settings, listener: Listener, make: M) -> io::Result<Self>
    where
        M: FnOnce() -> H + Send + 'static,
        H: AsyncFn(Request) -> Answer + 'static,
    {
        match &listener {
            Listener::Tcp(listener) => {
                rustix::net::listen(listener, BACKLOG)?;
                listener.set_nonblocking(true)?;
            }
            Listener::Unix(listener) => listener.set_nonblocking(true)?,
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = watch::channel(());
        let (ends, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(settings.name.to_owned());
        thread.spawn(move || {
            let name = settings.name;
            let serving = async { accept(settings, listener, Rc::new(make()), stopping).await };
            if let Err(error) = LocalSet::new().block_on(&runtime, serving) {
                tracing::error!(listener = name, %error, "the listener has ended");
            }
            let _ = ends.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Accepts no more connections and lets what is being answered end, for four seconds. The handler is dropped by then.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}

/// Accepts until it is told to stop, then waits for the connections that are open; what it returns from is closed.
async fn accept<H>(settings: Settings, listener: Listener, handler: Rc<H>, stop: watch::Receiver<()>) -> io::Result<()>
where
    H: AsyncFn(Request) -> Answer + 'static,
{
    let open = Rc::new(RefCell::new(Open::new(settings.name, settings.connections)));
    let mut stopping = stop.clone();
    let door = Door {
        longest_head: settings.longest_head,
        trusted: settings.trusted,
        open: Rc::clone(&open),
        handler,
        stop,
    };
    match listener {
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let next = async || {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((stream, Some(peer.ip())))
            };
            door.accept_each(next, &mut stopping).await;
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let next = async || listener.accept().await.map(|(stream, _)| (stream, None));
            door.accept_each(next, &mut stopping).await;
        }
    }
    // The listener is closed by now.
    let all_have_ended = async {
        while !open.borrow().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(LAST_ANSWERS, all_have_ended).await;
    Ok(())
}

/// What a new connection passes.
struct Door<H> {
    longest_head: usize,
    trusted: Vec<IpNet>,
    open: Rc<RefCell<Open>>,
    handler: Rc<H>,
    stop: watch::Receiver<()>,
}

impl<H: AsyncFn(Request) -> Answer + 'static> Door<H> {
    async fn accept_each<S, N>(&self, next: N, stopping: &mut watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        N: AsyncFn() -> io::Result<(S, Option<IpAddr>)>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = next() => accepted,
                _ = stopping.changed() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if is_of_the_process(&error) => {
                    self.open.borrow_mut().close_oldest();
                    sleep(OUT_OF_DESCRIPTORS).await;
                }
                // The client was gone before it was accepted.
                Err(_) => {}
            }
            // A connection is read from at least once before the next one may take its place.
            yield_now().await;
        }
    }

    fn admit<S: AsyncRead + AsyncWrite + Unpin + 'static>(&self, stream: S, peer: Option<IpAddr>) {
        let is_trusted = |peer: IpAddr| {
            self.trusted
                .iter()
                .any(|network| network.contains(&peer.to_canonical()))
        };
        let bounded = peer.filter(|peer| !is_trusted(*peer));
        let mut open = self.open.borrow_mut();
        let Some(seat) = open.seat(bounded) else { return };
        let pace = Rc::new(Pace::new());
        let connection = serve(
            stream,
            peer,
            Rc::clone(&pace),
            self.longest_head,
            Rc::clone(&self.handler),
            self.stop.clone(),
        );
        let leaves = Leaves(Rc::clone(&self.open), seat.number);
        let task = spawn_local(async move {
            connection.await;
            drop(leaves);
        });
        open.take(seat, pace, task.abort_handle());
    }
}

/// Frees a connection's place, whether it ends, is closed or panics.
struct Leaves(Rc<RefCell<Open>>, u64);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.borrow_mut().leave(self.1);
    }
}

/// EMFILE, ENFILE, ENOBUFS or ENOMEM: the next call would fail as well.
fn is_of_the_process(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|e| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&e))
}

/// One connection, from its first byte to its end.
async fn serve<S, H>(
    stream: S,
    peer: Option<IpAddr>,
    pace: Rc<Pace>,
    longest_head: usize,
    handler: Rc<H>,
    mut stop: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: AsyncFn(Request) -> Answer + 'static,
{
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (handler, pace) = (Rc::clone(&handler), Rc::clone(&pace));
        async move {
            let (head, body) = request.into_parts();
            if body.is_end_stream() {
                pace.has_whole_request();
            } else {
                pace.has_head();
            }
            let mut answer = (*handler)(Request::new(head, peer, body, Rc::clone(&pace))).await;
            let goes_on = answer.extensions().get::<GoesOn>().is_some();
            if !pace.is_answering() || pace.is_old() || goes_on {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if goes_on {
                pace.goes_on();
            } else {
                pace.waits();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        // A client may close its side once it has asked.
        .half_close(true)
        .max_buf_size(longest_head)
        .serve_connection(TokioIo::new(Socket::new(stream, Rc::clone(&pace))), service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        // An answer may be given meanwhile, and the next request has to come sooner than the answer had to.
        let check = pace.until().min(Instant::now() + WAIT);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep_until(check) => {
                if Instant::now() >= pace.until() {
                    return;
                }
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests;
