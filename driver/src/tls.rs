//! TLS towards the engine.
//!
//! Owns: the one client configuration. Must not know: who connects where.
//!
//! 1. Built on first use: a broker that talks to an engine on this machine never pays for it.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::sync::{Arc, OnceLock};

/// The configuration of all TLS connections: the public roots, and those of the file that
/// `SSL_CERT_FILE` names.
pub fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(build).clone()
}

fn build() -> Arc<ClientConfig> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let own = std::env::var_os("SSL_CERT_FILE").and_then(|path| CertificateDer::pem_file_iter(path).ok());
    roots.add_parsable_certificates(own.into_iter().flatten().flatten());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
