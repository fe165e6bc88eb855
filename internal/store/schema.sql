-- The operations store, version 1, for SQLite and PostgreSQL alike. SERIAL is
-- replaced for each. Times are microseconds since 1970 by the clock of the
-- database, 0 for none; flags are 0 or 1; an absent text is empty.

create table operations (
	seq           SERIAL,
	id            text not null unique,
	action        text not null,   -- start or stop; empty for an id that is taken and has no records
	account       text not null,
	request_id    text not null,
	requested_at  bigint not null,
	closes_at     bigint not null, -- without an end by then it ends as unknown
	leader        text not null,   -- the id of the operation whose end it waits for or has had
	followed      integer not null, -- others have joined it
	outcome       text not null,   -- empty while open
	corrected     integer not null, -- the outcome was unknown first
	slot          integer not null, -- it is the start that others may join
	slot_until    bigint not null,
	accepted_at   bigint not null,
	reached_at    bigint not null, -- the target state was seen
	ended_at      bigint not null,
	provider      text not null,   -- that answered for the target state
	reason        text not null,   -- why billing allowed it
	plan_id       text not null,
	error_type    text not null,
	error_message text not null
);
create unique index operations_slot on operations (slot) where slot = 1;
create index operations_open on operations (closes_at) where outcome = '';
create index operations_unknown on operations (ended_at) where outcome = 'unknown';
create index operations_account on operations (account, seq);
create index operations_leader on operations (leader) where leader <> '';
create index operations_reached on operations (provider, seq) where reached_at > 0;
create index operations_ended on operations (ended_at) where ended_at > 0;

create table records (
	event_id     text not null primary key,
	operation    text not null references operations (id) on delete cascade,
	position     integer not null, -- 0 requested, 1 terminal, 2 correction
	account      text not null,
	body         text not null,    -- JSON, as it is sent
	state        integer not null, -- see record.go
	created_at   bigint not null,
	due_at       bigint not null,
	attempts     integer not null,
	delivered_at bigint not null,
	reason       text not null,    -- why it is parked
	unique (operation, position)
);
create index records_due on records (account, due_at) where state = 1;
create index records_waiting on records (created_at) where state < 3;
create index records_parked on records (due_at) where state = 2;

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
