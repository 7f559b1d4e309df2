//! Alerts in the text of a mail: OSSEC's, Wazuh's, and under whatever name else they are sold.
//!
//! ```text
//! OSSEC HIDS Notification.                                    any words in place of these two
//! 2026 Nov 20 19:26:45
//!
//! Received From: (app) 10.20.2.2->/var/log/auth.log
//! Rule: 5710 fired (level 5) -> "Attempt to login using a non-existent user"
//! Src IP: 192.168.1.37
//! Portion of the log(s):
//!
//! Nov 20 19:26:42 app sshd[67231]: Invalid user admin ...     whatever somebody could have logged
//!
//!  --END OF NOTIFICATION
//! ```
//!
//! Guarantees: blocks follow each other without a gap, so that all of them together are the body. An END line ends a
//! block only before the end of the mail or before a whole head; so no log text can hide the block behind its own. Log
//! text that holds both, with the line ends of the mail, cannot be told from another block: it may turn its own block's
//! rest into one that is somebody else's. Whoever gets mails whole has all of it in every case.

use std::borrow::Cow;

use super::head::{Head, LineEnd, is_rule};
use super::{Block, Doubt, subject};

/// Blocks that are read of one mail. OSSEC and Wazuh put up to 97 into one; whoever puts more is somebody else, and must
/// not fill the memory with them.
pub const BLOCKS_LIMIT: usize = 1000;
/// Empty lines between an END line and the next head; the programs write three.
const EMPTY_LINES_LIMIT: usize = 8;

const END: &[u8] = b" --END OF NOTIFICATION";

/// What a mail turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Blocks, one or many.
    Alerts,
    /// One alert, cut short for a telephone.
    Sms,
    /// A daily report.
    Report,
    /// None of these.
    #[default]
    Other,
}

/// What was read from a mail.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its alerts, oldest first; none in a report or in other mail.
    pub blocks: Vec<Block<'a>>,
    /// Why none of them can be told with certainty; what is doubtful of one stands with it.
    pub doubt: Option<Doubt>,
}

impl Reading<'_> {
    /// Whether the alert number `nth` can be told with certainty from the rest.
    pub fn is_certain(&self, nth: usize) -> bool {
        self.doubt.is_none() && self.blocks.get(nth).is_some_and(|block| block.doubt.is_none())
    }

    /// The same without the text it was read from.
    pub fn into_owned(self) -> Reading<'static> {
        let blocks = self.blocks.into_iter().map(Block::into_owned).collect();
        Reading { kind: self.kind, blocks, doubt: self.doubt }
    }

    /// Why something cannot be told with certainty, if so.
    pub fn any_doubt(&self) -> Option<Doubt> {
        self.doubt.or_else(|| self.blocks.iter().find_map(|block| block.doubt))
    }
}

/// Reads a mail's Subject and body. What is no alert gives a reading without blocks.
pub fn read<'a>(subject: &str, body: &'a [u8]) -> Reading<'a> {
    if let Some((head, line_end)) = first_head(body) {
        return blocks(subject, body, head, line_end);
    }
    if is_report(body) {
        return Reading { kind: Kind::Report, ..Reading::default() };
    }
    match subject::sms(subject, body) {
        Some(block) => Reading { kind: Kind::Sms, blocks: vec![block], doubt: None },
        None => Reading::default(),
    }
}

/// The head behind the empty lines at the beginning. Its first line says how lines end.
fn first_head(body: &[u8]) -> Option<(Head<'_>, LineEnd)> {
    let start = body.iter().position(|octet| !matches!(octet, b'\r' | b'\n'))?;
    [LineEnd::CrLf, LineEnd::Lf].into_iter().find_map(|line_end| Some((Head::read(body, start, line_end)?, line_end)))
}

