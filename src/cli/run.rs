//! `run`: the service.

mod saved;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use tokio::sync::watch;

use self::saved::Saved;
use super::Global;
use crate::actors::governor::Retune;
use crate::actors::journal::message::SetGate;
use crate::actors::listener::LookAgain;
use crate::actors::pipeline::{AFTER_STORE_FAILURE, Ended, Shutdown};
use crate::config::{Config, Secrets, SinkKind};
use crate::control::server::{ControlServer, ControlSettings};
use crate::front::counts::Counts;
use crate::front::pages::Pages;
use crate::front::server::Front;
use crate::http;
use crate::lifecycle::{self, Exit, Failure, Request, Signals};
use crate::metrics;
use crate::service::wiring::Core;
use crate::service::{self, Service, direct, failure, settings};
use crate::time::{Pulse, SystemClock};

/// `run` has no arguments: everything is in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the service until a signal or a failure stops it.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    crate::crash::arm();
    // Before any secret is read.
    lifecycle::keep_memory_private();
    lifecycle::enough_descriptors()?;
    let (config, secrets) = global.load()?;
    trust(&config)?;
    let pages = super::relay::pages(config.intake.http.pages.as_deref(), "intake.http.pages", &config.pages)?;
    metrics::install();
    let _pulse = Pulse::of_this_thread();
    System::new()
        .block_on(serve(config, secrets, pages, global))
        .map_err(Into::into)
}

/// Trusts whom the configuration and the environment name.
pub fn trust(config: &Config) -> Result<(), Failure> {
    let sinks = config.delivery.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Http { url } => Some(url),
        SinkKind::Jsonl { .. } | SinkKind::DiscordWebhook { .. } => None,
    });
    http::trust::prepare(config.tls.extra_ca.as_deref(), sinks.chain([&config.discord.api_base]))
}

async fn serve(config: Config, secrets: Secrets, pages: Pages, global: &Global) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|e| Failure::new(Exit::Bug, "cannot install signal handlers").source(e))?;
    let started = tokio::time::Instant::now();
    let (begin, mut begun) = watch::channel(());
    let ready: Rc<dyn Fn()> = Rc::new(move || {
        // The receiver is gone where the service ends.
        let _ = begin.send(());
    });
    let clock = SystemClock::shared();
    let mut core = service::open(&config, &secrets, &clock)?;
    let face = pages.face().clone();
    let mut doors = match Doors::open(&config, &secrets, &core, pages).await {
        Ok(doors) => doors,
        Err(failure) => {
            core.close().await;
            return Err(failure);
        }
    };
    let starting = Service::start(&config, &secrets, &mut core, clock, Rc::clone(&ready));
    let mut service = match start(starting, &mut signals).await {
        Ok(Some(service)) => service,
        ended => {
            doors.close().await;
            core.close().await;
            return ended.map(|_| Exit::Fine);
        }
    };
    if let Some(application) = service.application.clone() {
        let config = config.clone();
        tokio::task::spawn_local(async move { service::learn_face(face, &config, &application).await });
    }
    let mut ended = service.ended.clone();
    let mut running = config.clone();
    let mut saved = Saved::watch(config.file.as_deref()).await;
    let mut gateway = None;
    let mut opening = true;
    // READY takes both: codes come in, and the surroundings were looked at.
    let mut not_fine = None;
    let outcome = loop {
        tokio::select! {
            () = saved.next() => reload(&service, &mut running, &secrets, global).await,
            request = signals.next() => match request {
                Request::Drain => {
                    // No new callback is accepted; those under way still reach the journal, which drains.
                    if let Some(front) = doors.front.take() {
                        front.stop().await;
                    }
                    break drain(&service, &config, &mut signals).await;
                }
                Request::Force => break Ok(Exit::Forced),
                Request::Reload => {
                    service.sinks.iter().for_each(|sink| sink.reopen());
                    reload(&service, &mut running, &secrets, global).await;
                }
            },
            opened = &mut service.opened, if opening => {
                opening = false;
                match opened {
                    Ok(Ok(opened)) => {
                        if opened.session.is_none() {
                            ready();
                        }
                        (gateway, not_fine) = (opened.session, Some(opened.not_fine));
                    }
                    Ok(Err(failure)) => break give_up(&service, failure, &config, &mut signals).await,
                    Err(_) => {
                        let bug = Failure::new(Exit::Bug, "a task of the start panicked");
                        break Err(bug.way_out("please report the log lines above"));
                    }
                }
            }
            Ok(()) = begun.changed(), if not_fine.is_some() => {
                tell_ready(started.elapsed(), &not_fine.replace(Vec::new()).unwrap_or_default());
            }
            why = first(&mut ended) => break end(&service, why, &config, &mut signals).await,
        }
    };
    if let Ok(Exit::Fine) = outcome {
        service::close_gateway(gateway).await;
        tracing::info!("drained and closed");
    }
    doors.close().await;
    outcome
}

/// What listens. It opens before Discord is asked, so that a start that waits can be looked at.
struct Doors {
    control: ControlServer,
    front: Option<Front>,
}

impl Doors {
    async fn open(config: &Config, secrets: &Secrets, core: &Core, pages: Pages) -> Result<Self, Failure> {
        let callbacks = direct::counts(config);
        let control = control(config, secrets, core, callbacks.clone())?;
        match direct::start(config, secrets, core, pages, callbacks) {
            Ok(front) => Ok(Self { control, front }),
            Err(failure) => {
                control.stop().await;
                Err(failure)
            }
        }
    }

