//! Text for people: aligned columns, colour, spans of time, and the taming of foreign text.
//!
//! Owns: how values look. Must not know: where they come from or go to.
//!
//! 1. Without colour the output has no escape sequence, and what a peer wrote never adds one.

use serde_json::Value;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) colour: bool,
}

impl Style {
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Columns under `head`, each as wide as its widest cell, two spaces apart, without trailing spaces.
pub(super) fn table<const N: usize>(style: Style, head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: String =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        padded.trim_end().to_owned()
    };
    let mut out = style.bold(&line(head));
    out.push('\n');
    for row in rows {
        out.push_str(&line(row.each_ref().map(String::as_str)));
        out.push('\n');
    }
    out
}

/// `text` on one line: every control character is shown as an escape.
pub(super) fn one_line(text: &str) -> String {
    tame(text, false)
}

/// `text` with its line ends and tabs; every other control character is shown as an escape.
pub(super) fn lines(text: &str) -> String {
    tame(text, true)
}

fn tame(text: &str, keep_layout: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !(keep_layout && matches!(c, '\n' | '\t')) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A member of a JSON object as a cell: text, number, list joined by commas; a dash for nothing.
pub(super) fn cell(object: &Value, name: &str) -> String {
    let text = match object.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => one_line(text),
        Some(Value::Array(items)) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            one_line(&items.join(","))
        }
        Some(other) => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Seconds in the two largest units that matter: `42 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`.
pub(super) fn span(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3_600, secs / 86_400);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", secs % 60),
        () => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Style = Style { colour: false };

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ümläut".to_owned(), "1".to_owned()], ["b".to_owned(), "22".to_owned()]];
        assert_eq!(table(PLAIN, ["NAME", "PID"], &rows), "NAME    PID\nümläut  1\nb       22\n");
    }

    #[test]
    fn colour_is_only_where_it_was_asked_for() {
        assert_eq!(PLAIN.bad("x"), "x");
        let head = table(Style { colour: true }, ["A"], &[]);
        assert_eq!(head, "\x1b[1mA\x1b[0m\n");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(one_line("a\x1b[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
        assert_eq!(lines("a\x07\n\tb"), "a\\u{7}\n\tb");
    }

    #[test]
    fn a_cell_shows_what_there_is() {
        let agent = json!({"pid": 7, "channels": ["a", "b"], "model": null, "cli": "cat", "team": ""});
        let cells = ["pid", "channels", "model", "cli", "team", "more"].map(|name| cell(&agent, name));
        assert_eq!(cells, ["7", "a,b", "-", "cat", "-", "-"]);
    }

    #[test]
    fn spans_have_at_most_two_units() {
        let spans = [0, 59, 185, 7_800, 356_400].map(span);
        assert_eq!(spans, ["0 s", "59 s", "3 min 5 s", "2 h 10 min", "4 d 3 h"]);
    }
}
