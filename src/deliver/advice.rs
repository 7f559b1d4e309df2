//! What an operator should do about each trouble: one table, for the log, `status`, `check` and `deploy/check.md`.

use super::outcome::{Cause, Step, Trouble};
use crate::tls::Fault;

/// What can be the matter, as far as it makes a difference to what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    Name,
    ConnectTimeout,
    NotConnected,
    Proxy,
    NotSmtp,
    NoStartTls,
    StartTlsNotTaken,
    OnTheWay,
    Handshake,
    Certificate(Fault),
    ClientCertificate,
    NoMechanism,
    Login,
    Consent,
    TokenServer,
    OldToken,
    NoProof,
    NotProven,
    Sender,
    Recipient,
    TooLarge,
    Reply,
    Network,
}

/// One row: what is the matter, how it shows, what to do.
type Row = (Matter, &'static str, &'static str);

const TABLE: [Row; 42] = [
    (
        Matter::Name,
        "`looking up its name`",
        "Check relay.host, and that this machine can look up names (DNS, firewall).",
    ),
    (
        Matter::ConnectTimeout,
        "`timed out at connecting`",
        "Check relay.host and relay.port, and that the firewall lets this user out to that port.",
    ),
    (Matter::NotConnected, "`at connecting`", "Check relay.host and relay.port: nothing takes connections there."),
    (
        Matter::Proxy,
        "`at the proxy`",
        "Check relay.proxy and its login; the proxy looks up the relay host's name itself, and may not know it.",
    ),
    (
        Matter::NotSmtp,
        "`no SMTP reply`",
        "Is that port an SMTP server's, and is this its tls mode? Port 465 is for \"implicit\", 587 for \"starttls\".",
    ),
    (
        Matter::NoStartTls,
        "`does not offer STARTTLS`",
        "Use the submission port (587), or tls = \"implicit\" on port 465; if it used to work, suspect the network in between.",
    ),
    (
        Matter::StartTlsNotTaken,
        "`said to STARTTLS`",
        "The relay host does not start TLS at the moment; its operator can tell why.",
    ),
    (
        Matter::OnTheWay,
        "`octets came in clear`, `a reply that nobody had asked for`",
        "Suspect the network between here and the relay host.",
    ),
    (
        Matter::Handshake,
        "`TLS handshake did not succeed`",
        "Is this the port for the configured tls mode? If it is, the relay host has no TLS 1.2 or 1.3, nothing in common with it, or not the key of its certificate.",
    ),
    (
        Matter::Certificate(Fault::Unreadable),
        "code 1",
        "The relay host's operator should renew the certificate in today's form; until then pin it: `sealrelay check` prints the line.",
    ),
    (
        Matter::Certificate(Fault::BadSignature),
        "code 7",
        "A certificate in the chain, or in ca_file, has the issuer's name and not its key: compare ca_file with the authority's own, or have the relay host's operator install the right intermediate.",
    ),
    (
        Matter::Certificate(Fault::NotYetValid),
        "code 9",
        "Look at this machine's clock; if it is right, the certificate is too new.",
    ),
    (
        Matter::Certificate(Fault::Expired),
        "code 10",
        "Look at this machine's clock; if it is right, the relay host's operator should renew the certificate, or its authority's in ca_file is out of date.",
    ),
    (
        Matter::Certificate(Fault::SelfSigned),
        "code 18",
        "If its operator confirms the fingerprint: set pins to the line that `sealrelay check` prints, or ca_file to this very certificate.",
    ),
    (
        Matter::Certificate(Fault::UntrustedRoot),
        "code 19",
        "Its authority is not trusted here: set ca_file to the authority's certificate, got from its operator and not from this connection, or set pins.",
    ),
    (
        Matter::Certificate(Fault::UnknownIssuer),
        "code 20 (openssl: also 2, 21)",
        "Its authority is not trusted here, or an intermediate is missing: set ca_file to the authority's certificate, set pins, or have the relay host's operator send the whole chain.",
    ),
    (
        Matter::Certificate(Fault::ChainTooLong),
        "code 22",
        "The relay host's operator should send only the certificates that lead to its root.",
    ),
    (
        Matter::Certificate(Fault::PathLength),
        "code 25",
        "Its authority issued more than it may; the relay host's operator should get another certificate. A pin works meanwhile.",
    ),
    (
        Matter::Certificate(Fault::Purpose),
        "code 26",
        "The certificate is not one for a server; the relay host's operator should get one that is. A pin works meanwhile.",
    ),
    (
        Matter::Certificate(Fault::CriticalExtension),
        "code 34",
        "The certificate demands what nobody here understands; the relay host's operator should get another one. A pin works meanwhile.",
    ),
    (
        Matter::Certificate(Fault::NotPermitted),
        "code 47",
        "Its authority may not issue for this name: check relay.host, then ask the relay host's operator.",
    ),
    (
        Matter::Certificate(Fault::Excluded),
        "code 48",
        "Its authority may not issue for this name: check relay.host, then ask the relay host's operator.",
    ),
    (
        Matter::Certificate(Fault::NotPinned),
        "code 50",
        "It was renewed, or it is another server: compare what is presented with the relay host's operator, then change pins.",
    ),
    (
        Matter::Certificate(Fault::HostName),
        "code 62",
        "Set relay.host to one of the names the certificate is for; names count in the subjectAltName only. A pin works where no name fits.",
    ),
    (
        Matter::Certificate(Fault::Address),
        "code 64",
        "Set relay.host to the name the certificate is for instead of an address, or set pins.",
    ),
    (
        Matter::Certificate(Fault::WeakKey),
        "code 66",
        "The key can be broken, and a pin would not help: the relay host's operator should make one of 2048 bits or more.",
    ),
    (
        Matter::Certificate(Fault::WeakIssuerKey),
        "code 67",
        "Its authority's key can be broken: the relay host's operator should get a certificate from another one. A pin works meanwhile.",
    ),
    (
        Matter::Certificate(Fault::WeakSignature),
        "code 68",
        "Such signatures can be forged: the relay host's operator should get the certificate signed with SHA-256. A pin works meanwhile.",
    ),
    (
        Matter::Certificate(Fault::InvalidCa),
        "code 79 (older openssl: 24)",
        "The certificate was issued by one that may not; the relay host's operator should get another one. A pin works meanwhile.",
    ),
    (
        Matter::ClientCertificate,
        "`wants a client certificate`",
        "Set client_certificate and client_key to what the relay host's operator issued; look at its dates.",
    ),
    (
        Matter::NoMechanism,
        "`offers no login we can use`",
        "A password needs SCRAM-SHA-256, PLAIN or LOGIN, a token XOAUTH2 or OAUTHBEARER; see relay.auth.",
    ),
    (
        Matter::Login,
        "`said to AUTH` (`535`, Gmail also `534`)",
        "Check username and password_file; Gmail and others want an app password or a token rather than the account's password, and their words above have a link.",
    ),
    (
        Matter::Consent,
        "`gives no token`",
        "Give consent again and write the new token into its file; it is read at the next attempt (`sealrelay queue flush`).",
    ),
    (
        Matter::TokenServer,
        "`at the access token`",
        "Look at what is named there: the file, or relay.oauth.token_url and the way to it; it will be tried again.",
    ),
    (Matter::OldToken, "`a fresh one is next`", "Nothing yet: the next attempt gets a fresh token."),
    (Matter::NoProof, "`characters that SCRAM does not take`", "Change the password, or set relay.auth."),
    (
        Matter::NotProven,
        "`could not prove that it knows the password`",
        "Check the password; if it is right, this is not the relay host it belongs to: check ca_file or pins.",
    ),
    (
        Matter::Sender,
        "`said to MAIL FROM`",
        "The relay host does not take the sender: sender.address must belong to the login, or an account limit is reached.",
    ),
    (
        Matter::Recipient,
        "`said to RCPT TO`",
        "The relay host does not take the recipient: check the recipient's address.",
    ),
    (
        Matter::TooLarge,
        "`larger than the relay host's limit`",
        "Lower listen.message_size, or ask the relay host's operator for a higher limit.",
    ),
    (Matter::Reply, "any other reply", "The relay host's words above say why; its operator can tell more."),
    (
        Matter::Network,
        "`timed out`, `closed the connection`",
        "It will be tried again; if it stays so, look at the network and at the relay host.",
    ),
];

