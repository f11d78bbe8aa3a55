//! The window at its bounds: no room, no memory, and an identity that leaves and comes back, one rule of
//! `core/PROTOCOL.md` §5 or of the window's invariants at a time.

use super::{Frame, RowKey, Taken, Window};
use crate::ids::{DeliveryId, MessageId};
use crate::limits;
use crate::time::{Mono, Now};
use crate::wire::Mode;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A frame that brings so many bytes.
pub(super) fn frame(id: &str, bytes: usize) -> Frame {
    Frame {
        delivery_id: DeliveryId::from(id),
        msg_id: MessageId::from("m"),
        mode: Mode::Wait,
        payload: "x".repeat(bytes),
        shown: true,
        recurs: false,
        at: Now::default(),
    }
}

/// It comes in `round`; each begins an hour after the one before it.
pub(super) fn row(window: &mut Window, seq: u64, bytes: usize, round: u64) -> Taken {
    named(window, seq, &format!("d{seq}"), bytes, round)
}

/// A message of this id does.
pub(super) fn named(window: &mut Window, seq: u64, id: &str, bytes: usize, round: u64) -> Taken {
    window.accept(seq, Frame { at: hour(round), ..frame(id, bytes) }, round)
}

fn hour(round: u64) -> Now {
    Now { mono: Mono(round * 3_600_000_000), ..Now::default() }
}

/// The agent leaves, and comes back at once.
pub(super) fn leave_and_return(window: Window) -> Window {
    Window::resume(window.into_past(), Mono(0))
}

/// The terminal takes the next message; which that is.
pub(super) fn take(window: &mut Window) -> Option<(RowKey, String)> {
    window.take_next().map(|(key, frame)| (key, frame.delivery_id.0.clone()))
}

/// The agent takes all that is queued.
pub(super) fn settle_all(window: &mut Window) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some((key, id)) = take(window) {
        window.settle(key);
        ids.push(id);
    }
    ids
}

/// A window whose first row is with the agent and leaves room for ten bytes.
pub(super) fn nearly_full() -> (Window, RowKey) {
    let mut window = Window::new(Some(0));
    assert_eq!(row(&mut window, 1, limits::WINDOW_BYTES - 10, 0), Taken::InOrder);
    let (first, _) = take(&mut window).unwrap();
    (window, first)
}

/// A window that has proven 2 a hole while the engine's word was that it has acked nothing.
fn with_hole() -> Window {
    let mut window = Window::new(Some(0));
    for round in 0..=u64::from(limits::HOLE_PROOFS) {
        row(&mut window, 1, 1, round);
        row(&mut window, 3, 1, round);
    }
    assert_eq!(settle_all(&mut window), ["d1", "d3"]);
    assert_eq!((window.cursor(), window.hole_count()), (Some(3), 1));
    window
}

#[test]
fn an_event_has_as_much_room_again_for_no_replay_brings_it() {
    let (mut window, first) = nearly_full();
    assert_eq!(window.accept_fan_out(frame("large", limits::WINDOW_BYTES), 0), Taken::InOrder);
    assert_eq!(row(&mut window, 2, 1, 0), Taken::Overflow, "a row waits for a replay");
    assert_eq!(window.accept_fan_out(frame("e", 11), 0), Taken::Overflow);
    window.settle(first);
    assert_eq!(settle_all(&mut window), ["large"]);
}

#[test]
fn an_event_that_found_no_room_is_taken_when_it_comes_again() {
    let (mut window, first) = nearly_full();
    window.accept_fan_out(frame("large", limits::WINDOW_BYTES), 0);
    assert_eq!(window.accept_fan_out(frame("e", 11), 0), Taken::Overflow);
    assert_eq!(window.accept_fan_out(frame("e", 11), 0), Taken::Overflow, "there is still no room");
    window.settle(first);
    assert_eq!(window.accept_fan_out(frame("e", 11), 0), Taken::InOrder);
    assert_eq!(window.accept_fan_out(frame("e", 11), 0), Taken::Duplicate);
    assert_eq!(settle_all(&mut window), ["large", "e"]);
}

