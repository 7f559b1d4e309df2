//! sendmail(1)'s command line, as Postfix reads it: single letters, in clusters, values attached or apart.
//!
//! Guarantees: what is not known is passed over, because a caller that sets it wants its mail to go out first of all; an
//! address that begins with a dash is refused, because it is an option somebody smuggled in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::addresses::{self, Address};

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm` and by default: hand in the message on standard input.
    #[default]
    Submit,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-bp` and `mailq`: list the queue.
    Queue,
    /// `-q`: try everything now.
    Flush,
    /// `-bi`, `-I` and `newaliases`, `-bh` and `-bH`: work on aliases or host records, of which there are none.
    Nothing,
    /// `-bv`: say where the addresses lead.
    Verify,
    /// `--help`.
    Help,
}

/// What a lone dot on a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dots {
    /// The end of the message.
    #[default]
    End,
    /// `-i`, `-oi`: text.
    Text,
}

/// A command line that was understood.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// What to do.
    pub mode: Mode,
    /// What a lone dot is.
    pub dots: Dots,
    /// `-t`: the header block names recipients.
    pub from_header: bool,
    /// `-f`, `-r`: the reverse-path. Without it there is none: the manifest has the account from the kernel, and a name
    /// out of the environment would say less.
    pub from: Option<Address>,
    /// Recipients on the command line.
    pub recipients: Vec<Address>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// A command line that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// `-bd` and the like.
    #[error("-b{0} is not for this command")]
    Mode(String),
    /// An option at the end without the value it needs.
    #[error("{0} needs a value")]
    NoValue(String),
    /// An address that would be an option elsewhere.
    #[error("{0:?} begins with a dash and is no address")]
    Dash(String),
}

impl FlagError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Mode(_) => "The daemon is `sealrelay run`; here are -bm, -bs, -bp, -bi and -bv.",
            Self::NoValue(_) => "Give it behind the option.",
            Self::Dash(_) => "Nothing was sent. Write options before `--`, and addresses without a dash in front.",
        }
    }
}

/// Options with a value, attached or in the next argument. Postfix has the same, but for `M`, of sendmail.org.
const WITH_VALUE: &[u8] = b"ABCFLMNORVXbefhopr";
/// Options whose value, if they have one, is attached.
const VALUE_ATTACHED: &[u8] = b"dq";

impl Flags {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// A mode that is none of ours, a missing value, an address with a dash.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, FlagError> {
        let mut arguments = arguments.into_iter().peekable();
        let mut flags = Self::default();
        if arguments.peek().is_none() {
            // Wazuh can give its mail program no argument, and writes log text into it as it is: recipients are in the
            // header block, and dots are text.
            return Ok(Self { from_header: true, dots: Dots::Text, ..flags });
        }
        while let Some(argument) = arguments.next() {
            match argument.as_bytes() {
                b"--" => break,
                [b'-', b'-', ..] => flags.long(&argument, &mut arguments)?,
                [b'-', cluster @ ..] if !cluster.is_empty() => flags.cluster(cluster, &mut arguments)?,
                // As Postfix does on Linux, options behind an address are read too.
                operand => flags.recipient(operand)?,
            }
        }
        for operand in arguments {
            flags.recipient(operand.as_bytes())?;
        }
        Ok(flags)
    }

    fn cluster(&mut self, cluster: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), FlagError> {
        for (at, &letter) in cluster.iter().enumerate() {
            let attached = &cluster[at + 1..];
            if VALUE_ATTACHED.contains(&letter) {
                return self.option(letter, attached);
            }
            if WITH_VALUE.contains(&letter) {
                let next = if attached.is_empty() { rest.next() } else { Some(OsString::from_vec(attached.to_vec())) };
                return match next {
                    Some(value) => self.option(letter, value.as_bytes()),
                    None if matches!(letter, b'f' | b'r' | b'b') => {
                        Err(FlagError::NoValue(format!("-{}", letter as char)))
                    }
                    None => Ok(()),
                };
            }
            self.option(letter, b"")?;
        }
        Ok(())
    }

    fn option(&mut self, letter: u8, value: &[u8]) -> Result<(), FlagError> {
        match letter {
            b'b' => self.mode = mode(value)?,
            b'f' | b'r' => self.from = sender(value)?,
            b'i' => self.dots = Dots::Text,
            b'o' if value.first() == Some(&b'i') => self.dots = Dots::Text,
            b't' => self.from_header = true,
            b'I' => self.mode = Mode::Nothing,
            // With another mode it is the interval of a queue runner.
            b'q' if self.mode == Mode::Submit => self.mode = Mode::Flush,
            _ => {}
        }
        Ok(())
    }

    fn long(&mut self, argument: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<(), FlagError> {
        let text = argument.as_bytes();
        if text == b"--help" {
            self.mode = Mode::Help;
        } else if text == b"--config" {
            let file = rest.next().ok_or_else(|| FlagError::NoValue("--config".to_owned()))?;
            self.config = Some(file.into());
        } else if let Some(file) = text.strip_prefix(b"--config=") {
            self.config = Some(OsStr::from_bytes(file).into());
        }
        Ok(())
    }

    /// One argument may hold several addresses.
    fn recipient(&mut self, operand: &[u8]) -> Result<(), FlagError> {
        without_dash(operand)?;
        self.recipients.extend(addresses::read(operand));
        Ok(())
    }
}

