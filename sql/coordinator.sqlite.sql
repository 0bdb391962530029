-- The coordinator's tables for SQLite.
--
-- The coordinator makes them by itself when they are absent; this file is for those who want to look.
-- Times are text, 'YYYY-MM-DD HH:MM:SS', wall clock in TimeZoneOffset. Columns mean what they mean in
-- coordinator.mysql.sql. gid compares without regard to (ASCII) case, as it does in MySQL.

CREATE TABLE IF NOT EXISTS trans_global (
  id INTEGER NOT NULL PRIMARY KEY,
  gid VARCHAR(128) COLLATE NOCASE NOT NULL CONSTRAINT trans_global_gid UNIQUE,
  trans_type VARCHAR(45) NOT NULL,
  status VARCHAR(12) NOT NULL,
  query_prepared VARCHAR(1024) NOT NULL,
  protocol VARCHAR(45) NOT NULL,
  create_time TEXT,
  update_time TEXT,
  finish_time TEXT,
  rollback_time TEXT,
  options VARCHAR(1024) DEFAULT '',
  custom_data VARCHAR(1024) DEFAULT '',
  next_cron_interval INTEGER,
  next_cron_time TEXT,
  owner VARCHAR(128) DEFAULT '' NOT NULL,
  ext_data TEXT,
  result VARCHAR(1024) DEFAULT '',
  rollback_reason VARCHAR(1024) DEFAULT ''
);
CREATE INDEX IF NOT EXISTS trans_global_owner ON trans_global (owner);
CREATE INDEX IF NOT EXISTS trans_global_status_next_cron_time ON trans_global (status, next_cron_time);

CREATE TABLE IF NOT EXISTS trans_branch_op (
  id INTEGER NOT NULL PRIMARY KEY,
  gid VARCHAR(128) COLLATE NOCASE NOT NULL,
  url VARCHAR(1024) NOT NULL,
  data TEXT,
  bin_data BLOB,
  branch_id VARCHAR(128) NOT NULL,
  op VARCHAR(45) NOT NULL,
  status VARCHAR(45) NOT NULL,
  finish_time TEXT,
  rollback_time TEXT,
  create_time TEXT,
  update_time TEXT,
  CONSTRAINT trans_branch_op_gid_branch_id_op UNIQUE (gid, branch_id, op)
);

CREATE TABLE IF NOT EXISTS kv (
  id INTEGER NOT NULL PRIMARY KEY,
  cat VARCHAR(45) NOT NULL,
  k VARCHAR(128) NOT NULL,
  v TEXT,
  version BIGINT DEFAULT '0',
  create_time TEXT,
  update_time TEXT,
  CONSTRAINT kv_cat_k UNIQUE (cat, k)
);

-- The coordinator that runs; its times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_node (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  token VARCHAR(45) NOT NULL,
  address VARCHAR(1024) NOT NULL,
  version VARCHAR(45) NOT NULL,
  settings VARCHAR(1024) NOT NULL,
  started TEXT NOT NULL,
  last_seen TEXT NOT NULL
);

-- Tokens by which callers are known, as SHA-256; needed where Access.Mode is not off. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_token (
  id VARCHAR(45) NOT NULL PRIMARY KEY,
  hash VARCHAR(64) NOT NULL,
  name VARCHAR(128) NOT NULL,
  role VARCHAR(45) NOT NULL,
  gid_prefix VARCHAR(128) NOT NULL,
  made TEXT NOT NULL,
  expires TEXT NOT NULL,
  revoked TEXT,
  last_used TEXT
);

-- People who log in to the console; the password is Argon2id's text of it. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_user (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  password VARCHAR(255) NOT NULL,
  role VARCHAR(45) NOT NULL,
  made TEXT NOT NULL,
  changed TEXT NOT NULL,
  disabled TEXT,
  last_login TEXT
);

-- Who is logged in; what their browsers hold is stored as SHA-256. Rows are kept until they expire. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_session (
  hash VARCHAR(64) NOT NULL PRIMARY KEY,
  login VARCHAR(64) NOT NULL,
  name VARCHAR(128) NOT NULL,
  method VARCHAR(45) NOT NULL,
  issuer VARCHAR(255) NOT NULL,
  subject VARCHAR(255) NOT NULL,
  role VARCHAR(45) NOT NULL,
  address VARCHAR(128) NOT NULL,
  made TEXT NOT NULL,
  expires TEXT NOT NULL,
  last_used TEXT NOT NULL,
  ended TEXT,
  CONSTRAINT dtm_session_login UNIQUE (login)
);
CREATE INDEX IF NOT EXISTS dtm_session_subject ON dtm_session (subject);
CREATE INDEX IF NOT EXISTS dtm_session_expires ON dtm_session (expires);

-- Who changed what, and what was refused. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_audit (
  id INTEGER NOT NULL PRIMARY KEY,
  at TEXT NOT NULL,
  who VARCHAR(128) NOT NULL,
  method VARCHAR(45) NOT NULL,
  address VARCHAR(128) NOT NULL,
  coordinator VARCHAR(128) NOT NULL,
  action VARCHAR(45) NOT NULL,
  target VARCHAR(1024) NOT NULL,
  reason VARCHAR(1024) NOT NULL,
  was VARCHAR(1024) NOT NULL,
  became VARCHAR(1024) NOT NULL,
  outcome VARCHAR(1024) NOT NULL
);
CREATE INDEX IF NOT EXISTS dtm_audit_at ON dtm_audit (at);

