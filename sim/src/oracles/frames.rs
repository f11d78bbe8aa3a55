//! S11: every frame of the broker passes the strict schema of the engine's release.
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
