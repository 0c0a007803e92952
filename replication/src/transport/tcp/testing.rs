//! What the tests of this module share: a CA that signs what they ask for.

use super::{PeerTls, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

type Made<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key, in PEM.
pub(super) struct Signed {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Made<Ca> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Ca { issuer: Issuer::new(params, key), pem })
    }

    /// For both usages.
    pub(super) fn sign(&self, names: &[&str]) -> Made<Signed> {
        self.sign_for(names, &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    pub(super) fn sign_for(&self, names: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> Made<Signed> {
        self.sign_until(names, usages, 4_096)
    }

    /// Valid from 1975 until that year.
    pub(super) fn sign_until(
        &self,
        names: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        year: i32,
    ) -> Made<Signed> {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.extended_key_usages = usages.to_vec();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate()?;
        Ok(Signed { cert: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

impl Signed {
    /// What a node has that believes `ca`.
    pub(super) fn peer(&self, ca: &Ca) -> Result<PeerTls, TlsError> {
        self.named_peer(ca, None)
    }

    pub(super) fn named_peer(&self, ca: &Ca, name: Option<&str>) -> Result<PeerTls, TlsError> {
        PeerTls::from_pem(self.cert.as_bytes(), self.key.as_bytes(), ca.pem.as_bytes(), name)
    }
}
