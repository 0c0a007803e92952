//! A CA of the tests' own, and a client that believes it.

use super::{PATIENCE, TestResult};
use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Signs certificates, each with the next serial number.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key: String,
    signed: AtomicU32,
}

/// Where the files of a server under test are.
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> TestResult<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Authority { issuer: Issuer::new(params, key), pem, key: key_pem, signed: AtomicU32::new(0) })
    }

    pub(crate) fn files(folder: &Path) -> Files {
        let path = |name| folder.join(name);
        Files { cert: path("cert.pem"), key: path("key.pem"), ca: path("ca.pem") }
    }

    /// Writes another certificate for the host, its key, and the CA's own.
    pub(crate) fn write(&self, folder: &Path, host: &str) -> TestResult {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.serial_number = Some(self.serial_of(self.signed.fetch_add(1, Ordering::Relaxed) + 1));
        let key = KeyPair::generate()?;
        let files = Authority::files(folder);
        std::fs::write(files.cert, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(files.key, key.serialize_pem())?;
        std::fs::write(files.ca, &self.pem)?;
        Ok(std::fs::write(folder.join("ca-key.pem"), &self.key)?)
    }

    /// The serial number of the certificate that was signed as the first, second and so on: ten bytes that stand nowhere
    /// else in it.
    pub(crate) fn serial_of(&self, number: u32) -> SerialNumber {
        let mut serial = *b"\x01cairn----";
        serial[6..].copy_from_slice(&number.to_be_bytes());
        SerialNumber::from_slice(&serial)
    }
}

/// Connects over TLS and believes one CA.
pub(crate) struct Client(Arc<ClientConfig>);

/// A connection of it.
pub(crate) struct Open {
    stream: StreamOwned<ClientConnection, TcpStream>,
    address: String,
}

impl Client {
    /// One that offers to speak these protocols inside.
    pub(crate) fn new(authority: &Authority, offered: &[&[u8]]) -> TestResult<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Client(Arc::new(config)))
    }

    /// Connects and does the handshake.
    pub(crate) fn open(&self, address: &str) -> TestResult<Open> {
        let (host, _port) = address.rsplit_once(':').context("an address has a port")?;
        let connection = ClientConnection::new(self.0.clone(), ServerName::try_from(host.to_owned())?)?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Open { stream, address: address.to_owned() })
    }

    /// The answer to a GET, to its end.
    pub(crate) fn get(&self, address: &str, path: &str) -> TestResult<String> {
        self.open(address)?.get(path)
    }

    /// What client and server agree to speak.
    pub(crate) fn agree(&self, address: &str) -> TestResult<Option<Vec<u8>>> {
        Ok(self.open(address)?.stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    }

    /// Which certificate the server shows, as [`Authority::serial_of`] says.
    pub(crate) fn serial(&self, address: &str) -> TestResult<SerialNumber> {
        let open = self.open(address)?;
        let chain = open.stream.conn.peer_certificates().context("the server shows a certificate")?;
        let shown = chain.first().context("a chain has its certificate")?;
        let at = shown.windows(6).position(|part| part == b"\x01cairn").context("it is one of ours")?;
        Ok(SerialNumber::from_slice(&shown[at..at + 10]))
    }
}

impl Open {
    /// The answer to a GET, after which the connection ends.
    pub(crate) fn get(&mut self, path: &str) -> TestResult<String> {
        let host = &self.address;
        write!(self.stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
