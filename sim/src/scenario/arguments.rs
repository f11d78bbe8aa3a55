//! The arguments of steps, by name, whatever the step.
//!
//! Owns: looking through a step without knowing its kind. Must not know: any kind of step.
//!
//! 1. A step that is added to the vocabulary is looked through by itself; the names of arguments say
//!    what they mean (plan, invariant 3).

use crate::plan::Step;
use serde_json::Value;

/// What kind of step it is: `direct`, `fault-kill` …
pub(super) fn label(step: &Step) -> String {
    let mut words = Vec::new();
    let mut value = value(step);
    loop {
        match value {
            Value::String(word) => {
                words.push(word);
                break;
            }
            // A variant with arguments: the values of the arguments come below its name.
            Value::Object(fields) if fields.len() == 1 && words.len() < 2 => {
                let (word, inner) = fields.into_iter().next().expect("one field");
                let is_step = words.is_empty() || words[0] == "fault";
                if !is_step {
                    break;
                }
                words.push(word);
                value = inner;
            }
            _ => break,
        }
    }
    words.join("-").replace('_', "-")
}

/// Its numbers.
pub(super) fn numbers(step: &Step) -> Vec<(String, i64)> {
    let mut numbers = Vec::new();
    visit(&mut value(step), &mut |name, value| {
        if value.is_number() {
            // What does not fit is out of any bound as well.
            numbers.push((name.to_owned(), value.as_i64().unwrap_or(i64::MAX)));
        }
    });
    numbers
}

/// The step with other arguments, unless one of them cannot be.
pub(super) fn changed(step: &Step, mut change: impl FnMut(&str, &mut Value)) -> Option<Step> {
    let mut value = value(step);
    visit(&mut value, &mut change);
    serde_json::from_value(value).ok()
}

fn value(step: &Step) -> Value {
    serde_json::to_value(step).expect("a step has only strings as keys")
}

/// Looks at every argument, in the same order every time.
fn visit(value: &mut Value, look: &mut impl FnMut(&str, &mut Value)) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        match value {
            Value::Object(_) => visit(value, look),
            Value::Number(_) | Value::Bool(_) => look(name, value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Fault;

    #[test]
    fn a_label_names_the_step_and_the_fault() {
        assert_eq!(label(&Step::Direct { to: 0, steer: false, size: 3 }), "direct");
        assert_eq!(label(&Step::InvokeRelease { agent: 0 }), "invoke-release");
        assert_eq!(label(&Step::Fault(Fault::Cut)), "fault-cut");
        assert_eq!(label(&Step::Fault(Fault::HalfOpen { lasts: 3 })), "fault-half-open");
    }

    #[test]
    fn arguments_are_seen_and_changed_by_name() {
        let step = Step::Fault(Fault::WallStep { by: -3 });
        assert_eq!(numbers(&step), [("by".to_owned(), -3)]);
        let other = changed(&step, |_, value| *value = 5.into());
        assert_eq!(other, Some(Step::Fault(Fault::WallStep { by: 5 })));
        assert_eq!(changed(&Step::Input { to: 0 }, |_, value| *value = (-1).into()), None);
    }
}
