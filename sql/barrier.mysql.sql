-- The barrier of a business database (MySQL, MariaDB, TiDB): one row for each operation of a branch that was called.
-- Run once per database server; services write to it inside their own local transactions.
-- The names compare byte by byte: two gids that differ only in their case are two transactions.
CREATE DATABASE IF NOT EXISTS dtm_barrier CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS dtm_barrier.barrier (
  id          bigint       NOT NULL AUTO_INCREMENT,
  trans_type  varchar(45)  NOT NULL DEFAULT '',
  gid         varchar(128) NOT NULL DEFAULT '',
  branch_id   varchar(128) NOT NULL DEFAULT '',
  op          varchar(45)  NOT NULL DEFAULT '',
  barrier_id  varchar(45)  NOT NULL DEFAULT '',
  reason      varchar(45)  NOT NULL DEFAULT '' COMMENT 'the operation that inserted this row',
  create_time datetime     NOT NULL DEFAULT CURRENT_TIMESTAMP,
  update_time datetime     NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (id),
  UNIQUE KEY gid_branch_op_barrier (gid, branch_id, op, barrier_id),
  KEY create_time (create_time)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
