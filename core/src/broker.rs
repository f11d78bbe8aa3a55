//! placeholder until the areas are in
use crate::command::{Step, Wake};
use crate::config::{Boot, Config};
use crate::input::Input;
use crate::time::Now;

/// The broker: one state machine for one node.
#[derive(Debug)]
pub struct Broker {}

impl Broker {
    /// Builds a broker and queues its first commands.
    pub fn new(config: Config, boot: Boot) -> Self {
        let _ = (config, boot);
        Self {}
    }
    /// Takes one input. Infallible; timers fire only on [`Input::Tick`].
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        let _ = (now, input);
    }
    /// The next thing to do. Call until it says [`Step::Wait`].
    pub fn poll(&mut self) -> Step {
        Step::Wait(Wake { at: None, why: "" })
    }
}
