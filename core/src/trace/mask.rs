//! Masking: credentials leave a trace as filler of equal length.
//!
//! Owns: which runs of a text are credentials, and what stands in for them.
//! Must not know: what a text is for.
//!
//! 1. The prefix that tells what kind of credential it is stays; of the rest nothing can be computed
//!    back without the mask's own key, which is never written.
//! 2. Equal credentials get equal filler everywhere, and the beginning of a credential gets the
//!    beginning of its filler: what compares or searches texts finds the same after masking.
//! 3. The length stays, and so does the class of each byte: letters and digits stay letters or
//!    digits, everything else is left alone. [`shape`] is therefore the same before and after.
//! 4. The output of one terminal is one text, however it is cut into chunks.
//!
//! Of a registered secret that the end of a chunk cuts within its first five bytes these stay: a word may end
//! so, too. A credential that a program draws in pieces, with other bytes in between, is not recognised.

use crate::ids::ProcessId;
use crate::secret::Secret;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// What filler is made of: credentials of the fabric are hexadecimal.
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes of a credential, behind its prefix, that its filler depends on. More would cost a hash each.
const LEAD: usize = 8;
/// Hexadecimal digits of a broker's local key.
const LOCAL_KEY: usize = 32;
/// A registered secret that is shorter would also be found where it is a word.
const EXACT: usize = 6;
/// Filler repeats with this period, the length of a hash.
const PERIOD: usize = 32;

/// Replaces credentials by filler.
#[derive(Debug)]
pub struct Mask {
    /// `None` masks nothing.
    key: Option<Secrecy>,
    /// Registered secrets without the fabric's form, longest first.
    exact: Vec<Vec<u8>>,
    /// What each terminal's output ended with, where that may be the beginning of a credential.
    tails: BTreeMap<ProcessId, Vec<u8>>,
}

struct Secrecy([u8; 32]);

impl core::fmt::Debug for Secrecy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrecy(***)")
    }
}

/// A credential found: where it begins, where the part to hide begins, and where it ends.
struct Found {
    start: usize,
    hide: usize,
    end: usize,
}

impl Mask {
    /// A mask with a key of its own: 32 bytes that nobody else knows.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key: Some(Secrecy(key)), exact: Vec::new(), tails: BTreeMap::new() }
    }

    /// For texts that are masked already.
    pub const fn off() -> Self {
        Self { key: None, exact: Vec::new(), tails: BTreeMap::new() }
    }

    /// Makes the mask know a secret that its form does not give away.
    pub fn register(&mut self, secret: &str) {
        let secret = secret.trim();
        if self.key.is_none()
            || secret.len() < EXACT
            || self.exact.iter().any(|known| known == secret.as_bytes())
        {
            return;
        }
        let all = Found { start: 0, hide: 0, end: secret.len() };
        let is_recognised =
            next(secret.as_bytes(), 0, false).is_some_and(|found| found.start == 0 && found.end == all.end);
        if !is_recognised {
            self.exact.push(secret.into());
            self.exact.sort_by_key(|known| core::cmp::Reverse(known.len()));
        }
    }

    /// A secret as a whole, whatever its form.
    pub(super) fn secret(&self, secret: &Secret) -> String {
        let text = secret.expose();
        match self.text(text) {
            Cow::Borrowed(_) if self.key.is_some() => {
                let mut out = text.as_bytes().to_vec();
                self.fill(&mut out, text.as_bytes());
                String::from_utf8(out).unwrap_or_default()
            }
            masked => masked.into_owned(),
        }
    }

    /// `text`, masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.masked(text.as_bytes(), false) {
            None => Cow::Borrowed(text),
            // ASCII was replaced by ASCII.
            Some(bytes) => Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())),
        }
    }

    /// `bytes`, masked.
    pub(super) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.masked(bytes, false).map_or(Cow::Borrowed(bytes), Cow::Owned)
    }

    /// The next output of a terminal, masked (invariant 4).
    pub(super) fn output<'a>(&mut self, process: ProcessId, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.key.is_none() {
            return Cow::Borrowed(bytes);
        }
        let tail = self.tails.remove(&process).unwrap_or_default();
        let before = tail.len();
        let whole = if tail.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned([&tail, bytes].concat()) };
        let masked = self.masked(&whole, true);
        if let Some(tail) = self.open_tail(&whole) {
            self.tails.insert(process, tail);
        }
        match masked {
            None => Cow::Borrowed(bytes),
            Some(masked) => Cow::Owned(masked[before..].to_vec()),
        }
    }

    /// No more output comes from this terminal.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.tails.remove(&process);
    }

    /// `None` when there is nothing to mask. In a stream the end may be the middle of a credential.
    fn masked(&self, bytes: &[u8], stream: bool) -> Option<Vec<u8>> {
        self.key.as_ref()?;
        let mut out: Option<Vec<u8>> = None;
        let mut hide = |found: &Found| {
            let out = out.get_or_insert_with(|| bytes.to_vec());
            self.fill(&mut out[found.hide..found.end], &bytes[found.hide..found.end]);
        };
        // Each is looked for by itself: they may overlap, also in what has no filler.
        for secret in &self.exact {
            let mut from = 0;
            while let Some(found) = exactly(bytes, from, secret, stream) {
                hide(&found);
                from = found.start + 1;
            }
        }
        let mut from = 0;
        while let Some(found) = next(bytes, from, stream) {
            hide(&found);
            from = found.end;
        }
        out
    }

    /// Puts filler for `body` into `out`, where there is none yet. Invariants 1 to 3 are made here.
    fn fill(&self, out: &mut [u8], body: &[u8]) {
        let Some(Secrecy(key)) = &self.key else { return };
        let mut hash = Sha256::new_with_prefix(key);
        let mut print = [0; PERIOD];
        for (at, byte) in body.iter().enumerate() {
            if at < LEAD {
                hash.update([*byte]);
                print = hash.clone().finalize().into();
            }
            if byte.is_ascii_alphanumeric() && out[at] == *byte {
                out[at] = DIGITS[usize::from(print[at % PERIOD]) % DIGITS.len()];
            }
        }
    }

    /// The end of `bytes` from where a credential may have begun.
    fn open_tail(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let begun = self.exact.iter().filter_map(|secret| {
            let longest = secret.len().min(bytes.len() + 1) - 1;
            (1..=longest).rev().find(|len| bytes.ends_with(&secret[..*len]))
        });
        // A registered secret is recognised only by all of it.
        let exact = begun.max().unwrap_or(0);
        let formed = open_form(bytes).map_or(0, |start| bytes.len() - start);
        let mut tail = bytes[bytes.len() - exact.max(formed)..].to_vec();
        if tail.is_empty() {
            return None;
        }
        // Of a long one of the forms the middle is left out in whole periods, so that the filler goes on in
        // step.
        while tail.len() > exact + 4 * PERIOD {
            tail.drain(2 * PERIOD..3 * PERIOD);
        }
        Some(tail)
    }
}

