-- The coordinator's tables for MySQL 5.7+, MariaDB 10.2+ and TiDB.
--
-- The coordinator makes them by itself when they are absent; this file is for those who make their tables by hand.
-- Run it inside the coordinator's database (`CREATE DATABASE dtm CHARACTER SET utf8mb4`).
-- Datetime columns hold wall-clock time in TimeZoneOffset, in whole seconds, unless it says otherwise.

-- One row for each global transaction.
CREATE TABLE IF NOT EXISTS trans_global (
  id bigint NOT NULL AUTO_INCREMENT,
  gid varchar(128) NOT NULL,                  -- named by the client; compares without regard to case
  trans_type varchar(45) NOT NULL,            -- saga, msg, tcc, xa, workflow
  status varchar(12) NOT NULL,                -- prepared, submitted, aborting, succeed, failed
  query_prepared varchar(1024) NOT NULL,      -- url that is asked whether a message is to be sent
  protocol varchar(45) NOT NULL,              -- http, grpc, json-rpc
  create_time datetime DEFAULT NULL,
  update_time datetime DEFAULT NULL,
  finish_time datetime DEFAULT NULL,          -- of success
  rollback_time datetime DEFAULT NULL,        -- of failure
  options varchar(1024) DEFAULT '',           -- JSON of the client's options
  custom_data varchar(1024) DEFAULT '',       -- depends on trans_type
  next_cron_interval int DEFAULT NULL,        -- seconds; grows while a branch gives no result
  next_cron_time datetime DEFAULT NULL,       -- unfinished after this: any coordinator may take it over
  owner varchar(128) NOT NULL DEFAULT '',     -- token of who drives it now; empty when nobody does
  ext_data text,
  result varchar(1024) DEFAULT '',
  rollback_reason varchar(1024) DEFAULT '',
  PRIMARY KEY (id),
  UNIQUE KEY trans_global_gid (gid),
  KEY trans_global_owner (owner),             -- what did my earlier self hold?
  KEY trans_global_status_next_cron_time (status, next_cron_time)  -- what is due?
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row for each call that may have to be made.
CREATE TABLE IF NOT EXISTS trans_branch_op (
  id bigint NOT NULL AUTO_INCREMENT,          -- order of registration
  gid varchar(128) NOT NULL,
  url varchar(1024) NOT NULL,                 -- empty: nothing to call, counts as success
  data text,                                  -- payload as text, by older coordinators; read where bin_data is empty
  bin_data blob,                              -- payload
  branch_id varchar(128) NOT NULL,            -- 01, 02, ...
  op varchar(45) NOT NULL,                    -- action, compensate, confirm, ...
  status varchar(45) NOT NULL,                -- prepared, succeed, failed
  finish_time datetime DEFAULT NULL,          -- of the result
  rollback_time datetime DEFAULT NULL,
  create_time datetime DEFAULT NULL,
  update_time datetime DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY trans_branch_op_gid_branch_id_op (gid, branch_id, op)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Topics and other small things, by category.
CREATE TABLE IF NOT EXISTS kv (
  id bigint NOT NULL AUTO_INCREMENT,
  cat varchar(45) NOT NULL,
  k varchar(128) NOT NULL,
  v text,
  version bigint DEFAULT 0,                   -- compared and raised by every change
  create_time datetime DEFAULT NULL,
  update_time datetime DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY kv_cat_k (cat, k)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row for each coordinator that runs, ours alone. Without the table coordinators work all the same, but
-- nobody compares their settings. Its times are the database's, in UTC whatever TimeZoneOffset says.
CREATE TABLE IF NOT EXISTS dtm_node (
  name varchar(64) COLLATE utf8mb4_bin NOT NULL,  -- InstanceName
  token varchar(45) NOT NULL,                 -- tells one start from another
  address varchar(1024) NOT NULL,             -- host:port of HTTP, for people
  version varchar(45) NOT NULL,
  settings varchar(1024) NOT NULL,            -- JSON of those that must agree
  started datetime NOT NULL,
  last_seen datetime NOT NULL,                -- written every few seconds
  PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Tokens by which callers are known, as SHA-256; needed where Access.Mode is not off. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_token (
  id varchar(45) NOT NULL,
  hash varchar(64) NOT NULL,
  name varchar(128) NOT NULL,
  role varchar(45) NOT NULL,
  gid_prefix varchar(128) NOT NULL,
  made datetime NOT NULL,
  expires datetime NOT NULL,
  revoked datetime DEFAULT NULL,
  last_used datetime DEFAULT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- People who log in to the console; the password is Argon2id's text of it. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_user (
  name varchar(64) NOT NULL,
  password varchar(255) NOT NULL,
  role varchar(45) NOT NULL,
  made datetime NOT NULL,
  changed datetime NOT NULL,
  disabled datetime DEFAULT NULL,
  last_login datetime DEFAULT NULL,
  PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Who is logged in; what their browsers hold is stored as SHA-256. Rows are kept until they expire. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_session (
  hash varchar(64) NOT NULL,
  login varchar(64) NOT NULL,
  name varchar(128) NOT NULL,
  method varchar(45) NOT NULL,
  issuer varchar(255) NOT NULL,
  subject varchar(255) NOT NULL,
  role varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  made datetime NOT NULL,
  expires datetime NOT NULL,
  last_used datetime NOT NULL,
  ended datetime DEFAULT NULL,
  PRIMARY KEY (hash),
  UNIQUE KEY dtm_session_login (login),
  KEY dtm_session_subject (subject),
  KEY dtm_session_expires (expires)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Who changed what, and what was refused. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_audit (
  id bigint NOT NULL AUTO_INCREMENT,
  at datetime NOT NULL,
  who varchar(128) NOT NULL,
  method varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  coordinator varchar(128) NOT NULL,
  action varchar(45) NOT NULL,
  target varchar(1024) NOT NULL,
  reason varchar(1024) NOT NULL,
  was varchar(1024) NOT NULL,
  became varchar(1024) NOT NULL,
  outcome varchar(1024) NOT NULL,
  PRIMARY KEY (id),
  KEY dtm_audit_at (at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

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
  began datetime NOT NULL,           -- of the first of equal calls that followed each other
  last datetime NOT NULL,            -- when the latest of them that was noted ended
  milliseconds bigint NOT NULL,      -- that it took
  times int NOT NULL,                -- equal calls that were noted
  PRIMARY KEY (gid, branch_id, op, place)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

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
  since datetime NOT NULL,
  PRIMARY KEY (gid),
  KEY dtm_stuck_cause (endpoint, op, fingerprint, since),
  KEY dtm_stuck_since (since)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- An action asked of many transactions: one row for each. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk (
  id bigint NOT NULL AUTO_INCREMENT,
  action varchar(45) NOT NULL,       -- retry, rollback, stop
  wanted varchar(1024) NOT NULL,     -- the filter
  id_max bigint NOT NULL,            -- the newest transaction that it could find
  items int NOT NULL,                -- how many it found
  rate int NOT NULL,                 -- of them a second
  reason varchar(1024) NOT NULL,
  who varchar(128) NOT NULL,         -- asked for it
  method varchar(45) NOT NULL,
  address varchar(128) NOT NULL,
  gid_prefix varchar(128) NOT NULL,  -- of the gids that are theirs
  needs varchar(45) NOT NULL,        -- the permission
  source bigint,                     -- the one whose failed items these are
  state varchar(12) NOT NULL,        -- making, running, paused, done, cancelled
  owner varchar(128) NOT NULL,       -- which run of which coordinator works on it
  until datetime NOT NULL,           -- after this any other may; by the database's clock
  passed int NOT NULL,               -- all items up to this number have a result
  done int NOT NULL,                 -- of the results, as last counted
  not_eligible int NOT NULL,
  refused int NOT NULL,
  failed int NOT NULL,
  made datetime NOT NULL,
  ended datetime,
  PRIMARY KEY (id),
  KEY dtm_bulk_state (state)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- The transactions that it is asked of, fixed before it begins.
CREATE TABLE IF NOT EXISTS dtm_bulk_item (
  bulk bigint NOT NULL,
  number int NOT NULL,       -- counts from 1
  gid varchar(128) NOT NULL,
  trans_id bigint NOT NULL,  -- its id in trans_global
  PRIMARY KEY (bulk, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- How it went with each: written in the commit of the action itself. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk_result (
  bulk bigint NOT NULL,
  number int NOT NULL,
  result varchar(12) NOT NULL, -- done, not_eligible, refused, failed
  said varchar(255) NOT NULL,  -- why, where it was not done
  at datetime NOT NULL,
  PRIMARY KEY (bulk, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- What coordinators share of the store's upkeep: who does it now, and what is known of the tables. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_shared (
  name varchar(45) NOT NULL,         -- tables, purge, census
  holder varchar(128) NOT NULL,      -- the coordinator that does it until then
  held_until datetime NOT NULL,
  value varchar(1024) NOT NULL,      -- JSON
  changed datetime NOT NULL,         -- when the value was written
  PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Endpoints to which nothing is to be called for a while, on an operator's word. Times are UTC.
CREATE TABLE IF NOT EXISTS dtm_hold (
  endpoint varchar(255) COLLATE utf8mb4_bin NOT NULL,  -- scheme, host and port, or gRPC target
  reason varchar(1024) NOT NULL,
  who varchar(128) NOT NULL,
  since datetime NOT NULL,
  until datetime NOT NULL,                    -- over after this, without anybody's doing
  PRIMARY KEY (endpoint)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- What steps answered that keep their result (keep_result): written in the commit of their success. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_result (
  gid varchar(128) NOT NULL,
  branch_id varchar(128) NOT NULL,
  content blob NOT NULL,   -- at most 16,384 bytes
  at datetime NOT NULL,
  PRIMARY KEY (gid, branch_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
