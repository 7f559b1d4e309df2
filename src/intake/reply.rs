//! Every reply intake can give: one short line each, sent in one write.
//!
//! OSSEC and Wazuh look for `220`, `250` and `354` anywhere in what one read returns, so no other reply holds these
//! digits, and texts are bland on purpose: a client learns no path, no setting and no reason that could be an
//! attacker's business. The reasons are in the log.

use crate::envelope::QueueId;

/// Code, enhanced status code and text.
pub const GREETING: &str = "220 sealrelay ESMTP";
pub const HELO: &str = "250 sealrelay";
pub const MAIL: &str = "250 2.1.0 Sender taken";
pub const RCPT: &str = "250 2.1.5 Recipient taken";
pub const DATA: &str = "354 End data with CRLF.CRLF";
pub const ACCEPTED: &str = "250 2.0.0 Sealed and stored";
/// At most so many queue ids stand in one reply, which is one short line.
const IDS: usize = 16;
pub const RESET: &str = "250 2.0.0 Cleared";
pub const NOOP: &str = "250 2.0.0 Here";
pub const VRFY: &str = "252 2.1.5 Send some mail to find out";
pub const QUIT: &str = "221 2.0.0 Bye";
pub const UNKNOWN: &str = "500 5.5.2 Command not known";
pub const SYNTAX: &str = "501 5.5.4 Syntax: MAIL FROM:<address> or RCPT TO:<address>";
pub const LINE_TOO_LONG: &str = "501 5.5.4 Line too long";
pub const NEED_MAIL: &str = "503 5.5.1 Say MAIL first";
pub const NEED_RCPT: &str = "503 5.5.1 Say RCPT first";
pub const NESTED_MAIL: &str = "503 5.5.1 A transaction is under way";
pub const TOO_LARGE: &str = "552 5.3.4 Message larger than the limit here";
pub const NOT_STORED: &str = "451 4.3.0 Cannot be stored now, try again";
pub const TOO_MANY_BAD: &str = "421 4.7.0 Too many commands not known, closing";
pub const TIMEOUT: &str = "421 4.4.2 Waited too long, closing";
pub const MADE_ROOM: &str = "421 4.3.2 Waited too long while others wait, closing";
pub const NO_ROOM: &str = "421 4.3.2 No room now, try again later";
pub const CANNOT_TAKE: &str = "421 4.3.0 Mail cannot be taken now, try again later";
pub const STOPPING: &str = "421 4.3.2 Service stops, try again later";
pub const NOT_FOR_YOU: &str = "554 5.7.1 No service for this address";

/// EHLO's lines: only what is meant. PIPELINING would make the early dot undecidable, STARTTLS and AUTH would be tried.
pub fn ehlo(limit: usize) -> String {
    format!("250-sealrelay\r\n250-8BITMIME\r\n250 SIZE {limit}")
}

/// The same for an EHLO client, with the names of the messages made from its mail. HELO clients (OSSEC, Wazuh) look for
/// codes in the text too, and get it without.
pub fn accepted_as(ids: &[QueueId]) -> String {
    let ids: Vec<&str> = ids.iter().take(IDS).map(QueueId::as_str).collect();
    format!("{ACCEPTED} as {}", ids.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 25] = [
        GREETING,
        HELO,
        MAIL,
        RCPT,
        DATA,
        ACCEPTED,
        RESET,
        NOOP,
        VRFY,
        QUIT,
        UNKNOWN,
        SYNTAX,
        LINE_TOO_LONG,
        NEED_MAIL,
        NEED_RCPT,
        NESTED_MAIL,
        TOO_LARGE,
        NOT_STORED,
        TOO_MANY_BAD,
        TIMEOUT,
        MADE_ROOM,
        NO_ROOM,
        CANNOT_TAKE,
        STOPPING,
        NOT_FOR_YOU,
    ];

    #[test]
    fn no_reply_is_long_or_of_several_lines_and_no_refusal_holds_the_digits_of_a_positive_one() {
        for reply in ALL {
            assert!(reply.len() < 510 && !reply.contains(['\r', '\n']), "{reply}");
            let (code, text) = reply.split_at(3);
            for digits in ["220", "250", "354"] {
                assert!(!text.contains(digits), "{reply}");
                assert!(code == digits || !reply.contains(digits), "{reply}");
            }
        }
    }
}
