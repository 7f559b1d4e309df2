//! Who gets a mail, by configuration.
//!
//! Guarantees: the answer is never empty, and holds configured recipients only. A client chooses among them by envelope
//! addresses and can do no more; an address nobody claims adds the default recipients, so no mail is dropped here.

use crate::config::Recipient;
use crate::envelope::Envelope;

/// The numbers of the recipients, in the order of the configuration.
pub fn route(recipients: &[Recipient], envelope: &Envelope) -> Vec<usize> {
    let claims =
        |recipient: &Recipient, path| recipient.claims.iter().any(|claim| crate::envelope::Path::names(path, claim));
    let unclaimed = envelope.forward_paths.is_empty()
        || envelope.more_paths
        || envelope.forward_paths.iter().any(|path| !recipients.iter().any(|recipient| claims(recipient, path)));
    (0..recipients.len())
        .filter(|&nth| {
            let recipient = &recipients[nth];
            (unclaimed && recipient.default) || envelope.forward_paths.iter().any(|path| claims(recipient, path))
        })
        .collect()
}

/// The numbers of the default recipients.
pub fn defaults(recipients: &[Recipient]) -> Vec<usize> {
    (0..recipients.len()).filter(|&nth| recipients[nth].default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, OnExpired};
    use crate::envelope::Path;

    fn recipient(address: &str, default: bool, claims: &[&str]) -> Recipient {
        Recipient {
            address: address.parse().expect("an address"),
            certificates: Vec::new(),
            fingerprints: Vec::new(),
            default,
            claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
            format: Format::PgpMime,
            on_expired: OnExpired::SealAndWarn,
            seipd_v2: false,
        }
    }

    fn routed(paths: &[&str]) -> Vec<usize> {
        let recipients = [
            recipient("admin@example.org", true, &["admin@example.org"]),
            recipient("alice@example.org", false, &["alice@test.com", "alice@example.org"]),
        ];
        let mut envelope = Envelope::default();
        paths.iter().for_each(|path| envelope.add(Path::new(path.as_bytes(), !path.contains(' '))));
        route(&recipients, &envelope)
    }

    #[test]
    fn a_claimed_address_goes_to_its_recipient_only() {
        assert_eq!(routed(&["Alice@Test.com"]), [1]);
        assert_eq!(routed(&["alice@test.com", "admin@example.org"]), [0, 1]);
    }

    #[test]
    fn what_nobody_claims_or_nobody_can_read_goes_to_the_default() {
        assert_eq!(routed(&["root@localhost"]), [0]);
        assert_eq!(routed(&["alice@test.com", "victim@elsewhere.example"]), [0, 1]);
        assert_eq!(routed(&["not an address"]), [0]);
        assert_eq!(routed(&[]), [0]);
    }
}
