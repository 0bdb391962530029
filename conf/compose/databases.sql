-- The coordinator's database; it makes its tables itself. The branches' tables are in `business`.
CREATE DATABASE IF NOT EXISTS dtm CHARACTER SET utf8mb4;
