//! A Discord and an application whose certificates are of a private authority, and a proxy on the way to them.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "servers on a thread of their own"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codeferry::simulator::Simulator;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::receiver::Receiver;
use super::test_support::Site;
use crate::patience::until;

/// Of 100 years. It names localhost, 127.0.0.1, discord.test and gateway.test.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/tls");
const LIMITS: &str = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Serves each connection by `serve`, on a thread that ends with the process. Ports of four digits leave `rename` room.
fn listen<F: Future<Output = Option<()>> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16 {
    let free = (2000..9999).find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok());
    let listener = free.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("non-blocking");
            let listener = TcpListener::from_std(listener).expect("registered");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    port
}

/// TLS with a certificate of the fixtures' authority, which no machine trusts by itself.
pub fn acceptor() -> TlsAcceptor {
    let file = |name: &str| format!("{FIXTURES}/{name}");
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("they fit")))
}

/// TLS before a server of plain http. What the server says its WebSocket's address is becomes `gateway`.
fn tls(plain: u16, gateway: String) -> u16 {
    let acceptor = acceptor();
    listen(move |stream| {
        let (acceptor, gateway) = (acceptor.clone(), gateway.clone());
        async move {
            let encrypted = acceptor.accept(stream).await.ok()?;
            let port = encrypted.get_ref().0.local_addr().ok()?.port();
            let named = gateway.replace("PORT", &port.to_string());
            let server = TcpStream::connect(("127.0.0.1", plain)).await.ok()?;
            let (from_client, to_client) = split(encrypted);
            let (from_server, to_server) = server.into_split();
            let there = copy(from_client, to_server, |_| {});
            let back = copy(from_server, to_client, |bytes| rename(bytes, plain, &named));
            tokio::try_join!(there, back).ok().map(|_| ())
        }
    })
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    change: impl Fn(&mut [u8]),
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        change(&mut bytes[..length]);
        to.write_all(&bytes[..length]).await?;
        to.flush().await?;
    }
}

/// Puts another address into JSON, which stays as long as it was.
fn rename(bytes: &mut [u8], plain: u16, gateway: &str) {
    let told = format!("\"ws://127.0.0.1:{plain}/gateway\"");
    let other = format!("\"{gateway}\"");
    let other = format!("{other:<width$}", width = told.len());
    assert_eq!(other.len(), told.len(), "{other} has no room");
    let places: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(told.as_bytes()))
        .collect();
    for at in places {
        bytes[at..at + told.len()].copy_from_slice(other.as_bytes());
    }
}

/// A proxy that knows `CONNECT` alone: every host is at this port. Answers its port, and the hosts that were asked for.
fn connect_proxy(target: u16) -> (u16, Arc<Mutex<BTreeSet<String>>>) {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let log = Arc::clone(&asked);
    let port = listen(move |stream| {
        let log = Arc::clone(&log);
        async move {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).await.ok().filter(|read| *read > 0)?;
            }
            let host = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
            log.lock().expect("not poisoned").insert(host);
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
            let mut server = TcpStream::connect(("127.0.0.1", target)).await.ok()?;
            tokio::io::copy_bidirectional(&mut stream, &mut server)
                .await
                .ok()
                .map(|_| ())
        }
    });
    (port, asked)
}

fn port_of(simulator: &Simulator) -> u16 {
    let base = url::Url::parse(&simulator.describe().api_base).expect("a URL");
    base.port().expect("a port")
}

fn set(site: &mut Site, name: &str, value: impl Into<String>) {
    site.variables.insert(name.to_owned(), value.into());
}

/// A site that reaches Discord by TLS on this machine.
fn encrypted() -> Site {
    let mut site = Site::without_limits("");
    let port = tls(port_of(&site.simulator), "wss://localhost:PORT/gateway".to_owned());
    set(
        &mut site,
        "CODEFERRY_DISCORD__API_BASE",
        format!("https://localhost:{port}/api/v10"),
    );
    site
}

