//! The window where an engine has given one number to more than one message, one case at a time.

use super::bounds_tests::{frame, leave_and_return, named, nearly_full, row, settle_all, take};
use super::{Frame, Taken, Window};
use crate::limits;
use alloc::vec::Vec;

/// A message under number 1, other than the first, of so many bytes.
fn other(window: &mut Window, id: &str, bytes: usize, round: u64) -> Taken {
    named(window, 1, id, bytes, round)
}

/// The first under number 1 comes again.
fn first_again(window: &mut Window, round: u64) -> Taken {
    row(window, 1, limits::WINDOW_BYTES - 10, round)
}

#[test]
fn a_second_one_that_finds_no_room_is_not_acked_before_it_came_again() {
    for with_later in [false, true] {
        let (mut window, first) = nearly_full();
        if with_later {
            row(&mut window, 2, 1, 0);
        }
        assert_eq!(other(&mut window, "other", 11, 0), Taken::Overflow);
        window.settle(first);
        let later = settle_all(&mut window);
        assert_eq!((window.cursor(), later.len()), (Some(0), usize::from(with_later)));
        assert!(window.wants_replay() && window.has_room());
        assert_eq!(other(&mut window, "other", 11, 1), Taken::InOrder);
        assert_eq!(settle_all(&mut window), ["other"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(1 + u64::from(with_later)), false));
    }
}

