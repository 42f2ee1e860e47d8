//! Looks for secrets in bytes, in every form in which one could slip out: plain, hexadecimal, base64, as a list of
//! numbers, in two bytes a character.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How many bytes of a needle are looked up at once; no needle is shorter.
const HEAD: usize = 8;

/// Secrets to look for.
#[derive(Default)]
pub struct Needles {
    /// By their first bytes: the whole form, and what it is called.
    forms: HashMap<[u8; HEAD], Vec<(Vec<u8>, String)>>,
    count: usize,
}

impl Needles {
    /// Adds a secret under a name that may be shown.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 12, "`{name}` is too short to be told from chance");
        self.count += 1;
        let bytes = secret.as_bytes();
        let hex = hex(bytes);
        let listed = format!("{bytes:?}");
        self.form(name, "plain", bytes);
        self.form(name, "hex", hex.as_bytes());
        self.form(name, "upper-case hex", hex.to_uppercase().as_bytes());
        self.form(name, "a list", listed.trim_matches(['[', ']']).as_bytes());
        let wide: Vec<u8> = bytes.iter().flat_map(|b| [*b, 0]).collect();
        self.form(name, "two bytes each", &wide);
        // Where it stands in a longer text its base64 depends on what is before it: three cases. What depends on its
        // neighbours is left out at both ends.
        for before in 0..3 {
            let padded = [&vec![0; before][..], bytes].concat();
            for (alphabet, text) in [
                ("base64", STANDARD_NO_PAD.encode(&padded)),
                ("base64url", URL_SAFE_NO_PAD.encode(&padded)),
            ] {
                let inner = &text.as_bytes()[(before * 8).div_ceil(6)..padded.len() * 8 / 6];
                self.form(name, alphabet, inner);
            }
        }
    }

    fn form(&mut self, name: &str, form: &str, bytes: &[u8]) {
        let head = *bytes.first_chunk().expect("long enough");
        let forms = self.forms.entry(head).or_default();
        if !forms.iter().any(|(known, _)| known == bytes) {
            forms.push((bytes.to_vec(), format!("{name} ({form})")));
        }
    }

    /// How many secrets there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The names of those that stand in these bytes, with where.
    pub fn found_in(&self, hay: &[u8]) -> Vec<String> {
        // Most places differ in their first two bytes, which is quick to see.
        let mut starts = vec![false; 1 << 16];
        for head in self.forms.keys() {
            starts[usize::from(u16::from_be_bytes([head[0], head[1]]))] = true;
        }
        let mut found = Vec::new();
        for (at, window) in hay.windows(HEAD).enumerate() {
            if !starts[usize::from(u16::from_be_bytes([window[0], window[1]]))] {
                continue;
            }
            for (bytes, name) in self.forms.get(window).into_iter().flatten() {
                if hay[at..].starts_with(bytes) {
                    found.push(format!("{name} at byte {at}"));
                }
            }
        }
        found
    }

    /// Fails if any stands in these bytes.
    #[track_caller]
    pub fn absent_from(&self, what: &str, hay: &[u8]) {
        let found = self.found_in(hay);
        assert!(found.is_empty(), "in {what}: {}", found.join(", "));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, b| {
        let _ = write!(hex, "{b:02x}");
        hex
    })
}

/// Every file below a folder, its name too.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.is_file() {
            let bytes = fs::read(&path).expect("it can be read");
            all.push((path, bytes));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::copy_folder;

    const SECRET: &str = "qX7-CANARY_Zk90vB";

    fn needles() -> Needles {
        let mut needles = Needles::default();
        needles.add("the canary", SECRET);
        needles
    }

    #[test]
    fn a_planted_canary_is_found_in_every_form_and_place() {
        let hex = hex(SECRET.as_bytes());
        let mut forms = vec![
            SECRET.as_bytes().to_vec(),
            hex.clone().into_bytes(),
            hex.to_uppercase().into_bytes(),
            format!("{:?}", SECRET.as_bytes()).into_bytes(),
            format!("{:?}", format!("x{SECRET}y").as_bytes()).into_bytes(),
            SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ];
        for before in 0..7 {
            let within = format!("{}{SECRET}tail", "#".repeat(before));
            forms.push(STANDARD_NO_PAD.encode(&within).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(&within).into_bytes());
        }
        for form in forms {
            for (before, after) in [(0, 0), (1, 3), (4095, 100)] {
                let hay = [vec![b' '; before], form.clone(), vec![0xCF; after]].concat();
                let shown = String::from_utf8_lossy(&form).into_owned();
                assert!(!needles().found_in(&hay).is_empty(), "{shown} after {before}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let almost = SECRET.replace("CANARY", "CANARX");
        assert_eq!(needles().found_in(almost.as_bytes()), [] as [String; 0]);
        assert_eq!(needles().found_in(b""), [] as [String; 0]);
        assert_eq!(needles().found_in(&SECRET.as_bytes()[1..]), [] as [String; 0]);
    }

    #[test]
    #[should_panic(expected = "in a log: the canary (plain) at byte 5")]
    fn a_planted_canary_fails_the_check() {
        needles().absent_from("a log", format!("code={SECRET}").as_bytes());
    }

    #[test]
    fn a_canary_in_a_file_deep_in_a_folder_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let copied = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("a/b")).expect("made");
        fs::write(folder.path().join("a/b/c"), format!("\0\0{SECRET}")).expect("written");
        copy_folder(folder.path(), copied.path());
        let all = files(copied.path());
        assert_eq!(all.len(), 1);
        assert_eq!(needles().found_in(&all[0].1).len(), 1);
    }
}
