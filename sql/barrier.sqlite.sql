-- The barrier of a business database (SQLite), in the same file as the business tables: one commit holds both.
CREATE TABLE IF NOT EXISTS barrier (
  id          integer PRIMARY KEY AUTOINCREMENT,
  trans_type  text NOT NULL DEFAULT '',
  gid         text NOT NULL DEFAULT '',
  branch_id   text NOT NULL DEFAULT '',
  op          text NOT NULL DEFAULT '',
  barrier_id  text NOT NULL DEFAULT '',
  reason      text NOT NULL DEFAULT '', -- the operation that inserted this row
  create_time text NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time text NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE (gid, branch_id, op, barrier_id)
);

CREATE INDEX IF NOT EXISTS barrier_create_time ON barrier (create_time);
