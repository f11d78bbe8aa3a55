//! Failures of a client command.
//!
//! Owns: the classes, their exit codes, and what a reader is told to do.
//! Must not know: how a failure is printed.
//!
//! 1. A message names what failed and on what; the advice says what to do. Neither holds a credential.

use relay_core::mask;
use serde_json::Value;
use std::process::ExitCode;

/// Whose turn it is after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The broker answered, and the answer is no.
    Refused = 1,
    /// The command line or stdin cannot be meant.
    Usage = 2,
    /// There is no broker where one was expected.
    NoBroker = 3,
    /// No answer in time; what was asked for may still happen.
    TimedOut = 4,
}

impl Class {
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    /// Stable word for scripts.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) advice: Option<String>,
}

impl Failure {
    fn new(class: Class, code: &str, message: impl Into<String>) -> Self {
        Self { class, code: code.to_owned(), message: mask(&message.into()), advice: None }
    }

    pub(super) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::new(Class::Refused, code, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, "usage", message)
    }

    pub(super) fn no_broker(message: impl Into<String>) -> Self {
        Self::new(Class::NoBroker, "no_broker", message)
            .advise("start one with `relay-broker up` (or `relay-broker up --local` without an account)")
    }

    pub(super) fn timed_out(code: &str, message: impl Into<String>) -> Self {
        Self::new(Class::TimedOut, code, message)
    }

    /// The same with another advice.
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// What a broker's answer with an error status means. `what` names the request.
    ///
    /// Brokers answer in three forms: `{code,message}`, `{success:false,error}` and
    /// `{error:{code,message}}`; before they are ready, in plain text (`core/PROTOCOL.md` §9).
    pub(super) fn of_answer(what: &str, status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |path: &str| json.pointer(path).and_then(Value::as_str);
        let code = text("/code").or_else(|| text("/error/code"));
        let code = code.map_or_else(|| format!("http_{status}"), str::to_owned);
        let plain = if json.is_null() { first_lines(body) } else { None };
        let said = text("/message").or_else(|| text("/error/message")).or_else(|| text("/error"));
        let message = match said.map(str::to_owned).or(plain) {
            Some(said) => format!("{what}: {said}"),
            None => format!("{what}: the broker answered with status {status} and no reason"),
        };
        let class = if status == 504 { Class::TimedOut } else { Class::Refused };
        let advice = advice(status, &code, &message).map(str::to_owned);
        Self { advice, ..Self::new(class, &code, message) }
    }
}

/// The most of a plain-text answer that is quoted, in characters.
const QUOTED: usize = 400;

fn first_lines(body: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(QUOTED).collect();
    (!text.is_empty()).then_some(text)
}

fn advice(status: u16, code: &str, message: &str) -> Option<&'static str> {
    Some(match (status, code) {
        (_, "publish_unconfirmed") => {
            "the message may have been sent all the same: look before you send it again"
        }
        (401, _) => {
            "the key is not this broker's: leave --url away to use connection.json, or set RELAY_BROKER_API_KEY"
        }
        (403, _) => "use the address that the broker printed at its start (loopback)",
        (404, _) if code == "agent_not_found" || message.contains("Agent \"") => {
            "`relay-broker ls` shows the agents of this broker"
        }
        (413, _) => "a request holds at most 1 MiB: write a file and send its path",
        (502, _) => "`relay-broker status` shows whether the engine is connected",
        (503, _) => "the broker is starting or busy: try again in a moment",
        (504, _) => "what was asked for may still happen: look before you repeat it",
        _ if message.contains("already exists") || code.contains("name_in_use") => {
            "take another name, or `relay-broker release` the old agent first"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_refusal_is_understood() {
        let cases = [
            (404, r#"{"code":"agent_not_found","message":"no bob"}"#, "agent_not_found", "asking: no bob"),
            (
                500,
                r#"{"success":false,"error":"agent 'w1' already exists"}"#,
                "http_500",
                "asking: agent 'w1' already exists",
            ),
            (
                401,
                r#"{"error":{"code":"unauthorized","message":"wrong key"}}"#,
                "unauthorized",
                "asking: wrong key",
            ),
            (503, "Broker is starting, please retry", "http_503", "asking: Broker is starting, please retry"),
            (418, "", "http_418", "asking: the broker answered with status 418 and no reason"),
        ];
        for (status, body, code, message) in cases {
            let failure = Failure::of_answer("asking", status, body.as_bytes());
            assert_eq!((failure.code.as_str(), failure.message.as_str()), (code, message));
            assert_eq!(failure.class, Class::Refused);
            assert_eq!(failure.advice.is_some(), status != 418, "{status}");
        }
    }

    #[test]
    fn an_unconfirmed_publish_is_a_time_out_and_warns_of_sending_twice() {
        let failure =
            Failure::of_answer("send", 504, br#"{"code":"publish_unconfirmed","message":"no answer"}"#);
        assert_eq!(failure.class, Class::TimedOut);
        assert!(failure.advice.unwrap().contains("may have been sent"));
    }

    #[test]
    fn a_quoted_credential_is_masked() {
        let failure = Failure::of_answer("asking", 500, br#"{"message":"bad key rk_live_0123456789abcdef"}"#);
        assert_eq!(failure.message, "asking: bad key rk_live_***");
    }
}