fn is_report(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    let line = text.split(|&octet| octet == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.starts_with(b"Report '") && line.ends_with(b"' completed.")
}

fn blocks<'a>(subject: &str, body: &'a [u8], first: Head<'a>, line_end: LineEnd) -> Reading<'a> {
    let mut reading = Reading { kind: Kind::Alerts, ..Reading::default() };
    let form = (first.brand, first.iso_date);
    let text = Text { body, line_end, end: body.trim_ascii_end().len() };
    let (mut start, mut next) = (0, Some(first));
    while let Some(head) = next {
        if (head.brand, head.iso_date) != form {
            reading.doubt = reading.doubt.or(Some(Doubt::Mixed));
        }
        let mut log = text.log(head.end);
        if reading.blocks.len() + 1 == BLOCKS_LIMIT && log.next.is_some() {
            reading.doubt = Some(Doubt::Many);
            (log.behind, log.next) = (body.len(), None);
        }
        reading.blocks.push(Block {
            octets: Cow::Borrowed(&body[start..log.behind]),
            log: Cow::Borrowed(trim_line_ends(&body[head.end..log.end])),
            doubt: log.doubt,
            ..head.block
        });
        (start, next) = (log.behind, log.next);
    }
    let highest = reading.blocks.iter().map(|block| block.level).max();
    if subject::level(subject).zip(highest).is_some_and(|(told, highest)| told < highest) {
        reading.doubt = reading.doubt.or(Some(Doubt::Subject));
    }
    reading
}

/// A body with blocks.
struct Text<'a> {
    body: &'a [u8],
    line_end: LineEnd,
    /// Behind it there are blanks and line ends only.
    end: usize,
}

/// The log text of a block, and what follows.
struct Log<'a> {
    /// Where its END line begins.
    end: usize,
    /// Where the next block begins, its empty line in front included.
    behind: usize,
    next: Option<Head<'a>>,
    doubt: Option<Doubt>,
}

impl<'a> Text<'a> {
    /// Reads from `at` up to the END line that counts. Every octet is looked at twice at most: what is tried as a head
    /// behind an END line holds no END line itself.
    fn log(&self, mut at: usize) -> Log<'a> {
        let (mut begins_well, mut doubt) = (true, None);
        while at < self.body.len() {
            let rest = &self.body[at..];
            let line = &rest[..rest.iter().position(|&octet| octet == b'\n').map_or(rest.len(), |end| end + 1)];
            let behind = at + line.len();
            // The last line of all may have lost its end.
            let content = line.strip_suffix(self.line_end.as_bytes()).or((behind == self.body.len()).then_some(line));
            if begins_well && content == Some(END) {
                if behind >= self.end {
                    return Log { end: at, behind: self.body.len(), next: None, doubt };
                }
                if let Some((start, head)) = self.next_head(behind) {
                    return Log { end: at, behind: start, next: Some(head), doubt };
                }
            }
            doubt = doubt.or_else(|| is_imitation(line).then_some(Doubt::Imitation));
            (at, begins_well) = (behind, content.is_some());
        }
        Log { end: at, behind: at, next: None, doubt: Some(Doubt::Cut) }
    }

    /// The head behind some empty lines; the last of them is its block's own.
    fn next_head(&self, at: usize) -> Option<(usize, Head<'a>)> {
        let empty = self.line_end.as_bytes();
        let lines = self.body[at..].chunks(empty.len());
        let count = lines.take(EMPTY_LINES_LIMIT).take_while(|line| *line == empty).count();
        let start = at + count.checked_sub(1)? * empty.len();
        Some((start, Head::read(self.body, start + empty.len(), self.line_end)?))
    }
}

/// Whether a line of log text looks like structure.
fn is_imitation(line: &[u8]) -> bool {
    match line.trim_ascii_start().first() {
        Some(b'-') => line.trim_ascii() == END.trim_ascii_start(),
        Some(b'R') => line.starts_with(b"Received From: ") || is_rule(line),
        Some(b'P') => line.starts_with(b"Portion of the log(s):"),
        _ => false,
    }
}

