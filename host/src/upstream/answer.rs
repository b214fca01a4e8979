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
use crate::pipeline::generate::Counts;

/// Bytes of a line at most: a token with its twenty likeliest neighbours has 4 KiB.
const LINE_LEN_MAX: usize = 1 << 20;

type Body = BoxStream<'static, io::Result<Bytes>>;

/// An answer, or several to one prompt. Where it is dropped before its end, its connection is closed.
pub(super) struct Answer {
    lines: FramedRead<StreamReader<Body, Bytes>, LinesCodec>,
    kind: UpstreamKind,
    /// Of an `ollama` one, which answer of ours it is.
    choice: usize,
    /// When it must be over, and how long that is from the beginning.
    deadline: (Instant, Duration),
    ready: VecDeque<Said>,
    /// Why each answer ended, told at the end of all, when the token counts are known.
    ends: Vec<Option<Finish>>,
    /// Pieces of text that came, until the server tells its token counts.
    uncounted: Option<usize>,
    over: bool,
    /// Counts as one of the calls that may be open.
    _call: Arc<OwnedSemaphorePermit>,
}

impl Answer {
    pub(super) fn new(
        body: Incoming,
        kind: UpstreamKind,
        choices: std::ops::Range<usize>,
        deadline: (Instant, Duration),
        call: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        let bytes: Body = BodyDataStream::new(body).map_err(io::Error::other).boxed();
        let lines = LinesCodec::new_with_max_length(LINE_LEN_MAX);
        Self {
            lines: FramedRead::new(StreamReader::new(bytes), lines),
            kind,
            choice: choices.start,
            deadline,
            ready: VecDeque::new(),
            ends: vec![None; choices.end],
            uncounted: Some(0),
            over: false,
            _call: call,
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
            let (deadline, time_max) = self.deadline;
            let line = tokio::time::timeout_at(deadline, self.lines.next()).await;
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
        }
    }

    fn hear(&mut self, line: &str) -> Result<(), UpstreamFault> {
        let said = match self.kind {
            UpstreamKind::Openai => openai::read(line),
            UpstreamKind::Ollama => ollama::read(line, self.choice),
        };
        let said = said.map_err(|wrong| match wrong {
            Wrong::Garbage(line) => UpstreamFault::Garbage(line),
            Wrong::Failed(message) => UpstreamFault::FailedLate(message),
        })?;
        for part in said {
            match part {
                Said::Text { choice, .. } | Said::End { choice, .. } if choice >= self.ends.len() => {
                    let why = format!("it has answer {choice}, and {} were asked for", self.ends.len());
                    return Err(UpstreamFault::Garbage(why));
                }
                Said::End { choice, finish } => self.ends[choice] = Some(finish),
                Said::Over => return self.finish("an answer has no end"),
                told @ Said::Text { .. } => {
                    self.uncounted = self.uncounted.map(|count| count + 1);
                    self.ready.push_back(told);
                }
                told @ Said::Counts(_) => {
                    self.uncounted = None;
                    self.ready.push_back(told);
                }
            }
        }
        Ok(())
    }

    /// Tells the ends of all answers. Some servers close without a last word; that is an end where all answers had theirs.
    fn finish(&mut self, missing: &str) -> Result<(), UpstreamFault> {
        let own = self.choice..self.ends.len();
        if self.ends[own.clone()].iter().any(Option::is_none) {
            return Err(UpstreamFault::BrokeOff(missing.to_owned()));
        }
        self.over = true;
        if let Some(completion) = self.uncounted {
            // Servers send a piece for each token.
            self.ready.push_back(Said::Counts(Counts {
                completion,
                ..Counts::default()
            }));
        }
        let ends = own.zip(&self.ends[self.choice..]);
        let told = ends.filter_map(|(choice, finish)| finish.map(|finish| Said::End { choice, finish }));
        self.ready.extend(told);
        Ok(())
    }
}
