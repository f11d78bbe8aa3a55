//! Shown: the letters and digits that a terminal's output shows.
//!
//! Owns: telling text from control sequences (ECMA-48, and what xterm adds), and what stands between
//! two letters. Must not know: what a message is.
//!
//! 1. A control sequence is no text, so nothing of it is ever written over: introducers, parameters,
//!    finals, and the number that tells which command an OSC is. What a string says between its
//!    beginning and its end (a title, a link, the body of a DCS) is text, but none of the screen's.
//! 2. Every other letter, but for 4, is in one of both texts, whatever the bytes are: a string that
//!    nothing ends hides nothing, and where terminals disagree about the end of a sequence, what follows
//!    stands for itself.
//! 3. One pass over the bytes. They may be no UTF-8.
//! 4. The brackets of a paste (`[200~`, `[201~`) are no text either where a program shows them without
//!    their ESC, in one row or over several: they stand beside a message, and their digits with the
//!    letters of one message may be those of another.

/// So many parts that only colours hold together are one word; whoever draws more draws a picture.
const PARTS: usize = 32;
/// Over so many rows a word is looked for.
const ROWS: usize = 4;
/// Digits of a bracket of a paste.
const BRACKET: usize = 3;

const BELL: char = '\u{7}';
const CANCEL: char = '\u{18}';
const SUBSTITUTE: char = '\u{1a}';
const ESCAPE: char = '\u{1b}';
const STRING_TERMINATOR: char = '\u{9c}';

/// What stands between a letter and the one before it: the most that parts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    Nothing,
    /// What moves no cursor: colours, and strings.
    Still,
    /// Spaces and signs.
    Signs,
    /// Where a program may have cut a text: the end of a row, a place the cursor is sent to, an ellipsis.
    Cut,
}

/// Letters and digits, and where they stand.
#[derive(Debug)]
pub(super) struct Shown {
    chars: Vec<char>,
    places: Vec<usize>,
    gaps: Vec<Gap>,
    /// The gap before the next letter, and how many dots it ends with.
    open: (Gap, usize),
    /// How much of a bracket of a paste came last, whatever rows and borders part it.
    bracket: usize,
}

/// Where a word that begins at some letter may end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Before the first gap of any kind.
    pub(super) part: usize,
    /// At the end of the row, or what only colours hold together; then with as much of the next rows.
    pub(super) rows: Vec<usize>,
}

impl Shown {
    /// What the screen shows, and what strings say.
    pub(super) fn of(bytes: &[u8]) -> [Self; 2] {
        let mut reader = Reader { screen: Self::new(), strings: Self::new(), state: State::Text };
        symbols(bytes).for_each(|(at, char)| reader.take(at, char));
        [reader.screen, reader.strings]
    }

    const fn new() -> Self {
        Self { chars: Vec::new(), places: Vec::new(), gaps: Vec::new(), open: (Gap::Cut, 0), bracket: 0 }
    }

    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    fn part_by(&mut self, gap: Gap) {
        self.open = (self.open.0.max(gap), 0);
    }

    fn push(&mut self, at: usize, char: char) {
        let (gap, dots) = self.open;
        self.bracket = match (self.bracket, char) {
            (_, '[') => 1,
            (1, '2') => 2,
            // Signs in the same row would make it something else.
            (2, '0') if gap != Gap::Signs => 3,
            (3, '0' | '1') if gap != Gap::Signs => 4,
            (4, '~') if gap != Gap::Signs => return self.take_bracket(),
            _ if char.is_alphanumeric() => 0,
            (came, _) => came,
        };
        self.open = match char {
            _ if char.is_alphanumeric() => {
                self.chars.push(char);
                self.places.push(at);
                self.gaps.push(gap);
                (Gap::Nothing, 0)
            }
            '.' if dots < 2 => (gap.max(Gap::Signs), dots + 1),
            '.' | '…' => (Gap::Cut, 0),
            '\t' => (gap.max(Gap::Signs), 0),
            _ if char.is_control() => (Gap::Cut, 0),
            _ => (gap.max(Gap::Signs), 0),
        };
    }

    /// Takes away the digits of a whole bracket (invariant 4).
    fn take_bracket(&mut self) {
        let digits = self.chars.len() - BRACKET;
        self.chars.truncate(digits);
        self.places.truncate(digits);
        self.open = (self.gaps.drain(digits..).fold(self.open.0, Gap::max), 0);
        self.bracket = 0;
    }

    /// Whether a text may have been cut before this letter; where it ends it may have been, too.
    pub(super) fn is_cut(&self, at: usize) -> bool {
        self.gaps.get(at).is_none_or(|gap| *gap == Gap::Cut)
    }

