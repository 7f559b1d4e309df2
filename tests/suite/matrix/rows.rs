//! The table: how a server is made, and what must be made of it in each trust mode.
//!
//! Every verdict is written by hand with its reason, and compared with the installed openssl; where openssl says
//! something else, the row says what and why. `Sent` means code 0 and delivery; `Code(n)` that verify code and no
//! delivery; `Nothing` that no code is printed, because nothing was verified, and no delivery; `Useless` code 0, rightly,
//! and no delivery all the same.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{SslVerifyMode, SslVersion};
use openssl::x509::X509;
use sha2::{Digest, Sha256};

use super::made::{Authority, Made, Spec, as_every_guide_has_it, ec, p256, rsa, rsa_pss};
use super::servers::{self, Tune, ciphers, client_certificate, only, openssl, plain};
use crate::support::pki;
use crate::support::relay_host::{Act, Script, Secure};
use Expect::{Code, Nothing, Sent, Useless};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Expect {
    Sent,
    Code(u32),
    Nothing,
    Useless,
}

pub struct Row {
    pub name: &'static str,
    pub why: &'static str,
    pub case: Case,
    pub system: Expect,
    pub ca_file: Expect,
    pub pins: Expect,
    /// What openssl says with the system's roots and with the CA file, and why, where that is not what we say.
    pub openssl: Option<(u32, u32, &'static str)>,
    /// What shows that the server is what the row says: arguments for s_client, and what it then prints.
    pub proof: Option<(&'static [&'static str], &'static str)>,
}

/// A server and what it is judged by.
pub struct Case {
    pub host: &'static str,
    pub system: Vec<X509>,
    pub ca_file: Vec<X509>,
    pub pins: Vec<String>,
    pub script: Script,
}

/// What most rows share.
pub struct World {
    root: Made,
    inter: Made,
    identity: pki::Identity,
}

impl World {
    pub fn new() -> Self {
        let root = Spec::authority("root").self_signed();
        let inter = Spec::authority("intermediate").by(&root);
        Self { root, inter, identity: pki::Authority::new("unused").issue("localhost") }
    }

    /// A server with this chain, judged by the root.
    fn serves(&self, chain: &[&Made], tune: Tune) -> Case {
        let certificates: Vec<X509> = chain.iter().map(|made| made.x509.clone()).collect();
        let mut case = self.behaves(openssl(&certificates, &chain[0].key, tune));
        case.pins = vec![sha256_pin(chain[0])];
        case
    }

    fn behaves(&self, secure: Secure) -> Case {
        let mut script = Script::honest(&self.identity);
        script.secure = Some(secure);
        let root = vec![self.root.x509.clone()];
        let pins = vec![format!("sha256:{}", "00".repeat(32))];
        Case { host: "localhost", system: root.clone(), ca_file: root, pins, script }
    }

    /// An honest chain with this certificate at its end.
    fn leaf(&self, change: impl FnOnce(&mut Spec)) -> Case {
        let leaf = Spec::server().with(change).by(&self.inter);
        self.serves(&[&leaf, &self.inter], plain)
    }

    /// An honest certificate, whose TLS is tuned.
    fn tuned(&self, tune: Tune) -> Case {
        let leaf = Spec::server().by(&self.inter);
        self.serves(&[&leaf, &self.inter], tune)
    }

    /// A chain with this intermediate in its middle.
    fn below(&self, change: impl FnOnce(&mut Spec)) -> Case {
        let inter = Spec::authority("odd intermediate").with(change).by(&self.root);
        let leaf = Spec::server().by(&inter);
        self.serves(&[&leaf, &inter], plain)
    }

    /// A self-signed certificate, given as the CA file.
    fn alone(&self, made: &Made) -> Case {
        self.serves(&[made], plain).trusting_in_file(&[made])
    }
}

impl Case {
    fn trusting(mut self, roots: &[&Made]) -> Self {
        self.system = roots.iter().map(|made| made.x509.clone()).collect();
        self.ca_file = self.system.clone();
        self
    }

    fn trusting_in_file(mut self, roots: &[&Made]) -> Self {
        self.ca_file = roots.iter().map(|made| made.x509.clone()).collect();
        self
    }

    fn at(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn pinned(mut self, pins: Vec<String>) -> Self {
        self.pins = pins;
        self
    }

    fn scripted(mut self, change: impl FnOnce(Script) -> Script) -> Self {
        self.script = change(self.script);
        self
    }
}

impl Row {
    fn openssl(mut self, system: u32, ca_file: u32, why: &'static str) -> Self {
        self.openssl = Some((system, ca_file, why));
        self
    }

