package main

import (
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/go-resty/resty/v2"
	"google.golang.org/protobuf/types/known/emptypb"
)

func init() {
	for _, store := range []string{"mysql", "postgres"} {
		add("xa: "+store, func(r *testRun) { xaSucceeds(r, store) }, store)
		add("xa: "+store+", rolled back", func(r *testRun) { xaRolledBack(r, store) }, store)
		add("xa: "+store+", commit unknown, retried", func(r *testRun) { xaCommitLost(r, store) }, store)
	}
}

// xaTransfer moves 30 by two local XA transactions.
func (r *testRun) xaTransfer(store, from, to string) error {
	method := "Local" + strings.ToUpper(store[:1]) + store[1:]
	orders := []order{{Account: from, Amount: -30}, {Account: to, Amount: 30}}
	if r.protocol == "grpc" {
		return dtmgrpc.XaGlobalTransaction2(r.server(), r.gid, func(it *dtmgrpc.XaGrpc) { it.WaitResult = true },
			func(it *dtmgrpc.XaGrpc) error {
				for _, payload := range orders {
					if err := it.CallBranch(payload.message(), r.url(method), &emptypb.Empty{}); err != nil {
						return dtmgrpc.GrpcError2DtmError(err)
					}
				}
				return nil
			})
	}
	return dtmcli.XaGlobalTransaction2(r.server(), r.gid, func(it *dtmcli.Xa) { it.WaitResult = true },
		func(it *dtmcli.Xa) (response *resty.Response, err error) {
			for _, payload := range orders {
				if response, err = it.CallBranch(payload, r.url(method)); err != nil {
					return
				}
			}
			return
		})
}

// nothingPrepared checks that no branch of this transaction still holds its locks.
func (r *testRun) nothingPrepared(store string) {
	ledger := r.bank.ledgers[store].(*sqlLedger)
	statement := "XA RECOVER"
	if store == "postgres" {
		statement = "SELECT gid FROM pg_prepared_xacts"
	}
	rows, err := ledger.db.Query(statement)
	must(err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(err)
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(string)
		}
		must(rows.Scan(values...))
		name := *values[len(values)-1].(*string)
		check(!strings.Contains(name, r.gid), "still prepared: %s", name)
	}
	must(rows.Err())
}

func xaSucceeds(r *testRun, store string) {
	from, to := r.open(store, "from"), r.open(store, "to")
	succeeds(r.xaTransfer(store, from, to))
	r.ends("succeed", "01 rollback prepared, 01 commit succeed, 02 rollback prepared, 02 commit succeed")
	r.wasCalled("01 action, 02 action, 01 commit, 02 commit")
	r.has(store, from, 70)
	r.has(store, to, 130)
	r.nothingPrepared(store)
}

func xaRolledBack(r *testRun, store string) {
	from, to := r.open(store, "from"), r.open(store, "to")
	r.script("02 action", refuse)
	err := r.xaTransfer(store, from, to)
	check(errors.Is(err, dtmcli.ErrFailure), "%v is not ErrFailure", err)
	r.ends("failed", "01 rollback succeed, 01 commit prepared")
	r.wasCalled("01 action, 02 action, 01 rollback")
	r.has(store, from, 100)
	r.has(store, to, 100)
	r.nothingPrepared(store)
}

func xaCommitLost(r *testRun, store string) {
	from, to := r.open(store, "from"), r.open(store, "to")
	r.script("01 commit", lost)
	err := r.xaTransfer(store, from, to)
	check(err != nil, "a commit's answer was lost, and submit says nothing")
	r.endsNudged("succeed", "01 rollback prepared, 01 commit succeed, 02 rollback prepared, 02 commit succeed")
	calls := r.bank.calls(r.gid)
	check(strings.Count(calls, "01 commit") == 2, "branch calls: %s", calls)
	r.has(store, from, 70)
	r.has(store, to, 130)
	r.nothingPrepared(store)
}

// detachment waits, after a local XA transaction, until MySQL has noticed that its connection is closed. Before that
// XA COMMIT from another connection says XAER_NOTA, which this client takes for "committed already" and never repeats;
// and in the moment before MariaDB's storage engine has noticed as well, it is confirmed and lost.
type detachment struct {
	ledger     *sqlLedger
	connection int64
}

// noteConnection is called with the connection inside the transaction.
func (d *detachment) noteConnection(db *sql.DB) error {
	if d.ledger.kind != "mysql" { // PostgreSQL detaches when it prepares
		return nil
	}
	return db.QueryRow("SELECT CONNECTION_ID()").Scan(&d.connection)
}

func (d *detachment) wait() {
	for begun := time.Now(); d.connection != 0 && time.Since(begun) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		var still int
		query := "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?"
		must(d.ledger.db.QueryRow(query, d.connection).Scan(&still))
		if still == 0 {
			time.Sleep(5 * time.Millisecond)
			return
		}
	}
}
