//! The demo's throw-away keys and its configuration.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertBuilder;
use openpgp::serialize::SerializeInto;

/// The login at the demo's relay host.
pub const USERNAME: &str = "ossec@example.org";
pub const PASSWORD: &str = "demo only, thrown away";

/// A CA and a certificate it issued to `localhost`.
pub struct Authority {
    pub ca_pem: String,
    pub server_pem: String,
    pub server_key_pem: String,
}

/// Makes both.
pub fn authority() -> Result<Authority, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "sealrelay demo CA");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.distinguished_name.push(rcgen::DnType::CommonName, "sealrelay demo relay host");
    let server_pem = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?.pem();
    Ok(Authority { ca_pem, server_pem, server_key_pem: server_key.serialize_pem() })
}

/// What lies in the demo's folder.
pub struct Setup {
    pub configuration: PathBuf,
    pub control: PathBuf,
    pub queue: PathBuf,
    pub signer: PathBuf,
    /// With its secret key: it plays the recipient.
    pub recipient: Cert,
}

impl Setup {
    /// Writes keys and configuration into `folder`.
    pub fn write(folder: &Path, authority: &Authority, port: u16) -> io::Result<Self> {
        let (recipient, _) = CertBuilder::general_purpose(Some("Demo Admin <admin@example.org>"))
            .generate()
            .map_err(io::Error::other)?;
        let armored = recipient.armored().to_vec().map_err(io::Error::other)?;
        write(folder, "admin.asc", &armored)?;
        write(folder, "ca.pem", authority.ca_pem.as_bytes())?;
        write(folder, "sasl_password", PASSWORD.as_bytes())?;
        let fingerprint = recipient.fingerprint().to_hex();
        let configuration = write(
            folder,
            "sealrelay.toml",
            format!(
                "[listen]\naddresses = [\"127.0.0.1:0\"]\n\n\
                 [[recipient]]\naddress = \"admin@example.org\"\ncertificate = \"admin.asc\"\nfingerprint = \"{fingerprint}\"\n\n\
                 [[relay]]\nhost = \"localhost\"\nport = {port}\nusername = \"{USERNAME}\"\npassword_file = \"sasl_password\"\n\
                 ca_file = \"ca.pem\"\n\n\
                 [spool]\ndirectory = \"spool\"\n\n[state]\ndirectory = \"state\"\n\n[control]\nsocket = \"control.sock\"\n\n\
                 # One message is easier to follow than two.\n[heartbeat]\nevery = \"off\"\n"
            )
            .as_bytes(),
        )?;
        Ok(Self {
            configuration,
            control: folder.join("control.sock"),
            queue: folder.join("spool/queue"),
            signer: folder.join("state/signer.asc"),
            recipient,
        })
    }

    /// The one entry of the queue, once it is there.
    pub fn one_entry(&self, patience: Duration) -> io::Result<(String, Vec<u8>)> {
        let until = Instant::now() + patience;
        loop {
            let files = std::fs::read_dir(&self.queue)?.flatten();
            let name = files.filter_map(|file| file.file_name().into_string().ok()).find(|name| !name.contains('.'));
            match name {
                Some(name) => return std::fs::read(self.queue.join(&name)).map(|entry| (name, entry)),
                None if Instant::now() > until => return Err(io::Error::other("nothing lies in the queue")),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    use std::io::Write;
    let path = folder.join(name);
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(content)?;
    Ok(path)
}