    fn shown_by(mut self, arguments: &'static [&'static str], text: &'static str) -> Self {
        self.proof = Some((arguments, text));
        self
    }
}

fn row(name: &'static str, case: Case, [system, ca_file, pins]: [Expect; 3], why: &'static str) -> Row {
    Row { name, why, case, system, ca_file, pins, openssl: None, proof: None }
}

/// The same with roots and CA file; a pin does not care.
fn chain(expected: Expect) -> [Expect; 3] {
    [expected, expected, Sent]
}

fn all(expected: Expect) -> [Expect; 3] {
    [expected; 3]
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn sha256_pin(made: &Made) -> String {
    format!("sha256:{}", hex(&Sha256::digest(made.x509.to_der().expect("DER"))))
}

fn sha1_pin(made: &Made) -> String {
    format!("SHA1 Fingerprint={}", hex(&made.x509.digest(MessageDigest::sha1()).expect("a digest")))
}

fn key_digest(made: &Made) -> String {
    hex(&Sha256::digest(made.key.public_key_to_der().expect("DER")))
}

/// Has dots and needs no DNS: the C library reads it as the address 127.0.0.1, TLS as a name of three labels.
const DOTTED: &str = "127.0.0x1";

const NOTHING_VERIFIED: &str = "openssl prints 0 although nothing was verified";

pub fn rows() -> Vec<Row> {
    let world = World::new();
    let mut rows = keys(&world);
    rows.extend(strengths(&world));
    rows.extend(dates(&world));
    rows.extend(names(&world));
    rows.extend(chains(&world));
    rows.extend(extensions(&world));
    rows.extend(self_signed(&world));
    rows.extend(pins(&world));
    rows.extend(protocols(&world));
    rows.extend(no_tls(&world));
    rows
}

fn keys(w: &World) -> Vec<Row> {
    let own_root = |key| {
        let root = Spec::authority("root of another kind").with(|spec| spec.key = key).self_signed();
        let leaf = Spec::server().by(&root);
        w.serves(&[&leaf], plain).trusting(&[&root])
    };
    let good = "a good chain";
    vec![
        row("P-256", w.leaf(|_| ()), all(Sent), good),
        row("P-384", w.leaf(|s| s.key = ec(Nid::SECP384R1)), all(Sent), good),
        row("P-521", w.leaf(|s| s.key = ec(Nid::SECP521R1)), all(Sent), good),
        row("RSA 2048", w.leaf(|s| s.key = rsa(2048)), all(Sent), good),
        row("RSA 3072", w.leaf(|s| s.key = rsa(3072)), all(Sent), good),
        row("RSA 4096", w.leaf(|s| s.key = rsa(4096)), all(Sent), good),
        row("Ed25519", w.leaf(|s| s.key = PKey::generate_ed25519().expect("a key")), all(Sent), good),
        row("an RSA root", own_root(rsa(2048)), all(Sent), good),
        row("an Ed25519 root", own_root(PKey::generate_ed25519().expect("a key")), all(Sent), good),
        row("a P-384 root", own_root(ec(Nid::SECP384R1)), all(Sent), good),
        row(
            "an Ed448 key",
            w.leaf(|s| s.key = PKey::generate_ed448().expect("a key")),
            all(Nothing),
            "no signature algorithm in common: the server ends the handshake before it shows a certificate",
        )
        .openssl(0, 0, "openssl knows Ed448")
        .shown_by(&[], "Peer signature type: ed448"),
        row(
            "a key for RSA-PSS only",
            w.leaf(|s| s.key = rsa_pss()),
            all(Nothing),
            "rsa_pss_pss is not offered: no signature algorithm in common",
        )
        .openssl(0, 0, "openssl knows rsa_pss_pss")
        .shown_by(&[], "Peer signature type: RSA-PSS"),
    ]
}

fn strengths(w: &World) -> Vec<Row> {
    let weak = rsa(1024);
    let weak_inter = Spec::authority("weak").with(|s| s.key = weak.clone()).by(&w.root);
    let below_weak = Spec::server().by(&weak_inter);
    // There is no MD5 for other keys than RSA.
    let rsa_inter = Spec::authority("RSA intermediate").with(|s| s.key = rsa(2048)).by(&w.root);
    let by_md5 = Spec::server().with(|s| s.digest = MessageDigest::md5()).by(&rsa_inter);
    let old_root = Spec::authority("old root").with(|s| s.digest = MessageDigest::sha1()).self_signed();
    let below_old = Spec::server().by(&old_root);
    vec![
        row(
            "RSA 1024",
            w.leaf(|s| s.key = weak.clone()),
            all(Code(66)),
            "the handshake's signature by such a key proves too little, so a pin does not help either",
        ),
        row(
            "an RSA 1024 authority",
            w.serves(&[&below_weak, &weak_inter], plain),
            chain(Code(67)),
            "its signatures are not taken; a pin does not ask who signed",
        ),
        row("signed with SHA-1", w.leaf(|s| s.digest = MessageDigest::sha1()), chain(Code(68)), "not taken since 2017"),
        row("signed with MD5", w.serves(&[&by_md5, &rsa_inter], plain), chain(Code(68)), "forged since 2008"),
        row(
            "an intermediate signed with SHA-1",
            w.below(|s| s.digest = MessageDigest::sha1()),
            chain(Code(68)),
            "as weak as its weakest signature",
        ),
        row(
            "a root signed with SHA-1",
            w.serves(&[&below_old], plain).trusting(&[&old_root]),
            all(Sent),
            "a root is trusted because it is there; its own signature says nothing",
        ),
    ]
}

fn dates(w: &World) -> Vec<Row> {
    let over = |s: &mut Spec| s.days = (-400, -10);
    let to_come = |s: &mut Spec| s.days = (10, 400);
    let rooted = |days| {
        let root = Spec::authority("root of another time").with(|s| s.days = days).self_signed();
        let leaf = Spec::server().by(&root);
        w.serves(&[&leaf], plain).trusting(&[&root])
    };
    // The new root, once self-signed and once signed by one that has expired since, as Let's Encrypt had it in 2021.
    let expired_root = Spec::authority("expired root").with(over).self_signed();
    let new_root = Spec::authority("new root").self_signed();
    let crossed = Spec::authority("new root").with(|s| s.key = new_root.key.clone()).by(&expired_root);
    let crossed_leaf = Spec::server().by(&new_root);
    let crossed_chain = || w.serves(&[&crossed_leaf, &crossed], plain);
    let unknown = Spec::authority("nobody knows").self_signed();
    let expired_stranger = Spec::server().with(over).by(&unknown);
    vec![
        row("expired", w.leaf(over), chain(Code(10)), "its time is over"),
        row("not yet valid", w.leaf(to_come), chain(Code(9)), "its time has not come"),
        row("an expired intermediate", w.below(over), chain(Code(10)), "every date counts"),
        row("an intermediate not yet valid", w.below(to_come), chain(Code(9)), "every date counts"),
        row(
            "an expired root",
            rooted((-4000, -10)),
            chain(Code(10)),
            "RFC 5280 leaves it open; openssl, and so the stack this replaces, does not take it",
        ),
        row("a root not yet valid", rooted((10, 4000)), chain(Code(9)), "as for an expired one"),
        row(
            "cross-signed by an expired root, the new root trusted",
            crossed_chain().trusting(&[&new_root]),
            all(Sent),
            "one good way is enough",
        ),
        row(
            "cross-signed by an expired root, both trusted",
            crossed_chain().trusting(&[&expired_root, &new_root]),
            all(Sent),
            "one good way is enough, whichever is found first",
        ),
        row(
            "cross-signed by an expired root, only that trusted",
            crossed_chain().trusting(&[&expired_root]),
            chain(Code(10)),
            "the only way leads to an expired root",
        ),
        row(
            "expired and from an unknown authority",
            w.serves(&[&expired_stranger], plain),
            chain(Code(20)),
            "the first fault is that nobody knows its issuer",
        ),
        row(
            "expired and for another name",
            w.leaf(|s| {
                over(s);
                s.names = vec!["DNS:other.example"];
            }),
            chain(Code(62)),
            "the name is looked at before the dates",
        ),
    ]
}

fn names(w: &World) -> Vec<Row> {
    let named = |names: &[&'static str]| {
        let names = names.to_vec();
        w.leaf(|s| s.names = names)
    };
    let many: Vec<&'static str> = (0..60)
        .map(|nth| &*Box::leak(format!("DNS:host{nth}.example").into_boxed_str()))
        .chain(["DNS:localhost"])
        .collect();
    // GeneralNames with one dNSName "localhost\0.evil".
    let with_nul = [b"\x30\x11\x82\x0f".as_slice(), b"localhost\0.evil"].concat();
    vec![
        row("another name", named(&["DNS:other.example"]), chain(Code(62)), "it is somebody else's"),
        row(
            "the name in the subject only",
            named(&[]),
            chain(Code(62)),
            "RFC 9525: names are in the subjectAltName; a common name may be anything",
        )
        .openssl(0, 0, "openssl still looks at the common name"),
        row(
            "the name in the subject, another in the subjectAltName",
            named(&["DNS:other.example"]),
            chain(Code(62)),
            "the subjectAltName decides",
        ),
        row("in capitals", named(&["DNS:LOCALHOST"]), all(Sent), "names have no case"),
        row("one of many", named(&many), all(Sent), "any of them will do"),
        row("a wildcard", named(&["DNS:*.0.0x1"]).at(DOTTED), all(Sent), "it stands for one label"),
        row("a wildcard for two labels", named(&["DNS:*.0x1"]).at(DOTTED), chain(Code(62)), "it stands for one only"),
        row("part of a label as a wildcard", named(&["DNS:1*.0.0x1"]).at(DOTTED), chain(Code(62)), "RFC 9525 has none")
            .openssl(0, 0, "openssl still takes them"),
        row("a NUL in the name", w.leaf(|s| s.raw_names = Some(with_nul)), chain(Code(62)), "CVE-2009-2408"),
        row("an address", named(&["IP:127.0.0.1"]).at("127.0.0.1"), all(Sent), "an address is verified as one"),
        row("another address", named(&["IP:127.0.0.2"]).at("127.0.0.1"), chain(Code(64)), "it is somebody else's"),
        row(
            "an address written as a name",
            named(&["DNS:127.0.0.1"]).at("127.0.0.1"),
            chain(Code(64)),
            "a name is no address",
        ),
        row("no address for an address", named(&["DNS:localhost"]).at("127.0.0.1"), chain(Code(64)), "the same"),
    ]
}

fn chains(w: &World) -> Vec<Row> {
    let leaf = Spec::server().by(&w.inter);
    let inter2 = Spec::authority("second").by(&w.inter);
    let inter3 = Spec::authority("third").by(&inter2);
    let deep = Spec::server().by(&inter3);
    let unrelated = Spec::authority("unrelated").self_signed();
    let stranger_root = Spec::authority("stranger").self_signed();
    let stranger_inter = Spec::authority("stranger's").by(&stranger_root);
    let stranger = Spec::server().by(&stranger_inter);
    let impostor = Spec::authority("intermediate").by(&w.root);
    let silent = |name| Spec::authority(name).with(|s| s.key_identifiers = false);
    let quiet = silent("quiet").by(&w.root);
    let quiet_impostor = silent("quiet").by(&w.root);
    let below_quiet = Spec::server().with(|s| s.key_identifiers = false).by(&quiet);
    let mut long: Vec<Made> = vec![w.inter.clone()];
    for name in ["2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"] {
        let next = Spec::authority(name).by(&long[long.len() - 1]);
        long.push(next);
    }
    let end_of_long = Spec::server().by(&long[long.len() - 1]);
    let long: Vec<&Made> = std::iter::once(&end_of_long).chain(long.iter().rev()).collect();
    let by_root = Spec::server().by(&w.root);
    let server = Spec::server().with(|s| s.name = "another server").by(&w.inter);
    let by_server = Spec::server().by(&server);
    let confined = |pathlen| {
        let first = Spec::authority("confined").with(|s| s.authority = Authority::Yes(Some(pathlen))).by(&w.root);
        let second = Spec::authority("below").by(&first);
        let leaf = Spec::server().by(&second);
        w.serves(&[&leaf, &second, &first], plain)
    };
    vec![
        row("issued by the root", w.serves(&[&by_root], plain), all(Sent), "nothing is missing"),
        row("three intermediates", w.serves(&[&deep, &inter3, &inter2, &w.inter], plain), all(Sent), "a good chain"),
        row("the root sent along", w.serves(&[&leaf, &w.inter, &w.root], plain), all(Sent), "superfluous and harmless"),
        row(
            "shuffled intermediates",
            w.serves(&[&deep, &w.inter, &inter3, &inter2], plain),
            all(Sent),
            "RFC 8446 4.4.2 asks for tolerance",
        ),
        row("a stray certificate", w.serves(&[&leaf, &unrelated, &w.inter], plain), all(Sent), "the same"),
        row("the server's own twice", w.serves(&[&leaf, &leaf, &w.inter], plain), all(Sent), "the same"),
        row(
            "a second CA in the file",
            w.serves(&[&leaf, &w.inter], plain).trusting(&[&unrelated, &w.root]),
            all(Sent),
            "a CA file may hold several",
        ),
        row(
            "the CA file of somebody else",
            w.serves(&[&leaf, &w.inter], plain).trusting_in_file(&[&unrelated]),
            [Sent, Code(20), Sent],
            "with a CA file the system's roots do not count",
        ),
        row(
            "the intermediate missing",
            w.serves(&[&leaf], plain),
            chain(Code(20)),
            "its issuer is neither trusted nor presented",
        ),
        row(
            "the intermediate trusted by itself",
            w.serves(&[&leaf], plain).trusting(&[&w.inter]),
            all(Sent),
            "RFC 5280 6.1.1: an anchor is whoever is named as one; the operator named it",
        )
        .openssl(2, 2, "openssl wants a root at the end unless told -partial_chain"),
        row(
            "an impostor in place of the intermediate",
            w.serves(&[&leaf, &impostor], plain),
            chain(Code(7)),
            "same name, another key: the signature is not by it",
        )
        .openssl(20, 20, "openssl looks at the key identifiers first and takes it for no issuer at all"),
        row(
            "an impostor where no key identifiers tell",
            w.serves(&[&below_quiet, &quiet_impostor], plain),
            chain(Code(7)),
            "same name, another key: the signature is not by it",
        ),
        row(
            "an impostor beside the intermediate",
            w.serves(&[&below_quiet, &quiet_impostor, &quiet], plain),
            all(Sent),
            "one good way is enough",
        )
        .openssl(7, 7, "openssl takes the first that fits by name"),
        row(
            "an unknown root, sent along",
            w.serves(&[&stranger, &stranger_inter, &stranger_root], plain),
            chain(Code(19)),
            "whoever sends a root is not trusted for it",
        ),
        row(
            "an unknown root, not sent",
            w.serves(&[&stranger, &stranger_inter], plain),
            chain(Code(20)),
            "nobody trusted has signed",
        ),
        row(
            "an authority that is none",
            w.below(|s| s.authority = Authority::No),
            chain(Code(79)),
            "CA:FALSE may not sign",
        ),
        row(
            "an authority that does not say so",
            w.below(|s| s.authority = Authority::Silent),
            chain(Code(79)),
            "without basicConstraints neither",
        ),
        row(
            "an authority whose key may not sign certificates",
            w.below(|s| s.authority = Authority::WithoutSigning),
            chain(Code(79)),
            "RFC 5280 4.2.1.3: keyUsage without keyCertSign",
        ),
        row(
            "issued by another server's certificate",
            w.serves(&[&by_server, &server, &w.inter], plain),
            chain(Code(79)),
            "or every server could be every other",
        ),
        row("more authorities than one allows", confined(0), chain(Code(25)), "pathlen 0 means none below"),
        row("as many authorities as one allows", confined(1), all(Sent), "pathlen 1 means one below"),
        row("nine intermediates", w.serves(&long, plain), chain(Code(22)), "nobody needs more than six").openssl(
            0,
            0,
            "openssl goes on to a hundred",
        ),
    ]
}

fn extensions(w: &World) -> Vec<Row> {
    let used = |usage: &[&'static str]| {
        let usage = usage.to_vec();
        w.leaf(|s| s.usage = usage)
    };
    let constrained = |text| w.below(|s| s.constraints = Some(text));
    let ca_leaf = Spec::server().with(|s| s.authority = Authority::Yes(None)).by(&w.inter);
    let v1 = Spec::server().with(|s| s.v1 = true).by(&w.inter);
    let key = p256();
    let v1_root = Spec::authority("root of 1995").with(|s| (s.v1, s.key) = (true, key)).self_signed();
    let below_v1 = Spec::server().by(&v1_root);
    vec![
        row("for servers", used(&["serverAuth"]), all(Sent), "it is one"),
        row("for servers and clients", used(&["clientAuth", "serverAuth"]), all(Sent), "it is one"),
        row("for clients only", used(&["clientAuth"]), chain(Code(26)), "it is none"),
        row("for anything", used(&["anyExtendedKeyUsage"]), chain(Code(26)), "anything is not a server's"),
        row(
            "an authority for clients only",
            w.below(|s| s.usage = vec!["clientAuth"]),
            chain(Code(26)),
            "what it may not be, it cannot vouch for",
        ),
        row("permitted by constraints", constrained("permitted;DNS:localhost"), all(Sent), "the name is inside"),
        row("not permitted by constraints", constrained("permitted;DNS:example.org"), chain(Code(47)), "it is outside"),
        row("excluded by constraints", constrained("excluded;DNS:localhost"), chain(Code(48)), "it is kept out"),
        row(
            "a critical extension nobody knows",
            w.leaf(|s| s.critical_unknown = true),
            chain(Code(34)),
            "critical means: refuse if you do not know it; with a pin nothing in it matters but the key",
        ),
        row(
            "an authority's certificate as a server's",
            w.serves(&[&ca_leaf, &w.inter], plain),
            chain(Code(26)),
            "RFC 5280 does not forbid it; webpki, and so we, do: its key could sign for everybody",
        )
        .openssl(0, 0, "openssl does not mind"),
        row(
            "X.509 version 1",
            w.serves(&[&v1, &w.inter], plain),
            chain(Code(1)),
            "it can have no subjectAltName, so no name, and is not read at all; with a pin only its key is",
        )
        .openssl(0, 0, "openssl looks at the common name"),
        row(
            "X.509 version 1, TLS 1.2",
            w.serves(&[&v1, &w.inter], |c| only(SslVersion::TLS1_2, c)),
            chain(Code(1)),
            "the same",
        )
        .openssl(0, 0, "openssl looks at the common name"),
        row(
            "a root of X.509 version 1",
            w.serves(&[&below_v1], plain).trusting(&[&v1_root]),
            all(Sent),
            "it could not say that it is an authority; being self-signed and trusted says so",
        ),
    ]
}

fn self_signed(w: &World) -> Vec<Row> {
    let alone = |change: fn(&mut Spec)| w.alone(&Spec::server().with(change).self_signed());
    let refused_then = |ca_file| [Code(18), ca_file, Sent];
    let guide = as_every_guide_has_it();
    let issued = Spec::server().by(&w.inter);
    let old = Spec::server().self_signed();
    let misuse = {
        let server = Spec::server().with(|s| s.name = "home-made").self_signed();
        let child = Spec::server().by(&server);
        w.serves(&[&child], plain).trusting_in_file(&[&server])
    };
    let renewed = Spec::server().with(|s| s.key = old.key.clone()).self_signed();
    vec![
        row(
            "self-signed, as every guide has it",
            w.alone(&guide),
            refused_then(Sent),
            "`openssl req -x509`: CA:TRUE, the name in the subject only; the server presents what the file holds",
        ),
        row("self-signed, CA:FALSE", alone(|_| ()), refused_then(Sent), "the server presents what the file holds"),
        row("self-signed, CA:TRUE", alone(|s| s.authority = Authority::Yes(None)), refused_then(Sent), "the same"),
        row("self-signed, no constraints", alone(|s| s.authority = Authority::Silent), refused_then(Sent), "the same"),
        row(
            "self-signed, X.509 version 1",
            alone(|s| s.v1 = true),
            refused_then(Sent),
            "the same; the name is in the subject, the key is read by another reader",
        ),
        row(
            "self-signed with MD5",
            alone(|s| (s.digest, s.key) = (MessageDigest::md5(), rsa(2048))),
            refused_then(Sent),
            "its own signature says nothing; the file does",
        ),
        row(
            "self-signed for another name",
            alone(|s| s.names = vec!["DNS:other.example"]),
            refused_then(Code(62)),
            "the wrong file, perhaps",
        ),
        row(
            "self-signed with another name in the subject only",
            alone(|s| (s.names, s.name) = (Vec::new(), "other.example")),
            refused_then(Code(62)),
            "the wrong file, perhaps",
        ),
        row(
            "self-signed, expired",
            alone(|s| s.days = (-400, -10)),
            refused_then(Code(10)),
            "the file does not renew it",
        ),
        row("self-signed, not yet valid", alone(|s| s.days = (10, 400)), refused_then(Code(9)), "the same"),
        row(
            "self-signed, RSA 1024",
            alone(|s| s.key = rsa(1024)),
            all(Code(66)),
            "its handshake signature proves too little",
        ),
        row(
            "self-signed, renewed since",
            w.serves(&[&renewed], plain).trusting_in_file(&[&old]),
            refused_then(Code(18)),
            "same name and key, but not what the file holds",
        ),
        row(
            "issued, and itself in the file",
            w.serves(&[&issued, &w.inter], plain).trusting_in_file(&[&issued]),
            [Sent, Sent, Sent],
            "the server presents what the file holds",
        )
        .openssl(0, 20, "openssl wants a root at the end unless told -partial_chain"),
        row(
            "issued by a server's certificate that is in the file",
            misuse,
            [Code(20), Code(20), Sent],
            "CA:FALSE in the CA file vouches for itself and nobody else",
        )
        .openssl(20, 79, "openssl finds the issuer, and then that it may not be one"),
    ]
}

fn pins(w: &World) -> Vec<Row> {
    let leaf = Spec::server().by(&w.inter);
    let serves = || w.serves(&[&leaf, &w.inter], plain);
    let renewed = Spec::server().with(|s| s.key = leaf.key.clone()).by(&w.inter);
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let expect = |pins| [Sent, Sent, pins];
    let v1 = Spec::server().with(|s| s.v1 = true).by(&w.inter);
    let stolen = |made: &Made, version| {
        let pins = vec![sha256_pin(made), sha1_pin(made), format!("spki-sha256:{}", key_digest(made))];
        w.behaves(servers::thief(made, &w.inter, version)).pinned(pins)
    };
    let unproved = "the handshake's signature is not by the certificate's key, whatever is trusted";
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    vec![
        row("pinned by SHA-1 as openssl prints it", serves().pinned(vec![sha1_pin(&leaf)]), expect(Sent), "it matches"),
        row(
            "pinned by key",
            serves().pinned(vec![format!("spki-sha256:{}", key_digest(&leaf))]),
            expect(Sent),
            "it matches",
        ),
        row(
            "pinned by key, the certificate renewed",
            w.serves(&[&renewed, &w.inter], plain).pinned(vec![format!("spki-sha256:{}", key_digest(&leaf))]),
            expect(Sent),
            "the key is the same",
        ),
        row(
            "pinned by certificate, renewed since",
            w.serves(&[&renewed, &w.inter], plain).pinned(vec![sha256_pin(&leaf)]),
            expect(Code(50)),
            "it is another certificate",
        ),
        row(
            "the second of two pins",
            serves().pinned(vec![wrong.clone(), sha256_pin(&leaf)]),
            expect(Sent),
            "any of them will do",
        ),
        row("another pin", serves().pinned(vec![wrong]), expect(Code(50)), "it does not match"),
        row(
            "an issuer's pin",
            serves().pinned(vec![sha256_pin(&w.inter), sha256_pin(&w.root)]),
            expect(Code(50)),
            "a pin is the server's own, never an issuer's: whoever that issues to would pass",
        ),
        row(
            "the key's digest given for the certificate's",
            serves().pinned(vec![format!("sha256:{}", key_digest(&leaf))]),
            expect(Code(50)),
            "it does not match; the message says what it is",
        ),
        row("a stolen certificate without its key", stolen(&leaf, tls13), all(Nothing), unproved).openssl(
            0,
            0,
            NOTHING_VERIFIED,
        ),
        row("the same, TLS 1.2", stolen(&leaf, tls12), all(Nothing), unproved).openssl(0, 0, NOTHING_VERIFIED),
        row(
            "a stolen certificate of X.509 version 1",
            stolen(&v1, tls13),
            [Code(1), Code(1), Nothing],
            "the other reader of keys lets no thief in either",
        )
        .openssl(0, 0, NOTHING_VERIFIED),
        row("the same of version 1, TLS 1.2", stolen(&v1, tls12), [Code(1), Code(1), Nothing], unproved).openssl(
            0,
            0,
            NOTHING_VERIFIED,
        ),
    ]
}

fn protocols(w: &World) -> Vec<Row> {
    let nothing = "there is nothing in common: no handshake, no verdict";
    let none = |name, tune: Tune, proof: (&'static [&'static str], &'static str)| {
        row(name, w.tuned(tune), all(Nothing), nothing).openssl(0, 0, NOTHING_VERIFIED).shown_by(proof.0, proof.1)
    };
    // What openssl offers to whoever asks for it.
    const OLD: &[&str] = &["-cipher", "ALL:@SECLEVEL=0"];
    vec![
        none(
            "TLS 1.0 only",
            |c| only(SslVersion::TLS1, c),
            (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "Protocol  : TLSv1\n"),
        ),
        none(
            "TLS 1.1 only",
            |c| only(SslVersion::TLS1_1, c),
            (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "Protocol  : TLSv1.1\n"),
        ),
        row("TLS 1.2 only", w.tuned(|c| only(SslVersion::TLS1_2, c)), all(Sent), "good enough")
            .shown_by(&["-tls1_2"], "Protocol  : TLSv1.2\n"),
        row("TLS 1.3 only", w.tuned(|c| only(SslVersion::TLS1_3, c)), all(Sent), "good")
            .shown_by(&["-tls1_3"], "New, TLSv1.3"),
        row(
            "RSA key exchange only",
            {
                let leaf = Spec::server().with(|s| s.key = rsa(2048)).by(&w.inter);
                w.serves(&[&leaf, &w.inter], |c| ciphers("kRSA", c))
            },
            all(Nothing),
            "no forward secrecy, so not offered",
        )
        .openssl(0, 0, "openssl offers it")
        .shown_by(&["-tls1_2"], "Server public key is 2048 bit"),
        row(
            "anonymous",
            w.behaves(openssl(&[], &p256(), |c| ciphers("aNULL", c))),
            all(Nothing),
            "no certificate, so nobody; not offered",
        )
        .openssl(0, 0, NOTHING_VERIFIED)
        .shown_by(&["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"], "no peer certificate available"),
        row("CBC ciphers only", w.tuned(|c| ciphers("ECDHE-ECDSA-AES128-SHA256", c)), all(Nothing), "not offered")
            .openssl(0, 0, "openssl offers them")
            .shown_by(&["-tls1_2"], "Cipher is ECDHE-ECDSA-AES128-SHA256"),
        row(
            "the group P-521 only",
            w.tuned(|c| c.set_groups_list("P-521").expect("a group")),
            all(Nothing),
            "not offered",
        )
        .openssl(0, 0, "openssl offers it")
        .shown_by(&[], "Server Temp Key: ECDH, secp521r1"),
        row(
            "SHA-1 handshake signatures only",
            w.tuned(|c| {
                only(SslVersion::TLS1_2, c);
                c.set_sigalgs_list("ECDSA+SHA1").expect("an algorithm");
            }),
            all(Nothing),
            "a signature over the handshake by SHA-1 proves too little; not offered",
        )
        .openssl(0, 0, NOTHING_VERIFIED)
        .shown_by(&["-tls1_2", "-cipher", "ALL:@SECLEVEL=0", "-sigalgs", "ECDSA+SHA1"], "Peer signing digest: SHA1"),
        row(
            "P-521 under TLS 1.2",
            {
                let leaf = Spec::server().with(|s| s.key = ec(Nid::SECP521R1)).by(&w.inter);
                w.serves(&[&leaf, &w.inter], |c| only(SslVersion::TLS1_2, c))
            },
            all(Nothing),
            "TLS 1.2 ties the curve to the groups that are offered, and P-521 is none of them",
        )
        .openssl(0, 0, "openssl offers it"),
        row("X25519 only", w.tuned(|c| c.set_groups_list("X25519").expect("a group")), all(Sent), "classic, and good"),
        row("P-384 only", w.tuned(|c| c.set_groups_list("P-384").expect("a group")), all(Sent), "classic, and good"),
        row("ChaCha20 only", w.tuned(|c| ciphers("ECDHE-ECDSA-CHACHA20-POLY1305", c)), all(Sent), "good")
            .shown_by(OLD, "ECDHE-ECDSA-CHACHA20-POLY1305"),
        row(
            "a client certificate asked for",
            w.tuned(|c| client_certificate(SslVerifyMode::PEER, c)),
            all(Sent),
            "asked for, not demanded",
        ),
        row(
            "a client certificate demanded, TLS 1.2",
            w.tuned(|c| {
                only(SslVersion::TLS1_2, c);
                client_certificate(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, c);
            }),
            all(Nothing),
            "the server ends the handshake: it was not completed, whatever its certificate is worth",
        )
        .openssl(0, 0, NOTHING_VERIFIED),
        row(
            "a client certificate demanded, TLS 1.3",
            w.tuned(|c| {
                only(SslVersion::TLS1_3, c);
                client_certificate(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, c);
            }),
            all(Useless),
            "on our side all was verified before the server says that it wants one",
        ),
        row(
            "TLS at once",
            w.tuned(plain).scripted(|mut script| {
                script.implicit_tls = true;
                script
            }),
            all(Sent),
            "port 465",
        ),
    ]
}

fn no_tls(w: &World) -> Vec<Row> {
    let none = |name, case, why| row(name, case, all(Nothing), why).openssl(0, 0, NOTHING_VERIFIED);
    let greets = |act| w.tuned(plain).scripted(|script| script.at("greeting", act));
    vec![
        none("SMTP in clear after STARTTLS", w.behaves(servers::says(b"250 2.0.0 Ok\r\n")), "no TLS"),
        none("HTTP after STARTTLS", w.behaves(servers::says(b"HTTP/1.1 400 Bad Request\r\n\r\n")), "no TLS"),
        none("a TLS alert after STARTTLS", w.behaves(servers::says(b"\x15\x03\x03\x00\x02\x02\x28")), "no handshake"),
        none("closed after STARTTLS", w.behaves(servers::closes()), "nobody there"),
        none("stalled after STARTTLS", w.behaves(servers::stalls()), "nobody answers; bounded by relay.timeout"),
        none("closed at once", greets(Act::Close), "nobody there"),
        none("stalled at once", greets(Act::Silence(std::time::Duration::from_secs(20))), "bounded by relay.timeout"),
        none("another protocol", greets(Act::Say("SSH-2.0-OpenSSH_9.2".into())), "no SMTP"),
        none(
            "no STARTTLS",
            w.tuned(plain).scripted(|mut script| {
                script.offers_starttls = false;
                script
            }),
            "there is no way to TLS, and nothing is sent without",
        ),
    ]
}
