//! The messages of SFTP version 3 that a store needs (draft-ietf-secsh-filexfer-02).
//!
//! - A packet is a length (u32), a type (u8), an id (u32) and what the type says; integers are big-endian, a string is a
//!   length (u32) and its bytes.
//! - Decoding is total: what a server sends is hostile until it was read whole.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest packet that is read: what OpenSSH sends at most, and some.
pub(super) const PACKET_LEN_MAX: usize = 512 << 10;
/// Bytes written or read by one request: what every server takes.
pub(super) const CHUNK_LEN: usize = 32 << 10;

const VERSION: u32 = 3;

pub(super) const READ: u32 = 1;
pub(super) const WRITE: u32 = 2;
pub(super) const CREATE: u32 = 8;
pub(super) const EXCLUSIVE: u32 = 32;

pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const PERMISSION_DENIED: u32 = 3;
const END_OF_FILE: u32 = 1;

const WITH_SIZE: u32 = 1;
const WITH_OWNER: u32 = 2;
const WITH_PERMISSIONS: u32 = 4;
const WITH_TIMES: u32 = 8;
const WITH_EXTENDED: u32 = 1 << 31;
const FILE_TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Request<'a> {
    Open {
        path: &'a str,
        flags: u32,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    Stat {
        path: &'a str,
    },
    HandleStat {
        handle: &'a [u8],
    },
    SetLen {
        handle: &'a [u8],
        len: u64,
    },
    OpenDir {
        path: &'a str,
    },
    ReadDir {
        handle: &'a [u8],
    },
    Remove {
        path: &'a str,
    },
    MakeDir {
        path: &'a str,
    },
    /// `posix-rename@openssh.com`: replaces what is there.
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// `hardlink@openssh.com`
    Link {
        from: &'a str,
        to: &'a str,
    },
    /// `fsync@openssh.com`
    Sync {
        handle: &'a [u8],
    },
}

/// What a server says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    pub(super) len: u64,
    pub(super) modified_s: u32,
    pub(super) directory: bool,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Ok,
    /// The end of a file or of a directory.
    End,
    Failed {
        code: u32,
        message: String,
    },
    Handle(Bytes),
    Data(Bytes),
    Entries(Vec<Entry>),
    Attributes(Attributes),
}

impl Reply {
    /// Bytes of what it holds, without the text of a failure.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Ok | Self::End | Self::Failed { .. } | Self::Attributes(_) => 0,
            Self::Handle(bytes) | Self::Data(bytes) => bytes.len(),
            // Each entry takes the lengths of two strings and its flags besides.
            Self::Entries(entries) => entries.iter().map(|entry| entry.name.len() + 12).sum(),
        }
    }
}

fn string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("a string of a request is far below 4 GiB"));
    out.put_slice(bytes);
}

fn framed(kind: u8, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(0);
    out.put_u8(kind);
    body(&mut out);
    let len = u32::try_from(out.len() - 4).expect("a request is far below 4 GiB");
    out[..4].copy_from_slice(&len.to_be_bytes());
    out.freeze()
}

/// The first packet.
pub(super) fn init() -> Bytes {
    framed(1, |out| out.put_u32(VERSION))
}

impl Request<'_> {
    /// The packet with this id.
    pub(super) fn encode(&self, id: u32) -> Bytes {
        let kind = match self {
            Self::Open { .. } => 3,
            Self::Close { .. } => 4,
            Self::Read { .. } => 5,
            Self::Write { .. } => 6,
            Self::HandleStat { .. } => 8,
            Self::SetLen { .. } => 10,
            Self::OpenDir { .. } => 11,
            Self::ReadDir { .. } => 12,
            Self::Remove { .. } => 13,
            Self::MakeDir { .. } => 14,
            Self::Stat { .. } => 17,
            Self::Rename { .. } | Self::Link { .. } | Self::Sync { .. } => 200,
        };
        framed(kind, |out| {
            out.put_u32(id);
            self.encode_body(out);
        })
    }

    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Open { path, flags } => {
                string(out, path.as_bytes());
                out.put_u32(*flags);
                out.put_u32(0);
            }
            Self::Close { handle } | Self::HandleStat { handle } | Self::ReadDir { handle } => {
                string(out, handle)
            }
            Self::Read { handle, offset, len } => {
                string(out, handle);
                out.put_u64(*offset);
                out.put_u32(*len);
            }
            Self::Write { handle, offset, bytes } => {
                string(out, handle);
                out.put_u64(*offset);
                string(out, bytes);
            }
            Self::SetLen { handle, len } => {
                string(out, handle);
                out.put_u32(WITH_SIZE);
                out.put_u64(*len);
            }
            Self::Stat { path } | Self::OpenDir { path } | Self::Remove { path } => {
                string(out, path.as_bytes())
            }
            Self::MakeDir { path } => {
                string(out, path.as_bytes());
                out.put_u32(0);
            }
            Self::Rename { from, to } => extended(out, "posix-rename@openssh.com", from, to),
            Self::Link { from, to } => extended(out, "hardlink@openssh.com", from, to),
            Self::Sync { handle } => {
                string(out, b"fsync@openssh.com");
                string(out, handle);
            }
        }
    }
}

fn extended(out: &mut BytesMut, name: &str, from: &str, to: &str) {
    string(out, name.as_bytes());
    string(out, from.as_bytes());
    string(out, to.as_bytes());
}

fn take_u32(rest: &mut Bytes) -> Option<u32> {
    (rest.len() >= 4).then(|| rest.get_u32())
}

fn take_string(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(take_u32(rest)?).ok()?;
    (rest.len() >= len).then(|| rest.split_to(len))
}

