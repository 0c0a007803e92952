use crate::NodeId;
use crate::transport::tcp::testing::{Ca, Signed};
use crate::transport::tcp::tests::{identity, listen};
use crate::transport::tcp::{Options, PeerTls, Tcp, TlsError};
use crate::transport::{Channel, Duplex, Service, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use std::sync::Arc;
use std::time::Duration;

type TestResult = Result<(), Box<dyn std::error::Error>>;
type Called = Result<Bytes, TransportError>;

const PATIENCE: Duration = Duration::from_secs(10);
const HERE: &[&str] = &["127.0.0.1"];

struct Mirror;

#[async_trait]
impl Service for Mirror {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        request
    }

    async fn stream(&self, _from: NodeId, _header: Bytes, _duplex: Duplex) {}
}

async fn start(node: u64, tls: Option<PeerTls>) -> Result<(Tcp, String), std::io::Error> {
    let listener = listen(None).await;
    let address = listener.local_addr()?.to_string();
    Ok((Tcp::start(Options { identity: identity(node), tls }, listener, Arc::new(Mirror)), address))
}

async fn ask(from: &Tcp, to: u64) -> Called {
    from.call(NodeId(to), Channel::Log, Bytes::from_static(b"secret"), PATIENCE).await
}

/// What happens when the first node calls the second one and each knows where the other is.
async fn call(first: Option<PeerTls>, second: Option<PeerTls>) -> Result<Called, std::io::Error> {
    let ((first, first_address), (second, second_address)) =
        (start(1, first).await?, start(2, second).await?);
    first.set_address(NodeId(2), second_address);
    second.set_address(NodeId(1), first_address);
    Ok(ask(&first, 2).await)
}

/// The reason for which there is no connection.
async fn refusal(
    first: Option<PeerTls>,
    second: Option<PeerTls>,
) -> Result<String, Box<dyn std::error::Error>> {
    match call(first, second).await? {
        Err(TransportError::Refused { reason, .. } | TransportError::Unreachable { reason, .. }) => {
            Ok(reason)
        }
        other => Err(format!("a refusal, not {other:?}").into()),
    }
}