fn trim_line_ends(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| !matches!(octet, b'\r' | b'\n'));
    &text[..end.map_or(0, |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One block as the programs write it.
    fn block(rule: u32, location: &str, log: &str) -> String {
        format!(
            "\r\nWazuh Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: {location}\r\n\
             Rule: {rule} fired (level 5) -> \"text\"\r\nPortion of the log(s):\r\n\r\n\
             {log}\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"
        )
    }

    fn rules(reading: &Reading<'_>) -> Vec<(u32, Option<Doubt>)> {
        reading.blocks.iter().map(|block| (block.rule, block.doubt)).collect()
    }

    #[test]
    fn a_grouped_mail_is_taken_apart() {
        let body = block(1, "(a) any->/x", "one") + &block(2, "host->/y", "two\nlines\r\n");
        let reading = read("Wazuh notification - host - Alert level 5", body.as_bytes());
        assert_eq!((reading.kind, reading.doubt), (Kind::Alerts, None));
        assert_eq!(rules(&reading), [(1, None), (2, None)]);
        assert_eq!(*reading.blocks[1].log, *b"two\nlines");
        assert_eq!(reading.blocks[0].location.agent(), b"a");
    }

    #[test]
    fn a_file_with_the_line_ends_of_a_unix_text_is_read_too() {
        let text = block(1, "a->/x", "one") + &block(2, "a->/x", "two");
        let text = text.replace("\r\n", "\n");
        for text in [text.trim(), &text] {
            let reading = read("", text.as_bytes());
            assert_eq!(rules(&reading), [(1, None), (2, None)], "{text}");
        }
    }

    #[test]
    fn an_end_line_in_log_text_ends_nothing_unless_a_whole_head_or_the_end_follows() {
        for imitation in [
            " --END OF NOTIFICATION\r\n",
            " --END OF NOTIFICATION\r\n\r\n\r\n\r\nmore",
            " --END OF NOTIFICATION\r\n\r\n\r\n\r\nWazuh Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: x->y",
            "Received From: x->y",
            "Rule: 1 fired (level 0) -> \"x\"",
        ] {
            let body = block(1, "a->/x", imitation) + &block(2, "b->/x", "two");
            assert_eq!(rules(&read("", body.as_bytes())), [(1, Some(Doubt::Imitation)), (2, None)], "{imitation}");
        }
    }

    #[test]
    fn a_whole_block_with_other_line_ends_is_log_text() {
        // Wazuh puts the line ends of a log in JSON into its mail as they are.
        let forged = block(9, "b->/x", "forged").replace("\r\n", "\n");
        let body =
            block(1, "a->/x", &format!("log\n\n --END OF NOTIFICATION\n\n\n{forged}")) + &block(2, "b->/x", "two");
        assert_eq!(rules(&read("", body.as_bytes())), [(1, Some(Doubt::Imitation)), (2, None)]);
    }

    #[test]
    fn what_does_not_fit_together_is_doubted() {
        let (one, two) = (block(1, "a->/x", "one"), block(2, "a->/x", "two"));
        let doubt = |subject: &str, body: String| read(subject, body.as_bytes()).any_doubt();
        assert_eq!(doubt("Wazuh notification - a - Alert level 4", one.clone()), Some(Doubt::Subject));
        // The highest alert may have been dropped from a list that was full.
        assert_eq!(doubt("Wazuh notification - a - Alert level 6", one.clone()), None);
        assert_eq!(doubt("", one.clone() + &two.replace("Wazuh", "OSSEC HIDS")), Some(Doubt::Mixed));
        let iso = two.replace("2026 Nov 20 19:26:45", "2026-11-20T19:30:02.000+0000");
        assert_eq!(doubt("", one.clone() + &iso), Some(Doubt::Mixed));
        assert_eq!(doubt("", one.clone() + &two[..two.len() - 30]), Some(Doubt::Cut));
        let many = read("", one.repeat(BLOCKS_LIMIT + 5).as_bytes()).blocks.len();
        assert_eq!((many, doubt("", one.repeat(BLOCKS_LIMIT + 5))), (BLOCKS_LIMIT, Some(Doubt::Many)));
        assert_eq!(doubt("", one.repeat(BLOCKS_LIMIT)), None);
    }

    #[test]
    fn what_is_no_alert_is_none() {
        for body in ["", "\r\n", "hello", "Wazuh Notification.\r\n", " \r\nReport", "Notification.\r\n\r\n"] {
            assert_eq!(read("sudo command on <app>", body.as_bytes()), Reading::default(), "{body}");
        }
        assert_eq!(read("Daily report", b" \r\nReport 'Daily report' completed.\r\n---").kind, Kind::Report);
        assert_eq!(read("OSSEC 10 - 5712 - x", b"log").kind, Kind::Sms);
    }

    /// Lines that log text may hold, most of them to mislead.
    fn log_text() -> impl Strategy<Value = String> {
        let line = proptest::sample::select(vec![
            "",
            "log",
            " --END OF NOTIFICATION",
            "Wazuh Notification.",
            "2026 Nov 20 19:26:45",
            "Received From: b->/x",
            "Rule: 7 fired (level 15) -> \"x\"",
            "Portion of the log(s):",
            "User: x",
            "\r",
            "caf\u{e9}",
        ]);
        let end = proptest::sample::select(vec!["\r\n", "\r\n", "\n", ""]);
        proptest::collection::vec((line, end), 0..14)
            .prop_map(|lines| lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect())
    }

    proptest! {
        #[test]
        fn no_log_text_hides_the_block_behind_it_or_loses_an_octet(logs in proptest::collection::vec(log_text(), 1..5)) {
            let body: String = logs.iter().zip(100..).map(|(log, rule)| block(rule, "a->/x", log)).collect();
            let reading = read("", body.as_bytes());
            prop_assert_eq!(reading.blocks.iter().map(|block| block.octets.len()).sum::<usize>(), body.len());
            let octets: Vec<u8> = reading.blocks.iter().flat_map(|block| block.octets.to_vec()).collect();
            prop_assert_eq!(octets, body.as_bytes());
            let found: Vec<u32> = reading.blocks.iter().map(|block| block.rule).filter(|rule| *rule >= 100).collect();
            prop_assert_eq!(found, (100..).take(logs.len()).collect::<Vec<u32>>());
        }

        #[test]
        fn log_text_without_structure_gives_back_every_block(
            logs in proptest::collection::vec("[a-z :\n]{1,60}[a-z]", 1..6)
        ) {
            let body: String = logs.iter().zip(0..).map(|(log, rule)| block(rule, "a->/x", log)).collect();
            let reading = read("", body.as_bytes());
            prop_assert_eq!(reading.any_doubt(), None);
            let read: Vec<Vec<u8>> = reading.blocks.iter().map(|block| block.log.to_vec()).collect();
            prop_assert_eq!(read, logs.iter().map(|log| log.as_bytes().to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn no_mail_panics(subject in ".{0,80}", body in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..900) {
            let _ = read(&subject, &body);
            let whole = block(1, "a->/x", "one").repeat(3);
            let _ = read(&subject, &whole.as_bytes()[..cut.min(whole.len())]);
        }
    }

    #[test]
    fn mails_made_to_be_slow_are_not() {
        use std::time::{Duration, Instant};
        let whole = block(1, "a->/x", "log");
        let head = &whole[..whole.find("log\r\n").expect("a log")];
        for unit in [
            " --END OF NOTIFICATION\r\n".to_owned(),
            " --END OF NOTIFICATION\r\n\r\n\r\n\r\n".to_owned(),
            format!(" --END OF NOTIFICATION\r\n{}", &head[..head.len() - 2]),
            "\r\n".to_owned(),
            " ".to_owned(),
            whole.clone(),
        ] {
            let body = head.to_owned() + &unit.repeat(2 * 1024 * 1024 / unit.len());
            let began = Instant::now();
            let _ = read("", body.as_bytes());
            // Linear work takes a tenth of a second here; the square of it hours.
            assert!(began.elapsed() < Duration::from_secs(20), "{unit:?}: {:?}", began.elapsed());
        }
    }
}
