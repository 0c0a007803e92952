//! The part of shipping that is about segments.
//!
//! A segment that is not known to have arrived is put again under the same name, so that a lost answer duplicates nothing.

use super::source::{self, Gathered, Position};
use super::{Shipper, Step};
use crate::Result;
use crate::bugs::{self, Bug};
use crate::error::blocking;
use crate::layout::{Digest, Kind, SegmentName};
use bytes::Bytes;

/// A segment object on its way.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// Where shipping stood when it was made.
    from: Position,
    name: SegmentName,
    bytes: Bytes,
    end: Position,
    /// The version up to which nothing more waits then.
    consumed: u64,
}

/// What was found in the log.
enum Next {
    Segment(Box<Prepared>),
    Nothing { consumed: u64 },
    Broken,
}

impl Shipper {
    /// Ships one object of what waits, if there is a commit in it.
    pub(super) async fn ship_segment(&mut self) -> Result<Option<Step>> {
        let from = self.mark.position;
        let prepared = match self.prepared.take().filter(|prepared| prepared.from == from) {
            Some(prepared) => prepared,
            None => match self.next_segment().await? {
                None => return Ok(None),
                Some(Next::Nothing { consumed }) => {
                    self.consume(consumed);
                    return Ok(None);
                }
                Some(Next::Broken) => {
                    self.start_over("the log no longer holds the commit after the last shipped one");
                    return self.begin_checkpoint().await.map(Some);
                }
                Some(Next::Segment(prepared)) => *prepared,
            },
        };
        self.prepared = Some(prepared.clone());
        self.refuse_after_end().await?;
        if !self.confirm_last_checkpoint().await? {
            return self.begin_checkpoint().await.map(Some);
        }
        self.announce().await?;
        let Prepared { name, bytes, end, consumed, .. } = prepared;
        let len = bytes.len() as u64;
        let object = Kind::Segment(self.settings.group, name);
        if !bugs::seeded(Bug::MarkedBeforePut)
            && let Err(error) = self.put(object, bytes.clone()).await
        {
            // Who could not reach the archive does not know what became of the lineage meanwhile.
            self.asked_for_end = false;
            return Err(error);
        }
        let mut mark = self.mark.clone();
        mark.position = if bugs::seeded(Bug::MarkedTooFar) { self.engine().applied().into() } else { end };
        mark.bytes_since_checkpoint += len;
        // Not recorded, it is shipped again.
        self.record(mark).await?;
        if bugs::seeded(Bug::MarkedBeforePut) {
            self.put(object, bytes).await?;
        }
        self.prepared = None;
        self.consume(consumed);
        let looked_ms = self.looked_ms;
        self.tell(|status| status.backlog_since_ms = status.backlog_since_ms.map(|_| looked_ms));
        Ok(Some(Step::Segment(end.stamp)))
    }

    async fn next_segment(&mut self) -> Result<Option<Next>> {
        let waiting = source::waiting(self.engine(), self.lineage.id, self.consumed);
        if waiting.is_empty() {
            return Ok(None);
        }
        self.looked_ms = self.now_ms();
        let from = self.mark.position;
        let gather = source::Gather {
            fs: self.engine().env().fs.clone(),
            lineage: self.lineage.into(),
            group: self.settings.group,
            node: self.settings.node,
            from,
            bytes_max: self.settings.object_bytes_max,
        };
        let recipients = self.settings.recipients.clone();
        let next = move || match gather.run(&waiting)? {
            Gathered::Nothing { consumed } => Ok(Next::Nothing { consumed }),
            Gathered::Broken => Ok(Next::Broken),
            Gathered::Segment { header, bytes, end, consumed } => {
                let bytes = recipients.seal(bytes)?;
                let name = header.name(Digest::of(&bytes), !recipients.is_nobody());
                Ok(Next::Segment(Box::new(Prepared { from, name, bytes, end, consumed })))
            }
        };
        blocking(next).await.map(Some)
    }
}