fn mode(value: &[u8]) -> Result<Mode, FlagError> {
    match value {
        b"m" | b"a" => Ok(Mode::Submit),
        b"s" => Ok(Mode::Smtp),
        b"p" => Ok(Mode::Queue),
        b"v" => Ok(Mode::Verify),
        b"i" | b"h" | b"H" => Ok(Mode::Nothing),
        other => Err(FlagError::Mode(crate::envelope::printable(other))),
    }
}

/// A reverse-path; `""` and `<>` are the null one.
fn sender(value: &[u8]) -> Result<Option<Address>, FlagError> {
    without_dash(value)?;
    Ok(addresses::read(value).into_iter().next())
}

fn without_dash(argument: &[u8]) -> Result<(), FlagError> {
    let dashed = argument.split(|&octet| octet == b',').any(|address| {
        let address = address.trim_ascii_start();
        address.strip_prefix(b"<").unwrap_or(address).starts_with(b"-")
    });
    if dashed { Err(FlagError::Dash(crate::envelope::printable(argument))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(arguments: &[&str]) -> Result<Flags, FlagError> {
        Flags::read(arguments.iter().map(OsString::from))
    }

    /// What was understood, in short: mode, dots, `-t`, sender, recipients.
    fn short(arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        match read(&arguments) {
            Err(error) => error.to_string(),
            Ok(flags) => {
                let recipients: Vec<String> = flags.recipients.iter().map(Address::to_string).collect();
                let from = flags.from.map(|from| format!(" from {from}")).unwrap_or_default();
                let header = if flags.from_header { " -t" } else { "" };
                let text = if flags.dots == Dots::Text { " -i" } else { "" };
                format!("{:?}{header}{text}{from} to [{}]", flags.mode, recipients.join(" "))
            }
        }
    }

    #[test]
    fn every_callers_flags_are_understood() {
        for (arguments, expected) in [
            // Wazuh; OSSEC; mdadm, logwatch; unattended-upgrades
            ("", "Submit -t -i to []"),
            ("-t -i", "Submit -t -i to []"),
            ("-t", "Submit -t to []"),
            ("-oi -t", "Submit -t -i to []"),
            // cron, bsd-mailx, mailutils, s-nail, fail2ban, anacron
            ("-FCronDaemon -i -B8BITMIME -oem root", "Submit -i to [root]"),
            ("-i -t -f root", "Submit -t -i from root to []"),
            ("-oi -f root@monitor -t", "Submit -t -i from root@monitor to []"),
            ("-i -- root", "Submit -i to [root]"),
            ("-f fail2ban@x root@x", "Submit from fail2ban@x to [root@x]"),
            ("-odi root", "Submit to [root]"),
            // clusters, values attached and apart, several addresses in one
            ("-ti", "Submit -t -i to []"),
            ("-itfroot@x a@x,b@x c", "Submit -t -i from root@x to [a@x b@x c]"),
            ("-f <root@x> -r <> a", "Submit to [a]"),
            ("-o i a", "Submit -i to [a]"),
            ("a -t", "Submit -t to [a]"),
            // what Postfix passes over, and what nobody knows
            (
                "-Am -Ac -h 5 -L tag -m -n -o7 -o8 -om -ox -U -X /log -v -G -N never -R full -V id -C /x -O a=b -d0.1 -p x a",
                "Submit to [a]",
            ),
            ("-Z -c --verbose a -h", "Submit to [a]"),
            // modes
            ("-bm a", "Submit to [a]"),
            ("-bs", "Smtp to []"),
            ("-bp", "Queue to []"),
            ("-bi", "Nothing to []"),
            ("-I", "Nothing to []"),
            ("-bv a", "Verify to [a]"),
            ("-q", "Flush to []"),
            ("-qIABC", "Flush to []"),
            ("-bp -q30m", "Queue to []"),
            ("--help", "Help to []"),
            ("-bd", "-bd is not for this command"),
            ("-bD -q15m", "-bD is not for this command"),
            ("-b", "-b needs a value"),
            ("-f", "-f needs a value"),
            ("--config", "--config needs a value"),
            // options somebody smuggled in
            ("-- -oQ/tmp", "\"-oQ/tmp\" begins with a dash and is no address"),
            ("-- root -t", "\"-t\" begins with a dash and is no address"),
            ("root,-x", "\"root,-x\" begins with a dash and is no address"),
            ("-f -t", "\"-t\" begins with a dash and is no address"),
            ("-f <-t> a", "\"<-t>\" begins with a dash and is no address"),
        ] {
            assert_eq!(short(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn the_configuration_can_be_named_in_both_forms() {
        for arguments in [&["--config", "/x", "-t"][..], &["-t", "--config=/x"]] {
            assert_eq!(read(arguments).expect("understood").config, Some("/x".into()));
        }
    }

    proptest! {
        #[test]
        fn no_argument_is_a_panic_and_no_recipient_begins_with_a_dash(
            arguments in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..8), 0..8),
        ) {
            if let Ok(flags) = Flags::read(arguments.into_iter().map(OsString::from_vec)) {
                prop_assert!(flags.recipients.iter().chain(&flags.from).all(|address| !address.to_string().starts_with('-')));
            }
        }
    }
}
