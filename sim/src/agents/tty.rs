//! A terminal's kernel side: what happens to bytes between a master's write and a program's read.
//!
//! Owns: the two queues, line mode, echo, and what is thrown away.
//! Must not know: programs, brokers, time.
//!
//! 1. Written bytes go through the transfer queue (64 KiB) into the input queue (4 095 bytes); a
//!    write takes what the transfer queue has room for.
//! 2. In line mode a complete line blocks the transfer when the input queue is full; without one,
//!    what does not fit is dropped, so that the end of the line can come in.
//! 3. Input is echoed when it enters the input queue, whether or not anybody reads it.

use std::collections::VecDeque;

/// Bytes written and not yet in the input queue.
const TRANSFER: usize = 64 * 1024;
/// Bytes of the input queue.
const INPUT: usize = 4_095;

/// One terminal.
#[derive(Debug)]
pub struct Tty {
    transfer: VecDeque<u8>,
    input: VecDeque<u8>,
    /// Bytes of `input` that make up complete lines.
    complete: usize,
    canonical: bool,
    echo: bool,
}

impl Tty {
    /// A terminal as a child finds it: by lines, with echo.
    pub fn new(echo: bool) -> Self {
        Self { transfer: VecDeque::new(), input: VecDeque::new(), complete: 0, canonical: true, echo }
    }

    /// Line mode and echo.
    pub fn modes(&self) -> (bool, bool) {
        (self.canonical, self.echo)
    }

    /// Takes bytes of a write: how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(TRANSFER - self.transfer.len());
        self.transfer.extend(&bytes[..taken]);
        taken
    }

    /// Moves bytes on into the input queue; returns their echo.
    pub fn transfer(&mut self) -> Vec<u8> {
        let mut echo = Vec::new();
        if !self.canonical && !self.echo {
            let moves = self.transfer.len().min(INPUT.saturating_sub(self.input.len()));
            self.input.extend(self.transfer.drain(..moves));
            return echo;
        }
        while let Some(&byte) = self.transfer.front() {
            let full = self.input.len() >= INPUT;
            if full && (!self.canonical || self.complete > 0) {
                break;
            }
            // Bytes that stand for themselves move on together.
            let (next, _) = self.transfer.as_slices();
            let room = INPUT.saturating_sub(self.input.len());
            let plain = next.iter().take(room).take_while(|byte| **byte >= 32).count();
            if plain > 0 {
                self.input.extend(&next[..plain]);
                if self.echo {
                    echo.extend_from_slice(&next[..plain]);
                }
                self.transfer.drain(..plain);
                continue;
            }
            self.transfer.pop_front();
            let byte = if self.canonical && byte == b'\r' { b'\n' } else { byte };
            if full && byte != b'\n' {
                continue;
            }
            self.input.push_back(byte);
            if self.canonical && byte == b'\n' {
                self.complete = self.input.len();
            }
            if self.echo {
                match byte {
                    b'\n' => echo.extend(b"\r\n"),
                    b'\t' => echo.push(byte),
                    0..32 => echo.extend([b'^', byte + 64]),
                    _ => echo.push(byte),
                }
            }
        }
        echo
    }

    /// Bytes that a read would get, as `FIONREAD` tells.
    pub fn unread(&self) -> usize {
        if self.canonical { self.complete } else { self.input.len() }
    }

    /// Whether bytes wait for [`Tty::transfer`] and could move.
    pub fn wants_transfer(&self) -> bool {
        !self.transfer.is_empty() && (self.input.len() < INPUT || (self.canonical && self.complete == 0))
    }

    /// Reads up to `most` bytes, in line mode of one line.
    pub fn read(&mut self, most: usize) -> Vec<u8> {
        let mut count = most.min(self.unread());
        let input = self.input.make_contiguous();
        if self.canonical {
            let end = memchr::memchr(b'\n', &input[..count]);
            count = end.map_or(count, |at| at + 1);
        }
        let bytes = input[..count].to_vec();
        self.complete = self.complete.saturating_sub(count);
        self.input.drain(..count);
        bytes
    }

    /// A change of mode by the program; with `flush` the input queue is thrown away first.
    pub fn set_mode(&mut self, canonical: bool, echo: bool, flush: bool) {
        if flush {
            self.input.clear();
        }
        self.canonical = canonical;
        self.echo = echo;
        let last_end = self.input.iter().rposition(|byte| *byte == b'\n');
        self.complete = last_end.map_or(0, |at| at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &[u8]) -> Tty {
        let mut tty = Tty::new(true);
        assert_eq!(tty.write(text), text.len());
        tty.transfer();
        tty
    }

    #[test]
    fn only_complete_lines_count_and_are_read_one_by_one() {
        let mut tty = typed(b"one\rtwo\nthr");
        assert_eq!(tty.unread(), 8);
        assert_eq!(tty.read(100), b"one\n");
        assert_eq!(tty.read(100), b"two\n");
        assert_eq!((tty.unread(), tty.read(100)), (0, vec![]));
    }

    #[test]
    fn a_line_that_is_too_long_loses_its_rest_but_not_its_end() {
        let mut tty = typed(&[b'x'; 5_000]);
        tty.write(b"\r");
        tty.transfer();
        let line = tty.read(10_000);
        assert_eq!((line.len(), line.last()), (INPUT + 1, Some(&b'\n')));
    }

    #[test]
    fn a_terminal_that_nobody_reads_takes_its_queues_full_and_no_more() {
        let mut tty = Tty::new(false);
        tty.set_mode(false, false, false);
        let mut written = 0;
        for _ in 0..100 {
            written += tty.write(&[b'x'; 4_096]);
            tty.transfer();
        }
        assert_eq!(written, TRANSFER + INPUT);
    }

    #[test]
    fn echo_shows_what_nobody_has_read_and_a_flush_throws_it_away() {
        let mut tty = Tty::new(true);
        tty.write(b"hi\x1b\r");
        assert_eq!(tty.transfer(), b"hi^[\r\n");
        tty.set_mode(false, false, true);
        assert_eq!(tty.unread(), 0);
    }
}
