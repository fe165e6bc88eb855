-- The operations store, version 1, for SQLite and PostgreSQL alike. SERIAL is
-- replaced for each. Times are microseconds since 1970 by the clock of the
-- database, 0 for none. Flags are 0 or 1. An absent text is empty. Semicolons end
-- statements, in comments as well.

create table operations (
	seq               SERIAL,
	id                text not null unique,
	action            text not null default '',   -- start or stop, empty for an id that is taken and has no records
	account           text not null default '',
	request_id        text not null default '',
	requested_at      bigint not null default 0,
	closes_at         bigint not null default 0,  -- without an end by then it ends as unknown
	leader            text not null default '',   -- the id of the operation whose end it waits for or has had
	followed          integer not null default 0, -- others have joined it
	outcome           text not null default '',   -- empty while open
	corrected         integer not null default 0, -- the outcome was unknown first
	slot              integer not null default 0, -- it is the start that others may join
	slot_until        bigint not null default 0,
	accepted_at       bigint not null default 0,
	reached_at        bigint not null default 0,  -- the target state was seen
	ended_at          bigint not null default 0,
	duration_ms       bigint not null default 0,  -- from the request to ended_at
	unknown_at        bigint not null default 0,  -- ended_at and duration_ms before the correction
	unknown_ms        bigint not null default 0,
	provider          text not null default '',   -- that answered for the target state
	reason            text not null default '',   -- why billing allowed it
	plan_id           text not null default '',
	error_type        text not null default '',
	error_message     text not null default '',

	-- Usage records are made of the rest of the row, see life.go.
	joined            integer not null default 0, -- it was inserted as one that joins
	records           integer not null default 0, -- how many it has
	sent              integer not null default 0, -- how many of them are delivered or dropped, in their order
	due_since         bigint not null default 0,  -- since when the next one can be sent
	due_at            bigint not null default 0,  -- when it is to be sent, or sent again
	attempts          integer not null default 0, -- at it, that failed
	parked            text not null default '',   -- why it was refused for good
	requested_sent_at bigint not null default 0,
	ended_sent_at     bigint not null default 0,
	corrected_sent_at bigint not null default 0
);
create unique index operations_slot on operations (slot) where slot = 1;
create index operations_open on operations (closes_at) where outcome = '';
create index operations_unknown on operations (ended_at) where outcome = 'unknown';
create index operations_account on operations (account, seq);
create index operations_leader on operations (leader, account) where leader <> '';
create index operations_reached on operations (reached_at) where reached_at > 0;
create index operations_ended on operations (ended_at) where ended_at > 0;
create index operations_due on operations (account, due_at, due_since, records, sent) where sent < records;
create index operations_parked on operations (due_at) where parked <> '';

create table keys (
	account    text not null,
	name       text not null,
	operation  text not null,
	action     text not null,
	created_at bigint not null,
	primary key (account, name)
);
create index keys_operation on keys (operation);
create index keys_created on keys (created_at);
