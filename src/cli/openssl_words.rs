//! openssl's spelling of `check`'s options: one dash, and names of its own. Everything else goes through as it is.

use std::ffi::OsString;

/// openssl's word and ours.
const WORDS: [(&str, &str); 11] = [
    ("-connect", "--connect"),
    ("-host", "--host"),
    ("-port", "--port"),
    ("-starttls", "--starttls"),
    ("-CAfile", "--ca-file"),
    ("-CApath", "--ca-path"),
    ("-showcerts", "--showcerts"),
    ("-servername", "--servername"),
    ("-verify_hostname", "--verify-hostname"),
    ("-verify_ip", "--verify-hostname"),
    ("-proxy", "--proxy"),
];

/// `arguments` of `sealrelay check ...` in our spelling; those of other commands as they are. openssl also takes two
/// dashes, and so do we.
pub fn translated(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_check = false;
    arguments
        .map(|argument| {
            is_check |= argument == "check";
            let known = WORDS.iter().find(|(theirs, _)| {
                let theirs_with_two = argument.to_str().and_then(|word| word.strip_prefix('-'));
                is_check && (argument == *theirs || theirs_with_two == Some(*theirs))
            });
            known.map_or(argument, |(_, ours)| OsString::from(ours))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(line: &str) -> String {
        let words = translated(line.split(' ').map(OsString::from));
        words.join(" ".as_ref()).into_string().expect("UTF-8")
    }

    #[test]
    fn what_openssl_users_type_after_check_becomes_our_options() {
        assert_eq!(
            spelled("sealrelay check -connect h:25 -starttls smtp -CAfile f -CApath d -showcerts -servername n"),
            "sealrelay check --connect h:25 --starttls smtp --ca-file f --ca-path d --showcerts --servername n"
        );
        assert_eq!(spelled("sealrelay check -verify_hostname n"), "sealrelay check --verify-hostname n");
        assert_eq!(spelled("sealrelay check --verify_hostname n"), "sealrelay check --verify-hostname n");
        assert_eq!(spelled("sealrelay --config c check -proxy p:9050"), "sealrelay --config c check --proxy p:9050");
    }

    #[test]
    fn our_own_words_and_those_of_other_commands_go_through_as_they_are() {
        for line in ["sealrelay check --host h --port 25 --login", "sealrelay sendmail -t -i", "sealrelay queue list"] {
            assert_eq!(spelled(line), line);
        }
        assert_eq!(spelled("sealrelay sendmail -port x"), "sealrelay sendmail -port x");
    }
}
