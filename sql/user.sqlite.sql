-- The user service's table (SQLite).
CREATE TABLE IF NOT EXISTS user (
  id          integer PRIMARY KEY, -- made by the caller before the transaction starts
  name        text NOT NULL,
  gender      text NOT NULL DEFAULT '',
  create_time text NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time text NOT NULL DEFAULT CURRENT_TIMESTAMP
);
