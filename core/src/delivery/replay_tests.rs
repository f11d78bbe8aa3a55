//! When replays are asked for, and what the end of one means.

use super::bounds_tests::frame;
use super::{Delivery, Taken, Wanted};
use crate::cx::Cx;
use crate::ids::AgentId;
use crate::limits;
use crate::time::{Mono, Now, Span};
use crate::timers::Timer;
use alloc::format;

/// One agent of an engine that states no cursor, on a link that has brought what it brings by itself.
struct World {
    cx: Cx,
    delivery: Delivery,
    agent: AgentId,
}

impl World {
    fn new() -> Self {
        let (cx, delivery) = (Cx::new(Now::default(), [0; 32]), Delivery::default());
        let mut world = Self { cx, delivery, agent: AgentId::from("a") };
        world.delivery.begin_link();
        world.delivery.open(Mono(0), world.agent.clone(), Some(0));
        world.answer();
        world.delivery.link_has_brought(&mut world.cx);
        world
    }

    /// A snapshot is answered.
    fn answer(&mut self) {
        self.delivery.begin_round(&mut self.cx);
    }

    /// What came behind the latest answer is all that comes.
    fn end_round(&mut self) {
        self.delivery.round_has_brought(&mut self.cx, self.delivery.round());
    }

    fn comes(&mut self, seq: u64, id: &str, bytes: usize) -> Taken {
        let frame = super::Frame { at: self.cx.now, ..frame(id, bytes) };
        self.delivery.accept(&mut self.cx, &self.agent, seq, frame).unwrap()
    }

    fn settle_all(&mut self) {
        while let Some((key, _)) = self.delivery.take_next(&self.agent) {
            self.delivery.settle(&mut self.cx, &self.agent, key);
        }
    }

    /// Held rows have waited long enough.
    fn end_wait(&mut self) -> Wanted {
        self.cx.now.mono = self.cx.now.mono.after(limits::GAP_WAIT);
        self.cx.timers.clear(&Timer::DeliveryGap(self.agent.clone()));
        self.delivery.gap_timer(&mut self.cx, &self.agent.clone())
    }

    /// What is acked next.
    fn ack(&mut self) -> Option<u64> {
        let mut acked = None;
        self.delivery.send_ack(|_, seq| {
            acked = Some(seq);
            None
        });
        acked
    }

    /// How often a replay is asked for in `span`, each of which brings what `replay` does.
    fn asks(&mut self, span: Span, replay: impl Fn(&mut Self)) -> usize {
        let (mut asked, end) = (0, self.cx.now.mono.after(span));
        let timer = Timer::DeliveryReplay(self.agent.clone());
        while let Some(due) = self.cx.timers.deadline(&timer).filter(|due| *due < end) {
            (self.cx.now.mono, _) = (due, self.cx.timers.clear(&timer));
            if self.delivery.replay_timer(&mut self.cx, &self.agent.clone()) == Wanted::Replay {
                asked += 1;
                self.answer();
                replay(self);
            }
        }
        self.cx.now.mono = end;
        asked
    }
}

/// There is no room for 3 while 1 is not read.
fn with_dropped() -> World {
    let mut world = World::new();
    assert_eq!(world.comes(1, "d1", limits::WINDOW_BYTES - 1), Taken::InOrder);
    assert_eq!(world.comes(2, "d2", 1), Taken::InOrder);
    assert_eq!(world.comes(3, "d3", 2), Taken::Overflow);
    world
}

#[test]
fn what_was_dropped_is_asked_for_when_there_is_room_and_then_as_rarely_as_what_is_missing() {
    let mut world = with_dropped();
    assert_eq!(world.asks(Span::secs(600), |_| {}), 0, "there is no room");
    let (first, _) = world.delivery.take_next(&world.agent).unwrap();
    world.delivery.settle(&mut world.cx, &world.agent, first);
    // The engine has given 3 up, and repeats what the agent does not read yet.
    let again = |world: &mut World| assert_eq!(world.comes(2, "d2", 1), Taken::Duplicate);
    assert_eq!(world.asks(Span::secs(10), again), 1, "now there is");
    let asked = world.asks(Span::secs(600), again);
    assert!((1..=10).contains(&asked), "asked {asked} times");
}

#[test]
fn what_finds_no_room_again_is_asked_for_when_there_is_room_again() {
    let mut world = with_dropped();
    for event in 0..20_u8 {
        world.settle_all();
        let asked = world.asks(Span::secs(5), |world| {
            let event = frame(&alloc::format!("e{event}"), limits::WINDOW_BYTES - 1);
            world.delivery.accept(&mut world.cx, &world.agent.clone(), 0, event).unwrap();
            world.comes(4, "d4", 2);
            assert_eq!(world.comes(5, "d5", 2), Taken::Overflow);
        });
        assert_eq!(asked, 1, "time {event}");
    }
}

