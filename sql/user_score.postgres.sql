-- The score service's table (PostgreSQL).
CREATE TABLE IF NOT EXISTS user_score (
  user_id bigint PRIMARY KEY,
  score int NOT NULL DEFAULT 0,
  create_time timestamp(0) with time zone NOT NULL DEFAULT now(),
  update_time timestamp(0) with time zone NOT NULL DEFAULT now()
);