-- What did not go well: of each branch and op the first three attempts and the last seventeen; a place is taken
-- again. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_attempt (
  gid VARCHAR(128) COLLATE NOCASE NOT NULL,
  branch_id VARCHAR(128) NOT NULL,
  op VARCHAR(45) NOT NULL,
  place INTEGER NOT NULL,
  number INTEGER NOT NULL,
  result VARCHAR(45) NOT NULL,
  kind VARCHAR(45) NOT NULL,
  status INTEGER,
  url VARCHAR(1024) NOT NULL,
  endpoint VARCHAR(255) NOT NULL,
  answer VARCHAR(2048) NOT NULL,
  fingerprint VARCHAR(160) NOT NULL,
  coordinator VARCHAR(128) NOT NULL,
  began TEXT NOT NULL,
  last TEXT NOT NULL,
  milliseconds BIGINT NOT NULL,
  times INTEGER NOT NULL,
  PRIMARY KEY (gid, branch_id, op, place)
);

-- Unfinished transactions whose last round was held up by a branch. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_stuck (
  gid VARCHAR(128) COLLATE NOCASE NOT NULL,
  trans_type VARCHAR(45) NOT NULL,
  status VARCHAR(12) NOT NULL,
  branch_id VARCHAR(128) NOT NULL,
  op VARCHAR(45) NOT NULL,
  endpoint VARCHAR(255) NOT NULL,
  kind VARCHAR(45) NOT NULL,
  fingerprint VARCHAR(160) NOT NULL,
  error VARCHAR(1024) NOT NULL,
  coordinator VARCHAR(128) NOT NULL,
  since TEXT NOT NULL,
  PRIMARY KEY (gid)
);
CREATE INDEX IF NOT EXISTS dtm_stuck_cause ON dtm_stuck (endpoint, op, fingerprint, since);
CREATE INDEX IF NOT EXISTS dtm_stuck_since ON dtm_stuck (since);

-- An action asked of many transactions: one row for each. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk (
  id INTEGER NOT NULL,
  action VARCHAR(45) NOT NULL,
  wanted VARCHAR(1024) NOT NULL,
  id_max BIGINT NOT NULL,
  items INTEGER NOT NULL,
  rate INTEGER NOT NULL,
  reason VARCHAR(1024) NOT NULL,
  who VARCHAR(128) NOT NULL,
  method VARCHAR(45) NOT NULL,
  address VARCHAR(128) NOT NULL,
  gid_prefix VARCHAR(128) NOT NULL,
  needs VARCHAR(45) NOT NULL,
  source BIGINT,
  state VARCHAR(12) NOT NULL,
  owner VARCHAR(128) NOT NULL,
  until TEXT NOT NULL,
  passed INTEGER NOT NULL,
  done INTEGER NOT NULL,
  not_eligible INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  made TEXT NOT NULL,
  ended TEXT,
  PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS dtm_bulk_state ON dtm_bulk (state);

-- The transactions that it is asked of, fixed before it begins.
CREATE TABLE IF NOT EXISTS dtm_bulk_item (
  bulk BIGINT NOT NULL,
  number INTEGER NOT NULL,
  gid VARCHAR(128) COLLATE NOCASE NOT NULL,
  trans_id BIGINT NOT NULL,
  PRIMARY KEY (bulk, number)
);

-- How it went with each: written in the commit of the action itself. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_bulk_result (
  bulk BIGINT NOT NULL,
  number INTEGER NOT NULL,
  result VARCHAR(12) NOT NULL,
  said VARCHAR(255) NOT NULL,
  at TEXT NOT NULL,
  PRIMARY KEY (bulk, number)
);

-- What coordinators share of the store's upkeep: who does it now, and what is known of the tables. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_shared (
  name VARCHAR(45) NOT NULL,
  holder VARCHAR(128) NOT NULL,
  held_until TEXT NOT NULL,
  value VARCHAR(1024) NOT NULL,
  changed TEXT NOT NULL,
  PRIMARY KEY (name)
);

-- Endpoints to which nothing is to be called for a while, on an operator's word. Times are UTC.
CREATE TABLE IF NOT EXISTS dtm_hold (
  endpoint VARCHAR(255) NOT NULL PRIMARY KEY,
  reason VARCHAR(1024) NOT NULL,
  who VARCHAR(128) NOT NULL,
  since TEXT NOT NULL,
  until TEXT NOT NULL
);

-- What steps answered that keep their result (keep_result): written in the commit of their success. Times are in UTC.
CREATE TABLE IF NOT EXISTS dtm_result (
  gid VARCHAR(128) NOT NULL COLLATE NOCASE,
  branch_id VARCHAR(128) NOT NULL,
  content BLOB NOT NULL,   -- at most 16,384 bytes
  at TEXT NOT NULL,
  PRIMARY KEY (gid, branch_id)
);
