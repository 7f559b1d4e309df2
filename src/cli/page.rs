//! Lines for people: a label, a text behind it, colour where a terminal shows it.
//!
//! Guarantees: what is put on a page is printable ASCII, whoever said it; colour only on a terminal that wants it. On a
//! terminal texts are broken at its width; elsewhere they are not, so that `grep` finds whole sentences.

use std::io::IsTerminal;

use crate::envelope::escaped;

/// Narrower is unreadable, wider is hard to read.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=100;

/// Where a page is shown.
#[derive(Clone, Copy, Default)]
pub struct Medium {
    /// Characters in a line; `None` for as many as there are.
    pub width: Option<usize>,
    /// Whether it shows colour.
    pub colour: bool,
}

/// How a text looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// Well: green.
    Good,
    /// Somebody should look: yellow.
    Doubt,
    /// Broken: red.
    Bad,
}

/// Lines as they grow.
pub struct Page {
    medium: Medium,
    lines: Vec<String>,
}

impl Medium {
    /// Standard output, as it is.
    pub fn stdout() -> Self {
        let out = std::io::stdout();
        let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
        if !out.is_terminal() {
            return Self { width: columns().map(clamp), colour: false };
        }
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let size = rustix::termios::tcgetwinsize(&out).ok().filter(|size| size.ws_col > 0);
        let width = size.map(|size| usize::from(size.ws_col)).or_else(columns);
        // https://no-color.org
        Self { width: width.map(clamp), colour: !set("NO_COLOR") && Self::obeys() }
    }

    /// Whether standard output is a terminal that understands more than lines.
    pub fn obeys() -> bool {
        std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
    }

    /// How many lines a terminal shows.
    pub fn rows() -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(usize::from(size.ws_row)).filter(|rows| *rows > 1)
    }
}

fn clamp(width: usize) -> usize {
    width.clamp(*WIDTHS.start(), *WIDTHS.end())
}

impl Page {
    /// An empty one.
    pub fn new(medium: Medium) -> Self {
        Self { medium, lines: Vec::new() }
    }

    /// `text` behind `label`; where it has to be broken it goes on below itself.
    pub fn put(&mut self, label: &str, text: &str, paint: Paint) {
        let text = escaped(text);
        let room = self.medium.width.map_or(usize::MAX, |width| width.saturating_sub(label.len()).max(20));
        for (nth, part) in broken(&text, room).into_iter().enumerate() {
            let blank = " ".repeat(label.len());
            let line = format!("{}{}", if nth == 0 { label } else { &blank }, self.painted(part, paint));
            self.lines.push(line.trim_end().to_owned());
        }
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.lines.push(String::new());
    }

    /// What stands on it.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }

    fn painted(&self, text: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Doubt => "33",
            Paint::Bad => "1;31",
            Paint::Plain => "",
        };
        if self.medium.colour && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text`, printable ASCII, in parts of at most `room` characters: between words, else behind a colon, else anywhere.
fn broken(text: &str, room: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > room {
        let (line, _) = rest.split_at(room);
        // The blank may be the one behind the last that has room.
        let at = rest[..=room].rfind(' ').filter(|at| *at > 0);
        let at = at.or_else(|| line.rfind(':').map(|at| at + 1)).unwrap_or(room);
        let (part, behind) = rest.split_at(at);
        parts.push(part.trim_end());
        rest = behind.trim_start();
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, colour: bool) -> Page {
        Page::new(Medium { width: Some(width), colour })
    }

    #[test]
    fn a_text_is_broken_between_words_and_goes_on_below_itself() {
        let mut page = page(40, false);
        page.put("  trouble  ", "one two three four five six seven eight nine", Paint::Bad);
        let lines = page.into_lines();
        assert_eq!(lines, ["  trouble  one two three four five six", "           seven eight nine"]);
        assert_eq!(broken("aaaa bbbb", 4), ["aaaa", "bbbb"]);
        assert_eq!(broken("AA:BB:CC:DD", 7), ["AA:BB:", "CC:DD"]);
        assert_eq!(broken("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(broken("", 4), [""]);
        assert_eq!(broken("aaaa     ", 4), ["aaaa", ""]);
    }

    #[test]
    fn colour_is_ours_alone_and_ends_with_each_line() {
        let mut page = page(40, true);
        page.put("", "\x1b[31mred\u{e4}\r\n\u{202e}", Paint::Good);
        page.put("", &"word ".repeat(20), Paint::Doubt);
        let lines = page.into_lines();
        assert_eq!(lines[0], "\x1b[32m\\x1b[31mred\\xc3\\xa4\\x0d\\x0a\\xe2\\x80\\xae\x1b[0m");
        assert!(
            lines[1..].iter().all(|line| line.starts_with("\x1b[33mword") && line.ends_with("\x1b[0m")),
            "{lines:?}"
        );
    }
}