#[test]
fn an_event_whose_id_recurs_counts_each_time_that_there_is_room() {
    let (mut window, first) = nearly_full();
    window.accept_fan_out(frame("large", limits::WINDOW_BYTES), 0);
    let denied = || Frame { recurs: true, ..frame("e", 5) };
    let taken = [(); 3].map(|()| window.accept_fan_out(denied(), 0));
    assert_eq!(taken, [Taken::InOrder, Taken::InOrder, Taken::Overflow]);
    window.settle(first);
    assert_eq!(window.accept_fan_out(denied(), 0), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["large", "e", "e", "e"]);
}

#[test]
fn an_event_that_is_not_shown_is_remembered_and_takes_no_room() {
    let mut window = Window::new(Some(0));
    let read = || Frame { shown: false, ..frame("e", limits::WINDOW_BYTES) };
    assert_eq!(window.accept_fan_out(read(), 0), Taken::InOrder);
    assert_eq!(window.accept_fan_out(read(), 0), Taken::Duplicate);
    assert_eq!((window.bytes(), window.open(), take(&mut window)), (0, 0, None));
}

#[test]
fn one_payload_above_the_bound_finds_room_only_where_nothing_is_or_where_all_wait_for_it() {
    let mut window = Window::new(Some(0));
    assert_eq!(row(&mut window, 2, limits::WINDOW_BYTES + 1, 0), Taken::Held);
    assert_eq!(row(&mut window, 3, 1, 0), Taken::Overflow);
    assert_eq!(row(&mut window, 1, 1, 0), Taken::InOrder, "nothing goes on without it");
    assert_eq!(settle_all(&mut window), ["d1", "d2"]);
    assert!(window.has_dropped() && window.has_room());
    assert_eq!(row(&mut window, 3, 1, 1), Taken::InOrder);
    assert!(!window.has_dropped() && !window.wants_replay());
}

#[test]
fn a_row_that_found_no_room_in_any_replay_is_no_hole() {
    let (mut window, first) = nearly_full();
    assert_eq!(row(&mut window, 3, 1, 0), Taken::Held);
    for round in 1..5 {
        assert_eq!(row(&mut window, 1, limits::WINDOW_BYTES - 10, round), Taken::Duplicate);
        assert_eq!(row(&mut window, 2, 10, round), Taken::Overflow);
        assert_eq!(row(&mut window, 3, 1, round), Taken::Duplicate);
    }
    window.settle(first);
    assert_eq!((window.cursor(), window.hole_count()), (Some(1), 0));
    assert!(window.wants_replay());
    assert_eq!(row(&mut window, 2, 10, 5), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["d2", "d3"]);
    assert_eq!(window.cursor(), Some(3));
}

#[test]
fn what_comes_behind_a_row_without_room_waits_for_a_replay_that_brings_or_passes_it() {
    for comes in [true, false] {
        let (mut window, first) = nearly_full();
        assert_eq!(row(&mut window, 2, 11, 0), Taken::Overflow);
        assert_eq!(row(&mut window, 3, 1, 0), Taken::Overflow, "it would be shown before 2");
        assert_eq!(row(&mut window, 4, 1, 1), Taken::Overflow, "sent since, before the replay");
        window.settle(first);
        assert!(window.has_dropped() && window.has_room());
        let order: &[u64] = if comes { &[2, 3, 4] } else { &[3, 4] };
        for seq in order {
            assert!(matches!(row(&mut window, *seq, 1, 2), Taken::InOrder | Taken::Held));
        }
        assert_eq!((window.has_dropped(), window.wants_replay()), (false, !comes));
        window.release_held(|_| true);
        assert_eq!(settle_all(&mut window).len(), order.len());
        assert_eq!(window.cursor(), Some(if comes { 4 } else { 1 }));
    }
}

