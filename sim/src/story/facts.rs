//! Facts of a world, told: what the models know and a broker does not.
//!
//! Owns: the words for them. Must not know: whether they are as they should be.

use super::{Fact, Kind, Lane, Moment, Narrator};
use crate::engine::Event;

impl Narrator {
    /// The moment of a fact that is neither input nor command.
    pub(super) fn fact(&mut self, fact: &Fact<'_>) -> Option<Moment> {
        Some(match fact {
            Fact::Begins(life) => {
                // Each life counts its ids from 1.
                let names = std::mem::take(&mut self.names);
                *self = Self { names, ..Self::default() };
                alone(Lane::Core, Kind::Life, format!("life {life} of the broker begins"))
            }
            Fact::Ends(life) => alone(Lane::Core, Kind::Life, format!("life {life} of the broker is over")),
            Fact::Engine(event) => self.engine(event),
            Fact::Started((_, process), name, program) => {
                let text = format!("{process:?} of {name} runs {program:?}");
                alone(Lane::Agent((*name).to_owned()), Kind::Process, text).about(Some((*name).to_owned()))
            }
            Fact::Exited((_, process), status) => {
                let text = format!("{process:?} ends: {status:?}");
                alone(self.terminal(*process), Kind::Process, text).about(Some(self.name(*process)))
            }
            Fact::Took((_, process), message) => {
                let text = format!("TOOK message {message} whole");
                alone(self.terminal(*process), Kind::Injection, text).about(Some(self.name(*process)))
            }
            Fact::Failed(failure) => Moment::verdict(0, failure),
            Fact::Said(who, words) => said(who, &words.to_string()),
            Fact::Input(_) | Fact::Command(_) => return None,
        })
    }

    fn engine(&mut self, event: &Event) -> Moment {
        if let Event::AgentRegistered { agent_id, name, .. } = event {
            self.names.insert(agent_id.to_string(), name.to_string());
        }
        let (text, agent) = self.engine_text(event);
        alone(Lane::Engine, Kind::Engine, text).about(agent).detail(format!("{event:#?}"))
    }

    /// An event of the engine in a line, and the agent that it is about.
    fn engine_text(&self, event: &Event) -> (String, Option<String>) {
        let name = |id: &str| self.names.get(id).cloned().unwrap_or_else(|| format!("agent {id}"));
        match event {
            Event::Stored { agent_id, seq, msg_id } => {
                let name = name(agent_id);
                (format!("stores row {seq} of {name}, message {msg_id}"), Some(name))
            }
            Event::Dead { agent_id, seq } => {
                let name = name(agent_id);
                (format!("gives up row {seq} of {name}"), Some(name))
            }
            Event::Delivered { agent_id, seq, msg_id, replay, .. } => {
                let (name, again) = (name(agent_id), if *replay { " again" } else { "" });
                (format!("sends row {seq} of {name}{again}, message {msg_id}"), Some(name))
            }
            Event::Acked { agent, up_to_seq, matched, .. } => {
                let whom = if matched.is_some() { "" } else { ", which is nobody here" };
                (format!("takes the ack up to {up_to_seq} of {agent}{whom}"), Some(agent.clone()))
            }
            Event::AgentRegistered { name, agent_id, .. } => {
                (format!("registers {name} as agent {agent_id}"), Some(name.to_string()))
            }
            Event::Rejected { code, reason, .. } => (format!("rejects a frame: {code}, {reason}"), None),
            other => (format!("{other:?}"), None),
        }
    }
}

fn said(who: &str, words: &str) -> Moment {
    match who {
        "http" => {
            let without_body = words.split_once(" {").map_or(words, |(asked, _)| asked);
            alone(Lane::Engine, Kind::Engine, without_body.into()).detail(words)
        }
        // A fault without numbers is a text, which comes in quotes.
        "FAULT" => alone(Lane::Fault, Kind::Fault, words.trim_matches('"').into()),
        _ => alone(Lane::Fault, Kind::Fault, format!("{who}: {words}")),
    }
}

fn alone(lane: Lane, kind: Kind, text: String) -> Moment {
    Moment::new(lane.clone(), lane, kind, text)
}
