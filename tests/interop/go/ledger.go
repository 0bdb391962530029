package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/go-redis/redis/v8"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq"
)

// ledger keeps accounts in one store. Every change goes through the client's barrier.
type ledger interface {
	open(account string, balance int)
	balance(account string) (free, held int)
	move(barrier *dtmcli.BranchBarrier, account string, amount int) error
	queryPrepared(barrier *dtmcli.BranchBarrier) error
}

// sqlLedger has a table account(name, balance, held).
type sqlLedger struct {
	db   *sql.DB
	kind string
}

func newSQLLedger(configuration dtmcli.DBConf) *sqlLedger {
	db, err := dtmimp.PooledDB(configuration)
	must(err)
	return &sqlLedger{db: db, kind: configuration.Driver}
}

// text numbers the question marks for PostgreSQL.
func (l *sqlLedger) text(statement string) string {
	return dtmimp.GetDBSpecial(l.kind).GetPlaceHoldSQL(statement)
}

func (l *sqlLedger) open(account string, balance int) {
	_, err := l.db.Exec(l.text("INSERT INTO account (name, balance, held) VALUES (?, ?, 0)"), account, balance)
	must(err)
}

func (l *sqlLedger) balance(account string) (free, held int) {
	row := l.db.QueryRow(l.text("SELECT balance, held FROM account WHERE name = ?"), account)
	must(row.Scan(&free, &held))
	return
}

func (l *sqlLedger) guarded(barrier *dtmcli.BranchBarrier, change func(*sql.Tx) error) error {
	barrier.DBType = l.kind
	return barrier.CallWithDB(l.db, change)
}

func (l *sqlLedger) move(barrier *dtmcli.BranchBarrier, account string, amount int) error {
	return l.guarded(barrier, func(tx *sql.Tx) error { return l.change(tx, account, amount) })
}

func (l *sqlLedger) change(tx dtmcli.DB, account string, amount int) error {
	return l.oneRow(tx, "UPDATE account SET balance = balance + ? WHERE name = ? AND balance + ? >= 0", amount, account, amount)
}

// hold, settle and release are the three steps of a TCC branch.
func (l *sqlLedger) hold(tx *sql.Tx, account string, amount int) error {
	return l.oneRow(tx, "UPDATE account SET held = held + ? WHERE name = ? AND balance + held + ? >= 0", amount, account, amount)
}

func (l *sqlLedger) settle(tx *sql.Tx, account string, amount int) error {
	return l.oneRow(tx, "UPDATE account SET balance = balance + ?, held = held - ? WHERE name = ?", amount, amount, account)
}

func (l *sqlLedger) release(tx *sql.Tx, account string, amount int) error {
	return l.oneRow(tx, "UPDATE account SET held = held - ? WHERE name = ?", amount, account)
}

func (l *sqlLedger) oneRow(tx dtmcli.DB, statement string, values ...any) error {
	result, err := tx.Exec(l.text(statement), values...)
	if err != nil {
		return err
	}
	if changed, err := result.RowsAffected(); err != nil || changed != 1 {
		return fmt.Errorf("not enough money: %w", dtmcli.ErrFailure)
	}
	return nil
}

func (l *sqlLedger) queryPrepared(barrier *dtmcli.BranchBarrier) error {
	barrier.DBType = l.kind
	return barrier.QueryPrepared(l.db)
}

// barriers lists what the barrier holds of a transaction, as "branch op reason".
func (l *sqlLedger) barriers(gid string) string {
	rows, err := l.db.Query(l.text("SELECT branch_id, op, reason FROM dtm_barrier.barrier WHERE gid = ? ORDER BY id"), gid)
	must(err)
	defer rows.Close()
	var found []string
	for rows.Next() {
		var branch, op, reason string
		must(rows.Scan(&branch, &op, &reason))
		found = append(found, fmt.Sprintf("%s %s %s", branch, op, reason))
	}
	must(rows.Err())
	return strings.Join(found, ", ")
}

// redisLedger keeps one number for each account.
type redisLedger struct{ client *redis.Client }

const barrierSeconds = 600

func newRedisLedger(address string) *redisLedger {
	return &redisLedger{client: redis.NewClient(&redis.Options{Addr: address})}
}

func (l *redisLedger) open(account string, balance int) {
	must(l.client.Set(context.Background(), account, balance, 0).Err())
}

func (l *redisLedger) balance(account string) (free, held int) {
	free, err := l.client.Get(context.Background(), account).Int()
	must(err)
	return free, 0
}

func (l *redisLedger) move(barrier *dtmcli.BranchBarrier, account string, amount int) error {
	return barrier.RedisCheckAdjustAmount(l.client, account, amount, barrierSeconds)
}

func (l *redisLedger) queryPrepared(barrier *dtmcli.BranchBarrier) error {
	return barrier.RedisQueryPrepared(l.client, barrierSeconds)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
