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