#[test]
fn a_second_one_is_awaited_also_where_the_replay_brings_the_first_before_it() {
    let (mut window, first) = nearly_full();
    assert_eq!(other(&mut window, "other", 11, 0), Taken::Overflow);
    window.settle(first);
    for round in 1..4 {
        assert_eq!(first_again(&mut window, round), Taken::Duplicate);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(0), true), "the other is not read");
    }
    assert_eq!(other(&mut window, "other", 11, 4), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["other"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
}

#[test]
fn a_second_one_that_is_here_and_comes_again_needs_no_room() {
    let (mut window, first) = nearly_full();
    assert_eq!(other(&mut window, "other", 10, 0), Taken::Late);
    assert_eq!(other(&mut window, "other", 10, 1), Taken::Duplicate);
    assert!(!window.wants_replay());
    window.settle(first);
    assert_eq!(settle_all(&mut window), ["other"]);
    assert_eq!(window.cursor(), Some(1));
}

#[test]
fn a_second_one_that_finds_room_when_it_comes_again_keeps_nobody_waiting() {
    for shown in [true, false] {
        let (mut window, first) = nearly_full();
        let other = |bytes| Frame { shown, ..frame("other", bytes) };
        assert_eq!(window.accept(1, other(11), 0), Taken::Overflow);
        assert_eq!(window.accept(1, other(1), 1), Taken::InOrder);
        assert_eq!(row(&mut window, 2, 1, 1), Taken::InOrder, "sent since");
        window.settle(first);
        assert_eq!(window.cursor(), Some(if shown { 0 } else { 1 }));
        assert_eq!(settle_all(&mut window).len(), 1 + usize::from(shown));
        assert_eq!((window.cursor(), window.wants_replay()), (Some(2), false));
    }
}

#[test]
fn a_second_one_that_is_only_acked_and_found_no_room_frees_the_cursor_when_it_comes() {
    let (mut window, first) = nearly_full();
    let read = || Frame { shown: false, ..frame("other", 11) };
    assert_eq!(window.accept(1, read(), 0), Taken::Overflow);
    window.settle(first);
    assert_eq!(window.cursor(), Some(0));
    assert_eq!(window.accept(1, read(), 1), Taken::InOrder);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
}

#[test]
fn a_second_one_that_found_no_room_is_awaited_until_it_is_proven_gone() {
    let (mut window, first) = nearly_full();
    row(&mut window, 2, 1, 0);
    for round in 0..4 {
        assert_eq!(other(&mut window, "other", 11, round), Taken::Overflow);
        assert_eq!(row(&mut window, 2, 1, round), Taken::Duplicate);
    }
    window.settle(first);
    assert_eq!(row(&mut window, 2, 1, 3), Taken::Duplicate, "it was there in that replay");
    assert_eq!(row(&mut window, 2, 1, 4), Taken::Duplicate);
    assert_eq!((settle_all(&mut window).len(), window.cursor()), (1, Some(0)), "one proof is too little");
    assert_eq!(row(&mut window, 2, 1, 5), Taken::Duplicate);
    assert_eq!((window.cursor(), window.hole_count(), window.wants_replay()), (Some(2), 1, false));
    assert_eq!(other(&mut window, "other", 11, 6), Taken::Late, "it turns up after all");
    assert_eq!(settle_all(&mut window), ["other"]);
}

#[test]
fn a_second_one_that_whole_replays_do_not_bring_is_awaited_no_more() {
    for settles_first in [true, false] {
        let (mut window, first) = nearly_full();
        assert_eq!(other(&mut window, "other", 11, 1), Taken::Overflow);
        if settles_first {
            window.settle(first);
        }
        for round in 1..=3 {
            assert!(window.wants_replay(), "it came with replay 1");
            first_again(&mut window, round);
            window.end_replay(round);
        }
        assert!(!window.wants_replay());
        if !settles_first {
            assert_eq!(window.cursor(), Some(0));
            window.settle(first);
        }
        assert_eq!(window.cursor(), Some(1));
        assert_eq!(row(&mut window, 2, 1, 3), Taken::InOrder);
    }
}

#[test]
fn a_third_one_is_another_one() {
    for third_comes_first in [true, false] {
        let (mut window, first) = nearly_full();
        assert_eq!(other(&mut window, "second", 11, 0), Taken::Overflow);
        assert_eq!(other(&mut window, "third", 1, 0), Taken::Late);
        let ids = if third_comes_first { settle_all(&mut window) } else { Vec::new() };
        window.settle(first);
        assert_eq!(ids.len() + settle_all(&mut window).len(), 1);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(0), true), "the second is not read");
        assert_eq!(other(&mut window, "third", 1, 1), Taken::Duplicate);
        assert_eq!(other(&mut window, "second", 11, 1), Taken::InOrder);
        assert_eq!(settle_all(&mut window), ["second"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
    }
}

#[test]
fn each_that_found_no_room_is_awaited() {
    let (mut window, first) = nearly_full();
    for id in ["second", "third"] {
        assert_eq!(other(&mut window, id, 11, 0), Taken::Overflow);
    }
    window.settle(first);
    for id in ["third", "second"] {
        assert_eq!(window.cursor(), Some(0), "{id} is not read");
        assert!(window.wants_replay());
        assert_eq!(other(&mut window, id, 11, 1), Taken::InOrder);
        assert_eq!(settle_all(&mut window), [id]);
    }
    assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
}

#[test]
fn what_is_awaited_finds_room_as_nothing_goes_on_without_it() {
    let (mut window, first) = nearly_full();
    assert_eq!(other(&mut window, "other", 11, 0), Taken::Overflow);
    window.settle(first);
    window.accept_fan_out(frame("e", limits::WINDOW_BYTES), 0);
    assert_eq!(other(&mut window, "other", 11, 1), Taken::InOrder);
}

#[test]
fn who_comes_back_is_shown_the_one_that_was_not_taken() {
    for settles_first in [true, false] {
        for brings_first_before in [true, false] {
            let mut window = Window::new(Some(0));
            row(&mut window, 1, 1, 0);
            assert_eq!(other(&mut window, "other", 1, 0), Taken::Late);
            let taken: Vec<_> = core::iter::from_fn(|| take(&mut window)).collect();
            window.settle(taken[usize::from(!settles_first)].0);
            let mut window = leave_and_return(window);
            for is_first in [brings_first_before, !brings_first_before] {
                assert_eq!(window.cursor(), Some(0), "one is not read");
                let id = if is_first { "d1" } else { "other" };
                let taken = other(&mut window, id, 1, 1);
                assert_eq!(taken == Taken::Duplicate, is_first == settles_first, "{id}: {taken:?}");
            }
            assert_eq!(settle_all(&mut window), [if settles_first { "other" } else { "d1" }]);
            assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
        }
    }
}

#[test]
fn a_second_one_that_comes_again_proves_what_is_missing_below_it_gone() {
    let mut window = Window::new(Some(0));
    for round in 0..=u64::from(limits::HOLE_PROOFS) {
        let id = if round == 0 { "first" } else { "other" };
        window.accept(2, frame(id, 1), round);
        window.accept(2, frame("other", 1), round);
    }
    window.release_held(|_| true);
    assert_eq!(settle_all(&mut window).len(), 2);
    assert_eq!(window.cursor(), Some(2), "1 was in none of these replays");
}

#[test]
fn one_message_under_two_numbers_is_shown_once_and_neither_is_acked_before() {
    for (came, comes) in [(2, 1), (1, 2)] {
        let mut window = Window::new(Some(0));
        window.accept(came, frame("x", 1), 0);
        assert_eq!(window.accept(comes, frame("x", 1), 0), Taken::Duplicate);
        assert_eq!(window.cursor(), Some(0), "it is not read");
        assert_eq!(settle_all(&mut window), ["x"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(2), false));
    }
}

#[test]
fn one_message_under_two_numbers_that_is_not_shown_keeps_nobody_waiting() {
    let mut window = Window::new(Some(0));
    let read = || Frame { shown: false, ..frame("x", 1) };
    assert_eq!(
        [2, 3, 1].map(|seq| window.accept(seq, read(), 0)),
        [Taken::Held, Taken::Duplicate, Taken::Duplicate]
    );
    assert_eq!(window.cursor(), Some(3));
}

#[test]
fn the_first_one_that_found_no_room_is_awaited_where_another_one_has_room() {
    for is_awaited in [false, true] {
        let (mut window, first) = nearly_full();
        assert_eq!(row(&mut window, 2, 11, 0), Taken::Overflow);
        assert_eq!(row(&mut window, 3, 11, 0), Taken::Overflow);
        if is_awaited {
            window.settle(first);
        }
        assert_eq!(window.accept(2, frame("other", 1), 0), Taken::InOrder);
        assert_eq!(row(&mut window, 3, 1, 0), Taken::Overflow, "2 has not come");
        if !is_awaited {
            window.settle(first);
        }
        assert_eq!(settle_all(&mut window), ["other"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(1), true), "the first is not read");
        assert_eq!([2, 3].map(|seq| row(&mut window, seq, 11, 1)), [Taken::InOrder; 2]);
        assert_eq!(settle_all(&mut window), ["d2", "d3"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(3), false));
    }
}

#[test]
fn one_that_is_dropped_behind_another_is_awaited_where_a_further_one_has_room() {
    let (mut window, first) = nearly_full();
    assert_eq!([2, 3].map(|seq| row(&mut window, seq, 11, 0)), [Taken::Overflow; 2]);
    window.settle(first);
    assert_eq!(row(&mut window, 2, 11, 1), Taken::InOrder);
    assert_eq!(window.accept(3, frame("other", 1), 1), Taken::InOrder, "before the replay has gone on");
    assert_eq!(settle_all(&mut window), ["d2", "other"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(2), true));
    assert_eq!(row(&mut window, 3, 11, 1), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["d3"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(3), false));
}

#[test]
fn one_message_under_two_numbers_comes_again_under_both_for_who_comes_back() {
    let mut window = Window::new(Some(0));
    other(&mut window, "first", 1, 0);
    window.accept(2, frame("x", 1), 0);
    assert_eq!(other(&mut window, "x", 1, 0), Taken::Duplicate);
    let (key, id) = take(&mut window).unwrap();
    assert_eq!(id, "first");
    window.settle(key);
    let mut window = leave_and_return(window);
    assert_eq!(other(&mut window, "first", 1, 1), Taken::Duplicate);
    assert_eq!(
        (window.cursor(), window.wants_replay()),
        (Some(0), true),
        "x came under 1, too, and is not read"
    );
    other(&mut window, "x", 1, 1);
    window.accept(2, frame("x", 1), 1);
    assert_eq!(settle_all(&mut window), ["x"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(2), false));
}

#[test]
fn one_message_under_two_numbers_that_found_no_room_keeps_nobody_waiting_once_it_came_under_both() {
    let (mut window, first) = nearly_full();
    assert_eq!([1, 2].map(|seq| window.accept(seq, frame("x", 11), 0)), [Taken::Overflow; 2]);
    window.settle(first);
    window.accept(2, frame("x", 1), 1);
    assert_eq!(settle_all(&mut window), ["x"]);
    assert_eq!(window.cursor(), Some(0), "it came under 1, too");
    assert_eq!(other(&mut window, "x", 1, 1), Taken::Duplicate);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(2), false));
}

