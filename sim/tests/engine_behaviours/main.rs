//! What a double of the engine must reproduce, the most important and most subtle first.
//!
//! Each test is one behaviour; what proves it over all five releases stands in the modules, together with
//! smaller rules of the same subject. Where releases differ, a table says what each of them does.

mod actions;
mod delivery;
mod direct;
mod frames;
mod http;
mod inventory;
mod link;
mod mailbox;
mod nodes;
mod payloads;
mod routing;
mod support;

#[test]
fn delivered_is_not_acked_and_no_timer_sends_it_again() {
    delivery::a_delivered_frame_is_not_sent_again_by_any_timer();
}

#[test]
fn sequences_have_holes_that_nothing_fills() {
    delivery::a_middle_row_that_ended_leaves_a_hole_and_the_cursor_below_it();
    delivery::an_ack_from_the_future_hides_nothing_new_from_6_0_3_on();
    delivery::pruned_numbers_come_back_in_5_only();
}

#[test]
fn live_frames_of_an_agent_may_overtake_each_other() {
    delivery::reordered_live_frames_swap_in_pairs_and_are_all_delivered();
    delivery::live_frames_overtake_a_replay_that_is_read_from_the_store_first();
}

#[test]
fn a_replay_is_not_always_one_piece() {
    delivery::a_replay_may_leave_in_pieces_with_other_frames_between_them();
    delivery::a_replay_in_pieces_ends_with_its_socket_or_its_time();
    delivery::replays_come_in_turn_but_in_5();
}

#[test]
fn a_replay_repeats_whole_frames_as_often_as_the_release_replays() {
    delivery::a_replayed_frame_is_identical_to_the_live_one();
    delivery::each_release_replays_after_frames_of_its_own();
}

#[test]
fn a_cursor_connection_is_sent_nothing_for_an_agent_before_its_reply() {
    delivery::a_new_cursor_connection_is_sent_nothing_for_an_agent_that_is_not_ready();
    delivery::a_connection_without_the_cursor_is_replayed_at_its_registration();
    delivery::a_socket_that_did_not_register_is_sent_nothing_but_in_5();
    delivery::registering_the_node_again_on_its_socket_gates_its_agents_in_6_0_3();
    delivery::an_upserting_registration_replays_what_is_unacked_with_the_same_sequences();
    frames::the_reply_to_agent_register_has_exactly_its_keys();
}

#[test]
fn events_reuse_the_id_of_their_message_and_may_come_before_it() {
    payloads::a_receipt_reuses_the_message_id_and_reaches_even_the_reader();
    payloads::a_reaction_comes_and_goes_as_events_of_its_message();
    payloads::an_event_can_reach_an_agent_before_the_message_that_it_is_about();
    payloads::events_of_a_message_come_while_its_row_is_deferred();
    direct::a_denied_action_is_told_under_the_name_of_the_action();
    inventory::the_agent_that_had_another_one_spawned_hears_of_its_end_in_newer_releases();
}

#[test]
fn an_open_invocation_is_sent_again_with_its_id_and_late_results_are_dropped() {
    inventory::an_open_invocation_that_is_not_listed_is_sent_again_with_the_same_id();
    actions::an_open_invocation_is_sent_again_after_30_s_with_the_same_id_to_the_same_node();
    actions::an_overdue_invocation_moves_to_another_node_whose_result_alone_counts();
    actions::older_engines_dispatch_a_release_again_and_newer_ones_once();
    actions::a_spawn_that_names_its_node_waits_until_that_is_online_and_its_handlers_are_live();
}

#[test]
fn an_inventory_completes_spawns_and_takes_unlisted_agents_offline() {
    inventory::listing_the_invocation_of_a_spawn_completes_it_and_tells_the_caller();
    inventory::unlisted_agents_are_offline_but_their_mail_still_comes();
    inventory::the_reply_counts_what_happened();
    inventory::one_bad_entry_fails_the_whole_inventory_or_is_skipped_and_counted();
}

#[test]
fn heartbeats_acks_and_results_are_taken_without_a_word() {
    nodes::heartbeats_acks_and_results_are_never_answered();
    delivery::an_ack_needs_the_name_and_the_place_of_the_agent();
}

#[test]
fn errors_leave_the_socket_open_and_a_refused_node_half_registered() {
    frames::an_invalid_message_has_a_foreign_id_and_leaves_the_socket_open();
    frames::a_refused_registration_leaves_a_connection_that_acts_as_the_default_provider();
    frames::in_5_a_refused_registration_leaves_a_socket_that_is_served_all_the_same();
}

#[test]
fn schemas_are_strict_and_those_of_the_release() {
    frames::each_release_knows_its_own_keys_and_frames_and_no_other();
    frames::missing_keys_and_wrong_types_are_invalid_messages_in_every_release();
}

#[test]
fn an_agent_has_one_token_and_a_second_registration_takes_it_or_is_refused() {
    frames::a_known_name_is_taken_over_with_a_new_token_or_refused();
    frames::a_node_recovers_its_own_agents_only();
    http::a_rotated_agent_token_dies_at_once_or_after_a_grace();
}

