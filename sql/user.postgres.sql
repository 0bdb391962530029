-- The user service's table (PostgreSQL). `user` is a reserved word there: statements have to quote it.
CREATE TABLE IF NOT EXISTS "user" (
  id bigint PRIMARY KEY,                      -- made by the caller before the transaction starts
  name varchar(255) NOT NULL,
  gender varchar(32) NOT NULL DEFAULT '',
  create_time timestamp(0) with time zone NOT NULL DEFAULT now(),
  update_time timestamp(0) with time zone NOT NULL DEFAULT now()
);
