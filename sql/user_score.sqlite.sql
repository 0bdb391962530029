-- The score service's table (SQLite).
CREATE TABLE IF NOT EXISTS user_score (
  user_id     integer PRIMARY KEY,
  score       integer NOT NULL DEFAULT 0,
  create_time text NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time text NOT NULL DEFAULT CURRENT_TIMESTAMP
);
