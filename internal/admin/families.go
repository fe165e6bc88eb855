package admin

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// family describes one metric to operators.
type family struct{ name, kind, help string }

// families are what /metrics may show, in the order of the documents. What
// a backend measures is there once that backend is in use.
var families = []family{
	{"bus_vm_build_info", gauge, "Always 1; its labels say which build answers."},

	{"bus_vm_http_requests_total", counter, "Requests answered, by route and status code; route is none for requests that reached no route."},
	{"bus_vm_http_request_duration_seconds", histogram, "Time from the last byte of a request to its answer, or to when it began to wait as its caller asked, by route."},
	{"bus_vm_http_requests_in_flight", gauge, "Requests that are being answered now, by route."},
	{"bus_vm_http_connections", gauge, "Connections that are open now."},
	{"bus_vm_http_max_connections", gauge, "Connections that may be open at once, as server.max_connections says."},
	{"bus_vm_accept_failures_total", counter, "Attempts to accept a connection that failed, by listener; the log says why, once for each spell."},
	{"bus_vm_refusals_total", counter, "Requests answered with an error, by reason."},

	{"bus_vm_token_cache_requests_total", counter, "Tokens looked up among the verified ones, by result."},
	{"bus_vm_token_cache_entries", gauge, "Verified tokens that are remembered."},
	{"bus_vm_jwks_keys", gauge, "Public keys that verify callers' tokens."},
	{"bus_vm_jwks_skipped_keys", gauge, "Keys of the last JWKS document that are not used; the log says which and why."},
	{"bus_vm_jwks_age_seconds", gauge, "Time since the server behind --jwks-url last said what the keys are."},
	{"bus_vm_jwks_fetches_total", counter, "Fetches of the JWKS document, by result."},

	{"bus_vm_snapshot_age_seconds", gauge, "Age of the status on display; it grows while it is not read. 0 without one."},
	{"bus_vm_snapshot_refreshes_total", counter, "Refreshes of the status, by result."},
	{"bus_vm_snapshot_invalidations_total", counter, "Times the status on display was put out of date: by a start or stop, or by a gap in a stream that may hide one."},

	{"bus_vm_runtime_state", gauge, "1 for the state that was seen last, other for one without a series; all 0 until one is seen after a start or stop was accepted. Its age is that of the status."},
	{"bus_vm_start_duration_seconds", histogram, "Time from the acceptance of a start to ready, of starts that this instance saw arrive."},
	{"bus_vm_start_under_way_seconds", gauge, "Time since a start was accepted that has not led to ready; 0 for none, and after an hour."},
	{"bus_vm_start_estimate_error_ratio", histogram, "How far the estimate of a start was off, as a share of the time it took."},
	{"bus_vm_waits_open", gauge, "Requests that wait because their callers prefer to (Prefer: wait)."},
	{"bus_vm_streams_open", gauge, "Event streams that are open, of callers and operators."},
	{"bus_vm_streams_cut_off_total", counter, "Event streams that were cut off because their reader was too far behind."},

	{"bus_vm_events_stream_up", gauge, "Whether a reply stream is connected, by event."},
	{"bus_vm_events_stream_reconnects_total", counter, "Times a lost reply stream was opened again, by event."},
	{"bus_vm_events_stream_replays_total", counter, "Times the history was read for replies from before a reconnect, by event."},
	{"bus_vm_events_replies_total", counter, "Replies received, by event and by whether a request here waited; replicas under one identity receive each other's as unmatched."},
	{"bus_vm_events_skipped_lines_total", counter, "Lines of a stream that were no event of it, by event and reason."},
	{"bus_vm_events_publishes_total", counter, "Requests published to Events, by result."},
	{"bus_vm_events_requests_in_flight", gauge, "Requests through Events that wait for their reply."},
	{"bus_vm_events_token_expiry_timestamp_seconds", gauge, "When the provider's own token expires, in seconds since the epoch; 0 when that is not known."},
	{"bus_vm_entitlement_answers_total", counter, "Answers to the question whether an account may act, by result."},

	{"bus_vm_store_healthy", gauge, "Whether the operations store takes writes; while 0, starts and stops are refused."},
	{"bus_vm_store_damaged_files", gauge, "Damaged databases that were set aside and are still in the data directory."},
	{"bus_vm_store_commits_total", counter, "Transactions of the operations store; many writes share one under load."},
	{"bus_vm_store_commit_failures_total", counter, "Transactions of the operations store that failed."},
	{"bus_vm_store_writes_total", counter, "Writes to the operations store, of operations, their ends and deliveries."},
	{"bus_vm_usage_waiting_records", gauge, "Usage records in the store that are not delivered yet, parked ones included; replicas on one database count the same ones."},
	{"bus_vm_usage_parked_records", gauge, "Usage records in the store that the usage integration refused."},
	{"bus_vm_usage_oldest_record_age_seconds", gauge, "Age of the oldest usage record that is due for delivery; parked ones are not."},
	{"bus_vm_usage_delivered_total", counter, "Usage records that the usage integration acknowledged while this process waited."},
	{"bus_vm_usage_retries_total", counter, "Deliveries of usage records that failed and are tried again."},

	{"bus_vm_reload_success", gauge, "Whether everything that is followed while running was right when it was last read."},
	{"bus_vm_reload_timestamp_seconds", gauge, "When everything that is followed was last read and right, in seconds since the epoch."},

	{"bus_vm_log_dropped_lines_total", counter, "Log lines that were lost because what reads stderr did not take them."},

	{"process_cpu_seconds_total", counter, "CPU time that this process used."},
	{"process_start_time_seconds", gauge, "When this process started, in seconds since the epoch."},
	{"process_resident_memory_bytes", gauge, "Memory of this process that is resident."},
	{"process_open_fds", gauge, "File descriptors that are open."},
	{"process_max_fds", gauge, "File descriptors that may be open."},
	{"process_io_storage_written_bytes_total", counter, "Bytes that this process caused to be written to disk."},
	{"go_goroutines", gauge, "Goroutines that exist."},
	{"go_threads", gauge, "Threads of the Go runtime."},
	{"go_gc_cpu_seconds_total", counter, "CPU time that the garbage collector used."},
	{"go_memstats_heap_alloc_bytes", gauge, "Heap in use by objects."},
}
