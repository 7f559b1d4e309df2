//! The one door to the log: whatever a relay host, the system or a client put into a line leaves it in a form on which no
//! rule of the IDS fires, and stays readable.

/// What OSSEC's and Wazuh's rules fire on, in any case.
pub const TRIGGERS: [&str; 18] = [
    "failed",
    "failure",
    "error",
    "denied",
    "refused",
    "attack",
    " bad ",
    "illegal ",
    "unauthorized",
    "fatal",
    "corrupted",
    "segmentation fault",
    "core_dumped",
    "no space left on device",
    "file system full",
    "killed by sigterm",
    "authentication passed",
    "??",
];

/// The longest line, octets. The rules fire above 1,000.
const LINE_LIMIT: usize = 900;

/// `line` in a form on which no rule fires: the second character of each trigger as `\xNN`, cut to the limit.
pub fn quiet(line: &str) -> String {
    // An escape only lengthens: what is behind the limit now never comes in front of it.
    let mut octets: Vec<u8> =
        line.bytes().take(LINE_LIMIT).flat_map(|o| escaped_unless(o, (b' '..=b'~').contains(&o))).collect();
    for trigger in TRIGGERS.iter().chain(&["@@"]) {
        let mut from = 0;
        while let Some(at) = find(&octets[from..], trigger.as_bytes()) {
            let second = from + at + 1;
            let escape: Vec<u8> = escaped_unless(octets[second], false).collect();
            octets.splice(second..=second, escape);
            from = second;
        }
    }
    octets.truncate(LINE_LIMIT);
    String::from_utf8_lossy(&octets).into_owned()
}

fn escaped_unless(octet: u8, plain: bool) -> impl Iterator<Item = u8> {
    let text = if plain { vec![octet] } else { format!("\\x{octet:02x}").into_bytes() };
    text.into_iter()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(line: &str) -> Option<&'static str> {
        let lower = line.to_ascii_lowercase();
        TRIGGERS.into_iter().chain(["@@"]).find(|trigger| lower.contains(trigger))
    }

    #[test]
    fn no_trigger_survives_in_any_case_or_company() {
        for trigger in TRIGGERS.into_iter().chain(["@@"]) {
            for text in [
                trigger.to_owned(),
                trigger.to_uppercase(),
                trigger.repeat(3),
                format!("x{trigger}y"),
                format!("{trigger}{}", TRIGGERS.concat()),
            ] {
                let line = quiet(&text);
                assert_eq!(fires(&line), None, "{text:?} became {line:?}");
            }
        }
    }

    #[test]
    fn a_line_stays_readable_short_and_printable() {
        assert_eq!(quiet("535 5.7.8 Authentication failed"), "535 5.7.8 Authentication f\\x61iled");
        assert_eq!(quiet("\x1b[31m\n\u{e9}"), "\\x1b[31m\\x0a\\xc3\\xa9");
        assert!(quiet(&"x".repeat(5000)).len() <= LINE_LIMIT);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_said_fires_a_rule(
            parts in proptest::collection::vec((proptest::sample::select(&TRIGGERS[..]), ".{0,6}"), 0..12)
        ) {
            let text: String = parts.into_iter().map(|(trigger, other)| format!("{trigger}{other}")).collect();
            let line = quiet(&text);
            proptest::prop_assert_eq!(fires(&line), None);
            proptest::prop_assert!(line.len() <= LINE_LIMIT);
        }
    }
}
