//! Facts of a world, told: what the models know and a broker does not.
//!
//! Owns: the words for them. Must not know: whether they are as they should be.

use super::{Fact, Kind, Lane, Moment, Narrator, words};
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
                let text = format!("{} of {name} runs {program:?}", words::process(*process));
                alone(Lane::Agent((*name).to_owned()), Kind::Process, text).about(Some((*name).to_owned()))
            }
            Fact::Exited((_, process), status) => {
                let text = format!("{} ends {}", words::process(*process), words::ended(*status));
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
        let agent = self.whom(event);
        let text = of_engine(event, agent.as_deref().unwrap_or_default());
        alone(Lane::Engine, Kind::Engine, text).about(agent).detail(format!("{event:#?}"))
    }

    /// The name of the agent that an event of the engine is about.
    fn whom(&self, event: &Event) -> Option<String> {
        match event {
            Event::Stored { agent_id, .. }
            | Event::DepthCapped { agent_id, .. }
            | Event::Dead { agent_id, .. }
            | Event::FrameLost { agent_id, .. }
            | Event::Delivered { agent_id, .. } => {
                let name = self.names.get(&**agent_id).cloned();
                Some(name.unwrap_or_else(|| format!("agent {agent_id}")))
            }
            Event::AgentRegistered { name, .. } => Some(name.to_string()),
            Event::Acked { agent, .. } | Event::AckTooWide { agent, .. } => Some(agent.clone()),
            _ => None,
        }
    }
}

/// An event of the engine in a line; `name` is that of the agent that it is about.
fn of_engine(event: &Event, name: &str) -> String {
    match event {
        Event::Upgraded { connection, node_id } => format!("takes socket {} of {node_id}", connection.0),
        Event::Closed { connection } => format!("socket {} is closed", connection.0),
        Event::NodeRegistered { connection, node_id, provider, cursor } => {
            let cursor = if *cursor { ", with a cursor" } else { "" };
            format!("registers {node_id} as provider {provider} on socket {}{cursor}", connection.0)
        }
        Event::NodeLost { node_id, provider } => format!("takes provider {provider} of {node_id} for gone"),
        Event::AgentRegistered { agent_id, .. } => format!("registers {name} as agent {agent_id}"),
        Event::InventorySynced { connection, names } => {
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            format!("takes the inventory on socket {}: {names}", connection.0)
        }
        Event::Stored { seq, msg_id, .. } => format!("stores row {seq} of {name}, message {msg_id}"),
        Event::DepthCapped { msg_id, .. } => format!("has no room for {name}, message {msg_id}"),
        Event::Dead { seq, .. } => format!("gives up row {seq} of {name}"),
        Event::Delivered { seq, msg_id, replay, .. } => {
            let again = if *replay { " again" } else { "" };
            format!("sends row {seq} of {name}{again}, message {msg_id}")
        }
        Event::FrameLost { seq, failed, .. } => {
            let how = if *failed { "cannot send" } else { "loses" };
            format!("{how} row {seq} of {name}")
        }
        Event::Unseen { what } => format!("does not see {what} yet"),
        Event::InvocationLost { invocation_id } => format!("loses {invocation_id}"),
        Event::Acked { up_to_seq, matched, .. } => {
            let whom = if matched.is_some() { "" } else { ", which is nobody here" };
            format!("takes the ack up to {up_to_seq} of {name}{whom}")
        }
        Event::AckTooWide { rows, .. } => format!("cannot end {rows} rows of {name} at once"),
        Event::Rejected { code, reason, .. } => format!("rejects a frame: {code}, {reason}"),
        Event::InvocationSent { invocation_id, action, .. } => format!("sends {invocation_id} for {action}"),
        Event::InvocationResult { invocation_id, accepted, .. } => {
            let does = if *accepted { "takes" } else { "drops" };
            format!("{does} the result of {invocation_id}")
        }
        Event::InvocationRescheduled { invocation_id } => format!("places {invocation_id} again"),
        Event::InvocationFinished { invocation_id, completed } => {
            let how = if *completed { "is completed" } else { "has failed" };
            format!("{invocation_id} {how}")
        }
        Event::LeftBeforeRelease { invocation_id } => format!("finds nobody left for {invocation_id}"),
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
