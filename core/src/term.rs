//! Terminal: the screen that an agent's program believes it writes to.
//!
//! Owns: the emulated screen of one program, and the answers to what programs ask a terminal.
//! Must not know: what stands on the screen or why.
//!
//! 1. No byte sequence and no size makes it fail; sizes are clamped to [`ROWS`] and [`COLS`].
//! 2. It has no scrollback. One grid costs 32 bytes per cell (60 KiB at 24 by 80); it is made with the first
//!    output, a second one when the program first enters the alternate screen, and both stay.
//! 3. Answers wait in a bounded buffer; a program that asks without reading loses answers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use core::ops::RangeInclusive;

/// Heights that a screen can have. On a lower one a dialog scrolls its own question away: it could not be
/// told from a prompt any more, and what is typed into it is lost. The highest that we know has fifteen
/// rows at the usual width. The upper bound keeps a hostile resize from taking the memory.
pub(crate) const ROWS: RangeInclusive<u16> = 16..=500;

/// Widths that a screen can have. On a narrower one programs break the words that a dialog is known by.
pub(crate) const COLS: RangeInclusive<u16> = 20..=1_000;

/// Most bytes of answers that wait to be taken: some hundred answers.
const REPLIES_MAX: usize = 4_096;

/// U+FE0F in UTF-8. It makes the character before it wide; where that one stands at the end of the
/// last row, vt100 0.18.1 loses track of the row and panics when the place is written again.
const EMOJI_SELECTOR: [u8; 3] = [0xef, 0xb8, 0x8f];

/// The last byte of U+FE0E, which has no width and asks for no change of any.
const TEXT_SELECTOR_END: u8 = 0x8e;

type Emulator = vt100::Parser<Replies>;

/// The screen of one program.
pub(crate) struct Terminal {
    size: (NonZeroU16, NonZeroU16),
    /// None before the first output: many an agent is refused before its program starts.
    emulator: Option<Emulator>,
    fed: u64,
    /// The last two bytes of output, in which an emoji selector may have begun.
    before: [u8; 2],
}

impl Terminal {
    /// An empty screen. Sizes outside [`ROWS`] and [`COLS`] are clamped.
    pub(crate) fn new(rows: u16, cols: u16) -> Self {
        Self { size: clamped(rows, cols), emulator: None, fed: 0, before: [0; 2] }
    }

    /// What is shown, if there was any output.
    fn screen(&self) -> Option<&vt100::Screen> {
        self.emulator.as_ref().map(vt100::Parser::screen)
    }

    /// Takes output of the program. Sequences may be split anywhere between calls.
    pub(crate) fn feed(&mut self, output: &[u8]) {
        self.fed = self.fed.saturating_add(output.len() as u64);
        let mut rest = output;
        while let Some(at) = rest.iter().position(|byte| *byte == EMOJI_SELECTOR[2]) {
            let (part, found) = rest.split_at(at);
            self.process(part);
            let selects = self.before == EMOJI_SELECTOR[..2];
            self.process(&[if selects { TEXT_SELECTOR_END } else { found[0] }]);
            rest = &found[1..];
        }
        self.process(rest);
    }

    fn process(&mut self, output: &[u8]) {
        match *output {
            [] => return,
            [last] => self.before = [self.before[1], last],
            [.., one, last] => self.before = [one, last],
        }
        self.emulator.get_or_insert_with(|| empty(self.size)).process(output);
    }

