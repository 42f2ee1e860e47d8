//! Without a library for Discord or HTTP: asks codeferry for a link, prints it, receives signed results, and prints how the
//! sign-in of that user ended. docs/integrate.md explains each step.
//!
//! ```text
//! CODEFERRY_CALLBACK_SECRET=whsec_… cargo run --example plain_http -- 80000000000000001 data/control.sock 127.0.0.1:3000
//! ```
//!
//! codeferry.toml: `[[delivery]]` with name = "callback", kind = "http", url = `"http://127.0.0.1:3000/codeferry"`.

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [user, socket, address] = &arguments[..] else {
        return Err("usage: plain_http USER_ID SOCKET ADDRESS".into());
    };
    let webhook = Webhook::new(&std::env::var("CODEFERRY_CALLBACK_SECRET")?)?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    println!("open this link: {}", link(socket, user)?);
    // A service keeps these ids where they survive a restart.
    let mut seen = HashSet::new();
    for call in listener.incoming() {
        // A caller that breaks off or sends nonsense is no reason to end.
        let Ok(Some(result)) = call.map_err(Into::into).and_then(|call| receive(call, &webhook)) else {
            continue;
        };
        let is_new = seen.insert(result["id"].to_string());
        if is_new && result["state"]["user_id"] == json!(user) {
            let name = result["user"]["username"].as_str().unwrap_or("nobody");
            println!("{}: {name}", result["type"].as_str().unwrap_or("unknown"));
            return Ok(());
        }
    }
    Ok(())
}

/// Asks for a link. Ids are strings in every body.
fn link(socket: &str, user: &str) -> Result<String> {
    let body = json!({ "user_id": user }).to_string();
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/links HTTP/1.1\r\nHost: codeferry\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let (line, _, body) = read(stream)?;
    let answer: Value = serde_json::from_slice(&body)?;
    match answer["url"].as_str() {
        Some(url) => Ok(url.to_owned()),
        // 429: `retry_after` says when a place is free.
        None => Err(format!("no link: {line}: {answer}").into()),
    }
}

/// Receives one call and answers it; the result, if codeferry has signed it within the last five minutes.
fn receive(call: TcpStream, webhook: &Webhook) -> Result<Option<Value>> {
    call.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = call.try_clone()?;
    let (_, headers, body) = read(call)?;
    let result = webhook
        .verify(&body, &headers)
        .ok()
        .and_then(|()| serde_json::from_slice(&body).ok());
    let status = if result.is_some() {
        "204 No Content"
    } else {
        "401 Unauthorized"
    };
    write!(
        answer,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    Ok(result)
}

/// Reads a message of HTTP/1.1 that says its length: its first line, headers and body.
fn read(stream: impl Read) -> Result<(String, HeaderMap, Vec<u8>)> {
    let mut reader = BufReader::new(stream.take(1 << 20));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().skip(1).filter_map(|line| line.split_once(':')) {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value.trim())?);
    }
    let length = headers.get("content-length").ok_or("no length")?.to_str()?.parse()?;
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok((lines.swap_remove(0), headers, body))
}