#[test]
fn the_cursor_passes_a_second_message_that_whole_replays_do_not_bring_and_that_is_acked() {
    let mut world = World::new();
    world.comes(1, "first", limits::WINDOW_BYTES);
    assert_eq!(world.comes(1, "second", 1), Taken::Overflow);
    world.settle_all();
    assert_eq!((world.delivery.cursor(&world.agent), world.ack()), (Some(0), None));
    let asked = world.asks(Span::secs(600), World::end_round);
    assert!((1..=usize::from(limits::HOLE_PROOFS)).contains(&asked), "asked {asked} times");
    assert_eq!((world.delivery.cursor(&world.agent), world.ack()), (Some(1), Some(1)));
    assert!(!world.delivery.wants_replay());
    assert_eq!(world.cx.timers.deadline(&Timer::DeliveryReplay(world.agent.clone())), None::<Mono>);
}

#[test]
fn an_answer_behind_that_of_an_asked_for_replay_ends_nothing_that_came_with_that() {
    let mut world = with_dropped();
    world.settle_all();
    world.answer();
    assert_eq!(world.comes(4, "d4", 1), Taken::Overflow, "3 has not come");
    let asked_for = world.delivery.round();
    world.answer();
    world.delivery.round_has_brought(&mut world.cx, asked_for);
    assert!(world.delivery.wants_replay(), "4 came with the replay that was asked for");
}

#[test]
fn an_answer_behind_that_of_an_asked_for_replay_does_not_make_it_silent() {
    let mut world = with_dropped();
    world.answer();
    let asked_for = world.delivery.round();
    assert_eq!(world.comes(2, "d2", 1), Taken::Duplicate);
    world.answer();
    assert!(!world.delivery.round_was_silent(asked_for), "2 came again");
    assert!(world.delivery.round_was_silent(world.delivery.round()));
}

#[test]
fn settled_rows_above_a_gap_keep_nobody_from_asking() {
    let mut world = World::new();
    for seq in 2..=limits::WINDOW_ROWS as u64 / 2 + 2 {
        world.comes(seq, &format!("d{seq}"), 1);
    }
    let wanted = world.end_wait();
    world.settle_all();
    assert_eq!(world.delivery.bytes(), 0, "all that came is read");
    let asked = world.asks(Span::secs(3_600), |_| {}) + usize::from(wanted == Wanted::Replay);
    assert!(world.delivery.wants_replay());
    assert!(asked > 0, "1 is missing, nothing is unread, and nobody asks for it");
}

#[test]
fn settled_rows_above_a_gap_take_no_room() {
    let mut world = World::new();
    let last = limits::WINDOW_ROWS as u64 + 1;
    for seq in 2..=last {
        world.comes(seq, &format!("d{seq}"), 1);
    }
    world.end_wait();
    world.settle_all();
    assert_eq!(world.delivery.bytes(), 0, "all that came is read");
    assert_eq!(world.comes(last + 1, "new", 1), Taken::InOrder);
}

#[test]
fn what_finds_no_room_again_is_asked_for_when_there_is_room_for_it() {
    // The next one, or a second one under the number of the first.
    for seq in [2, 1] {
        let mut world = World::new();
        let mega = 1024 * 1024;
        assert_eq!(world.comes(1, "first", 3 * mega), Taken::InOrder);
        let agent = world.agent.clone();
        assert!(world.delivery.take_next(&agent).is_some(), "and it is not read");
        assert_eq!(world.comes(seq, "other", 6 * mega), Taken::Overflow);
        let asked = world.asks(Span::secs(600), |world| {
            world.comes(1, "first", 3 * mega);
            assert_eq!(world.comes(seq, "other", 6 * mega), Taken::Overflow);
        });
        assert!(asked <= 10, "asked {asked} times for {seq}");
    }
}

#[test]
fn one_replay_is_one_proof_however_many_answers_come_in_the_middle() {
    let mut world = World::new();
    assert_eq!([2, 3].map(|seq| world.comes(seq, &format!("d{seq}"), 1)), [Taken::Held; 2]);
    world.end_wait();
    world.settle_all();
    world.answer();
    assert_eq!(world.comes(2, "d2", 1), Taken::Duplicate);
    world.answer();
    assert_eq!(world.comes(3, "d3", 1), Taken::Duplicate, "the same replay goes on");
    assert_eq!(world.delivery.cursor(&world.agent), Some(0), "one replay is one proof");
}