#[tokio::test]
async fn certificates_of_one_ca_for_the_right_hosts_are_accepted() -> TestResult {
    let ca = Ca::new("the cluster")?;
    let peer = || -> Result<_, Box<dyn std::error::Error>> { Ok(Some(ca.sign(HERE)?.peer(&ca)?)) };
    assert_eq!(call(peer()?, peer()?).await??, "secret");
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_on_either_side() -> TestResult {
    let ca = Ca::new("the cluster")?;
    let (here, elsewhere) = (ca.sign(HERE)?.peer(&ca)?, ca.sign(&["10.9.8.7", "db-9"])?.peer(&ca)?);
    let reason = refusal(Some(here.clone()), Some(elsewhere.clone())).await?;
    assert!(reason.contains("its certificate is not accepted"), "{reason}");
    assert!(reason.contains("not valid for 127.0.0.1, only for 10.9.8.7, db-9"), "{reason}");
    let reason = refusal(Some(elsewhere), Some(here)).await?;
    assert!(reason.contains("the certificate does not prove that node 1 dials"), "{reason}");
    assert!(reason.contains("not valid for 127.0.0.1, only for 10.9.8.7, db-9"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn a_configured_name_counts_instead_of_the_host() -> TestResult {
    let ca = Ca::new("the cluster")?;
    let named = |name: &str| -> Result<_, Box<dyn std::error::Error>> {
        Ok(Some(ca.sign(&[name])?.named_peer(&ca, Some("cairn.internal"))?))
    };
    assert_eq!(call(named("cairn.internal")?, named("cairn.internal")?).await??, "secret");
    for (first, second) in [("cairn.internal", "other.internal"), ("other.internal", "cairn.internal")] {
        let reason = refusal(named(first)?, named(second)?).await?;
        assert!(reason.contains("not valid for cairn.internal, only for other.internal"), "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_on_either_side() -> TestResult {
    for name in ["the cluster", "another cluster"] {
        let (ca, other) = (Ca::new("the cluster")?, Ca::new(name)?);
        let (ours, foreign) = (ca.sign(HERE)?.peer(&ca)?, other.sign(HERE)?.peer(&ca)?);
        let reason = refusal(Some(ours.clone()), Some(foreign.clone())).await?;
        assert!(reason.contains("its certificate is not accepted: another CA has signed it"), "{reason}");
        let reason = refusal(Some(foreign), Some(ours)).await?;
        let words = "it does not accept the certificate of this node: another CA has signed it";
        assert!(reason.contains(words), "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_old_or_for_half_the_usages_is_refused() -> TestResult {
    let ca = Ca::new("the cluster")?;
    let good = || -> Result<_, Box<dyn std::error::Error>> { Ok(Some(ca.sign(HERE)?.peer(&ca)?)) };
    let old = || -> Result<_, Box<dyn std::error::Error>> {
        Ok(Some(ca.sign_until(HERE, &[ServerAuth, ClientAuth], 2_000)?.peer(&ca)?))
    };
    let reason = refusal(good()?, old()?).await?;
    assert!(reason.contains("expired"), "{reason}");
    let reason = refusal(old()?, good()?).await?;
    assert!(reason.contains("it has expired there"), "{reason}");
    let servers_only = Some(ca.sign_for(HERE, &[ServerAuth])?.peer(&ca)?);
    let reason = refusal(servers_only, good()?).await?;
    assert!(reason.contains("it does not accept the certificate of this node"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn one_side_with_tls_and_one_without_do_not_talk() -> TestResult {
    let ca = Ca::new("the cluster")?;
    let reason = refusal(None, Some(ca.sign(HERE)?.peer(&ca)?)).await?;
    assert!(reason.contains("it speaks TLS, and this node has no certificate"), "{reason}");
    let reason = refusal(Some(ca.sign(HERE)?.peer(&ca)?), None).await?;
    assert!(reason.contains("does it speak TLS?"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn new_certificates_count_for_new_connections() -> TestResult {
    let (ca, next) = (Ca::new("the cluster")?, Ca::new("the next one")?);
    let (first, _) = start(1, Some(ca.sign(HERE)?.peer(&ca)?)).await?;
    let (second, address) = start(2, Some(ca.sign(HERE)?.peer(&ca)?)).await?;
    first.set_address(NodeId(2), address);
    ask(&first, 2).await?;
    second.replace_tls(next.sign(HERE)?.peer(&next)?);
    ask(&first, 2).await?;
    let heartbeat = || first.call(NodeId(2), Channel::Heartbeat, Bytes::new(), PATIENCE);
    assert!(matches!(heartbeat().await, Err(TransportError::Refused { .. })), "a new connection");
    first.replace_tls(next.sign(HERE)?.peer(&next)?);
    while heartbeat().await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[test]
fn what_cannot_be_used_is_named() -> TestResult {
    let (ca, other) = (Ca::new("the cluster")?, Ca::new("another")?);
    let signed = ca.sign(HERE)?;
    let tried = |cert: &str, key: &str, ca: &str| {
        let tls = PeerTls::from_pem(cert.as_bytes(), key.as_bytes(), ca.as_bytes(), None);
        tls.expect_err("it cannot be used").to_string()
    };
    let Signed { cert, key } = &signed;
    assert!(
        tried("", key, &ca.pem)
            .contains("the certificate of peers cannot be used: no certificate in the file")
    );
    assert!(tried(cert, "", &ca.pem).contains("the key of peers cannot be used"));
    assert!(tried(cert, key, "").contains("the CA of peers cannot be used: no certificate in the file"));
    let foreign_key = other.sign(HERE)?.key;
    assert!(tried(cert, &foreign_key, &ca.pem).contains("the certificate of peers cannot be used"));
    Ok(())
}

#[test]
fn a_node_sees_itself_that_others_will_not_believe_it() -> TestResult {
    let (ca, other) = (Ca::new("the cluster")?, Ca::new("another")?);
    let tls = ca.sign(&["127.0.0.1", "::1", "db-1"])?.peer(&ca)?;
    for address in ["127.0.0.1:7000", "[::1]:7000", "db-1:7000", "::1", "db-1"] {
        assert_eq!(tls.check_own(address), Ok(()), "{address}");
    }
    let error = tls.check_own("db-2:7000").expect_err("it is another");
    let words = "the certificate of this node does not prove that it is db-2: it is not valid for db-2, only for 127.0.0.1";
    assert!(error.to_string().starts_with(words), "{error}");
    let foreign = other.sign(HERE)?.peer(&ca)?.check_own("127.0.0.1:7000");
    assert!(matches!(foreign, Err(TlsError::NoProof { reason, .. }) if reason == "another CA has signed it"));
    Ok(())
}
