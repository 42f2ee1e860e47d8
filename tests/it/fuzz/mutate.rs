//! Turns good inputs into bad ones, by chance from a seed: whatever a broken sender, a torn disk or an attacker would
//! make of them.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// No input grows beyond it; the largest cap in the code is 4 MB, and what lies beyond a cap is another test's.
const LARGEST: usize = 32 * 1024;

/// Words that mean something to one of the formats.
const TOKENS: [&[u8]; 36] = [
    b"CANARY",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xf0\x9f\xa6\x80",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"=",
    b"-",
    b"%",
    b"%41",
    b"%ff",
    b"!",
    b"-1",
    b"0",
    b"1e309",
    b"-1e309",
    b"NaN",
    b"18446744073709551616",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"340282366920938463463374607431768211456",
    b"0.0000000000000000000000000000000000001",
    b"v1 ",
    b"\nm1 ",
    b"s1.",
    b"<@1536000000000000009>",
    b"[[",
    b"# ",
];

/// The n-th bad input of a seed; the same pair always gives the same input.
pub fn mutant(seed: u64, n: u64, corpus: &[Vec<u8>]) -> (Vec<u8>, StdRng) {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n);
    let mut input = pick(corpus, &mut random).clone();
    for _ in 0..random.random_range(1..=5) {
        mutate(&mut input, corpus, &mut random);
        input.truncate(LARGEST);
    }
    (input, random)
}

/// One of several.
pub fn pick<'t, T>(from: &'t [T], random: &mut StdRng) -> &'t T {
    &from[random.random_range(0..from.len())]
}

fn range(length: usize, random: &mut StdRng) -> (usize, usize) {
    let from = random.random_range(0..=length);
    // Mostly short ones: a field, a digit, a bracket.
    let most = if random.random_bool(0.8) { 16 } else { length };
    let to = (from + random.random_range(0..=most)).min(length);
    (from, to)
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    let (from, to) = range(input.len(), random);
    match random.random_range(0..10) {
        0 if !input.is_empty() => {
            let at = random.random_range(0..input.len());
            input[at] ^= 1 << random.random_range(0..8);
        }
        1 if !input.is_empty() => {
            let at = random.random_range(0..input.len());
            input[at] = *pick(&[0, 1, 9, b'"', b'{', b'}', b'0', b'9', 0x7F, 0x80, 0xFF], random);
        }
        2 => drop(input.drain(from..to)),
        3 => input.truncate(from),
        4 => {
            let part = input[from..to].to_vec();
            let times = *pick(&[1, 2, 3, 100, 4000], random);
            let copies = part.repeat(times.min(LARGEST / part.len().max(1)));
            drop(input.splice(from..from, copies));
        }
        5 => {
            let other = pick(corpus, random);
            let (first, last) = range(other.len(), random);
            drop(input.splice(from..to, other[first..last].to_vec()));
        }
        6 => {
            let other = pick(corpus, random).clone();
            let at = random.random_range(0..=other.len());
            input.truncate(from);
            input.extend_from_slice(&other[at..]);
        }
        7 => drop(input.splice(from..to, pick(&TOKENS, random).to_vec())),
        8 => {
            let opening = *pick(b"[{(\"", random);
            let times = *pick(&[1, 64, 127, 129, 20_000], random);
            drop(input.splice(from..from, vec![opening; times]));
        }
        _ => drop(input.splice(from..from, pick(&TOKENS, random).to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_repeat_by_seed_differ_from_the_good_and_stay_bounded() {
        let corpus = vec![
            b"v1 1700000000 code state".to_vec(),
            br#"{"a":[1,2,{"b":"c"}]}"#.to_vec(),
        ];
        let mutants: Vec<_> = (0..2000).map(|n| mutant(7, n, &corpus).0).collect();
        let again = (0..2000).map(|n| mutant(7, n, &corpus).0);
        assert!(mutants.iter().cloned().eq(again));
        let changed = mutants.iter().filter(|m| !corpus.contains(m)).count();
        assert!(changed > 1800, "{changed}");
        assert!(mutants.iter().any(|m| m.len() > 10_000));
        assert!(mutants.iter().all(|m| m.len() <= LARGEST));
        assert!(mutants.iter().any(|m| m.windows(6).any(|w| w == b"CANARY")));
        assert_ne!(mutants, (0..2000).map(|n| mutant(8, n, &corpus).0).collect::<Vec<_>>());
    }
}