    /// Where a word that begins here may end.
    pub(super) fn ends(&self, at: usize) -> Ends {
        let (mut part, mut parts, mut rows) = (None, 1, Vec::new());
        let mut end = at + 1;
        while let Some(gap) = self.gaps.get(end).filter(|_| parts <= PARTS && rows.len() < ROWS) {
            match gap {
                Gap::Nothing => {}
                Gap::Still => parts += 1,
                Gap::Cut => rows.push(end),
                Gap::Signs => break,
            }
            if *gap > Gap::Nothing {
                part.get_or_insert(end);
            }
            end += 1;
        }
        if parts <= PARTS && rows.len() < ROWS {
            rows.push(end);
        }
        Ends { part: part.unwrap_or(end), rows }
    }

    /// Writes other letters of the same lengths over those from a place on.
    pub(super) fn put(&self, bytes: &mut [u8], at: usize, new: &[char]) {
        for (char, place) in new.iter().zip(&self.places[at..]) {
            char.encode_utf8(&mut bytes[*place..]);
        }
    }
}

/// What the next character belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// Behind an ESC.
    Escape,
    /// Behind an ESC and intermediates: a character set, mostly.
    Intermediates,
    /// A CSI.
    Control,
    /// The number of an OSC.
    Number,
    /// The parameters of a DCS.
    Parameters,
    /// The first character of a string, which may still be a part of its introducer.
    First,
    /// A string; whether BEL ends it.
    String {
        bell: bool,
    },
}

struct Reader {
    screen: Shown,
    strings: Shown,
    state: State,
}

impl Reader {
    fn take(&mut self, at: usize, char: char) {
        self.state = match (self.state, char) {
            (_, ESCAPE) => State::Escape,
            (_, '\u{90}') => self.string(State::Parameters),
            (_, '\u{98}' | '\u{9e}' | '\u{9f}') => self.string(State::First),
            (_, '\u{9b}') => State::Control,
            (_, '\u{9d}') => self.string(State::Number),
            (_, CANCEL | SUBSTITUTE | STRING_TERMINATOR)
            | (State::Number | State::String { bell: true }, BELL) => {
                self.screen.part_by(Gap::Still);
                State::Text
            }
            (State::Text, _) => self.show(at, char),
            (State::Escape | State::Intermediates | State::Control, '\0'..=' ' | '\u{7f}') => {
                self.inside(char)
            }
            (State::Escape, _) => self.escape(at, char),
            (State::Intermediates, '!'..='/') | (State::Control, '!'..='?') => self.state,
            (State::Control, 'm') => self.end(Gap::Still),
            // A set of characters changes where lines are drawn, so rows begin and end there.
            (State::Intermediates, '0'..='~') | (State::Control, '@'..='~') => self.end(Gap::Cut),
            (State::Number, '0'..='9') | (State::Parameters, ' '..='?') => self.state,
            (State::Number, ';') => State::String { bell: true },
            (State::Number, _) => self.first(at, char, true),
            (State::Parameters | State::First, _) => self.first(at, char, false),
            (State::String { .. }, _) => {
                self.strings.push(at, char);
                self.state
            }
            // No byte of a sequence.
            (State::Intermediates | State::Control, _) => self.broken(at, char),
        };
    }

    fn show(&mut self, at: usize, char: char) -> State {
        self.screen.push(at, char);
        State::Text
    }

    /// The character behind an ESC.
    fn escape(&mut self, at: usize, char: char) -> State {
        match char {
            '!'..='/' => State::Intermediates,
            '[' => State::Control,
            ']' => self.string(State::Number),
            'P' => self.string(State::Parameters),
            'X' | '^' | '_' => self.string(State::First),
            // The end of a string moves nothing.
            '\\' => self.end(Gap::Still),
            '0'..='~' => self.end(Gap::Cut),
            _ => self.broken(at, char),
        }
    }

    /// A space, which may be an intermediate, or what a terminal obeys in the middle of a sequence.
    fn inside(&mut self, char: char) -> State {
        match char {
            ' ' if self.state == State::Escape => return State::Intermediates,
            ' ' | '\u{7f}' => {}
            _ => self.screen.part_by(Gap::Cut),
        }
        self.state
    }

    fn end(&mut self, gap: Gap) -> State {
        self.screen.part_by(gap);
        State::Text
    }

    /// A sequence ends where a character of no sequence stands; whether it shows depends on the terminal.
    fn broken(&mut self, at: usize, char: char) -> State {
        self.screen.part_by(Gap::Still);
        self.screen.push(at, char);
        self.screen.part_by(Gap::Still);
        State::Text
    }

    fn string(&mut self, state: State) -> State {
        self.screen.part_by(Gap::Still);
        self.strings.part_by(Gap::Cut);
        state
    }

    /// It stands for itself (invariant 2): it may be the final of a DCS, or begin a word.
    fn first(&mut self, at: usize, char: char, bell: bool) -> State {
        self.strings.push(at, char);
        self.strings.part_by(Gap::Still);
        State::String { bell }
    }
}