fn take_attributes(rest: &mut Bytes) -> Option<Attributes> {
    let mut found = Attributes::default();
    let with = take_u32(rest)?;
    if with & WITH_SIZE != 0 {
        found.len = (rest.len() >= 8).then(|| rest.get_u64())?;
    }
    if with & WITH_OWNER != 0 {
        take_u32(rest)?;
        take_u32(rest)?;
    }
    if with & WITH_PERMISSIONS != 0 {
        found.directory = take_u32(rest)? & FILE_TYPE == DIRECTORY;
    }
    if with & WITH_TIMES != 0 {
        take_u32(rest)?;
        found.modified_s = take_u32(rest)?;
    }
    if with & WITH_EXTENDED != 0 {
        for _ in 0..take_u32(rest)? {
            take_string(rest)?;
            take_string(rest)?;
        }
    }
    Some(found)
}

/// Reads the answer to the first packet: the names of the extensions. `None` when it is not of version 3.
pub(super) fn decode_version(mut packet: Bytes) -> Option<Vec<String>> {
    let kind = (!packet.is_empty()).then(|| packet.get_u8())?;
    if kind != 2 || take_u32(&mut packet)? != VERSION {
        return None;
    }
    let mut names = Vec::new();
    while !packet.is_empty() {
        names.push(String::from_utf8_lossy(&take_string(&mut packet)?).into_owned());
        take_string(&mut packet)?;
    }
    Some(names)
}

/// Reads a packet, without its length: the id and what it says. `None` when it is not what the protocol says.
pub(super) fn decode(mut packet: Bytes) -> Option<(u32, Reply)> {
    let kind = (!packet.is_empty()).then(|| packet.get_u8())?;
    let id = take_u32(&mut packet)?;
    let rest = &mut packet;
    let reply = match kind {
        101 => {
            let code = take_u32(rest)?;
            // Old servers send no message.
            let message = take_string(rest).unwrap_or_default();
            let message = String::from_utf8_lossy(&message).into_owned();
            match code {
                0 => Reply::Ok,
                END_OF_FILE => Reply::End,
                _ => Reply::Failed { code, message },
            }
        }
        102 => Reply::Handle(take_string(rest)?),
        103 => Reply::Data(take_string(rest)?),
        104 => {
            let count = take_u32(rest)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let name = take_string(rest)?.to_vec();
                take_string(rest)?;
                entries.push(Entry { name, attributes: take_attributes(rest)? });
            }
            Reply::Entries(entries)
        }
        105 => Reply::Attributes(take_attributes(rest)?),
        _ => return None,
    };
    Some((id, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, id: u32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
        framed(kind, |out| {
            out.put_u32(id);
            body(out);
        })
        .slice(4..)
    }

    /// One packet of each kind, with what it says.
    fn packets() -> Vec<(Bytes, Reply)> {
        let attributes = |out: &mut BytesMut| {
            out.put_u32(WITH_SIZE | WITH_OWNER | WITH_PERMISSIONS | WITH_TIMES | WITH_EXTENDED);
            out.put_u64(7);
            out.put_u64(0);
            out.put_u32(0o040_755);
            out.put_u32(1);
            out.put_u32(2);
            out.put_u32(1);
            string(out, b"name");
            string(out, b"value");
        };
        let found = Attributes { len: 7, modified_s: 2, directory: true };
        let failed = Reply::Failed { code: 3, message: "no".to_owned() };
        let entries = vec![Entry { name: b"n".to_vec(), attributes: found }];
        vec![
            (
                packet(101, 1, |out| {
                    out.put_u32(3);
                    string(out, b"no");
                    string(out, b"");
                }),
                failed,
            ),
            (packet(101, 1, |out| out.put_u32(1)), Reply::End),
            (packet(102, 1, |out| string(out, b"h")), Reply::Handle(Bytes::from_static(b"h"))),
            (packet(103, 1, |out| string(out, b"d")), Reply::Data(Bytes::from_static(b"d"))),
            (
                packet(104, 1, |out| {
                    out.put_u32(1);
                    string(out, b"n");
                    string(out, b"long");
                    attributes(out);
                }),
                Reply::Entries(entries),
            ),
            (packet(105, 1, attributes), Reply::Attributes(found)),
        ]
    }

    #[test]
    fn packets_are_read_and_cut_or_changed_ones_do_no_harm() {
        for (packet, reply) in packets() {
            assert_eq!(decode(packet.clone()), Some((1, reply)));
            assert!(crate::store::sftp::read_reply(packet.clone()) <= packet.len());
            for cut in 0..packet.len() {
                // A status may lack its message; everything else must be whole.
                assert!(packet[0] == 101 || decode(packet.slice(..cut)).is_none(), "{packet:?} cut at {cut}");
            }
            for at in 0..packet.len() {
                let mut changed = packet.to_vec();
                changed[at] = 255;
                // Whatever it says now: no panic, and no allocation of what it claims.
                let _said = decode(changed.into());
            }
        }
    }

    #[test]
    fn a_request_is_written_as_the_protocol_says() {
        let packet = Request::Open { path: "/a", flags: READ }.encode(9);
        let expected = [0, 0, 0, 19, 3, 0, 0, 0, 9, 0, 0, 0, 2, b'/', b'a', 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(packet[..], expected);
        let version = framed(2, |out| {
            out.put_u32(3);
            string(out, b"fsync@openssh.com");
            string(out, b"1");
        });
        assert_eq!(decode_version(version.slice(4..)), Some(vec!["fsync@openssh.com".to_owned()]));
        assert_eq!(decode_version(framed(2, |out| out.put_u32(4)).slice(4..)), None);
    }
}
