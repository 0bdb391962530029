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
