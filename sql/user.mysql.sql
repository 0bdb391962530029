-- The user service's table (MySQL, MariaDB, TiDB), in the database that its DataSource names.
CREATE TABLE IF NOT EXISTS user (
  id          bigint       NOT NULL COMMENT 'made by the caller before the transaction starts',
  name        varchar(255) NOT NULL,
  gender      varchar(32)  NOT NULL DEFAULT '',
  create_time datetime     NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time datetime     NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