#[test]
fn a_second_socket_replaces_the_first_when_the_release_lets_it() {
    nodes::in_5_a_second_socket_replaces_the_first_at_the_upgrade();
    nodes::from_6_on_sockets_coexist_until_one_registers();
    nodes::another_instance_takes_over_only_when_the_incumbent_was_silent_for_the_window();
    nodes::without_a_provider_every_connection_is_an_instance_of_its_own();
}

#[test]
fn a_close_takes_agents_offline_at_once_and_silence_leaves_the_socket_usable() {
    nodes::the_end_of_a_socket_takes_its_agents_offline_at_once();
    nodes::a_silent_node_is_offline_after_45_s_but_its_socket_still_carries_frames();
    actions::losing_a_node_moves_its_open_invocations_at_once();
    inventory::listing_revives_an_agent();
}

#[test]
fn enrolling_rotates_the_token_by_the_rules_of_the_release() {
    nodes::enrolling_again_rotates_the_token_and_forces_the_node_offline();
    nodes::a_clash_of_names_and_ids_rotates_renames_or_is_refused();
    nodes::a_node_id_of_another_workspace_is_never_handed_over();
    nodes::a_machine_finds_its_own_dead_node_again_in_newer_releases();
    nodes::from_9_on_an_existing_node_is_touched_only_against_proof();
    nodes::a_lost_answer_to_an_enrolment_is_recovered_by_its_key_from_9_on();
    nodes::the_upgrade_knows_only_101_401_and_426();
}

#[test]
fn an_agent_of_http_that_is_bound_to_a_broker_is_not_pushed_to_it() {
    routing::an_agent_of_http_that_is_bound_is_never_pushed_until_the_broker_is_let_have_it();
}

#[test]
fn a_message_may_arrive_before_or_after_the_answer_to_its_sender() {
    delivery::a_request_is_answered_before_anything_of_it_is_sent();
    delivery::what_a_request_sends_may_be_acked_before_its_answer_arrives();
}

#[test]
fn mailboxes_are_limited_in_time_and_depth_and_senders_are_told() {
    mailbox::an_expired_row_is_dead_its_sender_is_told_and_the_cursor_stays();
    mailbox::expired_rows_are_neither_replayed_nor_counted_even_before_anything_buried_them();
    mailbox::a_full_mailbox_skips_the_recipient_and_tells_the_sender_after_the_201();
}

#[test]
fn payloads_have_exactly_their_shapes() {
    payloads::a_channel_message_has_its_shape();
    payloads::a_thread_reply_has_its_shape_and_hangs_on_the_root();
    payloads::a_direct_message_has_its_shape_and_metadata_from_8_on();
    payloads::a_reply_in_a_direct_conversation_stays_a_thread_reply();
    payloads::a_group_message_has_its_shape();
    payloads::the_end_of_an_action_is_told_to_its_caller();
}

#[test]
fn a_repeated_send_is_one_delivery_and_calls_may_fail_in_bursts() {
    http::a_repeated_key_gets_the_stored_answer_and_causes_no_second_delivery();
    http::a_key_is_refused_for_another_payload_and_free_again_after_a_day();
    actions::a_node_that_says_handler_unavailable_is_not_asked_again_until_it_recovers();
    link::calls_fail_in_bursts_with_and_without_effect();
}

#[test]
fn who_is_muted_mentioned_or_the_sender_decides_who_gets_a_row() {
    payloads::the_sender_and_strangers_get_nothing_and_muted_members_only_mentions();
    delivery::the_sequence_goes_on_over_connections_and_tokens_and_rooms();
}

#[test]
fn pings_are_answered_and_a_link_may_swallow_all_or_all_but_pings() {
    link::a_black_hole_takes_what_is_written_and_says_nothing();
    link::a_half_dead_engine_answers_pings_but_no_frame();
}

#[test]
fn a_frame_may_be_lost_on_a_link_that_lives_on() {
    link::frames_are_lost_on_links_that_live_on();
}

#[test]
fn an_engine_may_be_in_trouble_at_the_upgrade_or_behind_what_it_has_made() {
    link::upgrades_are_refused_for_a_while();
    link::a_replica_refuses_a_fresh_token();
    link::a_name_may_be_taken_before_its_owner_comes();
}

#[test]
fn channels_nodes_and_agents_are_named_as_they_are() {
    routing::channels_have_no_mark_nodes_are_known_by_name_and_case_matters();
}

#[test]
fn a_node_has_the_room_that_it_says() {
    nodes::a_full_node_refuses_agents_and_a_heartbeat_overwrites_its_count();
    nodes::an_agent_that_has_its_slot_needs_no_other_and_0_is_no_limit();
    nodes::the_limits_of_providers_add_up_until_one_without_limit_means_none();
    actions::a_spawn_without_a_place_goes_to_the_least_loaded_live_node_with_room();
}