/// What to do about `trouble`.
pub fn for_trouble(trouble: &Trouble) -> &'static str {
    let matter = matter(trouble);
    // The test below shows that every matter has its row.
    TABLE.iter().find(|(row, ..)| *row == matter).map_or("Run `sealrelay check`.", |(.., advice)| advice)
}

fn matter(trouble: &Trouble) -> Matter {
    match (&trouble.cause, trouble.step) {
        (_, Step::Resolve) => Matter::Name,
        (Cause::Timeout, Step::Connect) => Matter::ConnectTimeout,
        (_, Step::Connect) => Matter::NotConnected,
        (_, Step::Proxy) => Matter::Proxy,
        (Cause::NoProof(_), Step::Auth) => Matter::NoProof,
        (Cause::NoProof(_), _) => Matter::Consent,
        (_, Step::Token) => Matter::TokenServer,
        (Cause::OldToken(_), _) => Matter::OldToken,
        (Cause::NotProven, _) => Matter::NotProven,
        (Cause::ClientCertificate(_), _) => Matter::ClientCertificate,
        (Cause::NoStartTls, _) => Matter::NoStartTls,
        (Cause::Injected | Cause::Unasked, _) => Matter::OnTheWay,
        (Cause::NotTrusted(verdict), _) => verdict.fault().map_or(Matter::Handshake, Matter::Certificate),
        (Cause::NoMechanism(_), _) => Matter::NoMechanism,
        (Cause::Tls(_), _) => Matter::Handshake,
        (Cause::Nonsense(_), Step::Greeting | Step::Ehlo) => Matter::NotSmtp,
        (Cause::TooLarge(_), _) => Matter::TooLarge,
        (Cause::Reply(_), Step::StartTls) => Matter::StartTlsNotTaken,
        (Cause::Reply(reply), Step::Auth) if reply.is_permanent() => Matter::Login,
        (Cause::Reply(_), Step::Mail) => Matter::Sender,
        (Cause::Reply(_), Step::Rcpt) => Matter::Recipient,
        (Cause::Reply(_) | Cause::Nonsense(_), _) => Matter::Reply,
        (Cause::Timeout | Cause::Closed | Cause::Io(_), _) => Matter::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply::Reply;

    #[test]
    fn the_manual_has_exactly_this_table() {
        let manual = include_str!("../../deploy/check.md");
        let printed: Vec<&str> = manual
            .lines()
            .filter(|line| line.starts_with("| `") || line.starts_with("| code") || line.starts_with("| any"))
            .collect();
        let table: Vec<String> = TABLE.iter().map(|(_, shows, advice)| format!("| {shows} | {advice} |")).collect();
        assert_eq!(printed, table, "deploy/check.md must have these rows:\n{}", table.join("\n"));
    }

    #[test]
    fn every_fault_of_a_certificate_has_a_row_with_its_number() {
        for fault in Fault::ALL {
            let row = TABLE.iter().find(|(matter, ..)| *matter == Matter::Certificate(fault));
            let (_, shows, _) = row.unwrap_or_else(|| panic!("{fault:?} has no row"));
            let number = format!("code {}", fault.code().0);
            assert!(*shows == number || shows.starts_with(&format!("{number} ")), "{shows}");
        }
    }

    #[test]
    fn every_row_is_reached_and_its_words_are_those_that_are_shown() {
        let reply = |code| Cause::Reply(Reply { code, lines: vec!["5.7.8 no".into()] });
        let troubles = [
            (Step::Resolve, Cause::Timeout),
            (Step::Connect, Cause::Timeout),
            (Step::Connect, Cause::Io("refused".into())),
            (Step::Greeting, Cause::Nonsense("the relay host sent a line that is no SMTP reply: \"SSH\"".into())),
            (Step::StartTls, Cause::NoStartTls),
            (Step::StartTls, reply(454)),
            (Step::StartTls, Cause::Injected),
            (Step::Ehlo, Cause::Unasked),
            (Step::Tls, Cause::Tls("the TLS handshake did not succeed: x".into())),
            (Step::Auth, Cause::NoMechanism(vec![])),
            (Step::Proxy, Cause::Io("127.0.0.1:9050: refused".into())),
            (Step::Tls, Cause::ClientCertificate("certificate required".into())),
            (Step::Auth, Cause::NoProof("user name or password holds characters that SCRAM does not take".into())),
            (Step::Auth, Cause::NotProven),
            (Step::Auth, Cause::OldToken(Reply { code: 535, lines: vec!["5.7.8 expired".into()] })),
            (Step::Token, Cause::NoProof("the token server example.org gives no token (400: invalid_grant)".into())),
            (Step::Token, Cause::Io("the token server example.org: refused".into())),
            (Step::Auth, reply(535)),
            (Step::Mail, reply(550)),
            (Step::Rcpt, reply(550)),
            (Step::Mail, Cause::TooLarge(1)),
            (Step::Ehlo, Cause::Timeout),
            (Step::Auth, Cause::Closed),
        ]
        .map(|(step, cause)| Trouble::new(step, cause));
        for trouble in &troubles {
            let (_, shows, _) = TABLE.iter().find(|(row, ..)| *row == matter(trouble)).expect("a row");
            let quoted: Vec<&str> = shows.split('`').skip(1).step_by(2).collect();
            let said = trouble.to_string();
            let said = if trouble.step == Step::Resolve { format!("at looking up its name: {said}") } else { said };
            assert!(quoted.iter().any(|words| said.contains(words)), "{said:?} has none of {quoted:?}");
        }
        let reached = |row: Matter| troubles.iter().any(|trouble| matter(trouble) == row);
        let unreached = TABLE.iter().filter(|(row, ..)| !matches!(row, Matter::Certificate(_)) && !reached(*row));
        assert_eq!(unreached.map(|(row, ..)| *row).collect::<Vec<_>>(), [Matter::Reply]);
        assert_eq!(matter(&Trouble::new(Step::Data, reply(554))), Matter::Reply);
    }
}
