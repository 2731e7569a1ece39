//! Errors as they cross to the webview.

use serde::Serialize;
use sync_client::{Fault, SyncError};

/// What a command rejects with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub struct CommandError {
    /// For programs: SCREAMING_SNAKE, the same as on the wire. `docs/errors.md` lists all.
    pub code: String,
    /// For people: what happened, and what to do next.
    pub message: String,
    /// After how many milliseconds the same call may succeed, if that is known.
    pub retry_after_ms: Option<u32>,
    /// The parts of the message, and who has to do something.
    pub details: ErrorDetails,
}

/// The parts of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetails {
    /// What was being done and what came of it, without a full stop.
    pub reason: String,
    /// What to do next, as a sentence.
    pub next_step: String,
    /// Who has to do something.
    pub fault: ErrorFault,
}

/// Who has to do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub enum ErrorFault {
    /// The app's code passed something that cannot be done.
    Caller,
    /// The person can put it right.
    Person,
    /// The relay, or the way to it; the same call may succeed later.
    Relay,
    /// Another device or the relay broke the protocol.
    Peer,
    /// This device's own disk or data.
    Device,
}

impl From<Fault> for ErrorFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Caller => Self::Caller,
            Fault::Person => Self::Person,
            Fault::Relay => Self::Relay,
            Fault::Peer => Self::Peer,
            Fault::Device => Self::Device,
        }
    }
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.to_string(),
            // Beyond seven weeks, saying less is right enough.
            retry_after_ms: error.retry_after_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            details: ErrorDetails {
                reason: error.message,
                next_step: error.code.next_step().to_owned(),
                fault: error.code.fault().into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_client::Code;

    use super::*;

    #[test]
    fn an_error_crosses_with_its_code_its_words_and_when_to_try_again() {
        let mut error = SyncError::new(Code::Quota, "the relay has no room");
        error.retry_after_ms = Some(1_500);
        let crossed = serde_json::to_value(CommandError::from(error)).unwrap();
        assert_eq!(crossed["code"], "QUOTA");
        assert!(crossed["message"].as_str().unwrap().starts_with("the relay has no room. Bring the other devices"));
        assert_eq!(crossed["retryAfterMs"], 1_500);
        assert_eq!(crossed["details"]["fault"], "person");
    }
}