#[test]
fn what_found_no_room_and_does_not_come_with_a_whole_replay_is_not_awaited() {
    let (mut window, first) = nearly_full();
    assert_eq!(row(&mut window, 2, 11, 1), Taken::Overflow);
    window.settle(first);
    window.end_replay(1);
    assert!(window.has_dropped(), "it came with that one");
    window.end_replay(2);
    assert_eq!((window.has_dropped(), window.wants_replay()), (false, false));
    assert_eq!(row(&mut window, 3, 1, 2), Taken::Held, "2 is missing as any row may be");
    assert_eq!((window.cursor(), window.wants_replay()), (Some(1), true));
}

#[test]
fn the_first_row_is_the_lowest_that_came_also_when_there_was_no_room_for_it() {
    let mut window = Window::new(None);
    assert_eq!(row(&mut window, 7, limits::WINDOW_BYTES, 0), Taken::Held);
    assert_eq!(row(&mut window, 5, 1, 1), Taken::Overflow);
    assert_eq!(row(&mut window, 6, 1, 1), Taken::Overflow);
    window.end_replay(2);
    window.release_held(|_| true);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(4), true));
    window.release_held(|_| true);
    assert_eq!(settle_all(&mut window), ["d7"]);
    assert_eq!(window.cursor(), Some(4), "5 and 6 are not read");
    assert_eq!([5, 6].map(|seq| row(&mut window, seq, 1, 2)), [Taken::InOrder; 2]);
    assert_eq!(settle_all(&mut window), ["d5", "d6"]);
    assert_eq!(window.cursor(), Some(7));
}

#[test]
fn no_more_rows_than_the_bound_are_held_and_half_of_them_must_go_before_a_replay() {
    let mut window = Window::new(Some(0));
    let bound = limits::WINDOW_ROWS as u64;
    for seq in 2..=bound + 1 {
        assert_eq!(row(&mut window, seq, 0, 0), Taken::Held);
    }
    assert_eq!(row(&mut window, bound + 2, 0, 0), Taken::Overflow);
    assert_eq!(window.accept_fan_out(frame("e", 0), 0), Taken::InOrder, "it comes only once");
    assert_eq!(row(&mut window, 1, 0, 0), Taken::InOrder);
    while !window.has_room() {
        let (key, _) = take(&mut window).unwrap();
        window.settle(key);
    }
    assert_eq!(window.cursor(), Some(bound / 2 + 1));
    settle_all(&mut window);
    assert_eq!((window.cursor(), window.has_dropped()), (Some(bound + 1), true));
    assert_eq!(row(&mut window, bound + 2, 0, 1), Taken::InOrder);
}

#[test]
fn events_take_room_as_rows_do() {
    let mut window = Window::new(Some(0));
    for event in 0..limits::WINDOW_ROWS {
        window.accept_fan_out(frame(&format!("e{event}"), 0), 0);
    }
    assert_eq!(row(&mut window, 2, 0, 0), Taken::Overflow);
    assert!(window.has_dropped() && !window.has_room(), "a replay would bring it in vain");
    settle_all(&mut window);
    assert!(window.has_room());
}

#[test]
fn an_event_is_known_as_long_as_it_is_among_the_last_that_are_remembered() {
    let mut window = Window::new(Some(0));
    let again = |window: &mut Window, id: &str| {
        let taken = window.accept_fan_out(frame(id, 1), 0);
        settle_all(window);
        taken
    };
    assert_eq!(again(&mut window, "e"), Taken::InOrder);
    for other in 1..limits::REMEMBERED {
        assert_eq!(again(&mut window, &format!("e{other}")), Taken::InOrder);
    }
    assert_eq!(again(&mut window, "e"), Taken::Duplicate);
    assert_eq!(again(&mut window, "one too many"), Taken::InOrder);
    assert_eq!(again(&mut window, "e"), Taken::InOrder);
    assert_eq!(window.remembered(), limits::REMEMBERED);
}

