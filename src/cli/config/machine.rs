//! What this machine would refuse of a configuration that is fine in itself: ports, folders, files and pages. Nothing is
//! written, and nothing but a port is opened, for a moment.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::fs::{Access, access};

use crate::cli::relay::face;
use crate::cli::source::Source;
use crate::config::{Config, PagesConfig, RelayConfig, SinkKind, Trouble};
use crate::front::face::Face;
use crate::front::pages::Pages;
use crate::store;

/// What `run` would meet.
pub fn of_service(config: &Config) -> Vec<Trouble> {
    let mut found = Found::default();
    found.pages("intake.http.pages", config.intake.http.pages.as_deref(), &config.pages);
    found.folder("journal.path", &config.journal.path);
    if let Some(parent) = config.control.socket.as_deref().and_then(Path::parent) {
        found.folder("control.socket", parent);
    }
    for sink in &config.delivery {
        if let SinkKind::Jsonl { path, .. } = &sink.kind {
            found.file("delivery", path);
        }
    }
    // The ports of a service that runs are in use, by itself.
    if Source::running(config).is_none() && !store::is_in_use(&config.journal.path) {
        found.port("intake.http.listen", config.intake.http.listen);
        found.port("control.listen", config.control.listen);
    }
    found.0
}

/// What `relay` would meet.
pub fn of_relay(config: &RelayConfig) -> Vec<Trouble> {
    let mut found = Found::default();
    found.pages("relay.pages", config.relay.pages.as_deref(), &config.pages);
    found.folder("relay.journal", &config.relay.journal);
    if !store::is_in_use(&config.relay.journal) {
        found.port("relay.listen", Some(config.relay.listen));
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Trouble>);

impl Found {
    fn add(&mut self, key: &'static str, problem: String, cure: &str) {
        let cure = cure.to_owned();
        self.0.push(Trouble { key, problem, cure });
    }

    fn pages(&mut self, key: &'static str, folder: Option<&Path>, config: &PagesConfig) {
        if let Err(error) = face(config) {
            let problem = format!("cannot be used: {:#}", anyhow::Error::new(error));
            self.add(
                "pages.icon",
                problem,
                "name a PNG, JPEG, GIF or WebP file of at most 64 KiB",
            );
        }
        if let Err(error) = Pages::load(folder, Face::default()) {
            let problem = format!("cannot be used: {:#}", anyhow::Error::new(error));
            let cure = "docs/relays.md lists the pages and the variables that each may use";
            self.add(key, problem, cure);
        }
    }

    fn port(&mut self, key: &'static str, address: Option<SocketAddr>) {
        if let Some(Err(error)) = address.map(TcpListener::bind) {
            self.add(
                key,
                format!("cannot be listened on: {error}"),
                "free the port, or name another one",
            );
        }
    }

    /// A folder that is there or will be made: the nearest one that is there must let us write.
    fn folder(&mut self, key: &'static str, folder: &Path) {
        let here = Path::new(".");
        let mut above = folder
            .ancestors()
            .map(|above| if above.as_os_str().is_empty() { here } else { above });
        let there = above.find(|above| above.exists()).unwrap_or(Path::new("/"));
        let shown = there.display();
        if !there.is_dir() {
            self.add(
                key,
                format!("needs a folder, but `{shown}` is a file"),
                "name another path",
            );
        } else if let Err(error) = access(there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            let problem = format!("needs the folder `{shown}`, which cannot be used: {error}");
            self.add(key, problem, "let the user that runs codeferry own it");
        }
    }

    fn file(&mut self, key: &'static str, path: &Path) {
        let shown = path.display();
        if path.is_dir() {
            self.add(
                key,
                format!("needs the file `{shown}`, which is a folder"),
                "name a file",
            );
        } else if path.exists() {
            if let Err(error) = access(path, Access::WRITE_OK) {
                let problem = format!("needs the file `{shown}`, which cannot be written: {error}");
                self.add(key, problem, "let the user that runs codeferry write it");
            }
        } else if let Some(folder) = path.parent() {
            self.folder(key, folder);
        }
    }
}