    /// Changes the size; content that no longer fits is cut, not reflowed.
    pub(crate) fn resize(&mut self, rows: u16, cols: u16) {
        self.size = clamped(rows, cols);
        if let Some(emulator) = &mut self.emulator {
            emulator.set_size(self.size.0, self.size.1);
        }
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> (u16, u16) {
        (self.size.0.get(), self.size.1.get())
    }

    /// How many bytes of output came so far.
    pub(crate) const fn fed(&self) -> u64 {
        self.fed
    }

    /// Whether the program has asked for pastes in brackets.
    pub(crate) fn bracketed_paste(&self) -> bool {
        self.screen().is_some_and(vt100::Screen::bracketed_paste)
    }

    /// Whether the program shows the alternate screen.
    pub(crate) fn alternate_screen(&self) -> bool {
        self.screen().is_some_and(vt100::Screen::alternate_screen)
    }

    /// Whether the program hides the cursor, so that its place means nothing.
    pub(crate) fn cursor_hidden(&self) -> bool {
        self.screen().is_some_and(vt100::Screen::hide_cursor)
    }

    /// Row and column of the cursor, from 0, always on the screen.
    pub(crate) fn cursor(&self) -> (u16, u16) {
        self.screen().map(cursor_on).unwrap_or_default()
    }

    /// The text of some rows, the last included, with LF after each row that does not run on into
    /// the next. Rows below the screen are empty. Its cost grows with the rows asked for.
    pub(crate) fn text(&self, rows: RangeInclusive<u16>) -> String {
        let (height, _) = self.size();
        let end = (*rows.end()).min(height - 1) + 1;
        match self.screen() {
            Some(screen) => screen.contents_between(*rows.start(), 0, end, 0),
            None => "\n".repeat(usize::from(end.saturating_sub(*rows.start()))),
        }
    }

    /// All rows as text, as in [`Terminal::text`], without empty rows at the end.
    pub(crate) fn snapshot_plain(&self) -> String {
        self.screen().map(vt100::Screen::contents).unwrap_or_default()
    }

    /// Bytes that draw this screen, with its input modes, on another terminal.
    pub(crate) fn snapshot_ansi(&self) -> Vec<u8> {
        match self.screen() {
            Some(screen) => screen.state_formatted().into_bytes(),
            None => empty(self.size).screen().state_formatted().into_bytes(),
        }
    }

    /// The last rows that show anything, at most `count`, top first, without trailing spaces.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let (_, cols) = self.size();
        let rows = self.screen().into_iter().flat_map(|screen| screen.rows(0, cols));
        let lines = rows.map(|row| String::from(row.trim_end())).filter(|row| !row.is_empty());
        let mut lines: Vec<String> = lines.collect();
        lines.split_off(lines.len().saturating_sub(count))
    }

    /// What is to be written to the program because its output asked the terminal for something:
    /// its state, the cursor's place, or what kind of terminal it is.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        let emulator = self.emulator.as_mut();
        emulator.map(|emulator| core::mem::take(&mut emulator.callbacks_mut().bytes)).unwrap_or_default()
    }
}

fn empty((rows, cols): (NonZeroU16, NonZeroU16)) -> Emulator {
    vt100::Parser::new_with_callbacks(rows, cols, 0, Replies::default())
}

fn clamped(rows: u16, cols: u16) -> (NonZeroU16, NonZeroU16) {
    let clamp = |size: u16, range: RangeInclusive<u16>| {
        NonZeroU16::new(size.clamp(*range.start(), *range.end())).unwrap_or(NonZeroU16::MIN)
    };
    (clamp(rows, ROWS), clamp(cols, COLS))
}

/// The emulator lets the cursor stand past the last column until the next character wraps.
fn cursor_on(screen: &vt100::Screen) -> (u16, u16) {
    let (row, col) = screen.cursor_position();
    let (_, cols) = screen.size();
    (row, col.min(cols.get() - 1))
}

/// Answers queries when they are parsed, so that a cursor report tells the place at that moment.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
}

impl Replies {
    fn push(&mut self, reply: &[u8]) {
        if self.bytes.len() + reply.len() <= REPLIES_MAX {
            self.bytes.extend_from_slice(reply);
        }
    }
}

