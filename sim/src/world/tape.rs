//! The tape: a trace of every life of the broker, as a driver would record it.
//!
//! Owns: the recorder of the present life, and where its lines go.
//! Must not know: what happens.
//!
//! 1. Without a listener nothing is recorded, and recording changes nothing.
//! 2. Whatever ends a life, be it a broken rule or a panic, ends its trace: it can be read and replayed.

use relay_core::time::Now;
use relay_core::trace::{Detail, Mask, Recorder};
use relay_core::{Boot, Broker, Command, Config, Input};

/// Where recorded lines go: the number of the life, and one or more whole lines.
pub type TapeSink<'a> = dyn FnMut(u64, &str) + 'a;

#[derive(Default)]
pub(super) struct Tape<'a> {
    sink: Option<&'a mut TapeSink<'a>>,
    life: u64,
    recorder: Option<Recorder>,
}

impl<'a> Tape<'a> {
    pub(super) fn new(sink: &'a mut TapeSink<'a>) -> Self {
        Self { sink: Some(sink), life: 0, recorder: None }
    }

    pub(super) fn begin(&mut self, life: u64, config: &Config, boot: &Boot) {
        if self.sink.is_some() {
            self.life = life;
            // The key of a mask only has to be another one than what it hides.
            let mask = Mask::new(boot.seed);
            self.recorder = Some(Recorder::new(config, boot, "sim", mask, Detail::Prints));
            self.pass_on();
        }
    }

    pub(super) fn input(&mut self, now: Now, input: &Input<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, input);
            // Handling it may be the end.
            self.pass_on();
        }
    }

    pub(super) fn command(&mut self, command: &Command) {
        if let Some(recorder) = &mut self.recorder {
            recorder.command(command);
        }
    }

    /// The broker wants nothing more done.
    pub(super) fn settled(&mut self, broker: &Broker) {
        if let Some(recorder) = &mut self.recorder {
            recorder.settled(|| broker.digest());
        }
    }

    pub(super) fn end(&mut self, why: &str) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end(why);
            self.pass_on();
            self.recorder = None;
        }
    }

    fn pass_on(&mut self) {
        if let (Some(sink), Some(recorder)) = (&mut self.sink, &mut self.recorder) {
            sink(self.life, &recorder.take());
        }
    }
}
