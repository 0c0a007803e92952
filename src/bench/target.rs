//! What a load needs of a server: to put one value, and to get one.

use super::client::{Client, Error, Result, Session};
use denokv_proto::datapath::{
    AtomicWrite, AtomicWriteStatus, KvValue, Mutation, MutationType, ValueEncoding,
};

/// A server that keeps values under keys, whatever it speaks.
pub trait Target: Sync {
    /// What one client has of it.
    type Connection: Connection + 'static;

    /// Opens what one more client needs.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection>> + Send;
}

/// One client's way to a server: one request at a time.
pub trait Connection: Send {
    /// The newest value of a key, as a linearizable read sees it.
    fn get(&mut self, key: &[u8]) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// Sets a key. Returns once the server says that this is durable.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

impl Target for Session {
    type Connection = Client;

    async fn connect(&self) -> Result<Client> {
        Session::connect(self).await
    }
}

impl Connection for Client {
    async fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(Client::get(self, key).await?.map(|entry| entry.value))
    }

    async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        let write = AtomicWrite { mutations: vec![set(key, value)], ..AtomicWrite::default() };
        let output = self.atomic_write(&write).await?;
        if output.status == AtomicWriteStatus::AwSuccess as i32 && output.versionstamp.len() == 10 {
            return Ok(());
        }
        Err(Error::Protocol(format!("a write without checks has status {}", output.status)))
    }
}

/// A mutation that sets a plain byte value without expiry.
pub fn set(key: Vec<u8>, value: Vec<u8>) -> Mutation {
    Mutation {
        key,
        value: Some(KvValue { data: value, encoding: ValueEncoding::VeBytes as i32 }),
        mutation_type: MutationType::MSet as i32,
        ..Mutation::default()
    }
}