#[test]
fn an_event_that_was_given_back_and_taken_again_is_known_no_shorter_than_others() {
    let mut window = Window::new(Some(1));
    window.accept_fan_out(frame("e", 1), 0);
    let mut window = leave_and_return(window);
    assert_eq!(window.accept_fan_out(frame("e", 1), 0), Taken::InOrder, "nobody has taken it");
    for other in 1..limits::REMEMBERED {
        window.accept_fan_out(frame(&format!("e{other}"), 1), 0);
    }
    assert_eq!(window.accept_fan_out(frame("e", 1), 0), Taken::Duplicate);
}

#[test]
fn a_row_below_the_cursor_is_known_as_long_as_it_is_among_the_last_that_are_remembered() {
    let mut window = Window::new(None);
    let last = limits::REMEMBERED as u64 + 1;
    for seq in 1..=last {
        row(&mut window, seq, 1, 0);
        settle_all(&mut window);
    }
    assert_eq!((window.cursor(), window.remembered()), (Some(last), limits::REMEMBERED));
    assert_eq!(row(&mut window, 2, 1, 1), Taken::Duplicate);
    assert_eq!(row(&mut window, 1, 1, 1), Taken::Late, "rather twice than not at all");
}

#[test]
fn who_comes_back_is_not_shown_what_was_taken_but_what_was_not() {
    let mut window = with_hole();
    row(&mut window, 4, 1, 2);
    row(&mut window, 2, 1, 2);
    for id in ["e", "f"] {
        window.accept_fan_out(frame(id, 1), 2);
    }
    let taken: Vec<_> = core::iter::from_fn(|| take(&mut window)).collect();
    let (done, _) = taken.iter().find(|(_, id)| id == "e").unwrap();
    window.settle(*done);
    let mut window = leave_and_return(window);
    assert_eq!((window.cursor(), window.bytes(), window.open()), (Some(3), 0, 0));
    assert_eq!(window.accept_fan_out(frame("e", 1), 2), Taken::Duplicate);
    assert_eq!(window.accept_fan_out(frame("f", 1), 2), Taken::InOrder);
    assert_eq!(row(&mut window, 2, 1, 2), Taken::Late, "it turned up in a hole and was not taken");
    assert_eq!(row(&mut window, 3, 1, 2), Taken::Duplicate);
    assert_eq!(row(&mut window, 4, 1, 2), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["f", "d2", "d4"]);
    assert_eq!(window.cursor(), Some(4));
}

#[test]
fn what_turns_up_in_a_hole_after_its_agent_came_back_is_shown() {
    let mut window = leave_and_return(with_hole());
    assert_eq!(row(&mut window, 2, 1, 3), Taken::Late);
    assert_eq!(row(&mut window, 2, 1, 3), Taken::Duplicate);
    assert_eq!(settle_all(&mut window), ["d2"]);
}

#[test]
fn a_gap_waits_from_when_the_first_row_above_it_came() {
    let mut window = Window::new(Some(0));
    let mut comes = |seq: u64, at: u64| {
        let at = Now { mono: Mono(at), ..Now::default() };
        window.accept(seq, Frame { at, ..frame(&format!("d{seq}"), 1) }, 0)
    };
    // 1 and 4 are missing; the second gap is younger.
    assert_eq!([comes(2, 5), comes(3, 9), comes(5, 9), comes(6, 7)], [Taken::Held; 4]);
    assert_eq!(window.release_held(|since| since <= Mono(4)), (false, Some(Mono(5))));
    assert_eq!(window.release_held(|since| since <= Mono(5)), (true, Some(Mono(7))));
    assert_eq!(settle_all(&mut window), ["d2", "d3"]);
    assert_eq!(window.release_held(|since| since <= Mono(7)), (true, None));
    assert_eq!(settle_all(&mut window), ["d5", "d6"]);
    assert_eq!(row(&mut window, u64::MAX, 1, 0), Taken::Held);
    assert_eq!(window.release_held(|_| true), (true, None));
}

