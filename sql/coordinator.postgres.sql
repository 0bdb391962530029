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