/// The first credential of the fabric's forms at or behind `from`.
fn next(bytes: &[u8], from: usize, stream: bool) -> Option<Found> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'_')?;
        // The prefix may stand in what was taken for the end of the credential before.
        if at >= 2 {
            let found = match &bytes[at - 2..at] {
                b"rk" | b"at" | b"nt" | b"ot" => live(bytes, at),
                b"br" => local_key(bytes, at, stream),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        at += 1;
    }
}

const LIVE: &[u8] = b"_live_";

fn live(bytes: &[u8], at: usize) -> Option<Found> {
    let hide = at + LIVE.len();
    let body = bytes[at..].strip_prefix(LIVE)?;
    let len = body.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    (len > 0).then_some(Found { start: at - 2, hide, end: hide + len })
}

fn local_key(bytes: &[u8], at: usize, stream: bool) -> Option<Found> {
    let hide = at + 1;
    let digits = bytes[hide..].iter().take(LOCAL_KEY).take_while(|byte| DIGITS.contains(byte)).count();
    let end = hide + digits;
    // Cut by the end of a chunk: better a masked word than half a key.
    let begun = stream && end == bytes.len() && digits > 0;
    (digits == LOCAL_KEY || begun).then_some(Found { start: at - 2, hide, end })
}

/// The first place at or behind `from` where `secret` stands, or begins at the end of a stream.
fn exactly(bytes: &[u8], from: usize, secret: &[u8], stream: bool) -> Option<Found> {
    let rest = bytes.get(from..)?;
    let mut at = 0;
    loop {
        at += rest[at..].iter().position(|byte| *byte == secret[0])?;
        let here = &rest[at..];
        let begun = stream && here.len() >= EXACT && secret.starts_with(here);
        if begun || here.starts_with(secret) {
            let start = from + at;
            return Some(Found { start, hide: start, end: start + secret.len().min(here.len()) });
        }
        at += 1;
    }
}

/// Where a credential of the fabric's forms may have begun that the end of `bytes` has cut.
fn open_form(bytes: &[u8]) -> Option<usize> {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let run = bytes.len() - bytes.iter().rev().take_while(|byte| word(byte)).count();
    (run..bytes.len()).find(|start| may_go_on(&bytes[*start..]))
}

fn may_go_on(text: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 4] = [b"rk_live_", b"at_live_", b"nt_live_", b"ot_live_"];
    const LOCAL: &[u8] = b"br_";
    let begins = |beginning: &[u8]| match text.strip_prefix(beginning) {
        Some(body) => Some(body),
        None => beginning.starts_with(text).then_some(&text[text.len()..]),
    };
    BEGINNINGS.iter().any(|b| begins(b).is_some_and(|body| body.iter().all(u8::is_ascii_alphanumeric)))
        || begins(LOCAL)
            .is_some_and(|body| body.len() < LOCAL_KEY && body.iter().all(|byte| DIGITS.contains(byte)))
}

/// What masking keeps of a free text: its length, and every byte that is not part of a word. Base64
/// counts as a word, because one byte before the encoding changes several after it.
pub(super) fn shape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().min(64) + 8);
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | 0x80..);
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let len = rest.iter().take_while(|byte| is_word(byte)).count();
        if len == 0 {
            out.push(*first);
            rest = &rest[1..];
        } else {
            out.push(b'w');
            out.extend_from_slice(&(len as u64).to_le_bytes());
            rest = &rest[len..];
        }
    }
    out
}
