package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

func init() {
	add("workflow: saga steps", workflowSaga)
	add("workflow: saga steps, rolled back", workflowSagaRefused)
	add("workflow: tcc steps", workflowTcc)
	add("workflow: tcc steps, rolled back", workflowTccRefused)
	add("workflow: xa steps", workflowXa)
	add("workflow: xa steps, rolled back", workflowXaRefused)
	add("workflow: executed again, answers from what is stored", workflowTwice)
	add("workflow: a step is ongoing, called back", workflowOngoing)
}

// plan is the data of every workflow: 30 from one account to another, by way of the bank.
type plan struct {
	Bank   string `json:"bank"` // address
	From   string `json:"from"`
	To     string `json:"to"`
	Middle string `json:"middle,omitempty"` // an account that a local XA step takes 5 from
	Die    bool   `json:"die,omitempty"`    // the process ends in the middle, the first time
}

func (p plan) withdrawal() order { return order{Store: "mysql", Account: p.From, Amount: -30} }
func (p plan) deposit() order    { return order{Store: "mysql", Account: p.To, Amount: 30} }

// workflows is one protocol's workflow client: the library has one for the whole process.
type workflows struct {
	bank *bank // for its ledgers; the bank that is called is the plan's
}

// step calls the bank from inside a workflow; the library records the result.
func (ws *workflows) step(w *workflow.Workflow, p plan, method string, payload order) error {
	if ws.bank.protocol != "grpc" {
		_, err := w.NewRequest().SetBody(payload).Post("http://" + p.Bank + bankService + method)
		return err
	}
	connection, err := grpc.Dial(p.Bank, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(workflow.Interceptor))
	must(err)
	defer connection.Close()
	return connection.Invoke(w.Context, bankService+method, payload.message(), &emptypb.Empty{})
}

// movement is a branch with a compensation.
func (ws *workflows) movement(w *workflow.Workflow, p plan, payload order) error {
	w.NewBranch().OnRollback(func(*dtmcli.BranchBarrier) error { return ws.step(w, p, "Move", payload) })
	return ws.step(w, p, "Move", payload)
}

// holding is a branch with try, confirm and cancel.
func (ws *workflows) holding(w *workflow.Workflow, p plan, payload order) error {
	w.NewBranch().OnFinish(func(*dtmcli.BranchBarrier, bool) error { return ws.step(w, p, "Hold", payload) })
	return ws.step(w, p, "Hold", payload)
}

// local is an XA branch in the workflow's own process.
func (ws *workflows) local(w *workflow.Workflow, account string, amount int) error {
	accounts := ws.bank.ledgers["mysql"].(*sqlLedger)
	detached := detachment{ledger: accounts}
	defer detached.wait()
	_, err := w.NewBranch().DoXa(ws.bank.environment.database("mysql"), func(db *sql.DB) ([]byte, error) {
		if err := detached.noteConnection(db); err != nil {
			return nil, err
		}
		return nil, accounts.change(db, account, amount)
	})
	return err
}

// startWorkflows tells the library of all workflows, and of where it is called back.
func startWorkflows(b *bank) {
	if b.protocol == "grpc" {
		workflow.InitGrpc(b.environment.grpc, b.address, b.server)
	} else {
		workflow.InitHTTP(b.environment.api(), "http://"+b.address+"/workflow")
	}
	ws := &workflows{bank: b}
	register := func(name string, steps ...func(*workflow.Workflow, plan) error) {
		must(workflow.Register2(name, func(w *workflow.Workflow, data []byte) ([]byte, error) {
			var p plan
			if err := json.Unmarshal(data, &p); err != nil {
				return nil, err
			}
			for _, step := range steps {
				if err := step(w, p); err != nil {
					return nil, err
				}
			}
			return []byte("moved for " + w.Gid), nil
		}))
	}
	register("saga",
		func(w *workflow.Workflow, p plan) error { return ws.movement(w, p, p.withdrawal()) },
		func(w *workflow.Workflow, p plan) error { return ws.movement(w, p, p.deposit()) })
	register("tcc",
		func(w *workflow.Workflow, p plan) error { return ws.holding(w, p, p.withdrawal()) },
		func(w *workflow.Workflow, p plan) error { return ws.holding(w, p, p.deposit()) })
	register("xa",
		func(w *workflow.Workflow, p plan) error { return ws.local(w, p.From, -30) },
		func(w *workflow.Workflow, p plan) error { return ws.local(w, p.To, 30) })
	register("mixed",
		func(w *workflow.Workflow, p plan) error { return ws.movement(w, p, p.withdrawal()) },
		func(w *workflow.Workflow, p plan) error { return ws.local(w, p.Middle, -5) },
		func(_ *workflow.Workflow, p plan) error { p.mayDie(); return nil },
		func(w *workflow.Workflow, p plan) error { return ws.holding(w, p, p.deposit()) })
}

