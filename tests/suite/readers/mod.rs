//! Every structure an alert can have, in both formats, through the programs recipients read with: each must open it,
//! verify it against the relay's certificate, and give back the alert.
//! `cargo test --test suite -- readers:: --nocapture` prints the matrix.

mod desk;
mod structures;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sequoia_openpgp as openpgp;

use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::packet::{PKESK, SEIP};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::types::Features;
use openpgp::{Cert, Packet, PacketPile, Profile};

use crate::captures::{Pacing, captures, replay};
use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::relay_host::{RelayHost, Taken};
use crate::support::{have, reader};
use desk::{Desk, READERS};
use structures::{Format, Structure, structures};

const INLINE: &str = "default = true\nformat = \"inline\"";
const FORMATS: [Format; 2] = [Format::PgpMime, Format::Inline];

/// Whether the programs are there.
fn readers() -> bool {
    READERS.iter().chain(&["rnpkeys", "neomutt", "script"]).all(|program| have(program))
}

/// A default recipient for each format.
fn setup(relay_host: &RelayHost, ca_pem: &str) -> Setup {
    Setup::new(relay_host.port, ca_pem).recipient("inline@example.org", INLINE)
}

fn format_of(taken: &Taken) -> Format {
    if taken.rcpt.contains("inline@") { Format::Inline } else { Format::PgpMime }
}

type Messages = HashMap<(usize, Format), Vec<u8>>;

/// One message for each structure and format, as the relay host got them.
fn messages(setup: &Setup, relay_host: &RelayHost, structures: &[Structure]) -> Messages {
    let daemon = setup.start();
    structures.iter().for_each(|structure| structure.send(&daemon.address));
    let signer = setup.path("state/signer.asc");
    let numbered = |taken: Taken| {
        let format = format_of(&taken);
        let recipient = &setup.recipients[format as usize].1;
        let manifest = match format {
            Format::PgpMime => reader::open(&taken.message, recipient, &signer).manifest,
            Format::Inline => reader::open_inline(&taken.message, recipient, &signer).manifest,
        };
        // They were handed in one after the other.
        let nth = manifest["sequence"].as_u64().expect("a number") as usize - 1;
        ((nth, format), taken.message)
    };
    relay_host.taken(structures.len() * 2).into_iter().map(numbered).collect()
}

#[test]
fn every_structure_opens_verifies_and_comes_back_whole_in_every_reader_and_format() {
    if !readers() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = setup(&relay_host, &authority.pem);
    let structures = structures();
    let messages = messages(&setup, &relay_host, &structures);
    assert_eq!(messages.len(), structures.len() * 2);
    // Made by Sequoia, version 4, announcing SEIPDv2: gpg 2.2 must be able to read what is sealed to them.
    let desks =
        FORMATS.map(|format| Desk::new(&[&setup.recipients[format as usize].1], &setup.path("state/signer.asc")));
    let good = Mutex::new(HashSet::new());
    in_parallel(structures.len() * 2 * READERS.len(), |cell| {
        let (nth, format, reader) = (cell / 8, FORMATS[cell / 4 % 2], READERS[cell % 4]);
        let (structure, message) = (&structures[nth], &messages[&(nth, format)]);
        let reading = desks[format as usize].read(reader, &format!("{nth}-{reader}"), message);
        let what = format!("{}, {format:?}, {reader}", structure.name);
        assert!(reading.good, "{what}: {}", reading.said);
        assert_no_filler(&reading.said, &what);
        let recipient = &setup.recipients[format as usize].1;
        structure.assert_read(&reading.text, format, message, recipient, &setup.path("state/signer.asc"));
        good.lock().expect("cells").insert((nth, format, reader));
    });
    let mut good = good.into_inner().expect("cells");
    for format in FORMATS {
        let mails: Vec<&[u8]> = (0..structures.len()).map(|nth| messages[&(nth, format)].as_slice()).collect();
        let shown = desks[format as usize].neomutt("neomutt", &mails);
        for (nth, (structure, shown)) in structures.iter().zip(shown).enumerate() {
            let what = format!("{}, {format:?}, neomutt", structure.name);
            let wanted = if format == Format::Inline { structure.shows } else { &[structure.displays] };
            wanted.iter().for_each(|wanted| assert!(shown.contains(wanted), "{what}: {shown}"));
            assert!(shown.contains(&format!("\nSubject: {}", structure.subject())), "{what}: {shown}");
            assert!(shown.contains("Good signature from:"), "{what}: {shown}");
            assert_no_filler(&shown, &what);
            good.insert((nth, format, "neomutt"));
        }
    }
    print_matrix(&structures, &good);
}