#[test]
fn rows_are_not_held_for_ever_by_answers_in_quick_succession() {
    let mut world = World::new();
    world.comes(2, "d2", 1);
    let gap = Timer::DeliveryGap(world.agent.clone());
    let agent = world.agent.clone();
    for _ in 0..10 {
        world.cx.now.mono = world.cx.now.mono.after(Span::millis(1_900));
        if world.cx.timers.deadline(&gap).is_some_and(|due| due <= world.cx.now.mono) {
            world.cx.timers.clear(&gap);
            world.delivery.gap_timer(&mut world.cx, &agent);
        }
        world.answer();
    }
    assert!(world.delivery.take_next(&agent).is_some(), "2 has waited for 19 seconds");
}

#[test]
fn the_replay_that_brought_what_found_no_room_does_not_prove_it_gone() {
    let mut world = World::new();
    assert_eq!(world.comes(1, "d1", limits::WINDOW_BYTES - 10), Taken::InOrder);
    // The live frame of 2 is lost, or came where there was no room for it.
    for seq in 3..=5 {
        assert_eq!(world.comes(seq, &format!("d{seq}"), 1), Taken::Held);
    }
    // A replay, in order; two snapshots are answered while it goes on.
    world.answer();
    assert_eq!(world.comes(1, "d1", limits::WINDOW_BYTES - 10), Taken::Duplicate);
    assert_eq!(world.comes(2, "d2", 11), Taken::Overflow);
    assert_eq!(world.comes(3, "d3", 1), Taken::Duplicate);
    world.answer();
    assert_eq!(world.comes(4, "d4", 1), Taken::Duplicate);
    world.answer();
    assert_eq!(world.comes(5, "d5", 1), Taken::Duplicate);
    world.settle_all();
    let (cursor, ack) = (world.delivery.cursor(&world.agent), world.ack());
    assert_eq!((cursor, ack), (Some(1), Some(1)), "2 came, and nobody has read it");
}

#[test]
fn the_rest_of_a_replay_from_before_its_agent_left_proves_nothing_gone() {
    let mut world = World::new();
    let agent = world.agent.clone();
    world.comes(1, "d1", 1);
    world.settle_all();
    world.answer();
    assert_eq!(world.comes(2, "d2", 1), Taken::InOrder);
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent, Some(1));
    // The rest of that replay; first live frames, then the same again.
    for seq in 3..=5 {
        world.comes(seq, &format!("d{seq}"), 1);
    }
    world.answer();
    assert_eq!(world.comes(4, "d4", 1), Taken::Duplicate);
    world.answer();
    assert_eq!(world.comes(5, "d5", 1), Taken::Duplicate);
    world.settle_all();
    assert_eq!(world.delivery.cursor(&world.agent), Some(1), "2 is not read");
}

/// 5.x sends replays side by side: three have brought 3 when the first goes on above it.
#[test]
fn replays_side_by_side_that_all_brought_what_found_no_room_do_not_prove_it_gone() {
    let mut world = World::new();
    assert_eq!(world.comes(1, "d1", limits::WINDOW_BYTES - 10), Taken::InOrder);
    // 2 was lost, or came where there was no room.
    assert_eq!(world.comes(3, "d3", 1), Taken::Held);
    for _replay in 0..3 {
        world.answer();
        world.comes(1, "d1", limits::WINDOW_BYTES - 10);
        assert_eq!(world.comes(2, "d2", 11), Taken::Overflow);
    }
    // Each of the three goes on; snapshots are answered meanwhile, whose replays have not begun yet.
    for _replay in 0..3 {
        assert_eq!(world.comes(3, "d3", 1), Taken::Duplicate);
        world.answer();
    }
    world.settle_all();
    assert_eq!(world.delivery.cursor(&world.agent), Some(1), "2 came, and nobody has read it");
}

/// Two replays side by side from before the agent left, and a live frame from before that.
#[test]
fn the_rest_of_replays_side_by_side_from_before_its_agent_left_proves_nothing_gone() {
    let mut world = World::new();
    let agent = world.agent.clone();
    world.comes(1, "d1", 1);
    world.settle_all();
    world.answer();
    assert_eq!(world.comes(2, "d2", 1), Taken::InOrder);
    world.answer();
    assert_eq!(world.comes(2, "d2", 1), Taken::Duplicate, "another replay");
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent, None);
    // Live, and the rest of both replays.
    for _ in 0..3 {
        world.comes(3, "d3", 1);
        world.answer();
    }
    world.settle_all();
    assert_eq!(world.delivery.cursor(&world.agent), Some(1), "2 is not read");
}

