"""The throw-away servers keep their data over a crash and leave nothing behind."""

import contextlib
import urllib.request

import psycopg
import pymysql
import pytest

from tests.support.servers import Database, EtcdServer, MariaDBServer, PostgresServer


def test_mariadb_keeps_what_was_committed_before_a_kill(mariadb: MariaDBServer):
    database = mariadb.create_database(schema="CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
    mariadb.kill()
    with pytest.raises(pymysql.err.OperationalError):
        database.execute("SELECT 1")
    mariadb.start()
    assert database.execute("SELECT id FROM t WHERE id = %s", [7]) == [(7,)]


def test_postgres_keeps_what_was_committed_before_a_kill(postgres: PostgresServer):
    database = postgres.create_database(
        schema="CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)"
    )
    postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        database.execute("SELECT 1")
    postgres.start()
    assert database.execute("SELECT id FROM t WHERE id = %s", [7]) == [(7,)]
    postgres.drop_database(database.name)


def test_a_frozen_postgres_answers_again(postgres: PostgresServer):
    with contextlib.closing(postgres.database().connect()) as connection:
        postgres.freeze()
        with (
            pytest.raises(psycopg.OperationalError),
            psycopg.connect(host=postgres.host, port=postgres.port, user="root", connect_timeout=2),
        ):
            pass
        postgres.go_on()
        assert connection.execute("SELECT 7").fetchone() == (7,)


def test_a_server_that_a_test_left_stopped_runs_for_the_next(mariadb: MariaDBServer, etcd: EtcdServer):
    assert mariadb.is_running
    assert etcd.is_running
    mariadb.stop()
    etcd.stop()


def test_each_test_gets_an_empty_database(mariadb_database: Database):
    assert mariadb_database.execute("SHOW TABLES") == []


def test_etcd_answers_again_after_a_kill(etcd: EtcdServer):
    etcd.kill()
    etcd.start()
    with urllib.request.urlopen(f"http://{etcd.endpoint}/health", timeout=5) as answer:
        assert b"true" in answer.read()


def test_a_closed_server_leaves_no_folder():
    with EtcdServer() as server:
        folder = server.folder
        assert folder.exists()
    assert not folder.exists()