/// `work` for each number below `count`, some at a time.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let numbers = || {
        std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
            .take_while(|number| *number < count)
            .for_each(&work);
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(numbers))));
}

/// Filler is blanks in great number, or a notation. gpg's status lines are for programs, neomutt's own line is the first.
#[track_caller]
fn assert_no_filler(shown: &str, what: &str) {
    let is_filler = |line: &&str| line.contains(&" ".repeat(32)) || line.contains("padding");
    let found = shown.lines().filter(|line| !line.starts_with("[GNUPG:]") && !line.starts_with("-NP")).find(is_filler);
    assert_eq!(found, None, "{what}");
}

fn print_matrix(structures: &[Structure], good: &HashSet<(usize, Format, &str)>) {
    let columns: Vec<(Format, &str)> =
        FORMATS.iter().flat_map(|format| READERS.iter().chain(&["neomutt"]).map(|reader| (*format, *reader))).collect();
    println!("{:20} {:40} {:40}", "", "PGP/MIME", "inline");
    println!("{:20} {}", "structure", columns.iter().map(|(_, name)| format!("{name:8}")).collect::<String>());
    for (nth, structure) in structures.iter().enumerate() {
        let cell = |(format, reader): &(Format, &'static str)| {
            format!("{:8}", if good.contains(&(nth, *format, *reader)) { "whole" } else { "-" })
        };
        println!("{:20} {}", structure.name, columns.iter().map(cell).collect::<String>());
    }
}

#[test]
fn what_was_noticed_stands_in_the_block_of_an_inline_message() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = setup(&relay_host, &authority.pem);
    let daemon = setup.start();
    let captures = captures();
    let dots = captures.iter().find(|capture| capture.name == "ossec370-dots.bin").expect("the capture");
    replay(&daemon.address, dots, Pacing::AtOnce);
    let taken = relay_host.taken(2);
    let inline = taken.iter().find(|taken| format_of(taken) == Format::Inline).expect("inline");
    let opened = reader::open_inline(&inline.message, &setup.recipients[1].1, &setup.path("state/signer.asc"));
    assert!(opened.noticed.len() == 1 && opened.noticed[0].contains("lone dot"), "{:?}", opened.noticed);
    assert_eq!(opened.manifest["noticed"][0], opened.noticed[0]);
}

#[test]
fn no_reader_takes_the_signature_for_that_of_another_relay() {
    if !readers() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = setup(&relay_host, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "signed by this relay");
    let (another, _) = CertBuilder::general_purpose(Some("<ossec@example.org>")).generate().expect("a key");
    let file = setup.write("another.asc", &another.armored().to_vec().expect("armored"));
    for taken in relay_host.taken(2) {
        let desk = Desk::new(&[&setup.recipients[format_of(&taken) as usize].1], &file);
        for reader in READERS {
            let reading = desk.read(reader, reader, &taken.message);
            assert!(!reading.good, "{reader}: {}", reading.said);
        }
    }
}

/// An RSA-4096 certificate of the kind that gpg 2.2 makes: it announces SEIPD version 1 only.
fn as_gpg_makes_it() -> Cert {
    CertBuilder::general_purpose(Some("<admin@example.org>"))
        .set_cipher_suite(CipherSuite::RSA4k)
        .set_features(Features::empty().set_seipdv1())
        .and_then(CertBuilder::generate)
        .expect("a key")
        .0
}

/// The key ids of a certificate's encryption subkeys.
fn encryption_subkeys(certificate: &Cert) -> Vec<String> {
    let policy = StandardPolicy::new();
    let keys = certificate.keys().with_policy(&policy, None).for_transport_encryption();
    keys.map(|key| key.key().keyid().to_hex()).collect()
}

