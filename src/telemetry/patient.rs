//! The way to stderr. A log driver or a terminal that has stopped reading must hold up no code: a write into its full pipe
//! would return when somebody reads again, or never.

use std::io::{self, StderrLock, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a reader that may only be slow is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Lines that were lost since the last one that was taken.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes a line at a time, or loses it and says so later.
pub(super) struct Patient;

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Held from here on: nobody else may take the room that is found.
        let mut stderr = io::stderr().lock();
        let lost = LOST.load(Ordering::Relaxed);
        if !has_room(&stderr, if lost == 0 { PATIENCE } else { Duration::ZERO }) {
            LOST.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        if lost > 0 {
            LOST.store(0, Ordering::Relaxed);
            let what = "log lines were dropped: nothing reads stderr fast enough";
            if line.starts_with(b"{") {
                writeln!(
                    stderr,
                    r#"{{"level":"WARN","message":"{what}","fields":{{"lines":{lost}}}}}"#
                )?;
            } else {
                writeln!(stderr, "WARN codeferry: {what} lines={lost}")?;
            }
        }
        stderr.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a line can be written at once: a pipe says so while it has room for 4 KiB.
fn has_room(stderr: &StderrLock<'_>, wait: Duration) -> bool {
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: wait.subsec_nanos().into(),
    };
    // Where it cannot be asked, it is written to as ever.
    poll(&mut [PollFd::new(stderr, PollFlags::OUT)], Some(&wait)).map_or(true, |ready| ready > 0)
}
