-- The score service's table (MySQL, MariaDB, TiDB), in the database that its DataSource names.
CREATE TABLE IF NOT EXISTS user_score (
  user_id     bigint   NOT NULL,
  score       int      NOT NULL DEFAULT 0,
  create_time datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time datetime NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