#[test]
fn a_first_row_that_has_no_room_while_an_event_is_not_read_is_asked_for_rarely() {
    let mut world = World::new();
    let mega = limits::WINDOW_BYTES / 8;
    let agent = world.agent.clone();
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent.clone(), None);
    world.delivery.accept(&mut world.cx, &agent, 0, frame("e", 3 * mega)).unwrap();
    assert!(world.delivery.take_next(&agent).is_some(), "and it is not read");
    assert_eq!(world.comes(1, "d1", 6 * mega), Taken::Overflow);
    let asked = world.asks(Span::secs(600), |world| {
        world.comes(1, "d1", 6 * mega);
    });
    assert!(asked <= 10, "asked {asked} times");
}

#[test]
fn settled_rows_above_a_gap_and_one_without_room_keep_nobody_from_asking() {
    let mut world = World::new();
    let last = 2 * limits::WINDOW_ROWS as u64 + 1;
    for seq in 2..=last {
        world.comes(seq, &format!("d{seq}"), 1);
        if seq % 1_000 == 0 || seq == last {
            world.end_wait();
            world.settle_all();
        }
    }
    assert_eq!(world.delivery.bytes(), 0, "all that came is read");
    assert_eq!(world.comes(last + 1, "new", 1), Taken::Overflow);
    // The refresh timers that were set before are consumed here.
    let asked = world.asks(Span::secs(3_600), |_| {});
    assert!(asked > 0, "1 is missing, nothing is unread, and nobody asks for it");
}

/// A world whose agent has an engine that states no cursor: the first row is not known.
fn unknown() -> World {
    let mut world = World::new();
    let agent = world.agent.clone();
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent, None);
    world
}

/// An agent leaves and comes back on one link while two replays side by side go on.
#[test]
fn replays_that_brought_a_row_to_nobody_before_its_agent_came_back_do_not_prove_it_gone() {
    let mut world = World::new();
    let agent = world.agent.clone();
    world.comes(1, "d1", 1);
    world.settle_all();
    world.delivery.close(&mut world.cx, &agent);
    // Two whole-node replays bring 2 to nobody, and go on when the agent is back.
    world.delivery.open(world.cx.now.mono, agent, None);
    world.comes(3, "d3", 1);
    world.answer();
    world.comes(3, "d3", 1);
    world.answer();
    world.comes(3, "d3", 1);
    world.settle_all();
    assert_eq!(world.delivery.cursor(&world.agent), Some(1), "2 is not read, and comes with its own replay");
}

#[test]
fn a_second_one_that_was_read_before_the_first_row_was_known_is_not_shown_again_to_who_comes_back() {
    let mut world = unknown();
    let agent = world.agent.clone();
    world.comes(7, "first", 1);
    assert_eq!(world.comes(7, "second", 1), Taken::Late);
    world.settle_all();
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent.clone(), None);
    world.comes(7, "first", 1);
    assert_eq!(world.comes(7, "second", 1), Taken::Duplicate, "it was read");
}

#[test]
fn one_without_room_is_awaited_where_its_agent_leaves_before_the_first_row_is_known() {
    let mut world = unknown();
    let agent = world.agent.clone();
    world.comes(2, "d2", limits::WINDOW_BYTES);
    assert_eq!(world.comes(1, "d1", 1), Taken::Overflow);
    world.delivery.close(&mut world.cx, &agent);
    world.delivery.open(world.cx.now.mono, agent, None);
    // A frame of a message that the engine has given up, and whose number it has given to the other, was under way.
    assert_eq!(world.comes(1, "stale", 1), Taken::InOrder);
    world.settle_all();
    assert_eq!(world.delivery.cursor(&world.agent), Some(0), "d1 came, and is not read");
}

#[test]
fn nothing_is_asked_for_whom_the_engine_does_not_have_until_a_row_comes() {
    let mut world = World::new();
    world.comes(2, "d2", 1);
    assert_eq!(world.end_wait(), Wanted::Replay);
    world.delivery.is_elsewhere(&world.agent);
    assert_eq!((world.asks(Span::secs(600), |_| {}), world.delivery.wants_replay()), (0, false));
    assert_eq!(world.comes(3, "d3", 1), Taken::InOrder, "it is here again");
    assert!(world.asks(Span::secs(600), |_| {}) > 0);
}