/// Bytes as characters: a single byte that is none may be a control of eight bits, all others are what
/// stands for no character.
fn symbols(bytes: &[u8]) -> impl Iterator<Item = (usize, char)> {
    let mut start = 0;
    bytes.utf8_chunks().flat_map(move |chunk| {
        let (from, to) = (start, start + chunk.valid().len());
        start = to + chunk.invalid().len();
        let invalid = match chunk.invalid() {
            [] => None,
            [control @ 0x80..=0x9f] => Some(char::from(*control)),
            _ => Some(char::REPLACEMENT_CHARACTER),
        };
        let valid = chunk.valid().char_indices().map(move |(at, char)| (from + at, char));
        valid.chain(invalid.map(|char| (to, char)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both texts, with what parts them: nothing, `'`, a space, or `|`.
    fn read(bytes: &[u8]) -> [String; 2] {
        Shown::of(bytes).map(|shown| {
            let mut text = String::new();
            for (char, gap) in shown.chars.iter().zip(&shown.gaps) {
                text += match gap {
                    Gap::Nothing => "",
                    Gap::Still => "'",
                    Gap::Signs => " ",
                    Gap::Cut => "|",
                };
                text.push(*char);
            }
            let places: String = shown.places.iter().map(|at| symbol(bytes, *at)).collect();
            assert_eq!(places, shown.chars.iter().collect::<String>());
            text
        })
    }

    fn symbol(bytes: &[u8], place: usize) -> char {
        symbols(bytes).find(|(at, _)| *at == place).unwrap().1
    }

    #[test]
    fn sequences_are_no_text_whatever_their_kind() {
        for (bytes, screen, strings) in [
            ("ab c.d", "|ab c d", ""),
            ("a\x1b[1;31mb\x1b[0mc\x1b[2;3Hd\x1b[?25le\x1b[1 qf", "|a'b'c|d|e|f", ""),
            ("a\x1b7b\x1b8c\x1bDd\x1bce\x1b=f\x1b#8g", "|a|b|c|d|e|f|g", ""),
            ("a\x1b(Bb\x1b%Gc\x1b Fd\x1b$(Ce", "|a|b|c|d|e", ""),
            ("a\u{9b}31mb\u{9d}0;c\u{9c}d", "|a'b'd", "|c"),
            ("a\x1b]0;title b\x07c\x1b]8;;x:y\x1b\\d\x1b]ltitle\x07", "|a'c'd", "|title b|x y|l'title"),
            (
                "a\x1bP1$qmn\x07o\x1b\\b\x1b_Gh\x1b\\c\x1b^x\x1b\\d\x1bXy\x1b\\e",
                "|a'b'c'd'e",
                "|q'mn|o|G'h|x|y",
            ),
            ("a\x1b[1\r\n2mb\x1b[3\x18c\x1b(\x1b[1md", "|a|b'c'd", ""),
            ("a\x1b[é\x1bébc", "|a'é'é'bc", ""),
            ("a\r\nb\tc...d…e. . .f..g", "|a|b c|d|e f g", ""),
            ("a^[[200~b^[[201~1[201~c\x1b]0;d[200~e\x07", "|a b 1 c", "|d e"),
            ("a [\r\n| 201~b[2\r\n| 01~c[\x1b[m20\x1b[m0~d", "|a|b|c d", ""),
            ("[2 0 1~[202~ 201~ [201 ~ [2001~ [[201~a", "|2 0 1 202 201 201 2001 a", ""),
        ] {
            assert_eq!(read(bytes.as_bytes()), [screen, strings], "{bytes:?}");
        }
        assert_eq!(read(b"a\x9b1mb\xffc\xe2\x9bd"), ["|a'b c d", ""]);
    }

    /// Any escape ends a string, and what nothing ends is read all the same.
    #[test]
    fn a_string_without_its_end_hides_nothing() {
        for (bytes, screen, strings) in [
            ("\x1b]0;title\x1b[1mshown", "|shown", "|title"),
            ("\x1bPtitle\r\nshown", "", "|t'itle|shown"),
            ("\x1b]0;a\x18shown\x1b_b\x1b", "|shown", "|a|b"),
            ("\x1b", "", ""),
            ("\x1b]", "", ""),
            ("\x1b[12", "", ""),
        ] {
            assert_eq!(read(bytes.as_bytes()), [screen, strings], "{bytes:?}");
        }
    }

    #[test]
    fn a_word_ends_at_a_gap_or_in_one_of_the_next_rows() {
        let of = |bytes: &str, at| {
            let [screen, _] = Shown::of(bytes.as_bytes());
            let Ends { part, rows } = screen.ends(at);
            (part, rows)
        };
        assert_eq!(of("ab cd", 0), (2, vec![2]));
        assert_eq!(of("ab cd", 3), (4, vec![4]));
        assert_eq!(of("a\x1b[mb\r\n| cd", 0), (1, vec![2, 4]));
        assert_eq!(of("a\nb\nc\nd\ne", 0), (1, vec![1, 2, 3, 4]));
        assert_eq!(of(&"a\x1b[m".repeat(33), 0), (1, vec![]));
        assert_eq!(of(&"a\x1b[m".repeat(32), 0), (1, vec![32]));
    }
}
