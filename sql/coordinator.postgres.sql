-- The coordinator's tables for PostgreSQL 14 and newer.
--
-- The coordinator makes them by itself when they are absent; this file is for those who make their tables by hand.
-- Run it inside the coordinator's database, in the schema that Store.Schema names:
-- `psql -d dtm -c 'SET search_path = public' -f coordinator.postgres.sql`.
-- The time columns hold instants, in whole seconds; without time zone they hold wall-clock time in TimeZoneOffset.

-- One row for each global transaction.
CREATE TABLE IF NOT EXISTS trans_global (
  id bigserial PRIMARY KEY,
  gid varchar(128) NOT NULL,                  -- named by the client; compares exactly
  trans_type varchar(45) NOT NULL,            -- saga, msg, tcc, xa, workflow
  status varchar(12) NOT NULL,                -- prepared, submitted, aborting, succeed, failed
  query_prepared varchar(1024) NOT NULL,      -- url that is asked whether a message is to be sent
  protocol varchar(45) NOT NULL,              -- http, grpc, json-rpc
  create_time timestamp(0) with time zone,
  update_time timestamp(0) with time zone,
  finish_time timestamp(0) with time zone,    -- of success
  rollback_time timestamp(0) with time zone,  -- of failure
  options varchar(1024) DEFAULT '',           -- JSON of the client's options
  custom_data varchar(1024) DEFAULT '',       -- depends on trans_type
  next_cron_interval int,                     -- seconds; grows while a branch gives no result
  next_cron_time timestamp(0) with time zone, -- unfinished after this: any coordinator may take it over
  owner varchar(128) NOT NULL DEFAULT '',     -- token of who drives it now; empty when nobody does
  ext_data text,
  result varchar(1024) DEFAULT '',
  rollback_reason varchar(1024) DEFAULT '',
  CONSTRAINT trans_global_gid UNIQUE (gid)
);
-- What did my earlier self hold?
CREATE INDEX IF NOT EXISTS trans_global_owner ON trans_global (owner);
-- What is due?
CREATE INDEX IF NOT EXISTS trans_global_status_next_cron_time ON trans_global (status, next_cron_time);

-- One row for each call that may have to be made.
CREATE TABLE IF NOT EXISTS trans_branch_op (
  id bigserial PRIMARY KEY,                   -- order of registration
  gid varchar(128) NOT NULL,
  url varchar(1024) NOT NULL,                 -- empty: nothing to call, counts as success
  data text,                                  -- payload as text, by older coordinators; read where bin_data is empty
  bin_data bytea,                             -- payload
  branch_id varchar(128) NOT NULL,            -- 01, 02, ...
  op varchar(45) NOT NULL,                    -- action, compensate, confirm, ...
  status varchar(45) NOT NULL,                -- prepared, succeed, failed
  finish_time timestamp(0) with time zone,    -- of the result
  rollback_time timestamp(0) with time zone,
  create_time timestamp(0) with time zone,
  update_time timestamp(0) with time zone,
  CONSTRAINT trans_branch_op_gid_branch_id_op UNIQUE (gid, branch_id, op)
);

-- Topics and other small things, by category.
CREATE TABLE IF NOT EXISTS kv (
  id bigserial PRIMARY KEY,
  cat varchar(45) NOT NULL,
  k varchar(128) NOT NULL,
  v text,
  version bigint DEFAULT 0,                   -- compared and raised by every change
  create_time timestamp(0) with time zone,
  update_time timestamp(0) with time zone,
  CONSTRAINT kv_cat_k UNIQUE (cat, k)
);

-- One row for each coordinator that runs, ours alone. Without the table coordinators work all the same, but
-- nobody compares their settings.
CREATE TABLE IF NOT EXISTS dtm_node (
  name varchar(64) PRIMARY KEY,               -- InstanceName
  token varchar(45) NOT NULL,                 -- tells one start from another
  address varchar(1024) NOT NULL,             -- host:port of HTTP, for people
  version varchar(45) NOT NULL,
  settings varchar(1024) NOT NULL,            -- JSON of those that must agree
  started timestamp(0) with time zone NOT NULL,
  last_seen timestamp(0) with time zone NOT NULL  -- written every few seconds
);