#[track_caller]
fn completes_by_the_gateway(site: &Site) {
    let service = site.run_ready();
    service.logs("the gateway session began");
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn an_authority_of_ones_own_is_trusted_by_rest_gateway_and_callbacks() {
    let mut site = encrypted();
    let receiver = Receiver::new(204);
    let plain = url::Url::parse(&receiver.url).expect("a URL").port().expect("a port");
    let port = tls(plain, "wss://localhost:PORT/gateway".to_owned());
    site.configure(&format!(
        "{LIMITS}[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"https://127.0.0.1:{port}/x\"\n\
         [tls]\nextra_ca = \"{FIXTURES}/ca.pem\"\n"
    ));
    set(&mut site, "CODEFERRY_CALLBACK_SECRET", SECRET);
    completes_by_the_gateway(&site);
    assert_eq!(receiver.count(204), 1);
}

#[test]
fn an_authority_of_the_environment_is_trusted() {
    for (name, value) in [
        ("SSL_CERT_FILE", format!("{FIXTURES}/ca.pem")),
        ("SSL_CERT_DIR", FIXTURES.to_owned()),
    ] {
        let mut site = encrypted();
        set(&mut site, name, value);
        completes_by_the_gateway(&site);
    }
}

#[test]
fn nobody_elses_authority_is_trusted_and_a_file_that_holds_none_is_refused() {
    let mut site = encrypted();
    let service = site.run();
    service.logs("Discord cannot be reached: retrying");
    service.kill();
    set(&mut site, "CODEFERRY_TLS__EXTRA_CA", format!("{FIXTURES}/server.key"));
    for command in [&["run"][..], &["config", "check"]] {
        let (_, error) = super::test_support::exits(&site.codeferry(command), 2);
        assert!(
            error.contains("tls.extra_ca: `") && error.contains("server.key` cannot be used"),
            "{error}"
        );
    }
}

/// A site whose Discord is reached by a proxy alone, which knows no names in `.test`.
fn behind_proxy() -> (Site, Arc<Mutex<BTreeSet<String>>>) {
    let mut site = Site::without_limits("");
    let discord = tls(port_of(&site.simulator), "wss://gateway.test/gateway".to_owned());
    let (proxy, asked) = connect_proxy(discord);
    set(&mut site, "CODEFERRY_DISCORD__API_BASE", "https://discord.test/api/v10");
    set(&mut site, "SSL_CERT_FILE", format!("{FIXTURES}/ca.pem"));
    set(&mut site, "HTTPS_PROXY", format!("http://127.0.0.1:{proxy}"));
    (site, asked)
}

#[test]
fn a_proxy_carries_the_gateway_as_it_carries_every_other_call() {
    let (site, asked) = behind_proxy();
    completes_by_the_gateway(&site);
    let asked = asked.lock().expect("not poisoned");
    assert_eq!(
        *asked,
        BTreeSet::from(["discord.test:443".to_owned(), "gateway.test:443".to_owned()])
    );
}

#[test]
fn what_no_proxy_names_is_reached_without_it_the_gateway_too() {
    let (mut site, asked) = behind_proxy();
    set(&mut site, "NO_PROXY", "gateway.test");
    let service = site.run();
    service.logs("the gateway cannot be reached");
    site.sign_in(0, 1);
    until(Duration::from_secs(30), "the code completes", || {
        site.results_of("completed") == 1
    });
    let asked = asked.lock().expect("not poisoned");
    assert_eq!(*asked, BTreeSet::from(["discord.test:443".to_owned()]));
}

#[test]
fn a_proxy_that_would_be_passed_by_is_refused_at_the_start() {
    let (mut site, _) = behind_proxy();
    set(&mut site, "HTTPS_PROXY", "socks5://user:CANARY@127.0.0.1:1080");
    let (_, error) = super::test_support::exits(&site.codeferry(&["run"]), 2);
    assert!(
        error.contains("HTTPS_PROXY is not the URL of a usable proxy") && !error.contains("CANARY"),
        "{error}"
    );
}
