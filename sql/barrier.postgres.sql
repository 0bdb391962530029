-- The barrier of a business database (PostgreSQL): one row for each operation of a branch that was called.
-- Run once in each business database; services write to it inside their own local transactions.
-- The constraint keeps its name: Go clients insert "ON CONFLICT ON CONSTRAINT uniq_barrier".
CREATE SCHEMA IF NOT EXISTS dtm_barrier;

CREATE TABLE IF NOT EXISTS dtm_barrier.barrier (
  id bigserial PRIMARY KEY,
  trans_type varchar(45) NOT NULL DEFAULT '',
  gid varchar(128) NOT NULL DEFAULT '',
  branch_id varchar(128) NOT NULL DEFAULT '',
  op varchar(45) NOT NULL DEFAULT '',
  barrier_id varchar(45) NOT NULL DEFAULT '',
  reason varchar(45) NOT NULL DEFAULT '',     -- the operation that inserted this row
  create_time timestamp(0) with time zone NOT NULL DEFAULT now(),
  update_time timestamp(0) with time zone NOT NULL DEFAULT now(),
  CONSTRAINT uniq_barrier UNIQUE (gid, branch_id, op, barrier_id)
);
CREATE INDEX IF NOT EXISTS barrier_create_time ON dtm_barrier.barrier (create_time);