-- Tokens by which callers are known, as SHA-256; needed where Access.Mode is not off. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_token (
  id varchar(45) PRIMARY KEY,
  hash varchar(64) NOT NULL,
  name varchar(128) NOT NULL,
  role varchar(45) NOT NULL,
  gid_prefix varchar(128) NOT NULL,
  made timestamp(0) with time zone NOT NULL,
  expires timestamp(0) with time zone NOT NULL,
  revoked timestamp(0) with time zone,
  last_used timestamp(0) with time zone
);

-- People who log in to the console; the password is Argon2id's text of it. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_user (
  name varchar(64) PRIMARY KEY,
  password varchar(255) NOT NULL,
  role varchar(45) NOT NULL,
  made timestamp(0) with time zone NOT NULL,
  changed timestamp(0) with time zone NOT NULL,
  disabled timestamp(0) with time zone,
  last_login timestamp(0) with time zone
);

-- Who is logged in; what their browsers hold is stored as SHA-256. Rows are kept until they expire. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_session (
  hash varchar(64) PRIMARY KEY,
  login varchar(64) NOT NULL,
  name varchar(128) NOT NULL,
  method varchar(45) NOT NULL,
  issuer varchar(255) NOT NULL,
  subject varchar(255) NOT NULL,
  role varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  made timestamp(0) with time zone NOT NULL,
  expires timestamp(0) with time zone NOT NULL,
  last_used timestamp(0) with time zone NOT NULL,
  ended timestamp(0) with time zone,
  CONSTRAINT dtm_session_login UNIQUE (login)
);
CREATE INDEX IF NOT EXISTS dtm_session_subject ON dtm_session (subject);
CREATE INDEX IF NOT EXISTS dtm_session_expires ON dtm_session (expires);

-- Who changed what, and what was refused. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_audit (
  id bigserial PRIMARY KEY,
  at timestamp(0) with time zone NOT NULL,
  who varchar(128) NOT NULL,
  method varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  coordinator varchar(128) NOT NULL,
  action varchar(45) NOT NULL,
  target varchar(1024) NOT NULL,
  reason varchar(1024) NOT NULL,
  was varchar(1024) NOT NULL,
  became varchar(1024) NOT NULL,
  outcome varchar(1024) NOT NULL
);
CREATE INDEX IF NOT EXISTS dtm_audit_at ON dtm_audit (at);

-- What did not go well: of each branch and op the first three attempts and the last seventeen; a place is taken
-- again. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_attempt (
  gid varchar(128) NOT NULL,
  branch_id varchar(128) NOT NULL,
  op varchar(45) NOT NULL,
  place int NOT NULL,                -- 0 to 2: the first ones; 3 to 19: a ring of the last ones
  number int NOT NULL,               -- counts from 1
  result varchar(45) NOT NULL,       -- failure, ongoing, unknown
  kind varchar(45) NOT NULL,         -- what kept it from success: status, timeout, refused, dns, tls and so on
  status int,                        -- HTTP's or gRPC's, where the branch spoke
  url varchar(1024) NOT NULL,
  endpoint varchar(255) NOT NULL,
  answer varchar(2048) NOT NULL,     -- at most 2,048 bytes, without secrets
  fingerprint varchar(160) NOT NULL, -- alike for errors that differ in digits, ids and times alone
  coordinator varchar(128) NOT NULL,
  began timestamp(0) with time zone NOT NULL, -- of the first of equal calls that followed each other
  last timestamp(0) with time zone NOT NULL,  -- when the latest of them that was noted ended
  milliseconds bigint NOT NULL,      -- that it took
  times int NOT NULL,                -- equal calls that were noted
  PRIMARY KEY (gid, branch_id, op, place)
);