#[test]
fn what_found_no_room_is_awaited_also_when_its_agent_has_left_since() {
    for leaves in [false, true] {
        let (mut window, first) = nearly_full();
        assert_eq!(row(&mut window, 2, 11, 0), Taken::Overflow);
        window.settle(first);
        if leaves {
            window = leave_and_return(window);
        }
        assert_eq!(window.accept(2, frame("other", 1), 0), Taken::InOrder);
        assert_eq!(settle_all(&mut window), ["other"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(1), true), "d2 came, too");
        assert_eq!(row(&mut window, 2, 11, 1), Taken::InOrder);
        assert_eq!(settle_all(&mut window), ["d2"]);
        assert_eq!((window.cursor(), window.wants_replay()), (Some(2), false));
    }
}

#[test]
fn one_replay_does_not_prove_a_second_one_gone_however_many_answers_come_in_the_middle() {
    let (mut window, first) = nearly_full();
    for seq in 2..5 {
        row(&mut window, seq, 1, 0);
    }
    assert_eq!(other(&mut window, "other", 11, 0), Taken::Overflow);
    window.settle(first);
    assert_eq!(settle_all(&mut window).len(), 3);
    for round in 1..4 {
        assert_eq!(row(&mut window, 1 + round, 1, round), Taken::Duplicate);
    }
    assert_eq!((window.cursor(), window.wants_replay()), (Some(0), true), "one replay is one proof");
}

#[test]
fn a_row_that_was_given_back_is_awaited_where_another_one_comes_under_its_number() {
    let mut window = Window::new(Some(0));
    assert_eq!(row(&mut window, 1, 1, 1), Taken::InOrder);
    let mut window = leave_and_return(window);
    assert!(!window.wants_replay(), "it comes by itself");
    // A frame of a message that the engine has given up, and whose number it has given to the other, was under way.
    other(&mut window, "stale", 1, 1);
    assert_eq!(settle_all(&mut window), ["stale"]);
    assert_eq!(window.cursor(), Some(0), "d1 came, and is not read");
    assert_eq!(row(&mut window, 1, 1, 1), Taken::InOrder);
    assert_eq!(settle_all(&mut window), ["d1"]);
    assert_eq!((window.cursor(), window.wants_replay()), (Some(1), false));
}