#[test]
fn what_comes_into_a_gap_that_others_were_let_past_does_not_wait() {
    let mut window = Window::new(Some(0));
    assert_eq!(row(&mut window, 5, 1, 0), Taken::Held);
    assert_eq!(window.release_held(|_| true), (true, None));
    assert_eq!(
        [3, 6, 8].map(|seq| row(&mut window, seq, 1, 0)),
        [Taken::InOrder, Taken::InOrder, Taken::Held]
    );
    assert_eq!(settle_all(&mut window), ["d3", "d5", "d6"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(0), true));
}

#[test]
fn what_comes_into_a_gap_goes_before_what_was_let_past_it_and_is_not_typed_yet() {
    for events in 0..2 {
        let mut window = Window::new(Some(0));
        row(&mut window, 1, 1, 0);
        assert_eq!(settle_all(&mut window), ["d1"]);
        assert_eq!(row(&mut window, 5, 1, 0), Taken::Held);
        assert!(window.release_held(|_| true).0);
        for event in 0..events {
            window.accept_fan_out(frame(&format!("e{event}"), 1), 0);
        }
        assert_eq!(row(&mut window, 3, 1, 0), Taken::InOrder, "it would be late if it waited for 2");
        assert_eq!(row(&mut window, 2, 1, 0), Taken::InOrder);
        assert_eq!(settle_all(&mut window)[..3], ["d2", "d3", "d5"]);
        assert_eq!(window.cursor(), Some(3));
    }
}

#[test]
fn who_leaves_twice_is_not_shown_what_was_taken_above_a_gap() {
    let mut window = Window::new(Some(0));
    row(&mut window, 2, 1, 0);
    window.release_held(|_| true);
    assert_eq!(settle_all(&mut window), ["d2"]);
    for _ in 0..2 {
        window = leave_and_return(window);
        assert_eq!(row(&mut window, 2, 1, 0), Taken::Duplicate);
    }
    window.release_held(|_| true);
    assert_eq!(take(&mut window), None);
}

#[test]
fn what_turns_up_in_a_hole_is_taken_also_where_rows_have_no_room() {
    let mut window = with_hole();
    assert_eq!(row(&mut window, 4, limits::WINDOW_BYTES, 2), Taken::InOrder);
    assert_eq!(row(&mut window, 2, 1, 2), Taken::Late, "the engine takes it for acked and sends it no more");
    assert_eq!(settle_all(&mut window), ["d4", "d2"]);
}

#[test]
fn what_comes_behind_the_second_of_those_that_found_no_room_is_not_taken() {
    let (mut window, first) = nearly_full();
    assert_eq!([2, 3].map(|seq| row(&mut window, seq, 11, 0)), [Taken::Overflow; 2]);
    window.settle(first);
    assert_eq!(row(&mut window, 2, 11, 1), Taken::InOrder);
    assert_eq!(row(&mut window, 4, 1, 1), Taken::Overflow, "3 has not come");
    assert_eq!([3, 4].map(|seq| row(&mut window, seq, 1, 2)), [Taken::InOrder; 2]);
}

#[test]
fn the_end_of_an_earlier_replay_forgets_nothing_that_came_in_it() {
    let (mut window, first) = nearly_full();
    assert_eq!(row(&mut window, 2, 11, 1), Taken::Overflow);
    assert_eq!(row(&mut window, 3, 11, 2), Taken::Overflow);
    window.end_replay(1);
    window.settle(first);
    assert_eq!(row(&mut window, 4, 1, 2), Taken::Overflow, "2 has not come");
    assert_eq!([2, 3, 4].map(|seq| row(&mut window, seq, 1, 2)), [Taken::InOrder; 3]);
}

#[test]
fn what_came_and_found_no_room_is_gone_only_after_as_many_later_replays() {
    let (mut window, first) = nearly_full();
    let above = |window: &mut Window, round| [4, 5].map(|seq| row(window, seq, 1, round));
    above(&mut window, 0);
    for round in 1..6 {
        assert_eq!(row(&mut window, 3, 11, round), Taken::Overflow);
        assert_eq!(above(&mut window, round), [Taken::Duplicate; 2]);
    }
    window.release_held(|_| true);
    window.settle(first);
    assert_eq!(settle_all(&mut window), ["d4", "d5"]);
    for round in 6..6 + u64::from(limits::HOLE_PROOFS) {
        assert_eq!(window.cursor(), Some(1), "2 has never come, but 3 has");
        above(&mut window, round);
    }
    assert_eq!(window.cursor(), Some(5));
}

