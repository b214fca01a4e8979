//! A form's bytes on their way into its parser: chunk by chunk, since it would keep as many as there are, and within bounds that
//! it does not have itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Body;

use super::{Coming, broken, too_large};
use crate::pipeline::ClientFault;

/// Bytes between two parts' contents at most: what stands before the first, and the head of each. A head has a name, a file's
/// name and a media type.
const HEAD_LEN_MAX: usize = 16 << 10;

/// The stream that a parser reads.
pub(super) struct Feed<'a> {
    body: &'a mut Coming,
    len: usize,
    len_max: usize,
    head_len: Arc<AtomicUsize>,
    /// Whether the parser has had time to look at the chunk before.
    is_next: bool,
}

impl<'a> Feed<'a> {
    /// At most `len_max` bytes. The reader sets `head_len` to zero whenever it has got some content.
    pub(super) fn new(body: &'a mut Coming, len_max: usize, head_len: Arc<AtomicUsize>) -> Self {
        Self {
            body,
            len: 0,
            len_max,
            head_len,
            is_next: true,
        }
    }

    fn count(&mut self, bytes: &Bytes) -> Result<(), ClientFault> {
        self.len += bytes.len();
        if self.len > self.len_max {
            return Err(too_large("a form has", self.len_max, "uploads.size_max"));
        }
        self.head_len.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(())
    }
}

impl Stream for Feed<'_> {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.is_next, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.head_len.load(Ordering::Relaxed) > HEAD_LEN_MAX {
            let why = format!("what stands before a part's content is longer than {HEAD_LEN_MAX} bytes");
            return Poll::Ready(Some(Err(broken(why))));
        }
        loop {
            let bytes = match ready!(Pin::new(&mut *self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(ClientFault::BodyBroken(error.to_string()))));
                }
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers are of no interest.
            let Ok(bytes) = bytes else { continue };
            self.is_next = false;
            return Poll::Ready(Some(self.count(&bytes).map(|()| bytes)));
        }
    }
}
