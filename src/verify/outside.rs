//! What may be handed to gpg: a message to somebody's named keys, as the relay makes them.
//!
//! Anybody can send mail to this mailbox. A message to a passphrase, or to keys that are not named, would make gpg ask a
//! person or try every secret key and card there is, for minutes each. Those are not the relay's, and gpg never sees them.
//! Only the packets in front of the encrypted data are read, and few of them.

use sequoia_openpgp as openpgp;

use openpgp::Packet;
use openpgp::parse::{PacketParser, PacketParserResult, Parse};

/// The most keys one message is for: a recipient has few certificates, and those few subkeys.
const KEYS: usize = 64;

/// Whether `armored` begins like a message of the relay's.
pub fn is_ours(armored: &[u8]) -> bool {
    let Ok(mut packets) = PacketParser::from_bytes(armored) else { return false };
    let mut keys = 0;
    while let PacketParserResult::Some(parser) = packets {
        match &parser.packet {
            Packet::PKESK(key) if key.recipient().is_some() && keys < KEYS => keys += 1,
            Packet::SEIP(_) => return keys > 0,
            _ => return false,
        }
        let Ok((_, next)) = parser.next() else { return false };
        packets = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::CertBuilder;
    use openpgp::policy::StandardPolicy;
    use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Recipient};
    use std::io::Write;

    fn sealed(hidden: bool, passphrase: bool) -> Vec<u8> {
        let (certificate, _) = CertBuilder::general_purpose(Some("<a@b>")).generate().expect("a key");
        let policy = StandardPolicy::new();
        let keys = certificate.keys().with_policy(&policy, None).for_transport_encryption();
        let recipients = keys.map(|key| {
            let recipient = Recipient::from(key);
            if hidden { recipient.set_key_handle(None).expect("hidden") } else { recipient }
        });
        let mut sink = Vec::new();
        let message = Armorer::new(Message::new(&mut sink)).build().expect("armor");
        let encryptor = Encryptor::for_recipients(message, recipients.collect::<Vec<_>>());
        let encryptor = if passphrase { encryptor.add_passwords(["x"]) } else { encryptor };
        let mut writer = LiteralWriter::new(encryptor.build().expect("encryption")).build().expect("a literal");
        writer.write_all(b"text").expect("written");
        writer.finalize().expect("done");
        sink
    }

    #[test]
    fn only_what_names_its_keys_and_asks_for_no_passphrase_is_handed_to_gpg() {
        assert!(is_ours(&sealed(false, false)));
        assert!(!is_ours(&sealed(true, false)), "keys without a name");
        assert!(!is_ours(&sealed(false, true)), "a passphrase");
        assert!(!is_ours(b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n"));
    }
}