#[test]
fn a_message_is_a_session_key_for_each_right_subkey_one_literal_one_signature_and_nothing_else() {
    if !readers() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let mut setup = setup(&relay_host, &authority.pem);
    // Both recipients have two certificates: one as gpg makes it, one as Sequoia does.
    let rsa = as_gpg_makes_it();
    for (address, certificate) in setup.recipients.clone() {
        let both = [&certificate, &rsa].map(|certificate| certificate.armored().to_vec().expect("armored")).concat();
        setup.write(&format!("{address}.asc"), &both);
        let fingerprints = [&certificate, &rsa].map(|certificate| format!("\"{:X}\"", certificate.fingerprint()));
        setup = setup.with_fingerprint(
            &format!("\"{}\"", certificate.fingerprint().to_hex()),
            &format!("[{}]", fingerprints.join(", ")),
        );
    }
    let daemon = setup.start();
    send_alert(&daemon.address, "for two certificates");
    let signer = setup.path("state/signer.asc");
    for taken in relay_host.taken(2) {
        let own = &setup.recipients[format_of(&taken) as usize].1;
        let listed = Desk::new(&[own, &rsa], &signer).packets(&taken.message);
        let packets: Vec<&str> = listed.lines().filter(|line| line.starts_with(':')).collect();
        let keys = [encryption_subkeys(own), encryption_subkeys(&rsa)].concat();
        assert_eq!(keys.len(), 2);
        let expected: Vec<String> = [(18, &keys[0]), (1, &keys[1])]
            .iter()
            .map(|(algorithm, key)| format!(":pubkey enc packet: version 3, algo {algorithm}, keyid {key}"))
            .chain(
                [":encrypted data packet:", ":onepass_sig packet: keyid SIGNER", ":literal data packet:"]
                    .map(Into::into),
            )
            .chain([":signature packet: algo 22, keyid SIGNER".to_owned()])
            .collect();
        let signer = Cert::from_file(&signer).expect("a certificate").keyid().to_hex();
        let packets: Vec<String> = packets.iter().map(|packet| packet.replace(&signer, "SIGNER")).collect();
        assert_eq!(packets, expected, "{listed}");
        // SEIPDv1, and no file name in the literal.
        assert!(listed.contains("mdc_method: 2") && listed.contains("mode b (62), created 0, name=\"\","), "{listed}");
        // Each of the two alone opens it.
        for key in [own, &rsa] {
            let reading = Desk::new(&[key], &setup.path("state/signer.asc")).read("gpg", "alone", &taken.message);
            assert!(reading.good, "{}", reading.said);
        }
    }
}

#[test]
fn version_6_certificates_get_seipd_version_2() {
    let (relay_host, authority, _) = RelayHost::honest();
    let version_6 = |address: &str| {
        let builder = CertBuilder::new().set_profile(Profile::RFC9580).expect("version 6");
        let builder = builder.set_cipher_suite(CipherSuite::Cv25519).add_userid(format!("<{address}>"));
        builder
            .add_signing_subkey()
            .add_transport_encryption_subkey()
            .add_storage_encryption_subkey()
            .generate()
            .expect("a key")
            .0
    };
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient_with("six@example.org", version_6("six@example.org"), "default = true")
        .recipient_with("inline@example.org", version_6("inline@example.org"), INLINE);
    let daemon = setup.start();
    send_alert(&daemon.address, "for version 6");
    let signer = setup.path("state/signer.asc");
    for taken in relay_host.taken(3).iter().filter(|taken| !taken.rcpt.contains("admin@")) {
        let nth = if format_of(taken) == Format::Inline { 2 } else { 1 };
        let recipient = &setup.recipients[nth].1;
        match nth {
            1 => drop(reader::open(&taken.message, recipient, &signer)),
            _ => drop(reader::open_inline(&taken.message, recipient, &signer)),
        }
        let text = String::from_utf8_lossy(&taken.message);
        let armor = &text[text.find("-----BEGIN").expect("armor")..];
        let packets: Vec<Packet> = PacketPile::from_bytes(armor).expect("packets").into_children().collect();
        let [Packet::PKESK(PKESK::V6(_)), .., Packet::SEIP(SEIP::V2(_))] = &packets[..] else {
            panic!("{packets:?}");
        };
        if readers() {
            // Nothing is asserted of programs older than RFC 9580: newer ones may read it.
            let desk = Desk::without_imports(recipient, &signer);
            let opens = ["sq", "sqop"].map(|name| (name, desk.read(name, name, &taken.message).good));
            println!("version 6, format {:?}: opened by this suite's reader; {opens:?}", format_of(taken));
        }
    }
}
