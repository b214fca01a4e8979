//! An answer that comes line by line, within its time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use selvedge_plugin::value::Finish;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use super::error::UpstreamFault;
use super::said::{Said, Wrong};
use super::{ollama, openai};
use crate::config::UpstreamKind;
use crate::pipeline::completed::Counts;

/// Bytes of a line at most: a token with its twenty likeliest neighbours has 4 KiB.
const LINE_LEN_MAX: usize = 1 << 20;

/// Bytes of text of one answer at most: a million tokens.
const TEXT_LEN_MAX: usize = 8 << 20;

/// How long the end of a connection's answer is waited for behind the last word, so that the connection can be used again.
const END_TIME_MAX: Duration = Duration::from_millis(5);

type Lines = FramedRead<StreamReader<Body, Bytes>, LinesCodec>;

type Body = BoxStream<'static, io::Result<Bytes>>;

/// An answer, or several to one prompt. Where it is dropped before its end, its connection is closed.
pub(super) struct Answer {
    /// None once the last word was heard, and the connection is somebody else's.
    lines: Option<Lines>,
    kind: UpstreamKind,
    /// Which answer of ours it is.
    choice: usize,
    /// When it must be over, and how long that is from the beginning.
    deadline: (Instant, Duration),
    ready: VecDeque<Said>,
    /// Why it ended, told behind the token counts.
    end: Option<Finish>,
    /// Pieces of text that came, and bytes in them.
    pieces: (usize, usize),
    /// The token counts that it told last.
    counts: Option<Counts>,
    over: bool,
    /// Counts as one of the calls that may be open, until the last word.
    call: Option<Arc<OwnedSemaphorePermit>>,
}

impl Answer {
    pub(super) fn new(
        body: Incoming,
        kind: UpstreamKind,
        choice: usize,
        deadline: (Instant, Duration),
        call: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        let bytes: Body = BodyDataStream::new(body).map_err(io::Error::other).boxed();
        let lines = LinesCodec::new_with_max_length(LINE_LEN_MAX);
        Self {
            lines: Some(FramedRead::new(StreamReader::new(bytes), lines)),
            kind,
            choice,
            deadline,
            ready: VecDeque::new(),
            end: None,
            pieces: (0, 0),
            counts: None,
            over: false,
            call: Some(call),
        }
    }

    /// Waits for the first word, or the end of an answer without any.
    pub(super) async fn settle(&mut self) -> Result<(), UpstreamFault> {
        if let Some(said) = self.next().await {
            self.ready.push_front(said?);
        }
        Ok(())
    }

    /// What it says next; none at the end. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Said, UpstreamFault>> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Some(Ok(said));
            }
            if self.over {
                return None;
            }
            let lines = self.lines.as_mut()?;
            let (deadline, time_max) = self.deadline;
            let line = tokio::time::timeout_at(deadline, lines.next()).await;
            let read = match line {
                Err(_) => Err(UpstreamFault::Timeout(time_max)),
                Ok(None) => self.finish("it ended without its last words"),
                Ok(Some(Ok(line))) => self.hear(&line),
                Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => Err(UpstreamFault::Garbage(
                    format!("a line has more than {LINE_LEN_MAX} bytes"),
                )),
                Ok(Some(Err(LinesCodecError::Io(error)))) if error.kind() == io::ErrorKind::InvalidData => {
                    Err(UpstreamFault::Garbage("it is not UTF-8".to_owned()))
                }
                Ok(Some(Err(LinesCodecError::Io(error)))) => Err(UpstreamFault::BrokeOff(error.to_string())),
            };
            if let Err(fault) = read {
                self.over = true;
                return Some(Err(fault));
            }
            if self.over {
                self.let_go().await;
            }
        }
    }

    /// Gives the connection and the place among the calls back.
    async fn let_go(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            let end = async { while lines.next().await.is_some_and(|line| line.is_ok()) {} };
            // Where there is no end in time, the connection is closed.
            tokio::time::timeout(END_TIME_MAX, end).await.ok();
        }
        self.call = None;
    }

    fn hear(&mut self, line: &str) -> Result<(), UpstreamFault> {
        let said = match self.kind {
            UpstreamKind::Openai => openai::read(line),
            UpstreamKind::Ollama => ollama::read(line),
        };
        let said = said.map_err(|wrong| match wrong {
            Wrong::Garbage(line) => UpstreamFault::Garbage(line),
            Wrong::Failed(message) => UpstreamFault::FailedLate(message),
        })?;
        for mut part in said {
            // It was asked for one answer, which is its first.
            if let Said::Text { choice, .. } | Said::End { choice, .. } = &mut part {
                if *choice != 0 {
                    return Err(UpstreamFault::Garbage(format!("it has answer {choice} of one")));
                }
                *choice = self.choice;
            }
            match part {
                Said::End { finish, .. } => self.end = Some(finish),
                Said::Over => return self.finish("an answer has no end"),
                Said::Counts(counts) => self.counts = Some(counts),
                Said::Alive => self.ready.push_back(part),
                Said::Text { ref text, .. } => {
                    self.pieces = (self.pieces.0 + 1, self.pieces.1 + text.len());
                    if self.pieces.1 > TEXT_LEN_MAX {
                        let why = format!("it has more than {TEXT_LEN_MAX} bytes of text");
                        return Err(UpstreamFault::Garbage(why));
                    }
                    self.ready.push_back(part);
                }
            }
        }
        Ok(())
    }

    /// Tells counts and end. Some servers close without a last word; that is an end where the answer had its own.
    fn finish(&mut self, missing: &str) -> Result<(), UpstreamFault> {
        let Some(finish) = self.end else {
            return Err(UpstreamFault::BrokeOff(missing.to_owned()));
        };
        self.over = true;
        // Each piece was counted as a token when it came, which it is with most servers; where it tells counts, they hold.
        if let Some(counts) = self.counts {
            self.ready.push_back(Said::Counts(Counts {
                completion: counts.completion.saturating_sub(self.pieces.0),
                ..counts
            }));
        }
        let choice = self.choice;
        self.ready.push_back(Said::End { choice, finish });
        Ok(())
    }
}
