//! S11: every frame and every call of the broker is one that the engine's release knows.
//!
//! Would catch: a key that a release does not know yet; a number sent as text; `null` where a key
//! must be absent; the dialect of one engine carried over to another.

/// Judges a frame that the engine has answered with an error.
///
/// The one refusal that is wanted: the newer form of the registration is tried first, and a release
/// that does not know it says so.
pub(super) fn judge(code: &str, reason: &str) -> Result<(), String> {
    if code == "invalid_message" && !reason.starts_with("node.register: ") {
        return Err(format!("the engine refused a frame: {reason}"));
    }
    Ok(())
}

/// Judges the engine's answer to a call of the broker: no release may find it malformed.
pub(super) fn called(method: &str, path: &str, status: u16, body: &str) -> Result<(), String> {
    let malformed = status == 405
        || (status == 400 && body.contains("\"invalid_request\""))
        || (status == 404 && body.contains("no such route"));
    if malformed {
        return Err(format!("the engine answers {status} to {method} {path}: {body}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registration_may_be_refused_for_its_form() {
        assert_eq!(judge("invalid_message", "node.register: unknown key"), Ok(()));
        assert_eq!(judge("agent_already_exists", "bob"), Ok(()));
        assert!(judge("invalid_message", "node.heartbeat: unknown key").is_err());
    }

    #[test]
    fn a_call_is_one_that_the_engine_knows() {
        let code = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"no such route"}}}}"#);
        assert_eq!(called("POST", "/v1/dm", 404, r#"{"error":{"code":"agent_not_found"}}"#), Ok(()));
        assert!(called("POST", "/v1/dms", 404, &code("not_found")).is_err());
        assert!(called("POST", "/v1/dm", 400, &code("invalid_request")).is_err());
    }
}
