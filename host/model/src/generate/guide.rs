//! Who decides, beside the model, which tokens may come: one for each sequence, somewhere else, asked by messages.
//!
//! It is asked as soon as a token is known, and answers while the model computes what comes behind it. An answer that is late
//! holds up its own sequence alone. It knows nothing of who answers; that is [`Seat`]'s holder.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is decided about the next token.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// One is drawn.
    Draw {
        /// From these, bits in words, the lowest first; none: from all. At least one of the model's tokens must be among them.
        allowed: Option<Vec<u32>>,
        /// Added to the logits of these tokens.
        bias: Vec<(u32, f32)>,
    },
    /// These come, in this order.
    Force(Vec<u32>),
    /// The text ends.
    Stop,
}

impl Decision {
    /// Whatever the model would write.
    pub(super) const ANY: Self = Self::Draw {
        allowed: None,
        bias: Vec::new(),
    };
}

/// Nobody decides any more: whoever did has failed, and knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The sequence's end.
#[derive(Debug)]
pub struct Guide {
    /// Bounded, since an answer is waited for before the next question.
    questions: UnboundedSender<Vec<u32>>,
    answers: Receiver<Decision>,
}

/// The end of the one who decides.
#[derive(Debug)]
pub struct Seat {
    questions: UnboundedReceiver<Vec<u32>>,
    answers: Sender<Decision>,
}

/// Both ends.
#[must_use]
pub fn guide() -> (Guide, Seat) {
    let (ask, questions) = unbounded_channel();
    let (answer, answers) = channel();
    let guide = Guide {
        questions: ask,
        answers,
    };
    let seat = Seat {
        questions,
        answers: answer,
    };
    (guide, seat)
}

impl Guide {
    /// Asks what may come behind the tokens so far, of which these are new. Does not wait.
    pub(super) fn ask(&self, taken: Vec<u32>) {
        // Where nobody is there any more, the answer says so.
        self.questions.send(taken).ok();
    }

    /// The answer, where it is there within this time.
    pub(super) fn answer(&self, within: Duration) -> Result<Option<Decision>, Gone> {
        match self.answers.recv_timeout(within) {
            Ok(decision) => Ok(Some(decision)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

impl Seat {
    /// The next question: the tokens that came since the last one. The first comes with the sequence's slot, before its prompt is
    /// read. None once the sequence is over. Nothing is lost where the future is dropped.
    pub async fn question(&mut self) -> Option<Vec<u32>> {
        self.questions.recv().await
    }

    /// Answers it. Where the seat is dropped without an answer, the sequence fails.
    pub fn answer(&self, decision: Decision) {
        // The sequence may be over meanwhile.
        self.answers.send(decision).ok();
    }
}
