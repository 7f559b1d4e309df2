//! The relay host's TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::Duplex;
use crate::support::pki::Identity;

/// TLS by rustls. Whether the key belongs to the certificate is the client's to find out: a thief's does not.
pub fn rustls_server(identity: &Identity, stream: TcpStream) -> std::io::Result<Box<dyn Duplex>> {
    rustls_server_of(rustls::DEFAULT_VERSIONS, identity, stream)
}

/// The same with these versions only.
pub fn rustls_server_of(
    versions: &[&'static SupportedProtocolVersion],
    identity: &Identity,
    stream: TcpStream,
) -> std::io::Result<Box<dyn Duplex>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(identity.private_key()).map_err(std::io::Error::other)?;
    let certified = SingleCertAndKey::from(CertifiedKey::new(identity.chain.clone(), key));
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(certified);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("protocols")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let connection = ServerConnection::new(Arc::new(config)).map_err(std::io::Error::other)?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// TLS of a server with this identity.
pub fn server_config(identity: &Identity, client_ca: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = client_ca.map(|pem| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("an authority");
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        builder.build().expect("a verifier")
    });
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("protocols");
    match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    }
    .with_single_cert(identity.chain.clone(), identity.private_key())
    .expect("an identity")
}

/// Whether the first TLS record, which stays unread, is longer than `limit`.
pub fn chokes(stream: &TcpStream, limit: usize) -> bool {
    let mut header = [0; 5];
    // The record comes in one piece, or the client is gone.
    let count = stream.peek(&mut header).unwrap_or(0);
    count == header.len() && usize::from(u16::from_be_bytes([header[3], header[4]])) > limit
}
