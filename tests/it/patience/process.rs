//! Every process that a test starts: in a group of its own, which is killed when its guard is dropped, when it is too old, and
//! when this test binary ends, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

use super::{Lock, test_name, waiting};
use crate::a_limit::{complain, limit};

/// What a command is given that a test runs to its end.
const COMMAND_WITHIN: Duration = Duration::from_mins(2);
/// What any process is given. Where it blocks a read of its output, the read ends with it.
const PROCESS_WITHIN: Duration = Duration::from_mins(8);

/// The processes that run, by their groups: until when, and who started what.
static RUNNING: Lock<BTreeMap<u32, (Instant, String)>> = Lock::new(BTreeMap::new());

/// A process, and whatever it starts.
pub struct Process {
    child: Child,
    what: String,
}

impl Process {
    /// Starts a command.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "this is what starts processes")]
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{}: `{}`", test_name(), shown(command));
        let _waiting = waiting(format!("the start of {what}"));
        let child = command.process_group(0).spawn();
        let child = child.unwrap_or_else(|e| panic!("{what}: {e}"));
        let late = Instant::now() + PROCESS_WITHIN;
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(child.id(), (late, what.clone()));
        reaper::tell('+', child.id());
        Self { child, what }
    }

    /// Its number, which is its group's too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it writes, where its command has a pipe for that.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it has a pipe")
    }

    /// Sends it a signal; not to what it has started.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.id()), signal).expect("it is there");
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }

    /// Waits for its end; `None` where it does not come in time.
    pub fn ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let what = format!("the end of {}", self.what);
        super::poll(within, &what, || self.ended().is_some());
        self.ended()
    }

    /// Kills it with all that it has started.
    pub fn kill(&mut self) -> ExitStatus {
        // Of most nothing is left.
        let _ = kill_process_group(pid(self.id()), Signal::KILL);
        self.child.wait().expect("it is ours")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.id());
        reaper::tell('-', self.id());
    }
}

/// Kills what is too old.
pub(super) fn end_the_late() {
    if limit().is_none() {
        return;
    }
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.retain(|group, (end, what)| {
        let late = Instant::now() > *end;
        if late {
            complain(&format!("{what} has not ended within {PROCESS_WITHIN:?} and is killed"));
            let _ = kill_process_group(pid(*group), Signal::KILL);
        }
        !late
    });
}

/// Running a command to its end, within a time.
pub trait Finish {
    /// Runs it; what it printed, and how it ended.
    fn finish(&mut self) -> Output;
    /// The same with a time of one's own.
    fn finish_within(&mut self, within: Duration) -> Output;
}

impl Finish for Command {
    #[track_caller]
    fn finish(&mut self) -> Output {
        self.finish_within(COMMAND_WITHIN)
    }

    #[track_caller]
    fn finish_within(&mut self, within: Duration) -> Output {
        // Files in place of pipes: a process that is left behind cannot hold up the reading.
        let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().expect("a file"));
        let handle = |file: &File| Stdio::from(file.try_clone().expect("a handle"));
        self.stdin(Stdio::null()).stdout(handle(&out)).stderr(handle(&err));
        let mut process = Process::start(self);
        let ended = process.ends(within);
        let what = process.what.clone();
        drop(process);
        let [stdout, stderr] = [&mut out, &mut err].map(|file| {
            let mut bytes = Vec::new();
            file.rewind().expect("it is a file");
            file.read_to_end(&mut bytes).expect("it is a file");
            bytes
        });
        let Some(status) = ended else {
            let said = [stdout, stderr].concat();
            let said = String::from_utf8_lossy(&said);
            panic!("{what} has not ended within {within:?}; it has said:\n{said}");
        };
        Output { status, stdout, stderr }
    }
}

/// Whether a program is on the path.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A command as it is typed, without the folder of its program.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a process")
}

/// A process that outlives this one by a moment, and ends what this one leaves behind when it is killed.
mod reaper {
    use super::*;

    const REAPER: &str = "CODEFERRY_TEST_REAPER";

    /// Tells it of a group that has begun or is gone.
    pub fn tell(what: char, group: u32) {
        static PIPE: OnceLock<Lock<ChildStdin>> = OnceLock::new();
        let mut pipe = PIPE.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner);
        // Without it the guards still kill.
        let _ = pipe.write_all(format!("{what}{group}\n").as_bytes());
    }

    #[expect(clippy::disallowed_methods, reason = "its pipe ends it")]
    fn start() -> Lock<ChildStdin> {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "patience::process::reaper::reaps"])
            .env(REAPER, "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Lock::new(child.expect("it starts").stdin.take().expect("piped"))
    }

    /// Not a test by itself: what the reaper runs.
    #[test]
    fn reaps() {
        if std::env::var_os(REAPER).is_none() {
            return;
        }
        let mut groups = BTreeSet::new();
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let (what, group) = line.split_at(1);
            let group: u32 = group.parse().expect("a number");
            if what == "+" {
                groups.insert(group);
            } else {
                groups.remove(&group);
            }
        }
        for group in groups {
            let _ = kill_process_group(pid(group), Signal::KILL);
        }
    }
}