#[test]
fn a_hole_is_proven_by_what_comes_again_though_something_above_it_finds_no_room_each_time() {
    let (mut window, first) = nearly_full();
    row(&mut window, 3, 1, 0);
    for round in 0..=u64::from(limits::HOLE_PROOFS) {
        assert_eq!(row(&mut window, 3, 1, round), Taken::Duplicate);
        assert_eq!(row(&mut window, 4, 11, round), Taken::Overflow);
    }
    window.settle(first);
    assert_eq!(settle_all(&mut window), ["d3"]);
    assert_eq!((window.cursor(), window.has_dropped()), (Some(3), true));
}

/// Two replays side by side take a row that was refused twice for one that a replay passed over.
#[test]
fn the_first_row_is_not_above_one_that_found_no_room() {
    let mut window = Window::new(None);
    assert_eq!(row(&mut window, 7, limits::WINDOW_BYTES, 0), Taken::Held);
    // Replays A and B bring 5, A goes on to 6; a snapshot is answered; B goes on to 6 and 7.
    for seq in [5, 5, 6] {
        assert_eq!(row(&mut window, seq, 1, 1), Taken::Overflow);
    }
    assert_eq!(row(&mut window, 6, 1, 2), Taken::Overflow);
    assert_eq!(row(&mut window, 7, limits::WINDOW_BYTES, 2), Taken::Duplicate);
    assert_eq!(window.lowest_unrepeated(2), None, "its owner finds the first row by this");
    window.release_held(|_| true);
    assert_eq!(window.cursor(), Some(4), "5 is open at the engine and not read");
}

#[test]
fn also_the_highest_number_of_all_starts_its_proofs_over() {
    let (mut window, first) = nearly_full();
    row(&mut window, u64::MAX, 1, 0);
    for round in 1..4 {
        row(&mut window, 1, limits::WINDOW_BYTES - 10, round);
        assert_eq!(row(&mut window, 2, 11, round), Taken::Overflow);
        assert_eq!(row(&mut window, u64::MAX, 1, round), Taken::Duplicate);
    }
    window.settle(first);
    settle_all(&mut window);
    assert_eq!(window.cursor(), Some(1), "2 comes each time");
}

#[test]
fn a_row_above_a_gap_is_settled_once() {
    let mut window = Window::new(Some(0));
    row(&mut window, 2, 1, 0);
    window.release_held(|_| true);
    let (key, _) = take(&mut window).unwrap();
    window.settle(key);
    window.settle(key);
    assert_eq!((window.open(), key), (0, RowKey::Sequenced(2)));
}

#[test]
fn a_row_that_is_buried_is_settled_once() {
    let mut window = Window::new(Some(0));
    row(&mut window, 1, 1, 0);
    let (key, _) = take(&mut window).unwrap();
    window.put_back(key);
    window.bury(key);
    assert_eq!(take(&mut window), None);
    window.settle(key);
    assert_eq!((window.open(), window.bytes(), window.cursor()), (0, 0, Some(1)));
    window.settle(key);
    window.bury(key);
    assert_eq!((window.open(), window.put_back(key)), (0, 0));
}

#[test]
fn the_highest_of_more_than_are_known_is_taken_once_a_replay_has_passed_over_the_others() {
    let (mut window, first) = nearly_full();
    let highest = limits::WINDOW_ROWS as u64 + 3;
    for seq in 2..=highest {
        assert_eq!(row(&mut window, seq, 11, 0), Taken::Overflow);
    }
    window.settle(first);
    assert_eq!(row(&mut window, highest, 11, 1), Taken::Held, "the others are not in this replay");
}
