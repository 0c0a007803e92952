//! Saying and hearing messages on a stream, neither for longer than [`SILENCE_MAX`].

use super::message::Message;
use super::{Error, SILENCE_MAX};
use crate::runtime;
use crate::transport::Duplex;

/// Sends a message.
///
/// # Errors
///
/// [`Error::Refused`] when the other side has said why it does not go on; [`Error::Broken`].
pub(super) async fn say(duplex: &mut Duplex, message: &Message) -> Result<(), Error> {
    match runtime::timeout(SILENCE_MAX, duplex.sender.send(message.encode())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(last_words(duplex)),
        Err(_elapsed) => Err(Error::Broken("the other side takes nothing")),
    }
}

/// What the other side said before it left.
fn last_words(duplex: &mut Duplex) -> Error {
    while let Ok(bytes) = duplex.receiver.try_recv() {
        if let Ok(Message::Refusal(reason)) = Message::decode(&bytes) {
            return Error::Refused(reason);
        }
    }
    Error::Broken("it ended")
}

/// The next message that is not [`Message::Busy`].
///
/// # Errors
///
/// [`Error::Refused`], [`Error::Malformed`], [`Error::Broken`].
pub(super) async fn hear(duplex: &mut Duplex) -> Result<Message, Error> {
    loop {
        match runtime::timeout(SILENCE_MAX, duplex.receiver.recv()).await {
            Ok(Some(bytes)) => match Message::decode(&bytes)? {
                Message::Busy => {}
                Message::Refusal(reason) => return Err(Error::Refused(reason)),
                message => return Ok(message),
            },
            Ok(None) => return Err(Error::Broken("it ended")),
            Err(_elapsed) => return Err(Error::Broken("the other side says nothing")),
        }
    }
}

/// Whether the other side has already said that it does not go on.
///
/// # Errors
///
/// [`Error::Refused`] if so.
pub(super) fn overhear(duplex: &mut Duplex) -> Result<(), Error> {
    match duplex.receiver.try_recv() {
        Ok(bytes) => match Message::decode(&bytes)? {
            Message::Refusal(reason) => Err(Error::Refused(reason)),
            Message::Busy => Ok(()),
            _ => Err(Error::OutOfTurn("an answer before the end")),
        },
        Err(_nothing) => Ok(()),
    }
}

/// Tells the other side why this one does not go on, unless it was the other side that said so.
pub(super) fn explain(duplex: &Duplex, error: &Error) {
    if !matches!(error, Error::Refused(_)) {
        let refusal = Message::Refusal(error.reason()).encode();
        if duplex.sender.try_send(refusal).is_err() {
            tracing::debug!("the other side of a snapshot stream is not told why it ends");
        }
    }
}

/// Lets other tasks run between two steps.
pub(super) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