    async fn close(self) {
        if let Some(front) = self.front {
            front.stop().await;
        }
        self.control.stop().await;
    }
}

/// Says that codes are taken, and what is not fine yet.
fn tell_ready(after: Duration, not_fine: &[String]) {
    let after_start_ms = after.as_millis() as u64;
    if not_fine.is_empty() {
        tracing::info!(after_start_ms, "READY: codes are taken");
    } else {
        tracing::warn!(
            after_start_ms,
            "READY: codes are taken, but not all is fine yet: {}",
            not_fine.join("; ")
        );
    }
}

/// Waits for the start; `None` if a signal ended the process meanwhile.
async fn start(
    starting: impl Future<Output = Result<Service, Failure>>,
    signals: &mut Signals,
) -> Result<Option<Service>, Failure> {
    tokio::pin!(starting);
    loop {
        tokio::select! {
            started = &mut starting => return started.map(Some),
            request = signals.next() => match request {
                Request::Reload => {}
                // No call is under way yet.
                Request::Drain | Request::Force => return Ok(None),
            },
        }
    }
}

fn control(
    config: &Config,
    secrets: &Secrets,
    core: &Core,
    callbacks: Option<Arc<Counts>>,
) -> Result<ControlServer, Failure> {
    let settings = ControlSettings {
        socket: config.control.socket.clone(),
        listen: config.control.listen,
        token: secrets.control_token.clone(),
        metrics_token: secrets.metrics_token.clone(),
        journal: core.journal.clone(),
        governor: core.governor.clone(),
        store: core.store.clone(),
        purposes: config.state.purposes.clone(),
        callbacks,
    };
    ControlServer::start(settings).map_err(|error| {
        let advice = error.advice();
        Failure::new(Exit::Failed, "the control interface cannot be opened")
            .source(error)
            .way_out(advice)
    })
}

/// Stops a service whose start failed. It drains first: codes are already being exchanged, and a code whose exchange is
/// cut off is lost.
async fn give_up(service: &Service, why: Failure, config: &Config, signals: &mut Signals) -> Result<Exit, Failure> {
    tracing::error!(reason = %why, "the service has to stop; it finishes the work under way first");
    drain(service, config, signals).await?;
    Err(why)
}

/// Waits for the service to end; returns why.
async fn first(ended: &mut watch::Receiver<Option<Ended>>) -> Ended {
    loop {
        if let Some(why) = ended.borrow_and_update().clone() {
            return why;
        }
        if ended.changed().await.is_err() {
            return Ended::Died("pipeline");
        }
    }
}

async fn drain(service: &Service, config: &Config, signals: &mut Signals) -> Result<Exit, Failure> {
    signals.drain_began();
    tracing::info!(
        grace_s = config.shutdown.grace.as_secs(),
        "draining: press Ctrl-C again to stop at once"
    );
    let shutdown = service.pipeline.send(Shutdown);
    let exit = tokio::select! {
        outcome = tokio::time::timeout(config.shutdown.grace, shutdown) => match outcome {
            Ok(Ok(Ok(()))) => Exit::Fine,
            Ok(Ok(Err(error))) => return Err(failure::of_end(Ended::Store(error))),
            Ok(Err(_)) => Exit::Bug,
            Err(_) => {
                tracing::warn!("the grace period is over: the remaining work is in the journal and continues after the next start");
                Exit::Forced
            }
        },
        () = forced(signals) => {
            tracing::warn!("stopped at once: the work under way is in the journal");
            Exit::Forced
        }
    };
    Ok(exit)
}

async fn forced(signals: &mut Signals) {
    while signals.next().await != Request::Force {}
}

async fn end(service: &Service, why: Ended, config: &Config, signals: &mut Signals) -> Result<Exit, Failure> {
    match &why {
        // Exchangers with a token that cannot be stored are revoking it now.
        Ended::Store(_) => tokio::time::sleep(AFTER_STORE_FAILURE).await,
        Ended::Operator(_) => {
            let _ = drain(service, config, signals).await;
        }
        Ended::Died(_) => tokio::time::sleep(Duration::from_millis(100)).await,
    }
    Err(failure::of_end(why))
}

/// Reads configuration and secrets again: applies `[limits]`, `[log]` and keys, and logs which changes need a restart.
async fn reload(service: &Service, running: &mut Config, secrets: &Secrets, global: &Global) {
    let (new, new_secrets) = match global.load() {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("the configuration was not reloaded; the previous one stays in force: {error:#}");
            return;
        }
    };
    let mut changes = running.differences(&new);
    secrets.renew(&new_secrets, &mut changes);
    let _ = service.listener.send(LookAgain).await;
    if changes.is_empty() {
        tracing::info!("neither the configuration nor a secret has changed");
        return;
    }
    let _ = service.governor.send(Retune(new.limits.clone())).await;
    (running.limits, running.log) = (new.limits, new.log);
    // How many links may be out follows from the limits.
    let _ = service.journal.send(SetGate(settings::gate(running))).await;
    if !changes.applied.is_empty() {
        tracing::info!(applied = ?changes.applied, "configuration reloaded");
    }
    if !changes.needs_restart.is_empty() {
        tracing::warn!(keys = ?changes.needs_restart, "these keys have changed and need a restart");
    }
}