// resumeWorkflow is where the coordinator calls back over HTTP.
func resumeWorkflow(query url.Values, body []byte) error { return workflow.ExecuteByQS(query, body) }

func (r *testRun) plan() plan {
	return plan{Bank: r.bank.address, From: r.open("mysql", "from"), To: r.open("mysql", "to")}
}

func (r *testRun) execute(name string, p plan) (string, error) {
	data, err := json.Marshal(p)
	must(err)
	result, err := workflow.Execute2(name, r.gid, data)
	return string(result), err
}

func (r *testRun) executed(name string, p plan) {
	result, err := r.execute(name, p)
	succeeds(err)
	equal("result", result, "moved for "+r.gid)
}

func (r *testRun) refused(name string, p plan) {
	_, err := r.execute(name, p)
	check(errors.Is(err, dtmcli.ErrFailure), "%v is not ErrFailure", err)
}

func workflowSaga(r *testRun) {
	p := r.plan()
	r.executed("saga", p)
	r.ends("succeed", "01 action succeed, 02 action succeed")
	r.wasCalled("01 action, 02 action")
	r.transferred(p.From, p.To)
}

func workflowSagaRefused(r *testRun) {
	p := r.plan()
	r.script("02 action", refuse)
	r.refused("saga", p)
	r.ends("failed", "01 action succeed, 02 action failed, 01 rollback succeed")
	r.wasCalled("01 action, 02 action, 01 rollback")
	r.reason("the bank refuses")
	r.untouched(p.From, p.To)
}

func workflowTcc(r *testRun) {
	p := r.plan()
	r.executed("tcc", p)
	r.ends("succeed", "01 action succeed, 02 action succeed, 02 commit succeed, 01 commit succeed")
	r.transferred(p.From, p.To)
}

func workflowTccRefused(r *testRun) {
	p := r.plan()
	r.script("02 action", refuse)
	r.refused("tcc", p)
	r.ends("failed", "01 action succeed, 02 action failed, 01 rollback succeed")
	r.untouched(p.From, p.To)
}

const xaWorkflowActions = "01 business succeed, 01 action succeed, 02 business succeed, 02 action succeed"

func workflowXa(r *testRun) {
	p := r.plan()
	r.executed("xa", p)
	r.ends("succeed", xaWorkflowActions+", 02 commit succeed, 01 commit succeed")
	r.transferred(p.From, p.To)
	r.nothingPrepared("mysql")
}

func workflowXaRefused(r *testRun) {
	p := r.plan()
	p.To += "-unknown" // no such account: the local step itself refuses
	r.refused("xa", p)
	rows := "01 business succeed, 01 action succeed, 02 action failed"
	found := r.query().rows()
	check(strings.HasPrefix(found, rows), "rows: %q, expected to begin with %q", found, rows)
	equal("status", r.query().status(), "failed")
	r.has("mysql", p.From, 100)
	r.nothingPrepared("mysql")
}

func workflowTwice(r *testRun) {
	p := r.plan()
	r.executed("saga", p)
	r.executed("saga", p)
	r.wasCalled("01 action, 02 action")
	r.transferred(p.From, p.To)
	failed := *r
	failed.gid = r.newGid()
	p = failed.plan()
	failed.script("02 action", refuse)
	failed.refused("saga", p)
	failed.refused("saga", p)
	failed.wasCalled("01 action, 02 action, 01 rollback")
	failed.untouched(p.From, p.To)
}

func workflowOngoing(r *testRun) {
	p := r.plan()
	r.script("02 action", notYet)
	_, err := r.execute("saga", p)
	check(errors.Is(err, dtmcli.ErrOngoing), "%v is not ErrOngoing", err)
	equal("status", r.query().status(), "prepared")
	r.endsNudged("succeed", "01 action succeed, 02 action succeed")
	r.wasCalled("01 action, 02 action, 02 action")
	r.transferred(p.From, p.To)
}