impl vt100::Callbacks for Replies {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first_intermediate: Option<u8>,
        _second_intermediate: Option<u8>,
        params: &[&[u16]],
        command: char,
    ) {
        if first_intermediate.is_some() {
            return;
        }
        match (command, params) {
            ('n', [[5]]) => self.push(b"\x1b[0n"),
            ('n', [[6]]) => {
                let (row, col) = cursor_on(screen);
                self.push(format!("\x1b[{};{}R", row + 1, col + 1).as_bytes());
            }
            // A VT220 with colour: what programs expect of a terminal today.
            ('c', [] | [[0]]) => self.push(b"\x1b[?62;22c"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn screen(output: &[u8]) -> Terminal {
        let mut terminal = Terminal::new(24, 80);
        terminal.feed(output);
        terminal
    }

    #[test]
    fn output_is_counted_and_shown() {
        let terminal = screen(b"one\r\n\x1b[31mtwo\x1b[m  \r\n\r\nfour");
        assert_eq!(terminal.fed(), 26);
        assert_eq!(terminal.cursor(), (3, 4));
        assert_eq!(terminal.snapshot_plain(), "one\ntwo  \n\nfour");
        assert_eq!(terminal.text(1..=1), "two  \n");
        assert_eq!(terminal.text(24..=99), "");
        assert_eq!(terminal.text(0..=99).trim_end(), "one\ntwo  \n\nfour");
        assert_eq!(terminal.last_lines(2), ["two", "four"]);
        assert_eq!(terminal.last_lines(9), ["one", "two", "four"]);
    }

    #[test]
    fn a_terminal_without_output_looks_like_an_empty_screen() {
        let (none, mut cleared) = (Terminal::new(24, 80), screen(b"x\x1b[2J\x1b[H"));
        assert_eq!(none.text(0..=99), cleared.text(0..=99));
        assert_eq!(none.cursor(), cleared.cursor());
        assert_eq!(none.snapshot_plain(), cleared.snapshot_plain());
        assert_eq!(screen(&none.snapshot_ansi()).snapshot_plain(), "");
        assert_eq!(none.last_lines(3), cleared.last_lines(3));
        assert!(!none.bracketed_paste() && !none.alternate_screen() && !none.cursor_hidden());
        let mut resized = none;
        resized.resize(30, 40);
        cleared.resize(30, 40);
        assert_eq!(resized.text(3..=4), "\n\n");
        resized.feed(b"\x1b[99;99H\x1b[6n");
        cleared.feed(b"\x1b[99;99H\x1b[6n");
        assert_eq!(resized.take_replies(), cleared.take_replies());
        assert_eq!(resized.size(), (30, 40));
    }

    #[test]
    fn a_wrapped_row_runs_on_in_the_text() {
        let mut terminal = Terminal::new(16, 20);
        terminal.feed(b"a sentence of 26 letters..\r\nh");
        assert_eq!(terminal.text(0..=2), "a sentence of 26 letters..\nh\n");
        assert_eq!(terminal.cursor(), (2, 1));
    }

    #[test]
    fn a_snapshot_draws_the_same_screen_again() {
        let terminal = screen("\x1b[?2004h\x1b[5;7Hx漢\x1b[1;32mgreen\x1b[m".as_bytes());
        let copy = screen(&terminal.snapshot_ansi());
        assert_eq!(copy.snapshot_plain(), terminal.snapshot_plain());
        assert_eq!(copy.cursor(), terminal.cursor());
        assert!(copy.bracketed_paste());
    }

    #[test]
    fn modes_follow_the_output_even_when_sequences_are_split() {
        let mut terminal = screen(b"\x1b[?20");
        assert!(!terminal.bracketed_paste());
        terminal.feed(b"04h\x1b[?1049h\x1b[?25l");
        assert!(terminal.bracketed_paste() && terminal.alternate_screen());
        assert!(terminal.cursor_hidden());
        terminal.feed(b"\x1b[?2004;1049l\x1b[?25h");
        assert!(!terminal.bracketed_paste() && !terminal.alternate_screen());
        assert!(!terminal.cursor_hidden());
    }

    #[test]
    fn queries_are_answered_with_the_state_at_their_place() {
        let mut terminal = screen(b"\x1b[3;9H\x1b[6n\x1b[H\x1b[5n\x1b[c\x1b[0c");
        assert_eq!(terminal.take_replies(), b"\x1b[3;9R\x1b[0n\x1b[?62;22c\x1b[?62;22c");
        assert_eq!(terminal.take_replies(), b"");
        for byte in b"ab\x1b[6n" {
            terminal.feed(&[*byte]);
        }
        assert_eq!(terminal.take_replies(), b"\x1b[1;3R");
        terminal.feed(b"\x1b[?6n\x1b[>c\x1b[1c\x1b[7n\x1b]0;\x1b[5n");
        assert_eq!(terminal.take_replies(), b"\x1b[0n", "the last one ends a title");
    }

    #[test]
    fn a_cursor_past_the_last_column_is_reported_on_it() {
        let mut terminal = Terminal::new(16, 20);
        terminal.feed(b"twenty characters...\x1b[6n");
        assert_eq!(terminal.cursor(), (0, 19));
        assert_eq!(terminal.take_replies(), b"\x1b[1;20R");
    }

    #[test]
    fn answers_that_nobody_takes_are_bounded() {
        let mut terminal = screen(&b"\x1b[c".repeat(10_000));
        let replies = terminal.take_replies().len();
        assert!(replies <= REPLIES_MAX && replies > REPLIES_MAX - 16, "{replies}");
    }

    #[test]
    fn a_character_made_wide_at_the_end_of_the_screen_does_no_harm() {
        let wide = "\x1b[24;80H☁\u{fe0f}\x1b[23;80Hx".as_bytes();
        for split in 0..wide.len() {
            let mut terminal = screen(&wide[..split]);
            terminal.feed(&wide[split..]);
            assert_eq!(terminal.fed(), wide.len() as u64);
            let [above, below] = terminal.last_lines(2).try_into().unwrap();
            assert_eq!((above.trim_start(), below.trim_start()), ("x", "☁\u{fe0e}"));
        }
    }

    #[test]
    fn sizes_are_clamped() {
        assert_eq!(Terminal::new(0, 0).size(), (16, 20));
        let mut terminal = screen(b"x");
        terminal.resize(u16::MAX, u16::MAX);
        assert_eq!(terminal.size(), (500, 1_000));
        terminal.resize(1, 1);
        assert_eq!(terminal.size(), (16, 20));
    }

    #[test]
    fn a_screen_fits_its_memory_budget() {
        let grid = 24 * 80 * size_of::<vt100::Cell>();
        assert!(grid + size_of::<Terminal>() <= 70 * 1_024, "{grid}");
    }

    /// Bytes as programs send them: mostly sequences, with hostile numbers and wide characters.
    fn output() -> impl Strategy<Value = Vec<u8>> {
        let csi = (
            prop_oneof![Just(""), Just("?"), Just(">"), Just(" ")],
            proptest::collection::vec(prop_oneof![0..6_u16, 0..100_u16, any::<u16>()], 0..3),
            "[@A-Za-z`]",
        )
            .prop_map(|(lead, numbers, end)| {
                let numbers: Vec<String> = numbers.iter().map(|n| format!("{n}")).collect();
                format!("\x1b[{lead}{}{end}", numbers.join(";")).into_bytes()
            })
            // Repetition of the last character is slow with large numbers, and nothing else.
            .prop_filter("slow", |bytes| !bytes.ends_with(b"b") || bytes.len() < 6);
        let mode = prop::sample::select(vec!["47", "1049", "6", "7", "25", "2004"]).prop_flat_map(|mode| {
            prop_oneof![
                Just(format!("\x1b[?{mode}h").into_bytes()),
                Just(format!("\x1b[?{mode}l").into_bytes()),
            ]
        });
        let text = "[a-c漢😀é\u{301}\u{fe0f}☁\u{200d}\t\r\n\u{8}]{0,12}";
        prop_oneof![
            4 => csi,
            2 => mode,
            3 => text.prop_map(String::into_bytes),
            1 => "\x1b[78cDEHM=>()#0]|\x1b\\][0-9];x\x07".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    fn size() -> impl Strategy<Value = (u16, u16)> {
        prop_oneof![(16..18_u16, 20..22_u16), (16..30_u16, 20..90_u16)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..<_>::default() })]

        #[test]
        fn no_output_and_no_resize_breaks_the_screen(
            first in size(),
            steps in proptest::collection::vec((output(), prop::option::weighted(0.2, size())), 0..60),
        ) {
            let mut terminal = Terminal::new(first.0, first.1);
            for (output, resize) in steps {
                terminal.feed(&output);
                if let Some((rows, cols)) = resize {
                    terminal.resize(rows, cols);
                }
                let (rows, cols) = terminal.size();
                let (row, col) = terminal.cursor();
                prop_assert!(row < rows && col < cols);
                terminal.text(0..=row);
            }
            terminal.snapshot_plain();
            terminal.snapshot_ansi();
            terminal.last_lines(3);
            terminal.take_replies();
        }
    }
}