-- Unfinished transactions whose last round was held up by a branch. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_stuck (
  gid varchar(128) NOT NULL,
  trans_type varchar(45) NOT NULL,
  status varchar(12) NOT NULL,
  branch_id varchar(128) NOT NULL,
  op varchar(45) NOT NULL,
  endpoint varchar(255) NOT NULL,
  kind varchar(45) NOT NULL,
  fingerprint varchar(160) NOT NULL,
  error varchar(1024) NOT NULL,
  coordinator varchar(128) NOT NULL,
  since timestamp(0) with time zone NOT NULL,
  PRIMARY KEY (gid)
);
CREATE INDEX IF NOT EXISTS dtm_stuck_cause ON dtm_stuck (endpoint, op, fingerprint, since);
CREATE INDEX IF NOT EXISTS dtm_stuck_since ON dtm_stuck (since);

-- An action asked of many transactions: one row for each. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk (
  id bigserial NOT NULL,
  action varchar(45) NOT NULL,                -- retry, rollback, stop
  wanted varchar(1024) NOT NULL,              -- the filter
  id_max bigint NOT NULL,                     -- the newest transaction that it could find
  items int NOT NULL,                         -- how many it found
  rate int NOT NULL,                          -- of them a second
  reason varchar(1024) NOT NULL,
  who varchar(128) NOT NULL,                  -- asked for it
  method varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  gid_prefix varchar(128) NOT NULL,           -- of the gids that are theirs
  needs varchar(45) NOT NULL,                 -- the permission
  source bigint,                              -- the one whose failed items these are
  state varchar(12) NOT NULL,                 -- making, running, paused, done, cancelled
  owner varchar(128) NOT NULL,                -- which run of which coordinator works on it
  until timestamp(0) with time zone NOT NULL, -- after this any other may; by the database's clock
  passed int NOT NULL,                        -- all items up to this number have a result
  done int NOT NULL,                          -- of the results, as last counted
  not_eligible int NOT NULL,
  refused int NOT NULL,
  failed int NOT NULL,
  made timestamp(0) with time zone NOT NULL,
  ended timestamp(0) with time zone,
  PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS dtm_bulk_state ON dtm_bulk (state);

-- The transactions that it is asked of, fixed before it begins.
CREATE TABLE IF NOT EXISTS dtm_bulk_item (
  bulk bigint NOT NULL,
  number int NOT NULL,       -- counts from 1
  gid varchar(128) NOT NULL,
  trans_id bigint NOT NULL,  -- its id in trans_global
  PRIMARY KEY (bulk, number)
);

-- How it went with each: written in the commit of the action itself. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk_result (
  bulk bigint NOT NULL,
  number int NOT NULL,
  result varchar(12) NOT NULL,             -- done, not_eligible, refused, failed
  said varchar(255) NOT NULL,              -- why, where it was not done
  at timestamp(0) with time zone NOT NULL,
  PRIMARY KEY (bulk, number)
);

-- What coordinators share of the store's upkeep: who does it now, and what is known of the tables. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_shared (
  name varchar(45) NOT NULL,
  holder varchar(128) NOT NULL,
  held_until timestamp(0) with time zone NOT NULL,
  value varchar(1024) NOT NULL,
  changed timestamp(0) with time zone NOT NULL,
  PRIMARY KEY (name)
);

-- Endpoints to which nothing is to be called for a while, on an operator's word.
CREATE TABLE IF NOT EXISTS dtm_hold (
  endpoint varchar(255) PRIMARY KEY,          -- scheme, host and port, or gRPC target
  reason varchar(1024) NOT NULL,
  who varchar(128) NOT NULL,
  since timestamp(0) with time zone NOT NULL,
  until timestamp(0) with time zone NOT NULL  -- over after this, without anybody's doing
);

-- What steps answered that keep their result (keep_result): written in the commit of their success.
CREATE TABLE IF NOT EXISTS dtm_result (
  gid varchar(128) NOT NULL,
  branch_id varchar(128) NOT NULL,
  content bytea NOT NULL,  -- at most 16,384 bytes
  at timestamp(0) with time zone NOT NULL,
  PRIMARY KEY (gid, branch_id)
);
