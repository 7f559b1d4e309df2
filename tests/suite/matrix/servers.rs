//! What stands where TLS should begin: OpenSSL as every row wants it, or something that is no TLS at all.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;

use super::made::{Key, Made};
use crate::support::pki::Identity;
use crate::support::relay_host::{Secure, rustls_server_of};

/// One change of an honest server's TLS.
pub type Tune = fn(&mut SslContextBuilder);

/// OpenSSL with `chain`, the server's own first, and `tune`; old and weak things are allowed, so that `tune` decides.
pub fn openssl(chain: &[X509], key: &Key, tune: Tune) -> Secure {
    let mut context = SslContext::builder(SslMethod::tls_server()).expect("a context");
    context.set_security_level(0);
    context.set_min_proto_version(None).expect("any version");
    context.set_cipher_list("DEFAULT:@SECLEVEL=0").expect("ciphers");
    if let [own, others @ ..] = chain {
        context.set_certificate(own).expect("a certificate");
        context.set_private_key(key).expect("its key");
        others.iter().for_each(|other| context.add_extra_chain_cert(other.clone()).expect("a chain"));
    }
    tune(&mut context);
    let context = context.build();
    Arc::new(move |stream| {
        let ssl = Ssl::new(&context).map_err(Error::other)?;
        let stream = ssl.accept(stream).map_err(Error::other)?;
        Ok(Box::new(stream))
    })
}

/// An honest one.
pub fn plain(_: &mut SslContextBuilder) {}

pub fn only(version: SslVersion, context: &mut SslContextBuilder) {
    context.set_min_proto_version(Some(version)).expect("a version");
    context.set_max_proto_version(Some(version)).expect("a version");
}

/// TLS 1.2 with these cipher suites.
pub fn ciphers(list: &str, context: &mut SslContextBuilder) {
    only(SslVersion::TLS1_2, context);
    context.set_cipher_list(&format!("{list}:@SECLEVEL=0")).expect("ciphers");
}

pub fn client_certificate(mode: SslVerifyMode, context: &mut SslContextBuilder) {
    context.set_verify(mode);
}

/// What a thief of a certificate can do without its key: `stolen`'s chain, signed for by another key.
pub fn thief(stolen: &Made, issuer: &Made, version: &'static SupportedProtocolVersion) -> Secure {
    let der = |made: &Made| CertificateDer::from(made.x509.to_der().expect("DER"));
    let own = super::made::p256();
    let identity = Identity { chain: vec![der(stolen), der(issuer)], key: own.private_key_to_pkcs8().expect("a key") };
    Arc::new(move |stream| rustls_server_of(&[version], &identity, stream))
}

/// Says this where the handshake should be, and waits for the client to go.
pub fn says(octets: &'static [u8]) -> Secure {
    Arc::new(move |mut stream: TcpStream| {
        stream.write_all(octets)?;
        let _ = stream.read_to_end(&mut Vec::new());
        Err(ErrorKind::ConnectionAborted.into())
    })
}

pub fn closes() -> Secure {
    Arc::new(|_| Err(ErrorKind::ConnectionAborted.into()))
}

/// Reads the ClientHello and says nothing.
pub fn stalls() -> Secure {
    Arc::new(|mut stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let _ = stream.read_to_end(&mut Vec::new());
        Err(ErrorKind::TimedOut.into())
    })
}
