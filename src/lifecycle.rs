//! How the process ends: exit codes, failures that carry one, and the signals that ask for it.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: success.
    Fine,
    /// 1: a check failed, the run ended in error, or a conflict (port in use, second instance).
    Failed,
    /// 2: what the operator must correct: usage, configuration, secrets, portal settings.
    Usage,
    /// 3: the shutdown was forced past its grace.
    Forced,
    /// 70: a bug (`EX_SOFTWARE` of sysexits.h).
    Bug,
    /// 74: the store: folder not writable, disk full, damaged (`EX_IOERR` of sysexits.h).
    Store,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Forced => 3,
            Self::Bug => 70,
            Self::Store => 74,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that carries its exit code and what to do about it. A command returns it with `Err(failure.into())`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    id: Option<&'static str>,
    message: String,
    way_out: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// The message, a fragment that reads well after "error: ".
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            id: None,
            message: message.into(),
            way_out: None,
            source: None,
        }
    }

    /// Names it as `docs/troubleshooting.md` does, such as `CF104`.
    pub fn known_as(mut self, id: &'static str) -> Self {
        self.id = Some(id);
        self
    }

    /// Its name in `docs/troubleshooting.md`.
    pub fn id(&self) -> Option<&'static str> {
        self.id
    }

    /// Adds what the operator can do about it: key, file, command.
    pub fn way_out(mut self, advice: impl Into<String>) -> Self {
        self.way_out = Some(advice.into());
        self
    }

    /// Adds the cause.
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What the operator can do about it.
    pub fn advice(&self) -> Option<&str> {
        self.way_out.as_deref()
    }
}

/// Protects the process's memory: no core dump, and no other process of the same user may attach or read it. Failures are
/// ignored, because nothing depends on it.
pub fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    // A core dump that is piped to a program is not bound by the limit.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The store, the sockets and the calls of a service need about 60 descriptors at the least; its end needs some too.
const LEAST_DESCRIPTORS: u64 = 128;

/// Refuses a start under which a later one would fail for want of descriptors.
pub fn enough_descriptors() -> Result<(), Failure> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < LEAST_DESCRIPTORS => Err(Failure::new(
            Exit::Usage,
            format!("only {limit} files may be open at once, and the service needs {LEAST_DESCRIPTORS}"),
        )
        .way_out("raise the limit: `ulimit -n 1024`, or `LimitNOFILE=1024` in the unit")),
        _ => Ok(()),
    }
}

/// A signal's request to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The first Ctrl-C or SIGTERM: take nothing new, and finish the work under way within the grace period.
    Drain,
    /// A further one: exit at once with [`Exit::Forced`].
    Force,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that the service handles. While it exists, they do not end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    draining: bool,
}

impl Signals {
    /// Starts listening. Call it inside a tokio runtime with I/O enabled.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            draining: false,
        })
    }

    /// Waits for the next request. Dropping the future loses no signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            // A shutdown takes precedence over a reload that arrived with it.
            biased;
            _ = self.interrupt.recv() => self.end(),
            _ = self.terminate.recv() => self.end(),
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Records that a drain has begun for another reason, so that the next Ctrl-C forces the exit.
    pub fn drain_began(&mut self) {
        self.draining = true;
    }

    fn end(&mut self) -> Request {
        if std::mem::replace(&mut self.draining, true) {
            Request::Force
        } else {
            Request::Drain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_promised_ones() {
        let codes = [
            Exit::Fine,
            Exit::Failed,
            Exit::Usage,
            Exit::Forced,
            Exit::Bug,
            Exit::Store,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 70, 74]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_private_process_is_not_dumped() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        keep_memory_private();
        assert_eq!(dumpable_behavior().expect("Linux tells"), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }

    #[tokio::test]
    async fn the_first_signal_drains_the_second_forces_and_a_hangup_reloads() {
        let mut signals = Signals::listen().expect("signals can be listened to");
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::HUP).expect("own process");
        assert_eq!(signals.next().await, Request::Reload);
        rustix::process::kill_process(me, rustix::process::Signal::TERM).expect("own process");
        assert_eq!(signals.next().await, Request::Drain);
        rustix::process::kill_process(me, rustix::process::Signal::INT).expect("own process");
        assert_eq!(signals.next().await, Request::Force);
    }
}
