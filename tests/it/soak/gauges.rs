//! What the service takes of the machine, measured every second: memory, disk, open files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A shorter soak says nothing of growth, for what is remembered has not filled up: only the bounds are looked at.
const SAYS_SOMETHING: Duration = Duration::from_mins(30);
/// No more than this, ever: memory of a development build, disk, open files. The engine levels off below 32 MB; its copy is
/// as large, and the reserve has 8. After a restart every slot may be in use: 96 connections beside some 40 files.
const BOUNDS: [u64; 3] = [128 << 20, 80 << 20, 192];
/// What may come on top of the middle third's most, beside a quarter of it.
const SLACK: [u64; 3] = [8 << 20, 8 << 20, 16];

/// What was measured.
#[derive(Default)]
pub struct Gauges {
    measured: Vec<(Duration, [u64; 3])>,
    /// The highest peak that the kernel noted for any of the processes.
    peak: u64,
    /// Open files by kind, as they were when there were too many.
    too_many: BTreeMap<String, u64>,
}

impl Gauges {
    /// Measures once; `false` where the process is gone.
    pub fn measure(&mut self, at: Duration, process: u32, data: &Path) -> bool {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .ok()
                .map(|kb| kb << 10)
        };
        let (Some(resident), Some(peak)) = (bytes("VmRSS:"), bytes("VmHWM:")) else {
            return false;
        };
        self.peak = self.peak.max(peak);
        let mut files = open_files(process);
        if files.values().sum::<u64>() > BOUNDS[2] {
            // One that was made just now may still be closing what its parent had open.
            thread::sleep(Duration::from_millis(200));
            files = open_files(process);
        }
        let count = files.values().sum();
        if count > BOUNDS[2] {
            self.too_many = files;
        }
        self.measured.push((at, [resident, size(data), count]));
        true
    }

    /// The most in the first, in the middle and in the last third. What is remembered fills up during the first: codes and
    /// messages for 12 min, links for 17.
    fn most(&self, gauge: usize) -> [u64; 3] {
        let end = self.measured.last().map_or(Duration::ZERO, |(at, _)| *at);
        let within = |from: Duration, to: Duration| {
            let these = self.measured.iter().filter(|(at, _)| *at >= from && *at <= to);
            these.map(|(_, m)| m[gauge]).max().unwrap_or(0)
        };
        [0, 1, 2].map(|third| within(end * third / 3, end * (third + 1) / 3))
    }

    /// Bounds, and flatness where the soak was long enough to tell.
    pub fn check(&self, length: Duration) {
        for (gauge, name) in ["memory", "disk", "open files"].into_iter().enumerate() {
            let [first, middle, last] = self.most(gauge);
            let most = first.max(middle).max(last);
            assert!(most <= BOUNDS[gauge], "{name}: {most} at most\n{self}");
            let flat = last <= middle + middle / 4 + SLACK[gauge];
            assert!(
                flat || length < SAYS_SOMETHING,
                "{name} grows from {middle} to {last}\n{self}"
            );
        }
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let [memory, disk, files] = [0, 1, 2].map(|gauge| self.most(gauge));
        let [m, d] = [memory, disk].map(|thirds| thirds.map(|bytes| format!("{:.1}", mb(bytes))).join(", "));
        let files = files.map(|n| n.to_string()).join(", ");
        let peak = mb(self.peak);
        write!(
            f,
            "in each third at most: memory {m} MB (peak {peak:.1}), disk {d} MB, open files {files} {:?}",
            self.too_many
        )
    }
}

/// How many files a process has open, by kind: `socket`, `pipe`, `anon_inode`, or a path.
fn open_files(process: u32) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// Bytes of all files below a folder. Files come and go meanwhile: what is gone counts nothing.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[test]
fn a_soak_whose_last_third_takes_more_than_its_middle_one_is_not_flat() {
    let grown = |last: u64| {
        let measured = (0..90).map(|n| {
            let memory = [10 << 20, 20 << 20, last << 20][n as usize / 30];
            (Duration::from_secs(n * 20), [memory, 0, 0])
        });
        let gauges = Gauges {
            measured: measured.collect(),
            ..Gauges::default()
        };
        std::panic::catch_unwind(|| gauges.check(SAYS_SOMETHING)).is_err()
    };
    assert_eq!([20, 33, 34, 129].map(grown), [false, false, true, true]);
}
